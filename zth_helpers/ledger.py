"""The ledger: a measured number beside the lecture's, and the budget of training steps."""

from __future__ import annotations

import os
from collections.abc import Iterable

from tqdm import tqdm

from zth_helpers import names

LISTS = {"shipped": "course's list", "lecture": "lecture's list", "own": "your list", None: ""}


def compare(what: str, measured, lecture, *, tol: float = 0.005, differs: str | None = None) -> None:
    """Prints a measured number beside the lecture's; checks it where both were made the same way."""
    where = {"shipped": " (course's list)", "own": " (your list)"}.get(names.source, "")
    show = lambda x: f"{x:.4f}" if isinstance(x, float) else f"{x}"  # noqa: E731
    measured = measured.item() if hasattr(measured, "item") else measured
    print(f"{what}  {show(measured)}{where} · lecture {show(lecture)}" + (" (its list)" if where else ""))


def budget(lecture: int, quick: int) -> int:
    """The number of training steps: quick by default, the lecture's with ZTH_FULL=1; says which."""
    full = os.environ.get("ZTH_FULL", "") not in ("", "0")
    steps = lecture if full else quick
    print(f"{steps:,} steps " + ("(full)" if full else f"(quick; ZTH_FULL=1 runs the lecture's {lecture:,})"))
    return steps


def progress(steps: int | Iterable, label: str = "") -> Iterable:
    """A progress bar over range(steps) or an iterable; silent under ZTH_QUIET=1."""
    items = range(steps) if isinstance(steps, int) else steps
    return tqdm(items, desc=label, leave=False, disable=os.environ.get("ZTH_QUIET", "") not in ("", "0"))
