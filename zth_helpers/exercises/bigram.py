"""Exercises of lecture 2: tables of counts, fair judgement of them, and what replaces them in a network."""

from __future__ import annotations

import math
import re
from functools import partial
from random import Random
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from zth_helpers.exercises.checks import call, expect, kind, named, parts_of, require
from zth_helpers.exercises.draws import dice, seeded
from zth_helpers.exercises.exercise import Wrong, exercise
from zth_helpers.exercises.made_up_names import (
    counts,
    made_up,
    nll,
    numbered,
    shipped,
    single_padded,
    smoothed,
    windows,
    wrong_windows,
)
from zth_helpers.exercises.splits import judge_split, judge_tuning, judge_windows

LISTS = ((1, "abcde"), (2, "kmnopqrs"), (3, "xyz"))  # seeds and letters of the made-up lists


def _loss_of(losses: dict[tuple[str, float], float], name: str, k: float) -> float:
    return losses[name, k]


@exercise(
    "Rows that sum to one",
    hints=(
        "Divide each row by its own sum. What is the shape of the sums?",
        "Shapes line up from the right: (V, V) / (V,) divides column j by the sum of row j.",
        "N.sum(1, keepdim=True) has the shape (V, 1), a column.",
    ),
    level=1,
    minutes=5,
)
def normalise_rows(normalise: Any) -> str:
    """Counts (V, V) to probabilities: the broadcasting trap of the lecture."""
    for V in (2, 5, 27):
        N = torch.randint(1, 50, (V, V), generator=seeded(V))
        mistakes = {
            "keepdim=True is missing: that divides column j by the sum of row j": N / N.sum(1),
            "these are the columns: sum over axis 1, along each row": N / N.sum(0),
            "that divides by the sum of the whole table": N / N.sum(),
            "softmax is for logits; counts are divided by their sum": N.float().softmax(1),
            "divide by the sum of the row, not by its largest count": N / N.max(1, keepdim=True).values,
            "nothing is divided yet": N.float(),
            "whole numbers: use `/`, not `//`": torch.zeros(V, V),
        }
        expect(f"P of {V} × {V} counts", call(normalise, N), N / N.sum(1, keepdim=True), mistakes)
    return "every row is divided by its own sum, for three sizes of table"


@exercise(
    "Drawing with the inverse CDF",
    hints=(
        "Lay the weights end to end: where do the pieces end? cumsum tells.",
        "Scale the ends so that the last one is exactly 1, then search for u among them: torch.searchsorted.",
        "cdf = p.cumsum(0); cdf = (cdf / cdf[-1]).double(); torch.searchsorted(cdf, u, right=True)",
    ),
    level=3,
    minutes=20,
)
def inverse_cdf(draw: Any) -> str:
    """Lesson 02, sampling: the outcome into whose piece each u (n,) falls, for weights p (V,)."""
    almost = torch.tensor([0.5, 0.3, 0.2 - 1e-7])  # adds up to a little less than 1, as float32 does
    nearly_1 = torch.tensor([1 - 2**-53], dtype=torch.float64)  # the largest number below 1
    cases = []
    for V in (3, 8, 27):
        p = torch.rand(V, generator=seeded(V)) + 0.05
        u = torch.rand(200, generator=seeded(V), dtype=torch.float64)
        cases.append(("weights that sum to 1", p / p.sum(), u))
    cases += [
        (
            "counts",
            torch.tensor([3.0, 7.0, 1.0, 9.0]),
            torch.rand(50, generator=seeded(0), dtype=torch.float64),
        ),
        ("a first weight of 0", torch.tensor([0.0, 2.0, 1.0]), torch.tensor([0.0, 0.5, 0.9]).double()),
        ("a sum a little below 1", almost, torch.tensor([0.1, 1 - 2**-30], dtype=torch.float64)),
    ]
    for kind_of in (torch.float32, torch.float64):  # weights whose shares add up to a little less than 1
        g = seeded(11)
        p = torch.ones(1)
        while (p / p.sum()).cumsum(0)[-1] >= 1:
            p = torch.rand(27, generator=g, dtype=kind_of) + 0.05
        cases.append((f"27 {str(kind_of).removeprefix('torch.')} weights and a u close to 1", p, nearly_1))
    for what, p, u in cases:
        cdf = (p.cumsum(0) / p.cumsum(0)[-1]).double()
        want = torch.tensor([next(j for j in range(len(p)) if x < cdf[j]) for x in u])
        got = call(draw, p, u)
        if isinstance(got, Tensor) and got.shape == u.shape and len(u) == 1:
            place = int(got.argmax())
            there = f"u = {u[place].item()!r} gives {int(got[place])}, but outcomes go from 0 to {len(p) - 1}"
            ends = "rounded shares may add up to less than 1; divide the cumulative sum by its last value"
            require(int(got[place]) < len(p), f"draws for {what}: {there}: {ends}")
        mistakes = {
            "weights need not sum to 1, nor do rounded ones exactly: divide the cumulative sum"
            " by its last value": torch.searchsorted(p.cumsum(0).double(), u, right=True),
            "an outcome of weight 0 was drawn: a u on an edge belongs to the next piece"
            " (searchsorted with right=True)": torch.searchsorted(cdf, u),
            "that is the most probable outcome, whatever u is": p.argmax().expand(len(u)),
            "that is one too many": want + 1,
            "that is one too few": want - 1,
        }
        expect(f"draws for {what}", got, want, mistakes)
    return "each u falls into its piece: unnormalised weights, zeros and rounding included"


