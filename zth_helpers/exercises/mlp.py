"""Exercises of lecture 3: windows and their floor, a good start, Bengio's shortcut, and a loss to beat."""

from __future__ import annotations

import functools
import math
import random
from collections import Counter
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from zth_helpers.exercises.checks import call, expect, kind, parts_of, require
from zth_helpers.exercises.draws import entropy, seeded
from zth_helpers.exercises.exercise import Wrong, exercise
from zth_helpers.exercises.made_up_names import (
    counts,
    made_up,
    nll,
    numbered,
    shipped,
    smoothed,
    windows,
)
from zth_helpers.exercises.splits import judge_windows

# Dev loss on `riddle` of the lecture's network (embedding 10, hidden 200, batch 32, its unscaled start) after
# 20,000 steps, 0.1 then 0.01: the median of five seeds, 2.446 to 2.518.
LECTURE = 2.4816


@exercise(
    "Context windows on both sides",
    hints=(
        "Every letter is predicted once, and the end of a word is not: as many rows as letters.",
        "Put block_size dots before the word and block_size dots behind it. Where in that text does"
        " the letter number i of the word stand, and where its neighbours?",
        "With text = dots + word + dots, letter i stands at i + block_size: before it text[i : i +"
        " block_size],"
        " behind it text[i + block_size + 1 : i + 2 * block_size + 1].",
    ),
    level=2,
    minutes=15,
)
def context_windows(build_dataset: Any) -> str:
    """Lesson 03, *Context windows*, with a twist: X (N, 2·block_size) holds the letters on both sides
    of Y."""
    for seed, letters, k in ((1, "abcde", 3), (2, "kmnopqrs", 1), (3, "xyz", 5), (4, "bdfgh", 2)):
        words = made_up(seed, letters, 20)
        stoi = numbered(words)
        X, Y = _both_sides(words, stoi, k)
        judge_windows(call(build_dataset, words, stoi, k), X, Y, _wrong_sides(words, stoi, k))
    return "the same windows for four alphabets, with 1, 2, 3 and 5 letters on each side"


def _both_sides(
    words: list[str], stoi: dict[str, int], k: int, pad: int | None = None
) -> tuple[Tensor, Tensor]:
    """X (N, 2k), Y (N,): each letter and its k neighbours on each side; `pad` dots stand around a word."""
    pad = k if pad is None else pad
    texts = [[0] * pad + [stoi[c] for c in word] + [0] * pad for word in words]
    return _cut_sides(texts, k)


def _cut_sides(texts: list[list[int]], k: int) -> tuple[Tensor, Tensor]:
    rows = [text[i : i + 2 * k + 1] for text in texts for i in range(len(text) - 2 * k)]
    table = torch.tensor(rows, dtype=torch.int64).reshape(-1, 2 * k + 1)
    return torch.cat([table[:, :k], table[:, k + 1 :]], 1), table[:, k]


def _wrong_sides(words: list[str], stoi: dict[str, int], k: int) -> dict[str, tuple[Tensor, Tensor]]:
    """The typical ways to get it wrong: explanation -> X, Y."""
    X, Y = _both_sides(words, stoi, k)
    before, behind = X[:, :k], X[:, k:]
    ids = [[stoi[c] for c in word] for word in words]
    joined = [0] * k + [i for word in ids for i in [*word, 0]] + [0] * (k - 1)
    with_ends = [[0] * k + word + [0] * (k + 1) for word in ids]
    last = [([0] * k + word)[-k - 1 : -1] + [0] * k for word in ids for _ in word]
    return {
        "those are the lesson's windows, which only look back: the letters behind belong to them"
        " too": windows(words, stoi, k),
        "only the letters before are there: those behind belong to the window too": (before, Y),
        "only the letters behind are there: those before belong to the window too": (behind, Y),
        "the letters behind come in their own order, the next one first": (
            torch.cat([before, behind.flip(1)], 1),
            Y,
        ),
        "the letters before come in their own order, the oldest first": (
            torch.cat([before.flip(1), behind], 1),
            Y,
        ),
        "the two sides are swapped: first the letters before, then those behind": (
            torch.cat([behind, before], 1),
            Y,
        ),
        "the window must not hold the letter that it is to predict": (
            torch.cat([before, Y[:, None], behind], 1),
            Y,
        ),
        "the window must not hold the letter to predict: the side behind begins one later": (
            torch.cat([before, Y[:, None], behind[:, :-1]], 1),
            Y,
        ),
        f"{k} dots stand on each side of a word, not one": _both_sides(words, stoi, k, pad=1),
        "there are no dots around the words, so their first and last letters are missing": _both_sides(
            words, stoi, k, pad=0
        ),
        "the dot behind a word is not predicted: as many rows as letters": _cut_sides(with_ends, k),
        "the words run into one another: dots stand on both sides of each": _cut_sides([joined], k),
        "all rows of a word are one and the same list, which was changed later: append a copy, context[:]": (
            torch.tensor(last).view(-1, 2 * k),
            Y,
        ),
    }


