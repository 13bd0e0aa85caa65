"""What lesson 06 and its sequel build, taken out of the notebooks themselves, against independent oracles."""

from __future__ import annotations

import math
from collections import Counter
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tools.lesson import definitions
from zth_helpers import layers as package
from zth_helpers import plots
from zth_helpers.names import Vocabulary, context_windows

WORDS = ["ada", "bob", "cleo", "diondre", "efjghklm", "npqstuvwxyz", "ada"]


@pytest.fixture(scope="module")
def nb() -> SimpleNamespace:
    """What lesson 06 imports and defines at top level; no other line of its cells is run."""
    knobs = dict(block_size=8, join=2, n_embd=10, n_hidden=200, batch_size=32, learning_rate=0.1)
    return SimpleNamespace(**definitions("06_wavenet", vocab_size=27, seed=42, **knobs))


@pytest.fixture(scope="module")
def beyond() -> SimpleNamespace:
    """The same of its sequel."""
    given = dict(vocab=Vocabulary(WORDS), train_words=WORDS, seed=42)
    return SimpleNamespace(**definitions("beyond/06_wavenet", **given))


def letters(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 27, shape, generator=torch.Generator().manual_seed(seed))


def worn_tree(nb, embedding: int = 6, hidden: int = 10, seed: int = 3):
    """A tree whose weights, gains and running statistics are all far from their initial values."""
    torch.manual_seed(seed)
    net = nb.tree(embedding, hidden)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape))
        for layer in net.layers:
            if isinstance(layer, package.BatchNorm1d):
                layer.running_mean, layer.running_var = torch.randn(hidden), torch.rand(hidden) + 0.2
    return net.eval()


def worn_wavenet(nb, width: int = 8, seed: int = 3):
    torch.manual_seed(seed)
    net = nb.WaveNet(27, width)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape) / 3)
    return net


def by_definition(net, window) -> torch.Tensor:
    """The tree's logits for one window of 8 letters, node by node, in float64 and without its layers."""
    embedding, *rest = net.layers
    nodes = [embedding.weight[i].double() for i in window.tolist()]
    for join, linear, norm, _ in zip(*[iter(rest[:12])] * 4):
        assert join.n == 2
        scale = norm.gamma / torch.sqrt(norm.running_var + norm.eps)
        nodes = [
            torch.tanh(scale * (torch.cat(pair) @ linear.weight.double() - norm.running_mean) + norm.beta)
            for pair in zip(nodes[::2], nodes[1::2])
        ]
    (top,) = nodes
    return top @ rest[12].weight.double() + rest[12].bias


# --- what the notebook builds and the package also holds ---------------------------------------------


def test_layers_equal_the_packages(nb):
    ids, x = letters(5, 8), torch.randn(5, 8, 6)
    torch.manual_seed(1)
    mine = nb.Embedding(27, 6)
    torch.manual_seed(1)
    theirs = package.Embedding(27, 6)
    assert torch.equal(mine(ids), theirs(ids))
    for n in (2, 4, 8):
        assert torch.equal(nb.FlattenConsecutive(n)(x), package.FlattenConsecutive(n)(x))
    assert torch.equal(nb.Flatten()(x), x.reshape(5, 48))
    parts = [theirs, package.FlattenConsecutive(8), package.Linear(48, 4), package.BatchNorm1d(4)]
    a, b = nb.Sequential(parts), package.Sequential(parts)
    assert a.eval() is a and parts[-1].training is False and torch.equal(a(ids), b(ids))
    assert a.train() is a and parts[-1].training is True
    assert [id(p) for p in a.parameters()] == [id(p) for p in b.parameters()]


def test_one_name_keeps_its_batch_axis(nb):
    assert nb.FlattenConsecutive(8)(torch.zeros(1, 8, 3)).shape == (1, 24)
    assert worn_tree(nb)(letters(1, 8)).shape == (1, 27)


