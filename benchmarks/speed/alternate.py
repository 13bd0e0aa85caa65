"""Two or more ways of doing the same thing, in turn, so that a machine that slows down slows all of them."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Mapping

from tqdm import tqdm

Seconds = dict[str, list[float]]


def alternate(ways: Mapping[str, Callable[[], float]], rounds: int, label: str) -> Seconds:
    """The seconds of each way in each round; a way measures itself, since not all of it may count.

    A round before the first warms up and is not kept.
    """
    seconds: Seconds = {name: [] for name in ways}
    for i in tqdm(range(rounds + 1), desc=label, leave=False, file=sys.stdout):
        for name, way in ways.items():
            took = way()
            if i:
                seconds[name].append(took)
    return seconds


def ratio(slow: list[float], fast: list[float]) -> dict[str, float]:
    """How often `fast` goes into `slow`, round by round: median, lowest and highest."""
    ratios = [a / b for a, b in zip(slow, fast)]
    return {"ratio": statistics.median(ratios), "low": min(ratios), "high": max(ratios)}


def spread(row: Mapping[str, float], digits: int = 2) -> str:
    """×1.08 (×1.02 to ×1.11)"""
    return "×{ratio:.{d}f} (×{low:.{d}f} to ×{high:.{d}f})".format(**row, d=digits)
