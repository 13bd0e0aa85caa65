"""The functions of lesson 2 and its sequel, taken out of the notebooks, against independent oracles."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from itertools import accumulate

import pytest
import torch
import torch.nn.functional as F

from tools.lesson import definitions
from zth_helpers.names import Vocabulary, context_windows

WORDS = ["anna", "hannah", "ana", "bob", "abba", "nob", "banana", "b", "hob", "nana"]
VOCAB = Vocabulary(WORDS)
V = len(VOCAB)


def quietly(name: str, **given) -> dict:
    space = definitions(name, V=V, stoi=VOCAB.stoi, itos=VOCAB.itos, seed=2147483647, **given)
    space["progress"] = lambda steps, label="": range(steps)
    return space


@pytest.fixture(scope="module")
def lesson() -> dict:
    """The lesson's imports and functions, by name, with a small list in place of the names."""
    return quietly("02_bigram")


@pytest.fixture(scope="module")
def nb() -> dict:
    """The sequel's."""
    return quietly("beyond/02_bigram")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def P() -> torch.Tensor:
    """Random probabilities with zeros among them; a name may be empty, and '.' is always within reach."""
    P = torch.rand(V, V, generator=generator(1))
    P[1, 2] = P[2, 4] = P[0, V - 1] = 0
    P[:, 0] = 0.3
    return P / P.sum(1, keepdim=True)


def expected_length(P: torch.Tensor) -> float:
    """Letters of a name on average, from the fundamental matrix (I - Q)^-1 of the absorbing chain."""
    Q = P[1:, 1:].double()
    return float(P[0, 1:].double() @ torch.linalg.inv(torch.eye(V - 1).double() - Q).sum(1))


def test_counts_and_pairs(lesson, nb):
    counter = Counter(pair for w in WORDS for pair in zip("." + w, w + "."))
    expected = torch.tensor([[counter[a, b] for b in VOCAB.stoi] for a in VOCAB.stoi])
    assert torch.equal(nb["count"](WORDS), expected)
    assert torch.equal(lesson["count"](WORDS, VOCAB.stoi, ".", ".").long(), expected)
    two = {**VOCAB.stoi, "<E>": V}
    apart = lesson["count"](WORDS, two, ".", "<E>")
    assert (apart[:, 0] == 0).all() and (apart[V] == 0).all()
    assert torch.equal(apart[:V, V].long(), expected[:, 0]) and torch.equal(
        apart[:V, 1:V].long(), expected[:, 1:]
    )
    X, Y = context_windows(WORDS, VOCAB, block_size=1)
    xs, ys = nb["pairs"](WORDS)
    assert torch.equal(X[:, 0], xs) and torch.equal(Y, ys)


def test_inverse_cdf_at_the_edges(nb):
    """Outcome j owns [c(j-1), c(j)): an impossible one is never drawn, and no u falls off the end."""
    p = torch.tensor([0.0, 0.25, 0.0, 0.5, 0.25, 0.0])
    u = torch.tensor([0.0, 0.2499, 0.25, 0.7499, 0.75, 1 - 2**-53], dtype=torch.float64)
    assert nb["inverse_cdf"](p, u).tolist() == [1, 1, 3, 3, 4, 4]
    for n in (3, 7, 49, 1000):  # sums that miss 1 in float32
        for weights in (torch.full((n,), 1 / n), torch.rand(n, generator=generator(n)) * 1e-3):
            assert nb["inverse_cdf"](weights, u[-1:]).item() == n - 1
    rows = torch.stack([p, p.flip(0)])
    assert nb["inverse_cdf"](rows, torch.zeros(2, 1, dtype=torch.float64)).tolist() == [[1], [1]]


def test_inverse_cdf_draws_the_distribution(nb, P):
    n = 100_000
    for p in P:
        drawn = nb["inverse_cdf"](p, torch.rand(n, dtype=torch.float64, generator=generator(2)))
        share = drawn.bincount(minlength=V) / n
        assert ((share - p).abs() <= 5 * (p * (1 - p) / n).sqrt()).all()


