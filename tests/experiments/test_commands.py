"""What the experiments' commands say of arguments that cannot be meant, before any work is done."""

from __future__ import annotations

import importlib
import signal
import sys

import pytest

from tests import free_port

BAD = [
    ("train", ["--steps", "0"], "steps=0: give a whole number of 1 or more"),
    ("train", ["--model", "mlp", "--layers", "2"], "the model mlp has no layers"),
    ("train", ["--device", "tpu"], "the device tpu: this torch finds cpu"),
    ("train", ["--device", "cpu:1"], "the device cpu:1"),
    ("sweep", ["--steps", "0"], "steps=0"),
    ("sweep", ["--seconds", "-1"], "seconds=-1.0"),
    ("sweep", ["--device", "tpu"], "the device tpu"),
    ("sweep", ["--trials", "0"], "--trials and --processes"),
    ("sweep", ["--name", "../other"], "--name is the name of one folder"),
    ("sweep", ["--name", ".."], "--name is the name of one folder"),
    ("sweep", ["--name", ""], "--name is the name of one folder"),
    ("sweep", ["--storage", "nonsense"], "the database cannot be opened, Could not parse"),
    ("sweep", ["--storage", "mysql+nodriver://a@b/c"], "the database cannot be opened"),
    ("sweep", ["--storage", "postgresql://nobody@127.0.0.1:PORT/x"], "Connection refused"),
    ("sweep", ["--storage", "sqlite:////no/such/folder/study.db"], "unable to open database file"),
    ("record", ["--to", "FOLDER/sweep.jsonl"], "there is no sweep sweep in"),
    ("record", ["--to", "FOLDER/no/sweep.jsonl"], "there is no folder"),
    ("record", ["--to", "FOLDER/sweep.jsonl", "--again", "-1"], "--again is a whole number"),
    ("study", ["--minutes", "0"], "--minutes is a number above 0"),
    ("study", ["--processes", "0"], "--cores and --processes"),
    ("study", ["--set", "hidden=big"], "hidden=big: give a whole number"),
    ("study", ["--set", "hidden"], "hidden=: give a whole number"),
    ("study", ["--set", "optimizer=lion"], "optimizer=lion: there are sgd, adamw"),
    ("study", ["--set", "width=3"], "has no width"),
    ("study", ["--set", "seed=3"], "--set seed: that follows from"),
    ("cluster", ["--trials", "0"], "--trials is a whole number"),
    ("cluster", ["--steps", "-5"], "steps=-5"),
]


@pytest.mark.parametrize(("command", "more", "said"), BAD, ids=[f"{c} {' '.join(m)}" for c, m, _ in BAD])
def test_bad_arguments_are_refused_in_a_sentence(command, more, said, tmp_path, monkeypatch, capsys):
    if command == "cluster":
        pytest.importorskip("ray")
    main = importlib.import_module(f"experiments.{command}").main
    more = [text.replace("PORT", str(free_port())).replace("FOLDER", str(tmp_path)) for text in more]
    monkeypatch.setattr(sys, "argv", [command, "--out", str(tmp_path / "runs"), *more])
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    try:
        code = main()
    except SystemExit as refused:  # argparse
        code = refused.code
    assert code in (1, 2) and said in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.jsonl")) and not list(tmp_path.rglob("result.json"))


def test_out_is_a_file(tmp_path, monkeypatch, capsys):
    (tmp_path / "runs").write_text("mine")
    for command in ("train", "sweep"):
        monkeypatch.setattr(sys, "argv", [command, "--out", str(tmp_path / "runs")])
        monkeypatch.setattr(signal, "signal", lambda *_: None)
        assert importlib.import_module(f"experiments.{command}").main() == 1
        assert "✗" in capsys.readouterr().err
    assert (tmp_path / "runs").read_text() == "mine"
