"""The ledger: a measured number beside the lecture's, and the budget of training steps.

Environment: ZTH_FULL=1 runs the lecture's step counts, ZTH_QUIET=1 silences progress bars, and ZTH_LEDGER
names a file to which each comparison that counts is appended as a line of JSON.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterable

from tqdm import tqdm

from zth_helpers import names

LISTS = {"shipped": " (course's list)", "lecture": " (lecture's list)", "own": " (your list)", None: ""}

cut_short = False  # has a budget of this session been quick? Then no later number can be the lecture's.


def compare(what: str, measured, lecture, *, tol: float = 0.005, differs: str | None = None) -> None:
    """Prints a measured number beside the lecture's; checks and records it where both were made alike.

    That is with the lecture's list (or with no list loaded) and no quick budget. Numbers may be ints (equal
    exactly), floats (to the relative tolerance tol), 0-d tensors, text, or sequences of those; `differs`
    says in one line why the lecture's number cannot come out, which is then printed instead of checked.
    Raises AssertionError where they disagree, ValueError for nan or unequal lengths, TypeError for the rest.
    """
    ours, theirs = plain(what, measured), plain(what, lecture)
    same = agree(what, ours, theirs, tol)
    counts = names.source in ("lecture", None) and not cut_short
    mark = "  ✓" if counts and same else f"  ≠ {differs}" if differs and not same else "  ✗" if counts else ""
    digits = decimals(theirs)
    left = f"{what:<28}  {show(ours, digits):>8}{LISTS[names.source]}{', quick steps' if cut_short else ''}"
    print(f"{left} · lecture {show(theirs, digits)}{' (its list)' if names.source else ''}{mark}")
    if not counts:
        return
    record(what, ours, theirs, same, tol, differs)
    if not same and not differs:
        raise AssertionError(
            f"{what}: measured {ours}, the lecture has {theirs}; they should "
            f"{'be equal' if exact(ours, theirs) else f'agree to {tol:.2%}'}. Look for another seed or "
            "generator, a random call more or less before this, another learning rate, step count or "
            "split. If the lecture's number cannot come out, say why with differs=…"
        )


def plain(what: str, value):
    """Python's own number, text, or a flat list of them; tensors and arrays of any library become that."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(what, item) for item in value]
    if isinstance(value, float) and math.isnan(value):
        raise ValueError(f"{what} is nan: the calculation before it broke down (0/0, inf - inf, log of -1)")
    if not isinstance(value, int | float | str):
        raise TypeError(f"{what}: cannot compare a {type(value).__name__}; give a number, text or a list")
    return value


def exact(ours, theirs) -> bool:
    return not isinstance(ours, list) and not (isinstance(ours, float) or isinstance(theirs, float))


def agree(what: str, ours, theirs, tol: float) -> bool:
    if isinstance(ours, list) and isinstance(theirs, list):
        if len(ours) != len(theirs):
            raise ValueError(f"{what}: measured has {len(ours)} numbers, the lecture's has {len(theirs)}")
        return all(agree(what, a, b, tol) for a, b in zip(ours, theirs))
    if any(isinstance(ours, kind) != isinstance(theirs, kind) for kind in (list, str)):
        raise TypeError(f"{what}: cannot compare {ours!r} with {theirs!r}")
    if exact(ours, theirs):
        return ours == theirs
    return math.isclose(ours, theirs, rel_tol=tol, abs_tol=0 if theirs else tol)


def decimals(value) -> int:
    """As many decimals as the lecture's number has, between 4 and 6."""
    if isinstance(value, list):
        return max(map(decimals, value), default=4)
    text = repr(value) if isinstance(value, float) else ""
    return min(max(len(text.partition(".")[2]), 4), 6) if "e" not in text else 4


def show(value, digits: int) -> str:
    if isinstance(value, list):
        return ", ".join(show(item, digits) for item in value)
    if isinstance(value, str | bool):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    small = 0 < abs(value) < 1e-3
    return f"{value:.2e}" if small else f"{value:.{digits}f}"


def difference(ours, theirs):
    if isinstance(ours, list):
        return [difference(a, b) for a, b in zip(ours, theirs)]
    if isinstance(ours, str):
        return None
    return 0 if ours == theirs else ours - theirs


def record(what: str, ours, theirs, same: bool, tol: float, differs: str | None) -> None:
    """Appends one line of JSON to the file that ZTH_LEDGER names, if it names one."""
    path = os.environ.get("ZTH_LEDGER")
    if not path:
        return
    row = {
        "what": what,
        "lecture": theirs,
        "measured": ours,
        "difference": difference(ours, theirs),
        "same": same,
        "differs": differs,
        "tol": tol,
        "list": names.source,
    }
    try:
        with open(path, "a", encoding="utf-8") as file:  # closed at once: an interruption loses no row
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    except OSError as error:
        raise OSError(f"ZTH_LEDGER={path} cannot be written: {error.strerror}") from None


def budget(lecture: int, quick: int, whose: str = "the lecture's") -> int:
    """The number of training steps: `quick` by default, the `lecture`'s with ZTH_FULL=1; prints which.

    `whose` names the full count in that line, for a run that the lecture does not have.
    """
    global cut_short
    if not 0 < quick <= lecture:
        raise ValueError(f"quick steps must be between 1 and the lecture's {lecture:,}, got {quick:,}")
    if names.switched_on("ZTH_FULL") or quick == lecture:
        print(f"{lecture:,} steps" + (", as in the lecture" if whose == "the lecture's" else ""))
        return lecture
    cut_short = True
    print(f"{quick:,} steps instead of {whose} {lecture:,}; ZTH_FULL=1 runs them all")
    return quick


def progress(steps: int | Iterable, label: str = "") -> Iterable:
    """A bar with the time left over range(steps) or any iterable, gone when done; none under ZTH_QUIET=1."""
    items = range(steps) if isinstance(steps, int) else steps
    # stdout, because JupyterLab paints stderr red; a fixed width, because a notebook has none of its own
    return tqdm(
        items, desc=label, leave=False, disable=names.switched_on("ZTH_QUIET"), file=sys.stdout, ncols=80
    )