def test_a_name_walks_as_the_lecture_walked(nb, P):
    """One float64 random number for each letter, in order: what brings the video's names back."""
    u = iter(torch.rand(5000, dtype=torch.float64, generator=generator(3)).tolist())
    g = generator(3)
    cdfs = [list(accumulate(row)) for row in P.double().tolist()]
    for _ in range(300):
        expected, ix = "", 0
        while not expected.endswith("."):
            ix = min(bisect_right(cdfs[ix], next(u)), V - 1)
            expected += VOCAB.itos[ix]
        assert nb["sample_name"](P, g) == expected


@pytest.mark.parametrize("how", ["sample_name", "lesson's", "net's", "sample_names"])
def test_names_have_the_models_distribution(lesson, nb, P, how):
    n = 100_000 if how == "sample_names" else 4000
    if how == "sample_names":
        names = nb[how](P, n, generator(4))
    else:
        g = generator(4)
        draw = {
            "sample_name": nb["sample_name"],
            "lesson's": lesson["sample_name"],
            "net's": lesson["sample_from_net"],
        }
        table = (
            P.clamp(min=1e-12).log() + torch.arange(V)[:, None] if how == "net's" else P
        )  # a constant a row changes nothing
        names = [draw[how](table, g).removesuffix(".") for _ in range(n)]
    assert len(names) == n and "." not in "".join(names)
    counter = Counter(pair for w in names for pair in zip("." + w, w + "."))
    N = torch.tensor([[counter[a, b] for b in VOCAB.stoi] for a in VOCAB.stoi]).double()
    rows = N.sum(1, keepdim=True)
    assert ((N / rows - P).abs() <= 5 * (P * (1 - P) / rows).sqrt()).all()
    assert len("".join(names)) / n == pytest.approx(expected_length(P), rel=10 / math.sqrt(n))


def test_names_in_a_batch_are_whole_walks(nb, P):
    """Two neighbours of a letter are linked through it alone: names must not be mixed up with each other."""
    sure = torch.zeros(V, V)
    sure[0, 1] = sure[0, 2] = 0.5  # 'a' or 'b' first, then always the same way on
    sure[1, 3] = sure[3, 0] = sure[2, 4] = sure[4, 0] = 1.0
    a, b, h, n = (VOCAB.itos[i] for i in range(1, 5))
    names = nb["sample_names"](sure, 1000, generator())
    assert set(names) == {a + h, b + n} and 400 < names.count(a + h) < 600
    assert nb["sample_names"](P, 5, generator(9)) == nb["sample_names"](P, 5, generator(9))


def test_nll_is_cross_entropy(lesson, nb):
    P = nb["smoothed"](nb["count"](WORDS), 1)
    assert torch.equal(P, lesson["smoothed"](nb["count"](WORDS), 1))
    xs, ys = nb["pairs"](WORDS)
    for nll in (nb["nll"](P, WORDS), lesson["nll"](P.tolist(), WORDS)):
        assert nll == pytest.approx(F.cross_entropy(P.log()[xs], ys).item(), rel=1e-5)
    never = nb["smoothed"](nb["count"](WORDS), 0)
    assert nb["nll"](never, ["hh"]) == lesson["nll"](never.tolist(), ["hh"]) == math.inf


def test_the_lessons_forward_is_cross_entropy(lesson, nb):
    xs, ys = nb["pairs"](WORDS)
    W = torch.randn(V, V, dtype=torch.float64, generator=generator(), requires_grad=True)
    ours = lesson["forward"](W, F.one_hot(xs, V).double(), ys)
    theirs = F.cross_entropy(W[xs], ys)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(torch.autograd.grad(ours, W), torch.autograd.grad(theirs, W))


def test_the_lesson_trains_as_the_sequel(lesson, nb):
    """The one-hot matrix product over all examples, and the counts: the same losses at each step."""
    xs, ys = nb["pairs"](WORDS)
    space = quietly("02_bigram", xenc=F.one_hot(xs, V).float(), ys=ys)
    W, losses = space["train"](30, 5, lam=0.1)
    start = torch.randn((V, V), generator=generator(2147483647))
    W2, losses2 = nb["train"](start, nb["count"](WORDS), 30, lam=0.1, lr=5)
    assert losses == pytest.approx(losses2, rel=1e-4)
    torch.testing.assert_close(W, W2, rtol=1e-3, atol=1e-4)