@exercise(
    "Trigram examples",
    official=True,
    hints=(
        "Two letters of context, so the first letter of a name needs two dots before it.",
        '".." + word, "." + word and word + "." go through zip together, which stops at the shortest.',
        'for word in words: for a, b, c in zip(".." + word, "." + word, word + "."): …',
    ),
    level=2,
    minutes=10,
)
def trigram_examples(examples: Any) -> str:
    """Lecture 2, E01, first half: X (N, 2), the two characters before each character Y (N,)."""
    for seed, letters in LISTS:
        words = made_up(seed, letters, 20)
        stoi = numbered(words)
        X, Y = windows(words, stoi, 2)
        judge_windows(call(examples, words, stoi), X, Y, wrong_windows(words, stoi, 2))
    return "as many examples as letters and ends, each with the two before it, for three alphabets"


@exercise(
    "A trigram model",
    official=True,
    hints=(
        "Counting: a table N[i, j, k] of how often k follows i and j; then rows that sum to one, with +1 for"
        " the contexts that never occur.",
        "N = torch.zeros((V, V, V)); for each example N[x1, x2, y] += 1. Or all at once: index_put_ with"
        " accumulate=True.",
        "The sums have the shape (V, V, 1): (N + 1).sum(2, keepdim=True). A net: logits W1[x1] + W2[x2], then"
        " the softmax of W1[:, None] + W2[None].",
    ),
    level=3,
    minutes=30,
    slow="a net gets two lists of 4,400 examples, and 300 steps are enough for each: make the one-hot vectors"
    " once, before the loop, or index the weights instead (exercise 8)",
)
def trigram_model(trigram: Any) -> str:
    """Lecture 2, E01: P (V, V, V), P[i, j, k] the probability of k after i, j; by counting or with a net."""
    names = shipped()
    for seed, without in enumerate(("", "fjpqvwxz")):  # small lists, so that a net trains in seconds
        words = dice(seed).sample([word for word in names if not set(without) & set(word)], 600)
        stoi = numbered(words)
        V = len(stoi)
        X, Y = windows(words, stoi, 2)
        P = call(trigram, words, stoi)
        _judge_trigram(P, X, Y, V, _trigram_mistakes(words, stoi, X, Y))
    table = counts(X, Y, V)
    one, two = (nll(smoothed(N, 0), X, Y) for N in (table.sum(0).expand_as(table), table))
    return (
        f"on {len(words)} names with {V - 1} letters the loss is {nll(P.double(), X, Y):.4f};"
        f" the floor of one letter is {one:.4f}, of two {two:.4f}"
    )