@exercise(
    "What should the first loss be?",
    official=True,
    hints=(
        "Before training nothing speaks for one character more than for another.",
        "Each of the V characters then has the probability 1/V; the loss is minus the log of that.",
    ),
    level=1,
    minutes=5,
)
def uniform_loss(expected: Any) -> str:
    """Lecture 3, E02, first half: the loss of a model that finds all V characters equally likely."""
    for V in (27, 4, 2, 1000):
        mistakes = {
            "that is the probability: the loss is minus its log": 1 / V,
            "the sign: a loss is the *negative* log-likelihood": -math.log(V),
            "bits: use the natural logarithm": math.log2(V),
            "use the natural logarithm, not that to base 10": math.log10(V),
            "that is the number of characters: take the log": V,
            "count the '.' only once: V has it already": math.log(V + 1),
        }
        expect(f"the expected loss for {V} characters", call(expected, V), math.log(V), mistakes)
    return f"log V: {math.log(27):.4f} for 27 characters, {math.log(4):.4f} for 4"


def _hidden(X: Tensor, C: Tensor, W1: Tensor, b1: Tensor) -> tuple[Tensor, Tensor]:
    """The inputs (N, k·d) and the hidden layer (N, h) of lecture 3's network."""
    inputs = torch.cat(C[X].unbind(1), 1)
    return inputs, torch.tanh(inputs @ W1 + b1)


@exercise(
    "A calm start",
    official=True,
    hints=(
        "The loss is large because the logits are: the network is sure, and wrong. Which layer makes them?",
        "Make W2 small and b2 zero. W2 all zeros gives exactly log V, but what then is the gradient of h?",
        "W2 = torch.randn((n_hidden, V), generator=g) * 0.01, b2 = torch.zeros(V); the rest as it was.",
    ),
    level=3,
    minutes=20,
)
def calm_start(init_mlp: Any) -> str:
    """Lecture 3, E02: C, W1, b1, W2, b2 whose first loss is within 0.05 of log V, and which all can learn."""
    losses = []
    for V, n_embd, n_hidden, k in ((27, 10, 200, 3), (12, 4, 60, 2), (60, 6, 100, 4)):
        sizes = {
            "C": (V, n_embd),
            "W1": (k * n_embd, n_hidden),
            "b1": (n_hidden,),
            "W2": (n_hidden, V),
            "b2": (V,),
        }
        draws = []
        for seed in (5, 5, 6):
            drawn = call(init_mlp, V, n_embd, n_hidden, k, seeded(seed), keep=False)
            drawn = parts_of(", ".join(sizes), drawn, 5)
            for (name, size), p in zip(sizes.items(), drawn):
                require(isinstance(p, Tensor), f"{name}: expected a tensor, got {kind(p)}")
                require(p.shape == size, f"{name}: shape {tuple(p.shape)}, expected {size}")
                require(p.is_floating_point(), f"{name}: dtype {p.dtype}, expected torch.float32")
                require(bool(p.isfinite().all()), f"{name} holds nan or inf")
            draws.append([p.detach().clone().requires_grad_() for p in drawn])
        C, W1, b1, W2, b2 = draws[0]
        g = seeded(V)
        X, Y = torch.randint(0, V, (2000, k), generator=g), torch.randint(0, V, (2000,), generator=g)
        loss = F.cross_entropy(_hidden(X, C, W1, b1)[1] @ W2 + b2, Y)
        grads = torch.autograd.grad(loss, draws[0])
        h = _hidden(X, C, W1, b1)[1]
        arrives = (1 - h.square()).mean().item()
        _judge_start(loss.item(), V, arrives, dict(zip(sizes, draws[0])), dict(zip(sizes, grads)))
        require(
            all(map(torch.equal, draws[0], draws[1])),
            "the same seed gave other weights: give generator=g to every randn",
        )
        require(not torch.equal(C, draws[2][0]), "another seed gave the same C: draw it with generator=g")
        losses.append(f"{loss.item():.4f} (log {V} = {math.log(V):.4f})")
    return f"first losses {', '.join(losses)}, and every parameter gets a gradient"


