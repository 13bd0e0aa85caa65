"""What the judges of lectures 2 and 3 work on: made-up lists of names, the shipped one, their windows."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from zth_helpers import name_lists
from zth_helpers.exercises.draws import dice
from zth_helpers.names import Vocabulary


def made_up(seed: int, letters: str, n: int = 600) -> list[str]:
    """n words of 1 to 12 of these letters, where each letter depends on the two before it."""
    rng = dice(seed)
    ends = "." + letters
    pull = {(place, a, b): rng.gauss(0, 1.5) for place in (1, 2) for a in ends for b in ends}
    words: list[str] = []
    while len(words) < n:
        text = ".."
        while len(text) < 14 and (len(text) == 2 or text[-1] != "."):
            weights = [math.exp(pull[1, text[-1], b] + pull[2, text[-2], b]) for b in ends]
            text += rng.choices(ends, weights)[0]
        words += [text.strip(".")] if text.strip(".") else []
    return words


@functools.cache
def shipped() -> tuple[str, ...]:
    """The shipped list: what is right must not hang on the list that the learner has chosen."""
    return tuple(name_lists.load_names("shipped"))


def numbered(words: Sequence[str]) -> dict[str, int]:
    return Vocabulary(words).stoi


def _cut(texts: list[list[int]], k: int) -> tuple[Tensor, Tensor]:
    """All windows of k numbers, and the number after each, of texts that are padded already."""
    rows = [text[i : i + k + 1] for text in texts for i in range(len(text) - k)]
    table = torch.tensor(rows, dtype=torch.int64).reshape(-1, k + 1)
    return table[:, :k], table[:, k]


def windows(words: Sequence[str], stoi: dict[str, int], k: int) -> tuple[Tensor, Tensor]:
    """X (N, k) and Y (N,): each letter of each word, its end included, and the k before it; '.' pads."""
    return _cut([[0] * k + [stoi[c] for c in word] + [0] for word in words], k)


def single_padded(words: Sequence[str], stoi: dict[str, int], k: int) -> tuple[Tensor, Tensor]:
    """One dot in front where k are needed."""
    return _cut([[0] + [stoi[c] for c in word] + [0] for word in words], k)


def wrong_windows(words: Sequence[str], stoi: dict[str, int], k: int) -> dict[str, tuple[Tensor, Tensor]]:
    """The typical ways to get `windows` wrong: explanation -> X, Y."""
    ids = [[stoi[c] for c in word] for word in words]
    X, Y = windows(words, stoi, k)
    joined = [0] * k + [i for word in ids for i in [*word, 0]]
    last = [([0] * k + word + [0])[-k:] for word in ids for _ in range(len(word) + 1)]
    return {
        f"single padding: one dot in front is too few for {k} letters of context, so the first letters are"
        f" never predicted; start with {k} dots": single_padded(words, stoi, k),
        "there are no dots in front, so the first letters are never predicted": _cut(
            [[*word, 0] for word in ids], k
        ),
        "the end is missing: after the last letter comes '.'": _cut([[0] * k + word for word in ids], k),
        "a name ends once: one dot behind it, not several": _cut([[0] * k + w + [0] * k for w in ids], k),
        "the words run into one another: each starts anew with dots": _cut([joined], k),
        "the context is turned round: the oldest letter comes first": (X.flip(1), Y),
        "all rows of a word are one and the same list, which was changed later: append a copy, context[:],"
        " or make a new one, context = context[1:] + [ix]": (torch.tensor(last).view(-1, k), Y),
        "the context must not hold the letter that it is to predict": (
            torch.cat([X[:, 1:], Y[:, None]], 1),
            Y,
        ),
    }


def counts(X: Tensor, Y: Tensor, V: int) -> Tensor:
    """float64 (V, …, V): how often each context of X (N, k) is followed by each character."""
    table = torch.zeros((V,) * (X.shape[1] + 1), dtype=torch.float64)
    return table.index_put_((*X.unbind(1), Y), torch.ones(len(Y), dtype=torch.float64), accumulate=True)


def smoothed(N: Tensor, k: float) -> Tensor:
    return (N + k) / (N + k).sum(-1, keepdim=True)


def nll(P: Tensor, X: Tensor, Y: Tensor) -> float:
    """The mean negative log-likelihood in nats of Y (N,) after X (N, k), under P (V, …, V)."""
    return -P[(*X.unbind(1), Y)].double().log().mean().item()