def test_loss_by_counts_is_the_loss_over_all_examples(nb):
    xs, ys = nb["pairs"](WORDS)
    W = torch.randn(V, V, dtype=torch.float64, generator=generator(), requires_grad=True)
    ours, theirs = nb["counts_loss"](W, nb["count"](WORDS)), F.cross_entropy(W[xs], ys)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(torch.autograd.grad(ours, W), torch.autograd.grad(theirs, W))


def test_the_loss_is_convex(nb):
    N, g = nb["count"](WORDS), generator()
    for scale in (0.1, 1, 10):
        A, B = scale * torch.randn(2, V, V, dtype=torch.float64, generator=g)
        t = torch.rand(1, generator=g).item()
        middle = nb["counts_loss"](t * A + (1 - t) * B, N)
        assert middle < t * nb["counts_loss"](A, N) + (1 - t) * nb["counts_loss"](B, N)
    row_shift = torch.randn(V, 1, dtype=torch.float64, generator=g)
    torch.testing.assert_close(nb["counts_loss"](A, N), nb["counts_loss"](A + row_shift, N))


def test_training_finds_the_smoothed_counts(nb):
    """With k added to each count the minimum is finite, and known: W = log(N + k), up to a constant a row."""
    N = nb["count"](WORDS) + 2
    W, losses = nb["train"](torch.randn(V, V, dtype=torch.float64, generator=generator()), N, 2000, lr=10)
    assert all(a >= b - 1e-12 for a, b in zip(losses, losses[1:]))
    expected = nb["smoothed"](nb["count"](WORDS), 2).double()
    torch.testing.assert_close(W.softmax(1), expected, rtol=1e-3, atol=1e-5)


def test_smoothing_pulls_as_squared_weights_do(nb):
    """Near W = 0 the gradient of -sum(log p) is W minus its row mean, that of sum(W^2) / 2."""
    W = 1e-4 * torch.randn(V, V, dtype=torch.float64, generator=generator())
    W.requires_grad_()
    N = nb["count"](WORDS)
    smooth = (N + 1).sum() * nb["counts_loss"](W, N + 1) - N.sum() * nb["counts_loss"](W, N)
    (pull,) = torch.autograd.grad(smooth, W)
    torch.testing.assert_close(pull, (W - W.mean(1, keepdim=True)).detach(), rtol=1e-2, atol=1e-7)


def test_regularising_flattens(nb):
    N = nb["count"](WORDS)
    spread = []
    for lam in (0.0, 0.1, 1.0):
        W, losses = nb["train"](torch.zeros(V, V), N, 60, lam=lam, lr=5)
        P = W.softmax(1)
        assert losses[0] == pytest.approx(math.log(V), rel=1e-5)
        spread.append((P - 1 / V).abs().max().item())
    assert spread[0] > spread[1] > spread[2]


def test_trigram_net(nb):
    """Two one-hot inputs select two rows and add them; repeated examples are weighted, not lost."""
    X, y = context_windows(WORDS, VOCAB, block_size=2)
    distinct, repeats = torch.cat([X, y[:, None]], 1).unique(dim=0, return_counts=True)
    nb["d1"], nb["d2"], nb["dy"] = distinct.T
    nb["weight"] = repeats / repeats.sum()
    W = torch.randn(2 * V, V, generator=generator())
    xenc = torch.cat([F.one_hot(X[:, 0], V), F.one_hot(X[:, 1], V)], 1).float()
    torch.testing.assert_close(nb["trigram_loss"](W), F.cross_entropy(xenc @ W, y))
    W[V:, 0] = 100.0  # '.' is certain after anything
    assert nb["sample_trigram"](W, generator()) == "."


def test_a_net_that_never_draws_the_dot_is_stopped(lesson, nb):
    """Its every row is certain of character 1."""
    P, g = torch.eye(V)[[1] * V], torch.Generator().manual_seed(0)
    for name in (
        lesson["sample_name"](P, g),
        lesson["sample_from_net"](50 * P, g),
        nb["sample_name"](P, g),
        nb["sample_trigram"](50 * torch.cat([P, P]), g),
    ):
        assert name == 100 * VOCAB.itos[1]
