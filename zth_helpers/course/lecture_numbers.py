"""A lesson's numbers beside the lecture's, claims that are checked, and the number of training steps.

None of these raises in a lesson: a learner who turns a knob sees a ✗ or another number, never an error.
Strict comparison of the stored outputs is what makes them tests. With ZTH_LEDGER=FILE each call appends one
line of JSON to that file; `make numbers` reads it, and has the words for authors.
"""

from __future__ import annotations

import json
import math
from typing import Any, Protocol

from zth_helpers import settings
from zth_helpers.course import interrupts
from zth_helpers.text import number

ON_A_GPU = 0.02  # relative: it adds in another order, and many steps magnify the rounding

# Every lesson imports from here in its first cells, and nobody else does.
if (_shell := settings.ipython()) is not None:
    interrupts.undo_in(_shell)


class MadeWith(Protocol):
    """What a number was made with: a list of names, or a number of steps."""

    @property
    def differs(self) -> str:
        """What is not as in the lecture ("its list", "all steps"), or ""."""


class Steps(int):
    """A number of training steps that knows how many the full run has."""

    full: int

    def __new__(cls, steps: int, full: int) -> Steps:
        made = super().__new__(cls, steps)
        made.full = full
        return made

    @property
    def differs(self) -> str:
        return "" if self == self.full else "all steps"


def budget(lecture: int, quick: int, whose: str = "the lecture's") -> Steps:
    """The number of training steps: `quick` by default, the `lecture`'s with ZTH_FULL=1; prints which.

    `whose` names the full count in that line, for a run that the lecture does not have. ZTH_SHRINK=40 divides
    the quick steps. Raises ValueError for counts below 1.
    """
    if lecture < 1 or quick < 1:
        raise ValueError(f"a run has 1 step or more, got lecture={lecture:,}, quick={quick:,}")
    if settings.full_steps():
        steps = lecture
    else:
        steps = quick if settings.shrink() == 1 else max(2, quick // settings.shrink())
    if steps != lecture:
        print(f"{steps:,} steps instead of {whose} {lecture:,}; ZTH_FULL=1 runs them all")
    return Steps(steps, lecture)


def check(claim: str, condition: Any) -> None:
    """Prints ✓ and the claim, or ✗ and the claim when it does not hold with these settings."""
    try:
        holds = bool(condition)
    except (RuntimeError, ValueError, TypeError):  # a tensor or array of several truth values
        holds = False
    print(f"✓ {claim}" if holds else f"✗ {claim} (not with these settings)")
    _record({"kind": "check", "what": claim, "same": holds})


def compare(
    what: str,
    measured: Any,
    lecture: Any,
    *made_with: MadeWith,
    tol: float = 0.005,
    differs: str | None = None,
) -> None:
    """Prints a measured number beside the one that the lecture published.

    Both are numbers, 0-d tensors, text, or sequences of these. `made_with` is the list of names and the steps
    that the number was made with, where they matter: `compare("dev loss", dev, 2.1057, words, steps)`. When
    they are not the lecture's, the line says so in brackets; when they are, it ends in ✓ or ✗ (ints and text
    must be equal, floats within the relative tolerance `tol`, or .02 if that is more and ZTH_DEVICE names a
    GPU). `differs` says in one line why the lecture's number cannot come out.
    """
    ours, theirs = _plain(measured), _plain(lecture)
    same = _agree(ours, theirs, _tolerance(tol))
    other = [made.differs for made in made_with if made.differs]
    if other:
        ending = f" ({', '.join(other)})"
    else:
        ending = " ✓" if same else f" ≠ {differs}" if differs else " ✗"
    print(f"{what} {number(ours, _digits(theirs))} · lecture {_as_written(theirs)}{ending}")
    _record(_row("published", what, ours, theirs, same, other) | {"differs": differs})


def recomputed(what: str, measured: Any, expected: Any, *made_with: MadeWith, tol: float = 0.005) -> None:
    """Prints a number that the lecture does not have.

    `expected` is what we found on the lecture's list; `make numbers` holds the number to it.
    """
    ours, theirs = _plain(measured), _plain(expected)
    print(f"{what} {number(ours, _digits(theirs))}")
    other = [made.differs for made in made_with if made.differs]
    _record(_row("recomputed", what, ours, theirs, _agree(ours, theirs, _tolerance(tol)), other))


def _plain(value: Any) -> Any:
    """Python's own number, text, or a list of them; tensors and arrays of any library become that."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _tolerance(tol: float) -> float:
    return max(tol, ON_A_GPU) if settings.gpu_wanted() else tol


def _agree(ours: Any, theirs: Any, tol: float) -> bool:
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(_agree(a, b, tol) for a, b in zip(ours, theirs))
    if not (isinstance(ours, int | float) and isinstance(theirs, int | float)):
        return type(ours) is type(theirs) and ours == theirs
    if isinstance(ours, int) and isinstance(theirs, int):
        return ours == theirs
    return math.isclose(ours, theirs, rel_tol=tol, abs_tol=0 if theirs else tol)


def _digits(value: Any) -> int:
    """As many decimals as the lecture's number has, between 4 and 6."""
    if isinstance(value, list):
        return max(map(_digits, value), default=4)
    text = repr(value) if isinstance(value, float) else ""
    return min(max(len(text.partition(".")[2]), 4), 6) if "e" not in text else 4


def _as_written(value: Any) -> str:
    """The lecture's number with the digits that it was given with, at most six decimals."""
    if isinstance(value, list):
        return ", ".join(map(_as_written, value))
    if isinstance(value, float) and len(repr(value).partition(".")[2]) <= 6:
        return repr(value)
    return number(value, 6)


def _difference(ours: Any, theirs: Any) -> Any:
    if isinstance(ours, list) and isinstance(theirs, list):
        return [_difference(a, b) for a, b in zip(ours, theirs)]
    if not (isinstance(ours, int | float) and isinstance(theirs, int | float)):
        return None
    return 0 if ours == theirs else ours - theirs


def _row(kind: str, what: str, ours: Any, theirs: Any, same: bool, other: list[str]) -> dict[str, Any]:
    """What `make numbers` reads; `other` says what was not as in the lecture."""
    row = {"kind": kind, "what": what, "lecture": theirs, "measured": ours, "same": same, "other": other}
    return row | {"difference": _difference(ours, theirs), "differs": None}


def _record(row: dict[str, Any]) -> None:
    """Appends one line of JSON to the file that ZTH_LEDGER names, if it names one."""
    if (path := settings.ledger()) is None:
        return
    try:
        with open(path, "a", encoding="utf-8") as file:  # closed at once: an interruption loses no row
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    except OSError as error:
        raise OSError(f"ZTH_LEDGER={path} cannot be written: {error.strerror}") from None