def _judge_start(
    loss: float, V: int, arrives: float, parameters: dict[str, Tensor], grads: dict[str, Tensor]
) -> None:
    if not parameters["W2"].any():
        raise Wrong(
            "W2 is all zeros, so no gradient gets past it to W1 and C: a constant fill is not a start;"
            " make W2 small instead"
        )
    require(
        abs(loss - math.log(V)) < 0.05,
        f"the first loss is {loss:.4f} for {V} characters, and a uniform guess costs log({V}) = "
        f"{math.log(V):.4f}: the logits are too large",
    )
    for name, p in parameters.items():
        if p.ndim == 2:
            constant = bool(p.any()) and bool((p == p[0, 0]).all())
            require(not constant, f"{name} is filled with one number: draw it at random")
    require(
        arrives > 0.05,
        "the loss is right, but tanh is saturated: W1 (or C, or b1) is too large, and on average only"
        f" {arrives:.2%} of the gradient that arrives at h gets through to W1 and C",
    )
    for name in ("C", "W1", "W2"):
        require(
            grads[name].norm() > 1e-6,
            f"the loss is right, but {name} gets no gradient: it cannot learn from the first step",
        )
    columns = grads["W1"].T
    require(
        not torch.allclose(columns, columns[:1].expand_as(columns)),
        "all hidden units get the same gradient: they stay copies of one another; draw W1 and W2",
    )


