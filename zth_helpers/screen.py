"""`live`: see a network while it trains.

    for i in live(mon, steps):
        ...forward, mon.retain_grads(), backward, update, mon.step(loss, lr=lr)

One picture (loss, activations, gradients, updates) is redrawn in place under the cell, above a bar with the
time left, and stays when the loop ends, is interrupted, or fails. No widget is involved, so what is saved is
what was last seen. Outside of a notebook there is the bar alone; under ZTH_QUIET=1 only the last picture.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

from zth_helpers import settings
from zth_helpers.monitor import Monitor
from zth_helpers.plots.dashboard import dashboard, empty

AT_MOST_EVERY = 0.5  # seconds
FIRST = 2.0  # until then the place is kept by an empty picture: a short run is not held up by drawing
SHARE = 1 / 33  # of the loop's time that drawing may take; the last picture comes on top


def live(mon: Monitor, steps: int | Iterable, label: str = "training") -> Iterator[Any]:
    """Goes through range(steps), or any iterable, and shows what `mon` records meanwhile."""
    screen = _Screen(mon)
    try:
        for step in settings.progress(steps, label):
            yield step
            screen.refresh()
    finally:  # also when the loop is interrupted: its frame lets go of this generator
        screen.finish()


class _Screen:
    """Where the picture stands in the notebook; it shows nothing where there is no notebook."""

    def __init__(self, mon: Monitor):
        self.mon, self.due = mon, float("inf")
        self.handle: Any = None
        self.notebook = in_notebook()
        if self.notebook and not settings.quiet():
            from IPython.display import DisplayHandle

            self.handle = DisplayHandle()
            self.show(first=True)

    def refresh(self) -> None:
        if time.perf_counter() >= self.due:
            self.show()

    def show(self, first: bool = False) -> None:
        start = time.perf_counter()
        shown = empty() if first else dashboard(self.mon)
        data = {"image/png": shown.png(scale=1), "text/plain": f"{self.mon!r}, still training"}
        (self.handle.display if first else self.handle.update)(data, raw=True)
        end = time.perf_counter()
        self.due = end + (FIRST if first else max(AT_MOST_EVERY, (end - start) * (1 / SHARE - 1)))

    def finish(self) -> None:
        self.due = float("inf")
        if self.handle:
            self.handle.update(dashboard(self.mon))
        elif self.notebook:
            from IPython.display import display

            display(dashboard(self.mon))


def in_notebook() -> bool:
    """Is there a kernel, so that something can show pictures?"""
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    return hasattr(get_ipython(), "kernel")