def test_the_batch_norm_bug_is_the_lectures_and_only_in_3d(nb):
    x = torch.randn(32, 4, 7) + torch.arange(4.0)[:, None]
    bug, fixed = nb.BatchNormAxis0(7), package.BatchNorm1d(7)
    out = bug(x)
    assert bug.running_mean.shape == (1, 4, 7) and out.shape == x.shape
    assert torch.allclose(out.mean(0), torch.zeros(4, 7), atol=1e-5)  # each place on its own
    fixed(x)
    assert fixed.running_mean.shape == (7,)
    assert torch.allclose(fixed.running_mean, 0.1 * x.flatten(0, 1).mean(0), atol=1e-6)
    flat = torch.randn(32, 7)
    assert torch.allclose(nb.BatchNormAxis0(7)(flat), package.BatchNorm1d(7)(flat), atol=1e-6)


# --- the tree and its convolution ----------------------------------------------------------------------


def test_tree_by_definition(nb):
    net, ids = worn_tree(nb), letters(6, 8)
    expected = torch.stack([by_definition(net, window) for window in ids])
    torch.testing.assert_close(net(ids).double(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("block_size, join, levels", [(9, 2, [3, 3]), (24, 2, [2, 2, 2, 3]), (8, 3, [4, 2])])
def test_a_tree_of_any_length_joins_what_divides(block_size, join, levels):
    """The sizes of the groups, level by level: the smallest divisor from `join` on."""
    given = definitions("06_wavenet", vocab_size=27, block_size=block_size, join=join)
    net = given["tree"](4, 5)
    assert [layer.n for layer in net.layers if hasattr(layer, "n")] == levels
    assert net(letters(6, block_size)).shape == (6, 27)


@pytest.mark.parametrize("length", [8, 9, 15, 40])
def test_dilated_convolution_is_the_tree(beyond, length):
    net, text = worn_tree(beyond, seed=length), letters(3, length)
    windows = text.unfold(1, 8, 1)
    loop = torch.stack([torch.stack([by_definition(net, w) for w in row]) for row in windows])
    conv = beyond.dilated(net).eval()
    torch.testing.assert_close(conv(text).double(), loop, rtol=1e-4, atol=1e-4)
    assert [layer.d for layer in conv.layers if isinstance(layer, beyond.JoinDilated)] == [1, 2, 4]
    assert all(p is q for p, q in zip(conv.parameters(), net.parameters()))  # shared, not copied


def test_nodes_of_diondre(nb):
    nodes = [node for start in range(8) for node in nb.tree_nodes(start)]
    assert (len(nodes), len(set(nodes))) == (56, 34)
    assert [sum(size == n[0] for n in set(nodes)) for size in (2, 4, 8)] == [14, 12, 8]
    # a node stands at the last letter that it has seen
    last = {size: [at for s, at in nb.tree_nodes(2) if s == size] for size in (2, 4, 8)}
    assert last == {2: [3, 5, 7, 9], 4: [5, 9], 8: [9]}
    title = plots.trees("diondre", list(range(8))).axes[0].get_title()
    assert title == "8 windows, 56 nodes computed, 34 of them distinct"


# --- the gated net ----------------------------------------------------------------------------------------


def test_identity_and_its_gradient(beyond):
    """With W_r = 0 a block is the identity, and so is its Jacobian."""
    block, x = beyond.GatedBlock(5, d=3), torch.randn(2, 9, 5, requires_grad=True)
    assert not torch.equal(block(x)[0], x)
    block.residual.weight.zero_()
    assert torch.equal(block(x)[0], x)
    direction = torch.randn_like(x)
    (grad,) = torch.autograd.grad(block(x)[0], x, direction)
    assert torch.allclose(grad, direction)


@pytest.mark.parametrize("make", ["WaveNet", "TorchWaveNet"])
@pytest.mark.parametrize("place", [0, 4, 19])
def test_causality_and_receptive_field(beyond, make, place):
    """By gradients: the logits at `place` listen to exactly the 16 letters up to it."""
    net = worn_wavenet(beyond)
    if make == "TorchWaveNet":
        copied = beyond.TorchWaveNet(27, 8)
        beyond.copy_wavenet(net, copied)
        net = copied
    ids = letters(1, 24)
    table = net.embedding.weight if make == "TorchWaveNet" else net.layers[0].weight
    x = table.detach()[ids].requires_grad_()
    if make == "TorchWaveNet":
        net.embedding.forward = lambda _: x
    else:
        net.layers[0] = lambda _: x
    net(ids)[0, place].sum().backward()
    heard = x.grad[0].abs().sum(1).nonzero().flatten().tolist()
    assert heard == list(range(max(0, place - 15), place + 1))


def test_one_pass_scores_every_beginning(beyond):
    net, ids = worn_wavenet(beyond), letters(2, 20)
    for t in (1, 7, 20):
        torch.testing.assert_close(net(ids[:, :t]), net(ids)[:, :t], rtol=1e-4, atol=1e-5)


def test_causal_conv_is_torchs(beyond):
    torch.manual_seed(0)
    for d in (1, 2, 4):
        mine, x = beyond.CausalConv(3, 5, d), torch.randn(2, 9, 3)
        W = mine.linear.weight.view(2, 3, 5).permute(2, 1, 0)
        theirs = F.conv1d(F.pad(x.transpose(1, 2), (d, 0)), W, mine.linear.bias, dilation=d)
        torch.testing.assert_close(mine(x), theirs.transpose(1, 2), rtol=1e-4, atol=1e-5)


def test_padded_rows_hold_every_target_once(beyond):
    X, Y = beyond.padded(WORDS, beyond.vocab, 12)
    assert X.shape == Y.shape == (7, 12)
    for word, x, y in zip(WORDS, X, Y):
        ids, n = beyond.vocab.encode(word), len(word)
        assert x.tolist() == [0, *ids] + [0] * (11 - n)
        assert y.tolist() == [*ids, 0] + [-100] * (11 - n)


# --- torch.nn ---------------------------------------------------------------------------------------------


def test_tree_in_torch_nn(beyond):
    net = worn_tree(beyond)
    twin, conv = beyond.torch_tree(6, 10), beyond.torch_tree(6, 10, dilate=True)
    beyond.copy_weights(net, twin)
    conv.load_state_dict(twin.state_dict())
    twin.eval(), conv.eval()
    ids, text = letters(9, 8), letters(2, 19)
    torch.testing.assert_close(twin(ids).squeeze(1), net(ids), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(conv(text), beyond.dilated(net).eval()(text), rtol=1e-4, atol=1e-5)
    assert sum(p.numel() for p in twin.parameters()) == sum(p.numel() for p in net.parameters())


def test_variance_conventions(nb):
    """In training torch divides by n and we by n - 1; both keep the same running variance."""
    x = torch.randn(6, 4, 3)
    ours, theirs = package.BatchNorm1d(3, eps=1e-12), nn.BatchNorm1d(3, eps=1e-12)
    factor = math.sqrt(24 / 23)
    torch.testing.assert_close(theirs(x.transpose(1, 2)).transpose(1, 2), ours(x) * factor)
    torch.testing.assert_close(theirs.running_var, ours.running_var)
    torch.testing.assert_close(theirs.running_mean, ours.running_mean)


def test_wavenet_in_torch_nn(beyond):
    net, twin, ids = worn_wavenet(beyond), beyond.TorchWaveNet(27, 8), letters(4, 16)
    beyond.copy_wavenet(net, twin)
    torch.testing.assert_close(twin(ids), net(ids), rtol=1e-4, atol=1e-5)
    assert sum(p.numel() for p in twin.parameters()) == sum(p.numel() for p in net.parameters())


# --- measuring and sampling --------------------------------------------------------------------------------


def test_floor_by_counting(nb):
    for k in (1, 2, 8):
        pairs = Counter()
        for word in WORDS:
            padded = "." * k + word + "."
            pairs.update((padded[i : i + k], padded[i + k]) for i in range(len(word) + 1))
        contexts = Counter()
        for (context, _), n in pairs.items():
            contexts[context] += n
        total = sum(pairs.values())
        expected = -sum(n / total * math.log(n / contexts[c]) for (c, _), n in pairs.items())
        X, Y = context_windows(WORDS, Vocabulary(WORDS), k)
        assert nb.floor(X, Y) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("where", ["lesson", "sequel"])
def test_split_loss(nb, beyond, where):
    """Pieces (and in the sequel -100) do not change the mean; the statistics stay; the net trains on."""
    space = nb if where == "lesson" else beyond
    net = worn_tree(space)
    X, Y = letters(12_345, 8), letters(12_345, seed=1)
    if where == "sequel":
        Y[::7] = -100
    before = net.layers[3].running_mean.clone()
    expected = F.cross_entropy(net(X), Y).item()
    assert space.split_loss(net.train(), X, Y) == pytest.approx(expected, rel=1e-5)
    assert net.layers[3].training and torch.equal(net.layers[3].running_mean, before)


def test_sample(beyond):
    """Scripted logits: each name goes its own way, stops at its dot and no later than allowed."""
    script = torch.full((27, 27), -1e9)
    for a, b in ((0, 1), (1, 2), (2, 0)):  # a, b, end
        script[a, b] = 0
    assert beyond.sample(lambda ids: script[ids[:, -1]], 3) == ["ab"] * 3
    endless = torch.full((27,), -1e9)
    endless[3] = 0
    assert beyond.sample(lambda ids: endless.expand(len(ids), 27), 2, longest=5) == ["ccccc"] * 2
    flat = torch.zeros(27)
    flat[0] = 2
    names = beyond.sample(lambda ids: flat.expand(len(ids), 27), 50, seed=4)
    assert len(set(map(len, names))) > 1 and names == beyond.sample(
        lambda ids: flat.expand(len(ids), 27), 50, seed=4
    )


def test_temperature(beyond):
    """At temperature T the first letters follow softmax(logits / T)."""
    logits = torch.full((27,), -1e9)
    logits[1], logits[2] = 0.0, 1.0
    for T in (0.5, 1.0, 2.0):
        names = beyond.sample(lambda ids: logits.expand(len(ids), 27), 4_000, temperature=T, longest=1)
        p = 1 / (1 + math.exp(-1 / T))
        assert names.count("b") / 4_000 == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / 4_000))


def test_known_names_are_marked(beyond, capsys):
    script = torch.full((27, 27), -1e9)
    for a, b in ((0, 1), (1, 4), (4, 0)):
        script[a, b] = 0
    beyond.show_samples(lambda ids: script[ids[:, -1]], temperatures=(1.0,), count=1)
    assert capsys.readouterr().out.splitlines()[1].strip() == "ad"
    script = torch.full((27, 27), -1e9)
    script[0, 1] = script[1, 4] = 0
    script[4, 1] = 0
    path = iter([1, 4, 1, 0])  # "ada" stands in the list
    beyond.show_samples(
        lambda ids: F.one_hot(torch.tensor([next(path)]), 27) * 1e9, temperatures=(1.0,), count=1
    )
    assert capsys.readouterr().out.splitlines()[1].strip() == "ada ✓"


# --- training ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["lesson", "sequel"])
def test_train_is_the_lectures_recipe(nb, beyond, where):
    """The same as torch's SGD with its own schedule, up to rounding; the last quarter at a tenth."""
    space = nb if where == "lesson" else beyond
    X, Y = letters(64, 8), letters(64, seed=1)
    torch.manual_seed(5)
    mine = space.tree(4, 6)
    space.train(mine, X, Y, 8, "test")
    torch.manual_seed(5)
    other = space.tree(4, 6)
    optimizer = torch.optim.SGD(other.parameters(), lr=0.1)
    for i in range(8):
        ix = torch.randint(0, 64, (32,))
        optimizer.param_groups[0]["lr"] = 0.1 if i < 6 else 0.01
        optimizer.zero_grad()
        F.cross_entropy(other(X[ix]), Y[ix]).backward()
        optimizer.step()
    for p, q in zip(mine.parameters(), other.parameters()):
        torch.testing.assert_close(p, q)


def test_fit_has_the_lectures_schedule_or_one_cycle(beyond):
    X, Y = letters(64, 8), letters(64, seed=1)
    torch.manual_seed(5)
    mine, batches = beyond.tree(4, 6), beyond.random_batches(X, Y, 32)
    beyond.fit(mine, batches, 8, torch.optim.SGD(mine.parameters(), lr=0.1), (X, Y), checks=0)
    torch.manual_seed(5)
    other = beyond.tree(4, 6)
    beyond.train(other, X, Y, 8, "test")
    for p, q in zip(mine.parameters(), other.parameters()):
        torch.testing.assert_close(p, q)


def test_fit_notes_the_last_step(beyond):
    X, Y = beyond.padded(WORDS, beyond.vocab, 12)
    net = beyond.TorchWaveNet(27, 8)
    first = beyond.split_loss(net, X, Y)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    batches = beyond.random_batches(X, Y, 7)
    curve = beyond.fit(net, batches, 30, optimizer, (X, Y), one_cycle=True, checks=3)
    assert len(curve) == 3 and curve[0][0] < curve[1][0] < curve[2][0]
    assert curve[-1][1] == pytest.approx(beyond.split_loss(net, X, Y)) and curve[-1][1] < first
    assert optimizer.param_groups[0]["lr"] < 1e-4  # one cycle ends near zero


def test_distinct_contexts_have_the_loss_and_gradient_of_all_examples(beyond):
    X, Y = context_windows(WORDS * 3, beyond.vocab, 3)
    contexts, targets = beyond.distinct_contexts(X, Y, len(beyond.vocab))
    followed = Counter(zip(map(tuple, X.tolist()), Y.tolist()))
    assert sorted(map(tuple, contexts.tolist())) == sorted({context for context, _ in followed})
    for context, row in zip(contexts.tolist(), targets):
        for letter, share in enumerate(row.tolist()):
            expected = followed[tuple(context), letter] * len(contexts) / len(X)
            assert share == pytest.approx(expected, rel=1e-6)
    torch.manual_seed(0)
    net = beyond.small_mlp(5)
    grads = []
    for x, y in ((X, Y), (contexts, targets)):
        grads.append((beyond.training_step(net, x, y).item(), [p.grad for p in net.parameters()]))
    assert grads[0][0] == pytest.approx(grads[1][0], rel=1e-5)
    for p, q in zip(grads[0][1], grads[1][1]):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-6)


