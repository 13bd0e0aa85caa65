"""Every setting that the environment can make, the shell that this runs in, and the progress bar.

ZTH_NAMES=lecture    which list of names: "lecture", "shipped", or the path of any list (see name_lists.py)
ZTH_FULL=1           the lectures' own step counts instead of the quick ones
ZTH_SHRINK=40        one fortieth of the quick steps, to see that everything runs
ZTH_QUIET=1          no progress bars
ZTH_DEVICE=cuda      where lessons 03, 04, 06 and the experiments train: cpu (the default), cuda, mps
ZTH_LEDGER=FILE      compare(), recomputed() and check() append what they saw to this file (`make numbers`)
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parent
ROOT = PACKAGE.parent  # the checkout; in an installed wheel, the folder of site-packages


def quiet() -> bool:
    return _switched_on("ZTH_QUIET")


def be_quiet() -> None:
    """No progress bars in this process and its children: another one shows the progress."""
    os.environ["ZTH_QUIET"] = "1"


def full_steps() -> bool:
    return _switched_on("ZTH_FULL")


def shrink() -> int:
    """By how much the quick steps are divided; raises ValueError for what is not a whole number above 0."""
    text = os.environ.get("ZTH_SHRINK") or "1"
    if not text.isdigit() or int(text) < 1:
        raise ValueError(f"ZTH_SHRINK={text}: give a whole number, 1 or more")
    return int(text)


def gpu_wanted() -> bool:
    return os.environ.get("ZTH_DEVICE", "") not in ("", "cpu")


def device(given: str | None = None) -> str:
    """Where to train: as given, else as ZTH_DEVICE says, else the CPU. Raises ValueError for a device that
    torch does not find, with those that it does.
    """
    import torch

    wanted = given or os.environ.get("ZTH_DEVICE") or "cpu"
    there = ["cpu"] + ["cuda"] * torch.cuda.is_available() + ["mps"] * torch.backends.mps.is_available()
    kind, _, number = wanted.partition(":")
    count = torch.cuda.device_count() if kind == "cuda" else 1
    if kind not in there or (number and number not in map(str, range(count))):
        asked = f"the device {given}" if given else f"ZTH_DEVICE={wanted}"
        raise ValueError(f"{asked}: this torch finds {', '.join(there)}")
    return wanted


def ledger() -> Path | None:
    return Path(path) if (path := os.environ.get("ZTH_LEDGER")) else None


def ipython() -> Any:
    """The IPython shell that this runs in, with a `kernel` in a notebook; None elsewhere."""
    return sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None


def names_wanted() -> str | None:
    return os.environ.get("ZTH_NAMES") or None


def _switched_on(variable: str) -> bool:
    return os.environ.get(variable, "") not in ("", "0")


def course_folder(packaged: str, in_checkout: str) -> Path:
    """A folder of the course's files: inside of an installed wheel, or where it lies in a checkout."""
    return folder if (folder := PACKAGE / packaged).is_dir() else ROOT / in_checkout


def progress(steps: int | Iterable, label: str = "") -> Iterable[Any]:
    """A bar with the time left over range(steps) or any iterable, gone when done; none under ZTH_QUIET=1."""
    items = range(steps) if isinstance(steps, int) else steps
    if quiet():
        return items
    try:
        from tqdm import tqdm
    except ImportError:  # the light install has no bars
        return items
    # To stdout, because JupyterLab paints stderr red; of a fixed width, because a notebook has none.
    return tqdm(items, desc=label, leave=False, file=sys.stdout, ncols=80)