@exercise(
    "Direct connections",
    official=True,
    hints=(
        "The paper's formula is y = b + Wx + U tanh(d + Hx): x are the embeddings side by side. W is new.",
        "W0 takes block_size * n_embd numbers and gives V logits; zeros change nothing at the start.",
        "x @ W0 + h @ W2 + b2",
    ),
    level=2,
    minutes=15,
)
def direct_connections(make_W0: Any, logits: Any) -> str:
    """Lecture 3, E03, one idea of Bengio 2003: from the embeddings straight to the logits, past the tanh."""
    for V, n_embd, n_hidden, k, n in ((27, 10, 200, 3, 32), (11, 4, 7, 2, 5), (6, 3, 6, 1, 4)):
        W0 = call(make_W0, k, n_embd, V)
        want = torch.zeros(k * n_embd, V)
        mistakes = {
            "one row for each number of all the letters: block_size * n_embd rows": torch.zeros(n_embd, V),
            "it ends at the logits: V columns, not n_embd": torch.zeros(k * n_embd, n_embd),
        }
        if isinstance(W0, Tensor) and W0.shape == want.shape:
            require(not W0.any(), "W0 must start at zero, so that the network begins as the old one")
        expect("W0", W0, want, mistakes)

        g = seeded(V)
        X = torch.randint(0, V, (n, k), generator=g)
        sizes = ((V, n_embd), (k * n_embd, V), (k * n_embd, n_hidden), (n_hidden,), (n_hidden, V), (V,))
        C, W0, W1, b1, W2, b2 = p = [(0.5 * torch.randn(s, generator=g)).requires_grad_() for s in sizes]
        x, h = _hidden(X, C, W1, b1)
        old, right = h @ W2 + b2, x @ W0 + h @ W2 + b2
        mixed = C[X].transpose(0, 1).reshape(n, k * n_embd)
        expect("logits at W0 = 0", call(logits, X, C, torch.zeros_like(W0), *p[2:]), old, {
            "b2 is missing": h @ W2,
            "the tanh is missing": (x @ W1 + b1) @ W2 + b2,
            "letters of different examples are mixed: (N, k, d) to (N, k·d) is a view": (
                torch.tanh(mixed @ W1 + b1) @ W2 + b2
            ),
        })  # fmt: skip
        mistakes = {
            "that is the old network: W0 is not used": old,
            "the hidden layer is missing: the shortcut is added to it": x @ W0 + b2,
            "the direct part goes past the tanh, not through one": torch.tanh(x @ W0) + old,
            "the sign of the direct part is turned round": old - x @ W0,
            "b2 is added twice": right + b2,
        }
        given: list[Tensor] = []

        def answer(X, *parameters, given=given):
            given[:] = parameters
            return logits(X, *parameters)

        require(callable(logits), f"expected a function, got {kind(logits)}")
        got = call(answer, X, *p)
        expect("logits", got, right, mistakes)
        upstream = torch.randn(right.shape, generator=g)
        wanted = torch.autograd.grad((right * upstream).sum(), p)
        require(got.requires_grad, "no gradient reaches W0: leave out detach, .data and torch.no_grad")
        grads = torch.autograd.grad((got * upstream).sum(), given, allow_unused=True)
        for name, grad, want in zip(("C", "W0", "W1", "b1", "W2", "b2"), grads, wanted):
            require(grad is not None, f"no gradient reaches {name}: leave out detach and .data")
            expect(f"gradient of {name}", grad, want)
    return "equal to the old network at W0 = 0; the lecture's grows by 3·10·27 = 810 parameters to 12,707"


