"""The functions of lesson 04 and its sequel, taken out of the notebooks, against torch and plain loops."""

from __future__ import annotations

import math
from collections import namedtuple

import pytest
import torch
import torch.nn.functional as F

from tools.lesson import definitions
from zth_helpers import load_names
from zth_helpers.names import Vocabulary, context_windows

WORDS = load_names("shipped")[:300]
VOCAB = Vocabulary(WORDS)
V, BLOCK, EMBD, HIDDEN, BATCH = len(VOCAB), 3, 4, 12, 8
X, Y = context_windows(WORDS, VOCAB, BLOCK)
SEED = 2147483647


def given() -> dict:
    sizes = dict(
        block_size=BLOCK, n_embd=EMBD, n_hidden=HIDDEN, fan_in=BLOCK * EMBD, batch_size=BATCH, width=10
    )
    data = dict(vocab=VOCAB, V=V, Xtr=X[:900], Ytr=Y[:900], Xdev=X[900:1200], Ydev=Y[900:1200])
    knobs = dict(seed=SEED, lr=0.1, momentum=0.25, small_batch=4, few=50)
    return sizes | data | knobs | {"Pass": namedtuple("Pass", "hpreact h logits loss")}


@pytest.fixture
def nb() -> dict:
    space = definitions("04_batchnorm", **given())
    space["progress"] = lambda items, label="": range(items)
    return space


@pytest.fixture
def beyond() -> dict:
    space = definitions("beyond/04_batchnorm", **given())
    space["progress"] = lambda items, label="": range(items)
    return space


# -- one hidden layer ----------------------------------------------------------------------------------------


def test_the_network_is_torchs(nb):
    _, (C, W1, b1, W2, b2) = nb["init"](w1=0.2, b1=0.5, w2=0.1, b2=2.0)
    embcat = F.embedding(X[:20], C).flatten(1)
    wanted = F.linear(torch.tanh(F.linear(embcat, W1.T, b1)), W2.T, b2)
    hpreact, h, logits = nb["forward"]([C, W1, b1, W2, b2], X[:20])
    assert torch.allclose(logits, wanted, atol=1e-5) and torch.equal(h, torch.tanh(hpreact))


def test_the_scales_only_scale(nb):
    (g, plain), (g2, scaled) = nb["init"](), nb["init"](w1=0.2, b1=0.01, w2=0.5, b2=0)
    for p, q, factor in zip(plain, scaled, (1, 0.2, 0.01, 0.5, 0)):
        assert torch.allclose(p * factor, q) and q.requires_grad
    assert torch.equal(torch.rand(3, generator=g), torch.rand(3, generator=g2))  # the same minibatches follow


def test_at_start_counts_what_it_says(nb):
    seen = nb["first_pass"](nb["forward"], *nb["init"]())
    loss, std, share = nb["at_start"](seen)
    values = seen.hpreact.flatten().tolist()
    mean = sum(values) / len(values)
    assert std == pytest.approx(math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1)), rel=1e-4)
    assert share == pytest.approx(sum(abs(math.tanh(v)) > 0.99 for v in values) / len(values))
    assert loss == pytest.approx(seen.loss.item())


def test_train_is_sgd_with_a_tenth_of_the_rate_in_the_second_half(nb):
    g, ours = nb["init"](w2=0.1)
    theirs = [p.detach().clone().requires_grad_() for p in ours]
    same = torch.Generator()
    same.set_state(g.get_state())
    losses = nb["train"](nb["forward"], g, ours, 10, "")
    optimizer, wanted = torch.optim.SGD(theirs, lr=0.1), []
    for i in range(10):
        optimizer.param_groups[0]["lr"] = 0.1 if i < 5 else 0.01
        Xb, Yb = nb["minibatch"](same)
        loss = F.cross_entropy(nb["forward"](theirs, Xb)[-1], Yb)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        wanted.append(loss.item())
    assert losses == pytest.approx(wanted, rel=1e-5)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(ours, theirs))


# -- batch norm ----------------------------------------------------------------------------------------------


def test_batch_norm_is_torchs_up_to_the_variance(nb):
    _, params, running = nb["init_bn"]()
    C, W1, _, _, bngain, bnbias = params
    bngain.data.uniform_(0.5, 2), bnbias.data.normal_()
    x = F.embedding(X[:20], C).flatten(1) @ W1
    torchs = F.batch_norm(x, None, None, training=True, eps=1e-12) * math.sqrt(19 / 20)  # n - 1 in place of n
    hpreact = nb["forward_bn"](params, X[:20], running)[0]
    assert torch.allclose(hpreact, bngain * torchs + bnbias, atol=1e-4)