def _trigram_mistakes(words, stoi, X: Tensor, Y: Tensor) -> list[dict[str, Tensor]]:
    """What typical mistakes lead to, with +1 and without smoothing."""
    single = single_padded(words, stoi, 2)
    N, N1 = (counts(x, y, len(stoi)) for x, y in ((X, Y), single))
    return [
        {
            "these are counts: divide each row by its sum": N + k,
            "that is a bigram model: it ignores the older letter": smoothed(N.sum(0).expand_as(N), k),
            "keepdim=True is missing, so rows are divided by the sums of others": (N + k) / (N + k).sum(2),
            "that divides by the sum of the whole table: P[i, j] is a distribution": (N + k) / (N + k).sum(),
            "single-pad trigrams: with one dot in front the first letter of a name is never predicted":
                smoothed(N1, k),
            "the letters of the context are swapped: P[older, newer, next]": smoothed(N, k).transpose(0, 1),
            "the axes are turned round: the next character is the last": smoothed(N, k).permute(2, 1, 0),
        }
        for k in (1, 0)
    ]  # fmt: skip


def _judge_trigram(P, X: Tensor, Y: Tensor, V: int, mistakes: list[dict[str, Tensor]]) -> None:
    require(isinstance(P, Tensor), f"P: expected a tensor, got {kind(P)}")
    require(P.shape == (V, V, V), f"P: shape {tuple(P.shape)}, expected {(V, V, V)}")
    P = P.detach().double()
    for some in mistakes:
        explanation = named("P", P, some)
        require(explanation is None, str(explanation))
    require(
        bool(P.isfinite().all()),
        f"P: {int((~P.isfinite()).sum())} values are nan or inf: a context that never occurs gives 0/0; "
        "add 1 to every count",
    )
    require(bool((P >= 0).all()), "P: probabilities cannot be negative; are these logits?")
    off = (P.sum(2) - 1).abs()
    i, j = divmod(int(off.argmax()), V)
    require(off.max() < 1e-3, f"P[{i}, {j}] sums to {P[i, j].sum():.4f}, not to 1")
    table = counts(X, Y, V)
    loss, guess = nll(P.clamp(min=1e-30), X, Y), math.log(V)
    swapped = nll(P.transpose(0, 1).clamp(min=1e-30), X, Y)
    require(loss < swapped + 0.1, "P: the letters of the context are swapped: P[older, newer, next]")
    settled = "; if it is a net: take 300 steps, and a rate of 10 to 50"
    require(
        loss < guess - 0.05,
        f"your model's loss on its own list is {loss:.4f}; a uniform guess costs {guess:.4f}{settled}",
    )
    for which, axis in (("newer", 1), ("older", 0)):
        used, best = _use_of_letter(P, table, axis), _use_of_letter(smoothed(table, 1), table, axis)
        require(
            used > 0.15 * best,
            f"P hardly uses the {which} letter of the context: knowing it wins {used:.3f} in the loss,"
            f" where counts +1 win {best:.3f}{settled}",
        )
    start = (X == 0).all(1)
    first, best_first = (nll(p.clamp(min=1e-30), X[start], Y[start]) for p in (P, smoothed(table, 0)))
    require(
        first < best_first + 0.6 * (guess - best_first),
        f"after '..' (the start of a name) your model's loss is {first:.4f}, counting gives {best_first:.4f}:"
        " does each name start with two dots?",
    )
    ends = (table.sum(2) * P[..., 0]).sum().item() / len(Y)
    share = table[..., 0].sum().item() / len(Y)
    require(
        ends > 0.25 * share,
        f"your names hardly end: '.' gets the probability {ends:.3f}, but {share:.3f} of the characters are"
        " one; is the dot behind each name missing?",
    )


def _use_of_letter(P: Tensor, table: Tensor, axis: int) -> float:
    """In nats: how much better P fits the true letter on this axis of the context than one drawn at random.

    The random one has the same frequencies given the other letter, so that P's noise cancels: a net that has
    not trained for long is told from one that does not look at the letter.
    """
    pairs, others = table.sum(2, keepdim=True), table.sum(axis, keepdim=True)
    by_chance = pairs * others / others.sum(2, keepdim=True).clamp(min=1)
    return ((table - by_chance) * P.clamp(min=1e-30).log()).sum().item() / table.sum().item()