def test_length_batches_hold_each_name_once_and_little_filling(beyond):
    words = [("abcdefgh" * 2)[:n] + tail for n in range(1, 13) for tail in "abcde"]
    X, Y = beyond.padded(words, beyond.vocab, 16)
    torch.manual_seed(0)
    batches = beyond.length_batches(X, Y, 30)
    for _ in range(2):  # two epochs
        seen, letters_seen, places = [], 0, 0
        while letters_seen < (Y >= 0).sum():
            x, y = next(batches)
            letters_seen, places = letters_seen + (y >= 0).sum().item(), places + y.numel()
            assert (y >= 0).any(0).all() and (y >= 0).sum() < 30 + 16  # no column of filling alone
            for row, target in zip(x.tolist(), y.tolist()):
                word = beyond.vocab.decode([i for i in target if i > 0])
                assert beyond.vocab.decode(row)[: len(word) + 1] == "." + word
                seen.append(word)
        assert sorted(seen) == sorted(words) and letters_seen / places > 0.8


def test_recurrent_net_is_the_gru_of_the_equations(beyond):
    """Gates r, z and candidate n as torch documents them, letter by letter; the rows' order is kept."""
    torch.manual_seed(0)
    net, ids = beyond.RecurrentNet(27, 5, 6).eval(), letters(3, 9)
    w, u, b, c = (p.detach() for p in net.gru.parameters())
    h, logits = torch.zeros(3, 6), []
    for letter in ids.T:
        (wr, wz, wn), (ur, uz, un) = (
            (net.embedding.weight[letter] @ w.T + b).chunk(3, 1),
            (h @ u.T + c).chunk(3, 1),
        )
        r, z = torch.sigmoid(wr + ur), torch.sigmoid(wz + uz)
        h = (1 - z) * torch.tanh(wn + r * un) + z * h
        logits.append(net.out(h))
    torch.testing.assert_close(net(ids), torch.stack(logits, 1), rtol=1e-4, atol=1e-5)