def test_running_statistics_follow_the_batches_and_rest_at_inference(nb):
    _, params, running = nb["init_bn"]()
    mean, std = torch.zeros(1, HIDDEN), torch.ones(1, HIDDEN)
    for k in range(5):
        Xb = X[k * 20 : k * 20 + 20]
        x = (F.embedding(Xb, params[0]).flatten(1) @ params[1]).detach()
        mean, std = 0.75 * mean + 0.25 * x.mean(0), 0.75 * std + 0.25 * x.std(0)
        nb["forward_bn"](params, Xb, running)
    assert torch.allclose(running["mean"], mean, atol=1e-5) and torch.allclose(running["std"], std, atol=1e-5)
    before = {k: v.clone() for k, v in running.items()}
    hpreact = nb["forward_bn"](params, X[:1], running, training=False)[0]
    x = F.embedding(X[:1], params[0]).flatten(1) @ params[1]
    assert torch.allclose(hpreact, (x - mean) / std, atol=1e-4)
    assert all(torch.equal(running[k], before[k]) for k in running)


# -- the deep network ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("batchnorm, wanted", [(False, 46_497), (True, 47_024)])
def test_the_lectures_parameters(nb, batchnorm, wanted):
    nb.update(V=27, n_embd=10, fan_in=30, width=100)
    _, C, layers = nb["deep"](batchnorm=batchnorm)
    assert sum(p.nelement() for p in nb["parameters_of"](C, layers)) == wanted


def test_the_arguments_of_the_deep_network(nb):
    plain, gained = (nb["deep"](gain=gain)[2] for gain in (1, 3))
    for one, three in zip(plain[:-1:2], gained[:-1:2]):
        assert torch.allclose(3 * one.weight, three.weight)
    assert torch.allclose(plain[-1].weight, gained[-1].weight)  # the output layer has no gain
    undivided = nb["deep"](gain=1, batchnorm=True, divide=False)[2]
    assert torch.allclose(undivided[0].weight, plain[0].weight * (BLOCK * EMBD) ** 0.5)
    assert undivided[-1].gamma.tolist() == pytest.approx([0.1] * V)
    assert [type(layer).__name__ for layer in nb["deep"](tanh=False)[2]] == ["Linear"] * 6


@pytest.mark.parametrize("batchnorm", [False, True])
def test_training_the_layers_is_sgd_and_ud_is_its_relative_step(nb, batchnorm):
    g, C, layers = nb["deep"](gain=1, batchnorm=batchnorm)
    same = torch.Generator()
    same.set_state(g.get_state())
    _, C2, layers2 = nb["deep"](gain=1, batchnorm=batchnorm)
    lossi, ud = nb["train_layers"](g, C, layers, steps=4, lr=0.3)
    theirs = [p.requires_grad_() for p in nb["parameters_of"](C2, layers2)]
    for i in range(4):
        Xb, Yb = nb["minibatch"](same)
        loss = F.cross_entropy(nb["forward_layers"](C2, layers2, Xb), Yb)
        assert lossi[i] == pytest.approx(loss.item(), rel=1e-5)
        grads = torch.autograd.grad(loss, theirs)
        for k, (p, grad) in enumerate(zip(theirs, grads)):
            p.data -= 0.3 * grad
            ratio = (0.3 * grad.std() / p.detach().std()).item()
            if 1e-5 < ratio < 1e5:  # what is only rounding noise is not compared
                assert ud[i][k] == pytest.approx(math.log10(ratio), abs=1e-3)
    assert all(layer.out.grad is not None for layer in layers)


def test_what_monitor_sees_is_what_the_loop_sees(nb):
    *_, layers = net = nb["deep"](gain=1, batchnorm=True)
    lossi, _ = nb["train_layers"](*net, steps=4)
    mon = nb["watch"](*nb["deep"](gain=1, batchnorm=True), 4, every=3, updates_every=1)
    assert mon.losses.tolist() == pytest.approx(lossi, rel=1e-4)
    at = [i for i, kind in enumerate(mon.layer_kinds) if kind == "Tanh"]
    tanhs = [layer.out for layer in layers if isinstance(layer, nb["Tanh"])]
    assert mon.outputs.std[-1, at].tolist() == pytest.approx([t.std().item() for t in tanhs], rel=1e-3)
    assert mon.gradients.std[-1, at].tolist() == pytest.approx([t.grad.std().item() for t in tanhs], rel=1e-3)
    assert mon.parameter_names[0] == "C"


