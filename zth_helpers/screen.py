"""`live`: see a network while it trains.

    for i in live(mon, steps):
        ...forward, mon.retain_grads(), backward, update, mon.step(loss, lr=lr)

One figure (outputs, gradients, loss, updates) stands under the cell, above a bar with the time left. While
the loop runs it is drawn in the page, about once a second, from a few hundred numbers; at the end, or when
the loop is interrupted or fails, a picture takes its place, so what is saved is what was last seen. Outside
of a notebook there is the bar alone; under ZTH_QUIET=1 only the picture.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from zth_helpers import settings
from zth_helpers.monitor import Monitor
from zth_helpers.plots.dashboard import dashboard, dashboard_data, losses_of

FIRST = 0.5  # seconds until the first figure: a short run is not held up by it
EVERY = 1.0  # seconds between two
SHARE = 1 / 20  # of the loop's time that they may take; the last picture comes on top


def live(mon: Monitor | Sequence[float], steps: int | Iterable, label: str = "training") -> Iterator[Any]:
    """Goes through range(steps), or any iterable, and shows what `mon` records meanwhile.

    `mon` may also be the list to which the loop appends its losses; then there is the loss alone. Raises
    TypeError, before the loop begins, for anything else.
    """
    if not isinstance(mon, Monitor):
        losses_of(mon)
    screen = _Screen(mon)
    try:
        for step in settings.progress(steps, label):
            yield step
            screen.refresh()
    finally:  # also when the loop is interrupted: its frame lets go of this generator
        screen.finish()


class _Screen:
    """Where the figure stands in the notebook; it shows nothing where there is no notebook."""

    def __init__(self, mon: Monitor | Sequence[float]):
        self.mon = mon
        self.figure: Any = None
        self.handle: Any = None
        self.notebook = in_notebook()
        self.due = float("inf")
        if self.notebook and not settings.quiet():
            from IPython.display import DisplayHandle

            # Its place is taken before the bar's: text after a figure begins anew, and half a bar would stay.
            self.handle = DisplayHandle()
            self.handle.display({"text/plain": ""}, raw=True)
            self.due = time.perf_counter() + FIRST

    def refresh(self) -> None:
        if time.perf_counter() < self.due:
            return
        start = time.perf_counter()
        self.show(dashboard_data(self.mon))
        end = time.perf_counter()
        self.due = end + max(EVERY - (end - start), (end - start) * (1 / SHARE - 1))

    def show(self, numbers: dict[str, Any]) -> None:
        if self.figure is not None:
            self.figure.data = numbers
            return
        try:
            from zth_helpers.interact.explorable import Explorable
        except ImportError:  # the light install has no widgets: the picture at the end must do
            self.due = float("inf")
            return
        self.figure = Explorable("live", numbers)
        shown, _ = self.figure._repr_mimebundle_()
        self.handle.update(shown | {"text/plain": "still training"}, raw=True)

    def finish(self) -> None:
        self.due = float("inf")
        if not self.notebook or (not isinstance(self.mon, Monitor) and not len(self.mon)):
            return
        if self.handle is not None:
            self.handle.update(dashboard(self.mon))
            if self.figure is not None:
                self.figure.close()
        else:
            from IPython.display import display

            display(dashboard(self.mon))


def in_notebook() -> bool:
    """Is there a kernel, so that something can show pictures?"""
    return hasattr(settings.ipython(), "kernel")