@exercise(
    "The floor of a batch",
    hints=(
        "Two equal contexts with different answers: no function of the context can be sure of both.",
        "For each context the best prediction is the share of each answer among its examples.",
        "Each example costs -log(n(context, answer) / n(context)); take the mean over all examples.",
    ),
    level=3,
    minutes=20,
    slow="count with a dictionary (Counter), once; do not search the list for every example",
)
def exact_floor(floor: Any) -> str:
    """Lesson 03, *Overfit one batch*: the lowest loss that any function of the context reaches on X, Y."""
    for seed, (n, k, V) in enumerate(((32, 3, 3), (200, 2, 5), (500, 1, 9), (6, 4, 2))):
        g = seeded(seed)
        X, Y = torch.randint(0, V, (n, k), generator=g), torch.randint(0, V, (n,), generator=g)
        X[: n // 3], Y[: n // 6] = X[0].clone(), Y[0].clone()
        contexts, pairs = map(tuple, X.tolist()), [(*x, y) for x, y in zip(X.tolist(), Y.tolist())]
        of_context, of_pair = Counter(contexts), Counter(pairs)
        each = {pair: -math.log(m / of_context[pair[:-1]]) for pair, m in of_pair.items()}
        total = sum(each[pair] for pair in pairs)
        last, last_pair = Counter(x[-1] for x in X.tolist()), Counter(pair[-2:] for pair in pairs)
        h_last = entropy(last_pair.values()) - entropy(last.values())
        h_context, h_pair = entropy(of_context.values()), entropy(of_pair.values())
        by_context = [
            sum(each[p] * m for p, m in of_pair.items() if p[:-1] == x) / m_x for x, m_x in of_context.items()
        ]
        mistakes = {
            "that is the sum: take the mean over the examples": total,
            "bits: use the natural logarithm": total / n / math.log(2),
            "the sign: a loss is the *negative* log-likelihood": -total / n,
            "that is the entropy of Y alone: use the context": entropy(Counter(Y.tolist()).values()),
            "that is the entropy of context and answer together: subtract that of the context": h_pair,
            "that is the entropy of the contexts": h_context,
            "only the last letter of the context was used": h_last,
            "the mean is over examples, not over contexts": sum(by_context) / len(by_context),
            "the mean is over examples, not over different pairs": sum(each.values()) / len(each),
            "floors can be above zero: the same context has several answers": 0.0,
        }
        expect(f"the floor of {n} examples", call(floor, X, Y), total / n, mistakes)
    words = list(shipped())[:5]
    X, Y = windows(words, numbered(words), 3)
    return f"right; the first five names of the shipped list have the floor {float(call(floor, X, Y)):.4f}"


@functools.cache
def _riddle() -> tuple[list[str], list[str]]:
    """Train and dev words: the shipped names without q and x, in a cipher that no loaded list matches."""
    words = [word for word in shipped() if not set("qx") & set(word)]
    letters = sorted(set("".join(words)))
    cipher = random.Random(3).sample(letters, len(letters))
    words = [word.translate(str.maketrans("".join(letters), "".join(cipher))) for word in words]
    random.Random(42).shuffle(words)
    a, b = int(0.8 * len(words)), int(0.9 * len(words))
    return words[:a], words[a:b]


@exercise(
    "Beat the lecture",
    official=True,
    hints=(
        "First a calm start (exercise 3), and W1 divided by the root of the number of its inputs.",
        "Larger batches stand larger rates: 128 examples with 0.8, falling to 0 over a few thousand steps.",
        "And read more letters: block_size is yours. Keep a tenth of the words to see how you do.",
    ),
    level=4,
    minutes=60,
    slow="train for fewer steps: ours takes 4,000 with batches of 128",
)
def beat_the_lecture(train_model: Any) -> str:
    """Lecture 3, E01: a lower dev loss than the lecture's network, and than counts of three letters.

    The words are in a cipher that only the judge knows, and its dev words are nowhere else.
    """
    train, dev = _riddle()
    stoi = numbered(train)
    V = len(stoi)
    got = parts_of("block_size and a function", call(train_model, train, stoi), 2)
    k, logits = got
    require(type(k) is int and 0 < k < 50, f"the first answer is block_size, an int, got {k!r}")
    require(callable(logits), f"the second answer is a function of X, got {kind(logits)}")
    X, Y = windows(dev, stoi, k)
    order = torch.randperm(len(X), generator=seeded(1))  # the row below must not give an answer away
    X, Y = X[order], Y[order]
    out = call(logits, X)
    require(isinstance(out, Tensor), f"logits: expected a tensor, got {kind(out)}")
    require(out.shape == (len(X), V), f"logits: shape {tuple(out.shape)}, expected {(len(X), V)}")
    require(
        bool(out.isfinite().all()), "logits: nan or inf, a single one of which makes the dev loss infinite"
    )
    out = out.detach().double()
    few = call(logits, X[:50])
    require(
        isinstance(few, Tensor)
        and few.shape == (50, V)
        and torch.allclose(few.double(), out[:50], 1e-3, 1e-3),
        "the logits of an example change with the other rows of its batch (is a batch norm still training?)",
    )
    loss = F.cross_entropy(out, Y).item()
    N = counts(*windows(train, stoi, 3), V)
    table = nll(smoothed(N, 0.1), *windows(dev, stoi, 3))
    compared = f"the lecture's network (20,000 steps) {LECTURE:.4f}, counts of three letters +0.1 {table:.4f}"
    if (
        loss >= table
        and (out >= 0).all()
        and torch.allclose(out.sum(1), torch.ones(len(X)).double(), atol=1e-3)
    ):
        raise Wrong(f"these are probabilities (dev loss {loss:.4f}): return logits, or log-probabilities")
    require(
        loss < 2 * math.log(V), f"dev loss {loss:.4f}, much worse than a uniform guess, {math.log(V):.4f}"
    )
    require(loss < LECTURE, f"dev loss {loss:.4f}; {compared}")
    require(
        loss < table,
        f"dev loss {loss:.4f} beats the lecture's network ({LECTURE:.4f}), but plain counts of three letters"
        f" +0.1 reach {table:.4f}: beat those too",
    )
    return f"your dev loss {loss:.4f}; {compared}"
