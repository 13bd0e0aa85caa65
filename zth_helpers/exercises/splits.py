"""How judges look at windows and splits, and watch a learner tune: a `fit` and a `loss` that take notes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor

from zth_helpers.exercises.checks import call, expect, finite, kind, parts_of, require
from zth_helpers.exercises.exercise import Wrong


def judge_split(got: list, words: list[str], want: tuple) -> None:
    if tuple(got) == want:
        return
    n, together = len(words), [word for part in got for word in part]
    sizes, wanted = (tuple(map(len, parts)) for parts in (got, want))
    require(together != words, "the words are not shuffled: a list has an order, and dev would be its end")
    require((got[0], got[2], got[1]) != want, "dev and test are swapped")
    lost, total = set(words) - set(together), sum(sizes)
    require(total <= n, f"the parts hold {total} words of {n}: some are in two parts")
    require(not lost, f"{len(lost)} different words of {n} are in no part")
    require(
        total == n, f"the parts hold {total} words of {n}: a word that comes twice in the list counts twice"
    )
    require(
        sizes == wanted, f"the sizes are {sizes}, expected {wanted}: cut at int(0.8 * n) and int(0.9 * n)"
    )
    require(sorted(together) == sorted(words), "the parts do not hold the words of the list")
    raise Wrong(
        "the sizes are right, but the order is not that of random.Random(42).shuffle on a copy of the list"
    )


def judge_windows(got: Any, X: Tensor, Y: Tensor, wrong: dict[str, tuple[Tensor, Tensor]]) -> None:
    got_X, got_Y = parts_of("X and Y", got, 2)
    expect("X", got_X, X, {why: x for why, (x, _) in wrong.items()})
    expect("Y", got_Y, Y, {"that is the letter before, the last of the context": X[:, -1]})


class _Fitted:
    """What the judge's `fit` gives: k and the words it got."""

    def __init__(self, k):
        self.k = k


class _Referee:
    """A `fit` and a `loss` that look up or compute losses, and note what they were asked."""

    def __init__(self, parts: dict[str, list[str]], strengths: list[float], table):
        self.parts, self.strengths, self.table = parts, strengths, table
        self.tests: list[float] = []

    def name(self, words, where: str) -> str:
        for name, part in self.parts.items():
            if words == part:
                return name
        if isinstance(words, list) and sorted(map(str, words)) == sorted(
            self.parts["train"] + self.parts["dev"]
        ):
            raise Wrong(
                f"{where} got train and dev together: the strength was chosen for a fit on train, and that"
                " fit is the one to test; do not fit again on train + dev"
            )
        amount = f"{len(words)} words that are" if isinstance(words, list) else f"{kind(words)}, which is"
        raise Wrong(f"{where} got {amount} neither train, dev nor test")

    def fit(self, words, k):
        require(isinstance(words, list), f"fit: expected a list of words first, got {kind(words)}")
        name = self.name(words, "fit") if words != self.parts["train"] else "train"
        require(name == "train", f"fit got the words of {name}: fit on train only")
        require(k in self.strengths, f"fit got k = {k!r}, which is not one of the strengths to try")
        return _Fitted(k)

    def loss(self, model, words) -> float:
        require(isinstance(model, _Fitted), f"loss: expected a model from fit first, got {kind(model)}")
        name = self.name(words, "loss")
        if name == "test":
            self.tests.append(model.k)
        return self.table(name, model.k)


def judge_tuning(
    tune: Callable, parts: dict[str, list[str]], strengths: list[float], table: Callable[[str, float], float]
) -> tuple[float, float]:
    referee = _Referee(parts, strengths, table)
    got = call(tune, strengths, referee.fit, referee.loss, *parts.values())
    best, test_loss = parts_of("the best strength and the test loss", got, 2)
    best_of = {name: min(strengths, key=partial(table, name)) for name in parts}
    worst = max(strengths, key=partial(table, "dev"))
    right = best_of["dev"]
    mistakes = {
        "that is the best on train, which always wants the least smoothing: choose on dev": best_of["train"],
        "that is the best on test: choose on dev, and look at test once, when the choice is made": best_of[
            "test"
        ],
        "that is the highest dev loss: the lowest is best": worst,
        "that is its place in the list: return the strength": float(strengths.index(right)),
        "that is the dev loss: return the strength": table("dev", right),
    }
    expect(f"best of {strengths}", finite("the best strength", best), float(right), mistakes)
    asked = len(referee.tests)
    require(asked > 0, "loss was never asked for test: look at it once, with the best strength")
    require(
        asked == 1,
        f"the test loss was looked at {asked} times: once, at the very end, or it is a second dev",
    )
    require(referee.tests == [right], f"test was tried with k = {referee.tests[0]}, but the best is {right}")
    mistakes = {"that is the dev loss": table("dev", right), "that is the train loss": table("train", right)}
    expect("test loss", test_loss, table("test", right), mistakes)
    return right, table("test", right)