@exercise(
    "Split by word",
    official=True,
    hints=(
        "Shuffle a copy: list(words) makes one.",
        "random.Random(42).shuffle(copy) shuffles in place and returns None.",
        "Cut at int(0.8 * n) and int(0.9 * n).",
    ),
    level=1,
    minutes=5,
)
def split(answer: Any) -> str:
    """Lecture 2, E02, first half: 80% train, 10% dev, 10% test, by word, shuffled by random.Random(42)."""
    for n in (10, 57, 203, 1004):
        words = made_up(n, "abcdefgh", n)
        shuffled = list(words)
        Random(42).shuffle(shuffled)
        a, b = int(0.8 * n), int(0.9 * n)
        got = parts_of("train, dev and test", call(answer, words), 3)
        for part, what in zip(got, ("train", "dev", "test")):
            require(
                isinstance(part, list) and all(isinstance(word, str) for word in part),
                f"{what}: expected a list of words, got {kind(part)}",
            )
        judge_split(got, words, (shuffled[:a], shuffled[a:b], shuffled[b:]))
    return "80/10/10, nothing lost, nothing twice, and your list is as it was"


@exercise(
    "Fit on train only",
    official=True,
    hints=(
        "Count the words of train, and nothing else; add 1 to each cell. That table stays as it is.",
        "Then read off the probabilities of the examples of train, of dev and of test: three means.",
        "Write an inner function that gives X, Y of some words with k dots in front; the mean is over"
        " characters, ends included.",
    ),
    level=3,
    minutes=25,
    slow="count all windows at once with index_put_, or index a table; a few hundred words must take"
    " no second",
)
def held_out_losses(losses: Any) -> str:
    """Lecture 2, E02: the losses of counts +1, of k = 1 or 2 letters of context, fit on train alone."""
    for seed, letters in LISTS:
        drawn = made_up(seed, letters, 200)
        stoi = numbered(drawn)
        words = drawn[:140], drawn[140:170], drawn[170:]
        for k in (1, 2):
            V = len(stoi)
            sets = [windows(part, stoi, k) for part in words]
            whole = windows([*words[0], *words[1], *words[2]], stoi, k)
            N = counts(*sets[0], V)
            want = [nll(smoothed(N, 1), *part) for part in sets]

            def by_word(part, P, k=k, stoi=stoi):
                return sum(nll(P, *windows([word], stoi, k)) for word in part) / len(part)

            P = smoothed(N, 1)
            single = [single_padded(part, stoi, k) for part in words]
            mistakes = {
                "each part was fitted on itself: fit on train, and judge dev and test with that table": [
                    nll(smoothed(counts(*part, V), 1), *part) for part in sets
                ],
                "the table was fitted on all words: dev and test must not be in it": [
                    nll(smoothed(counts(*whole, V), 1), *part) for part in sets
                ],
                "the table was fitted on dev: fit on train": [
                    nll(smoothed(counts(*sets[1], V), 1), *p) for p in sets
                ],
                "the +1 is missing: what train never saw gets probability 0": [
                    nll(smoothed(N, 0), *p) for p in sets
                ],
                "these are sums: take the mean over characters": [a * len(p[1]) for a, p in zip(want, sets)],
                "the mean is over characters, not over words": [by_word(part, P) for part in words],
                "bits: use the natural logarithm": [a / math.log(2) for a in want],
                "the sign: a loss is the *negative* log-likelihood": [-a for a in want],
                "single-pad trigrams: with one dot in front the first letter of a name is never predicted": [
                    nll(smoothed(counts(*single[0], V), 1), *part) for part in single
                ],
                "dev and test are swapped": [want[0], want[2], want[1]],
            }
            got = call(losses, *words, stoi, k)
            expect(f"losses with {k} letter{'s' * (k > 1)} of context", got, want, mistakes)
    return "equal to counting by brute force, for three alphabets with one and with two letters of context"


