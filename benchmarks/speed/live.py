"""What `live` costs: whole training runs of notebook 04's network, seen live, against the same without.

    python -m benchmarks.speed.live          (about four minutes; nothing else should run meanwhile)

Three ways take turns, each trains its own copy for the same number of steps: bare, with a Monitor, with a
Monitor seen live (the picture at the end and the bar included). The ratios are those within a round,
median of all rounds. With one thread that is processor time, with two elapsed time. A notebook's part is
played by a figure and a handle that encode what they get as a kernel does, and throw it away.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import statistics
import time
from collections.abc import Callable

import IPython.display
import torch
import traitlets

from benchmarks.speed.alternate import alternate, ratio, spread
from benchmarks.speed.monitor import LR, THREADS, Plain
from zth_helpers import Monitor, screen
from zth_helpers.interact import explorable

ROUNDS, STEPS = 3, 10_000
WAYS = "bare", "with a Monitor", "seen live"


class Figure(explorable.Explorable):
    """What a kernel does with the numbers of a figure, except to send them."""

    drawn = 0

    @traitlets.observe("data")
    def encode(self, change) -> None:
        json.dumps(change["new"]).encode()
        Figure.drawn += 1


class Handle:
    """The same for the picture at the end."""

    def display(self, shown, raw: bool = False) -> None:
        data = shown if raw else shown._repr_mimebundle_()[0]
        json.dumps({k: base64.b64encode(v).decode() if isinstance(v, bytes) else v for k, v in data.items()})

    update = display


def run(way: str, steps: int, clock: Callable[[], float]) -> float:
    """Seconds of one run."""
    loop = Plain()
    if way != "bare":
        mon = Monitor(loop.layers, loop.parameters, every=100)
        loop.retain, loop.after = mon.retain_grads, lambda loss: mon.step(loss, lr=LR)
    start = clock()
    for _ in screen.live(mon, steps) if way == "seen live" else range(steps):
        loop.step()
    return clock() - start


def silently(way: str, steps: int, clock: Callable[[], float]) -> float:
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        return run(way, steps, clock)


def measure(rounds: int = ROUNDS, steps: int = STEPS) -> list[dict]:
    """A row per way and number of threads: microseconds of a step, its ratio to bare and to the Monitor (and
    the range of the first), redraws a second."""
    os.environ["ZTH_QUIET"] = "0"
    screen.in_notebook, IPython.display.DisplayHandle = lambda: True, Handle
    explorable.Explorable = Figure  # type: ignore[misc]
    before, rows = torch.get_num_threads(), []
    for threads in THREADS:
        torch.set_num_threads(threads)
        clock = time.process_time if threads == 1 else time.perf_counter
        started, Figure.drawn = time.perf_counter(), 0
        ways = {way: lambda w=way, c=clock: silently(w, steps, c) for way in WAYS}
        seconds = alternate(ways, rounds, f"live, {threads} thread(s)")
        a_second = 3 * Figure.drawn / (time.perf_counter() - started)
        for way in WAYS:
            row = dict(name=way, threads=threads, step_us=1e6 * statistics.median(seconds[way]) / steps)
            row |= ratio(seconds[way], seconds["bare"])
            to_monitor = ratio(seconds[way], seconds["with a Monitor"])["ratio"]
            rows.append(row | dict(to_monitor=to_monitor, redraws=a_second if way == "seen live" else 0.0))
    torch.set_num_threads(before)
    return rows


def table(rows: list[dict]) -> str:
    lines = [
        "| a run | threads | a step | against bare (range) | against the Monitor | pictures a second |",
        "|:--|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        redraws = f"{row['redraws']:.2f}" if row["redraws"] else "–"
        step = f"{row['step_us']:,.0f} µs"
        lines.append(
            f"| {row['name']} | {row['threads']} | {step} | {spread(row)} "
            f"| ×{row['to_monitor']:.2f} | {redraws} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(measure()))