def test_a_batch_of_one_is_refused_in_training_and_welcome_at_inference(nb):
    _, C, layers = nb["deep"](batchnorm=True)
    with pytest.raises(ValueError, match="at least 2 examples"):
        nb["forward_layers"](C, layers, X[:1])
    nb["set_mode"](layers, training=False)
    alone, among = (nb["forward_layers"](C, layers, X[:n])[0] for n in (1, 50))
    assert torch.allclose(alone, among, atol=1e-6)


def test_a_sampled_name_follows_the_network(nb):
    """A network that is certain of each next letter leaves nothing to chance: it spells its word."""
    a, b, c = VOCAB.itos[1], VOCAB.itos[2], VOCAB.itos[3]
    spelled = {"...": c, f"..{c}": a, f".{c}{a}": b, f"{c}{a}{b}": "."}
    nb["forward_layers"] = lambda C, layers, X: (
        1000.0 * F.one_hot(torch.tensor([VOCAB.stoi[spelled[VOCAB.decode(x)]] for x in X.tolist()]), V)
    )
    assert nb["sample"](None, None, torch.Generator().manual_seed(0)) == f"{c}{a}{b}"


def test_a_network_that_never_draws_the_dot_is_stopped(nb):
    nb["forward_layers"] = lambda C, layers, X: 1000.0 * F.one_hot(torch.tensor([1]), V)
    assert nb["sample"](None, None, torch.Generator().manual_seed(0)) == 100 * VOCAB.itos[1]


# -- the sequel ----------------------------------------------------------------------------------------------


def test_layer_norm_and_batch_norm_are_torchs_up_to_the_variance(beyond):
    _, params = beyond["init_norm"]()
    x = (F.embedding(X[:20], params[0]).flatten(1) @ params[1]).detach()
    for stats, torchs, n in (
        (beyond["over_neurons"], F.layer_norm(x, (HIDDEN,), eps=0), HIDDEN),
        (beyond["over_batch"], F.batch_norm(x, None, None, training=True, eps=1e-12), 20),
    ):
        hpreact = beyond["forward_norm"](params, X[:20], stats)[0]
        assert torch.allclose(hpreact, torchs * math.sqrt((n - 1) / n), atol=1e-4)


def test_zero_output_weights_block_the_way_for_one_step(beyond):
    g, params = beyond["init"](w2=0, b2=0)
    first, second, _ = beyond["gradient_sizes"](params, g)
    assert first[1] == pytest.approx(math.log(V)) and first[2:5] == [0, 0, 0] and min(first[5:]) > 0
    assert min(second[2:]) > 0


def test_the_dead_are_counted_on_all_examples(beyond):
    counts = beyond["dead_over_time"](0.1, looks=(1, 3))
    g, params = beyond["init"](w1=(2 / (BLOCK * EMBD)) ** 0.5, b1=0, w2=0.01, b2=0)
    for i in range(3):
        Xb, Yb = beyond["minibatch"](g)
        loss = F.cross_entropy(beyond["forward"](params, Xb, torch.relu)[-1], Yb)
        for p, grad in zip(params, torch.autograd.grad(loss, params)):
            p.data -= 0.1 * grad
        C, W1, b1, *_ = params
        on = [any(v > 0 for v in column) for column in (C[X[:900]].flatten(1) @ W1 + b1).T.tolist()]
        if i in (0, 2):
            assert counts[i // 2] == on.count(False)


def test_the_verdict_on_the_stages_gets_shorter(beyond):
    beyond.update(n_embd=10, n_hidden=200, fan_in=30, batch_size=32)
    scale = (5 / 3) / 30**0.5
    kinds = dict(w1=scale, b1=0.01, w2=0.01, b2=0), dict(w2=0.01, b2=0), {}
    counts = [len(beyond["diagnose"](beyond["watched"](beyond["one_hidden"](**k), 101), V)) for k in kinds]
    assert counts == sorted(counts) and counts[0] == 0 and counts[-1] >= 2
