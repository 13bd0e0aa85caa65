"""experiments.train: what a run leaves behind, and that nothing is lost by a kill, a Ctrl-C or a second
process.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from experiments import train
from experiments.data import SKIP, Data
from experiments.models import MODELS, Gated, Recurrent, build
from tools.lesson import ROOT, definitions
from zth_helpers import load_names, names

ENVIRONMENT = os.environ | {"ZTH_QUIET": "1", "ZTH_NAMES": "shipped", "ZTH_DEVICE": "cpu"}
SMALL = {"hidden": 16, "steps": 40, "checks": 2}


def small(model: str, **more) -> dict:
    return train.complete(model=model, **SMALL, **more)


def command(out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "experiments.train", "--out", str(out), *more]


@pytest.mark.parametrize("model", MODELS)
def test_a_run_of_each_model(model, tmp_path):
    line = train.run(small(model), tmp_path)
    assert line["state"] == "done" and line["steps"] == 40 and line["list"] == load_names().source
    assert [step for step, _, _ in line["curve"]] == [20, 40]
    assert line["curve"][-1][2] == pytest.approx(line["dev"]) and line["dev"] < 3.3
    assert isinstance(line["verdict"], list)
    [stored] = (tmp_path / "runs.jsonl").read_text("utf-8").splitlines()
    assert json.loads(stored) == line
    assert train.run(small(model), tmp_path) == line  # done is done
    net, config = train.load(tmp_path / line["name"])
    data = Data(load_names(), config)
    assert train.split_loss(net, *data.dev) == pytest.approx(line["dev"])


def test_the_tree_is_the_lessons():
    """The same parameters as lesson 06 counts, and the same logits as its layers with the same weights."""
    net = build(train.complete(model="wavenet"), 27)
    assert sum(p.numel() for p in net.parameters()) == 76_579
    lesson = definitions("06_wavenet")
    x = torch.randint(0, 27, (5, 8))
    layers, convs = [lesson["Embedding"](27, 24)], list(net.levels)
    layers[0].weight = net.embedding.weight
    for conv, norm, _ in zip(convs[::3], convs[1::3], convs[2::3]):
        linear = lesson["Linear"](2 * conv.in_channels, 128, bias=False)
        linear.weight = conv.weight.permute(2, 1, 0).reshape(-1, 128)
        batch_norm = lesson["BatchNorm1d"](128)
        batch_norm.training = False
        batch_norm.gamma, batch_norm.beta = norm.weight, norm.bias
        layers += [lesson["FlattenConsecutive"](2), linear, batch_norm, lesson["Tanh"]()]
    h = x
    for layer in layers:
        h = layer(h)
    torch.testing.assert_close(net.eval()(x), net.out(h.flatten(1)))


@pytest.mark.parametrize("net", [Gated(27, 16, 3, 0.0), Recurrent(27, 8, 16, 2, 0.0)])
def test_row_models_are_causal(net):
    x = torch.randint(1, 27, (2, 12))
    changed = x.clone()
    changed[:, 7] = x[:, 7] % 26 + 1
    before, after = net.eval()(x), net(changed)
    assert torch.equal(before[:, :7], after[:, :7]) and not torch.equal(before[:, 7], after[:, 7])


def test_both_kinds_of_model_read_the_same_targets():
    windows, rows = (Data(load_names(), train.complete(model=m)) for m in ("wavenet", "gru"))
    for part in ("train", "dev", "test"):
        assert len(getattr(windows, part)[1]) == int((getattr(rows, part)[1] != SKIP).sum())
    words = names.split_words(load_names(), seed=42)[1][:3]
    X, Y = rows.dev[0][:3], rows.dev[1][:3]
    assert [rows.vocab.decode(row[1 : len(word) + 1]) for row, word in zip(X, words)] == words
    assert all(y[len(word)] == 0 and y[len(word) + 1] == SKIP for y, word in zip(Y, words))


def test_an_epoch_shows_each_name_once():
    data = Data(load_names(), train.complete(model="gru"))
    data.batch(0)
    for first in (0, len(data.batches)):
        data.batch(first)
        seen = torch.cat(data.batches)
        assert seen.sort().values.tolist() == list(range(len(data.train[0])))
    assert max(int(data.lengths[rows].sum()) for rows in data.batches) <= 1024 + 20


def test_learning_rates():
    config = train.complete(model="wavenet")
    assert [train.learning_rate(config, p) for p in (0, 0.74, 0.76)] == pytest.approx([0.1, 0.1, 0.01])
    config = train.complete(model="gru", lr=1.0)
    assert [train.learning_rate(config, p) for p in (0, 0.05, 0.1, 0.55, 1)] == pytest.approx(
        [0, 0.5, 1, 0.5, 0]
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"model": "transformer"}, "there are mlp"),
        ({"model": ["mlp"]}, "there are mlp"),
        ({"model": "mlp", "layers": 3}, "has no layers; it has model"),
        ({"optimizer": "lion"}, "optimizer=lion: there are sgd, adamw"),
        ({"schedule": 3}, "there are drop, cycle"),
        ({"steps": 0}, "steps=0: give a whole number of 1 or more"),
        ({"batch": 32.0}, "batch=32.0: give a whole number"),
        ({"hidden": True}, "hidden=True"),
        ({"hidden": "64"}, "hidden=64"),
        ({"seconds": -1.0}, "seconds=-1.0: give a number of 0 or more"),
        ({"lr": float("nan")}, "lr=nan"),
        ({"weight_decay": float("inf")}, "weight_decay=inf"),
        ({"model": "gru", "dropout": 1}, "dropout=1: give a number of 0 or more, below 1"),
        ({"seed": -1}, "seed=-1: give a whole number"),
    ],
)
def test_values_that_do_not_fit(given, said):
    with pytest.raises(ValueError, match=said):
        train.complete(**given)


def test_a_tree_over_six_characters():
    with pytest.raises(ValueError, match="in pairs"):
        build(train.complete(model="wavenet", block=6), 27)


def test_a_run_that_diverges(tmp_path):
    line = train.run(small("mlp", lr=1e38), tmp_path)
    assert line["state"] == "diverged" and line["dev"] is None
    json.loads(json.dumps(line, allow_nan=False))


@pytest.mark.sweep
def test_a_kill_loses_nothing_that_a_checkpoint_has(tmp_path, monkeypatch):
    """Killed in the middle and started again, a run with dropout ends where an undisturbed one ends."""
    more = ["--model", "gru", "--hidden", "16", "--dropout", "0.2", "--steps", "3000", "--checks", "3"]
    config = train.complete(model="gru", hidden=16, dropout=0.2, steps=3000, checks=3)
    whole = train.run(config, tmp_path / "whole", watch=False)
    code = "import experiments.train as t, sys; t.CHECKPOINT_EVERY = 0.2; sys.exit(t.main())"
    run = [sys.executable, "-c", code, "--out", str(tmp_path / "killed"), "--no-monitor", *more]
    process = subprocess.Popen(run, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.DEVNULL)
    checkpoint = tmp_path / "killed" / train.name_of(config) / "checkpoint.pt"
    while not checkpoint.exists() or torch.load(checkpoint, weights_only=True)["step"] < 300:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    step = torch.load(checkpoint, weights_only=True)["step"]
    assert 0 < step < 3000
    again = subprocess.run(run, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    line = json.loads(again.stdout)
    assert (line["dev"], line["train"]) == pytest.approx((whole["dev"], whole["train"]), rel=1e-6)
    assert [row[0] for row in line["curve"]] == [row[0] for row in whole["curve"]]


@pytest.mark.sweep
@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_a_result(tmp_path, kind):
    """SIGTERM also in the background of a script, where Ctrl-C is ignored."""
    run = command(tmp_path, "--model", "mlp", "--steps", "100000000", "--checks", "1000000")
    ctrl_c = signal.SIG_DFL if kind == signal.SIGINT else signal.SIG_IGN
    process = subprocess.Popen(
        run,
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, ctrl_c),
    )
    time.sleep(12)
    process.send_signal(kind)
    try:
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()  # a run that does not listen would go on for days
    line = json.loads(out)
    assert process.returncode == 130 and line["state"] == "interrupted", err
    assert line["steps"] > 0 and line["dev"] < 3.3
    assert train.load(tmp_path / line["name"])


@pytest.mark.sweep
@pytest.mark.parametrize("model", ["gru", "mlp"])
def test_two_processes_learn_what_one_does(tmp_path, model):
    """torchrun over gloo: the same batch in two halves gives the same losses."""
    more = ["--model", model, "--hidden", "16", "--steps", "60", "--checks", "3"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    two = [*torchrun, "-m", "experiments.train", "--out", str(tmp_path / "two"), *more]
    lines = []
    for run in (command(tmp_path / "one", *more), two):
        done = subprocess.run(run, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        lines.append(json.loads(done.stdout.splitlines()[-1]))
    one, two = lines
    assert (one["processes"], two["processes"]) == (1, 2)
    assert two["losses"] == pytest.approx(one["losses"], rel=1e-4)
    assert two["dev"] == pytest.approx(one["dev"], rel=1e-4)


@pytest.mark.sweep
def test_tensorboard(tmp_path):
    train.run(small("mlp"), tmp_path, tensorboard=True)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    [folder] = tmp_path.glob("*/tensorboard")
    tags = EventAccumulator(str(folder)).Reload().Tags()["scalars"]
    assert "dev" in tags and any(tag.startswith("update_data/") for tag in tags)


def test_loss_of_a_batch_is_the_mean_over_its_targets():
    """What one process would compute: the sum over all targets, divided by their number."""
    config = small("gru")
    run = train.Run(config, Path("unused"), "cpu", 0, 1)
    x, y = run.data.batch(0)
    torch.manual_seed(config["seed"])
    expected = F.cross_entropy(build(config, len(run.data.vocab))(x).flatten(0, 1), y.flatten())
    assert run.one_step(run.net, None).item() == pytest.approx(expected.item(), rel=1e-5)