@exercise(
    "Tune on dev, test once",
    official=True,
    hints=(
        "For each strength: fit on train, take the loss on dev. Keep the strength with the lowest.",
        "min(strengths, key=…) gives the strength whose key is lowest.",
        "Only then, once: loss(fit(train, best), test).",
    ),
    level=2,
    minutes=10,
)
def tune_smoothing(tune: Any) -> str:
    """Lecture 2, E03: the smoothing with the lowest dev loss, and its test loss, looked at once."""
    for seed in range(4):
        rng = dice(seed)
        words = made_up(seed, "abcd", 12 + seed)
        parts = {"train": words[:6], "dev": words[6:9], "test": words[9:]}
        strengths = rng.sample([0.03, 0.11, 0.4, 1.5, 6.0, 20.0, 77.0, 300.0], 5 + seed % 3)
        drawn = {(name, k): rng.uniform(2, 3) for name in parts for k in strengths}
        for name, k in zip(parts, rng.sample(strengths, 3)):  # the best are three different ones
            drawn[name, k] = rng.uniform(1, 2)
        judge_tuning(tune, parts, strengths, partial(_loss_of, drawn))

    words, stoi = list(shipped()), numbered(shipped())
    Random(42).shuffle(words)
    a, b = int(0.8 * len(words)), int(0.9 * len(words))
    parts = {"train": words[:a], "dev": words[a:b], "test": words[b:]}
    sets = {name: windows(part, stoi, 2) for name, part in parts.items()}
    N = counts(*sets["train"], len(stoi))
    losses = {}

    def table(name: str, k: float) -> float:
        if (name, k) not in losses:
            losses[name, k] = nll(smoothed(N, k), *sets[name])
        return losses[name, k]

    best, test = judge_tuning(tune, parts, [0.01, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 3.0, 10.0], table)
    dev = [table("dev", k) for k in (0.01, best, 10.0)]
    return (
        f"on the shipped list dev is U-shaped: {dev[0]:.4f} at +0.01, {dev[1]:.4f} at +{best:g}, "
        f"{dev[2]:.4f} at +10; test {test:.4f}"
    )


class _Largest(TorchFunctionMode):
    """While active, notes the largest tensor that a function gives."""

    numel = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for t in out if isinstance(out, tuple | list) else (out,):
            if isinstance(t, Tensor):
                self.numel = max(self.numel, t.numel())
        return out


@exercise(
    "Index instead of one-hot",
    official=True,
    hints=(
        "What does a one-hot row times W give? Look at the result beside W.",
        "It selects a row of W. Indexing does that directly, for many rows at once.",
        "W[x]",
    ),
    level=1,
    minutes=5,
)
def index_rows(logits: Any) -> str:
    """Lecture 2, E04: the logits one_hot(x) @ W, without the one-hot vectors."""
    for V, M, n in ((27, 27, 40), (5, 9, 12), (1000, 6, 50)):
        g = seeded(V)
        W = torch.randn((V, M), generator=g, requires_grad=True)
        x = torch.randint(0, V, (n,), generator=g)
        x[1] = x[0]  # a row that is used twice: its gradients add up
        want = F.one_hot(x, V).float() @ W
        upstream = torch.randn(want.shape, generator=g)
        # One sum: with upstream given apart torch would import sympy, half a second.
        (want_grad,) = torch.autograd.grad((want * upstream).sum(), W)
        mistakes = {"these are the columns of W: W[x] selects rows": W[:, x.clamp(max=M - 1)].T}
        given: list[Tensor] = []

        def answer(W, x, given=given):
            given.append(W)
            return logits(W, x)

        require(callable(logits), f"expected a function, got {kind(logits)}: pass it without calling it")
        with _Largest() as largest:
            got = call(answer, W, x)
        expect(f"logits for W {(V, M)} and {n} indices", got, want, mistakes)
        require(
            largest.numel < V * n or V < 1000,
            f"right, but a tensor of {largest.numel:,} numbers was made on the way, as big as the one-hot"
            " vectors: index W instead",
        )
        require(got.requires_grad, "no gradient can reach W: leave out detach, .data and torch.no_grad")
        (grad,) = torch.autograd.grad((got * upstream).sum(), given[0], allow_unused=True)
        require(grad is not None, "no gradient can reach W: leave out detach, .data and torch.no_grad")
        expect("the gradient of W", grad, want_grad)
    return "the same logits and the same gradient as one-hot times W, with no one-hot made"


@exercise(
    "Cross-entropy that cannot overflow",
    official=True,
    hints=(
        "F.cross_entropy takes the logits themselves. Or by hand: what may you subtract from a row?",
        "Subtracting a row's largest logit changes no probability, and then no exp exceeds 1.",
        "But exp may underflow to 0, so do not take log(prob): the log of the softmax is"
        " logits - logits.logsumexp(1, keepdim=True).",
    ),
    level=2,
    minutes=15,
)
def stable_cross_entropy(loss: Any) -> str:
    """Lecture 2, E05: the mean NLL of y (N,) from logits (N, V), finite with logits of 1000."""
    for n, V in ((4, 3), (32, 27), (1, 5), (9, 9)):
        g = seeded(n)
        logits = (2 * torch.randn((n, V), generator=g)).requires_grad_()
        y = torch.randint(0, V, (n,), generator=g)
        p = logits.double().softmax(1)
        each = -p[torch.arange(n), y].log()
        prob = p.detach().float()
        column = -logits.detach().log_softmax(0)[torch.arange(n), y].mean()
        mistakes = {
            "that is the sum: divide by the number of examples": each.sum().item(),
            "the sign: a loss is the *negative* log-likelihood": -each.mean().item(),
            "softmax was taken twice: F.cross_entropy wants logits, not probabilities": F.cross_entropy(
                prob, y
            ).item(),
            "softmax goes over the characters, axis 1, not over the examples": column.item(),
            "that is over all entries: only the probability of y counts": -p.log().mean().item(),
            "that is the mean probability: its log is missing": p[torch.arange(n), y].mean().item(),
            "that is the log of the mean: take the mean of the logs": -p[torch.arange(n), y]
            .mean()
            .log()
            .item(),
        }
        _judge_loss(loss, logits, y, each.mean(), mistakes)
    g = seeded(7)
    for scale in (100.0, 1000.0):
        logits = (scale * torch.randn((8, 6), generator=g)).requires_grad_()
        logits.data[0], logits.data[1] = torch.tensor([0.0] * 5 + [scale]), torch.tensor([-scale] * 6)
        y = torch.tensor([0, 1, 2, 3, 4, 5, 0, 1])
        log_p = logits.double().log_softmax(1)[torch.arange(8), y]
        clamped = -(log_p.exp() + 1e-9).log().mean().item()
        mistakes = {
            "a small number added to the probabilities makes the loss too small": clamped,
        }
        _judge_loss(loss, logits, y, -log_p.mean(), mistakes, f"with logits up to {scale:g}: ")
    return "equal to the long form in value and gradient, and finite with logits of 1000"


def _judge_loss(
    loss, logits: Tensor, y: Tensor, want: Tensor, mistakes: dict[str, float], where: str = ""
) -> None:
    given: list[Tensor] = []

    def answer(logits, y):
        given.append(logits)
        return loss(logits, y)

    require(callable(loss), f"expected a function, got {kind(loss)}: pass it without calling it")
    got = call(answer, logits, y)
    value = got.detach() if isinstance(got, Tensor) else got
    finite_value = isinstance(value, Tensor) and value.ndim == 0 and not bool(value.isfinite())
    if finite_value and where:
        raise Wrong(
            f"loss {where}is {value.item()}: exp overflows, or a log meets 0; subtract the largest logit"
        )
    expect(f"loss {where}".strip().rstrip(":"), got, want.float(), mistakes)
    require(got.requires_grad, "no gradient reaches the logits: leave out detach, .item() and torch.no_grad")
    (want_grad,) = torch.autograd.grad(want, logits)
    (grad,) = torch.autograd.grad(got, given[0], allow_unused=True)
    require(grad is not None, "no gradient reaches the logits: leave out detach, .item() and torch.no_grad")
    expect(f"{where}the gradient of the logits", grad, want_grad, rtol=1e-3)


@exercise(
    "One of your own",
    official=True,
    hints=(
        "What did you wonder about while reading? Backwards, other alphabets, longer names, cities …",
        "Ask something that a number can answer, find the number, and write down both.",
    ),
    level=3,
    minutes=45,
)
def invent(exercise_of_mine: Any) -> str:
    """Lecture 2, E06: a question of your own and what you found. It is kept for the record, not judged."""
    question, finding = parts_of("a question and a finding", call(exercise_of_mine), 2)
    for what, text in (("question", question), ("finding", finding)):
        require(isinstance(text, str), f"the {what}: expected text, got {kind(text)}")
        require(
            len(set(re.findall(r"\w+", text.lower()))) >= 3,
            f"the {what} is {'empty' if not text.strip() else 'very short'}: write a sentence",
        )
    require(
        question.strip().endswith("?"), "the first text is to be a question, with a question mark at its end"
    )
    require(question.strip() != finding.strip(), "the finding repeats the question: what came out?")
    return f"noted.\nYou asked: {question.strip()}\nYou found: {finding.strip()}"
