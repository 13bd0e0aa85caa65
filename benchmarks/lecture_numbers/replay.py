"""A notebook's training runs again, by its own code: a part of them, or all of them from other seeds.

A run is named by the label of its `progress`; where a label comes again, "label 2", "label 3" and so on.
"""

from __future__ import annotations

import contextlib
import gc
import io
import os
import random
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from unittest import mock

import nbformat
import torch
import torch.nn.functional as F

import zth_helpers
from zth_helpers import ledger, names

STUBS = ("plots", "interact")  # nothing is drawn


def replay(
    notebook: nbformat.NotebookNode,
    runs: Collection[str],
    until: Collection[str] = (),
    part: Callable[[str, list], list] = lambda run, steps: steps,
    given: dict[str, object] | None = None,
    without: Collection[str] = (),
    shift: int = 0,
) -> tuple[dict[str, list[float]], dict[str, object]]:
    """Executes cells, shipped list and quick steps, until all of `runs` and comparisons `until` are done.

    Gives each run's loss at every step, and all that was compared on the way. part(run, steps): which steps
    of a run to take; runs that are not in `runs` take none. To save time, `given` names stay what they are
    here, whatever the notebook defines, and cells that contain a text of `without` are left out. shift: is
    added to every seed. Asserts, and cells that fail, are passed over, as many look at the trained network;
    but a run or a comparison that is not reached raises LookupError, with the failures.
    """
    losses, compared, seen, failures, space = {}, {}, Counter(), [], {"__name__": "replay"}
    latest = None  # what cross_entropy gave last

    def progress(steps: int | Iterable, label: str = "") -> Iterator:
        nonlocal latest
        seen[label] += 1
        run = f"{label} {seen[label]}" if seen[label] > 1 else label
        if run not in runs:
            return
        mine = []
        for item in part(run, list(range(steps) if isinstance(steps, int) else steps)):
            latest = None
            yield item
            loss = sys._getframe(1).f_locals["loss"] if latest is None else latest  # of the loop that asks
            mine.append(float(loss.data))
        losses[run] = mine

    def cross_entropy(*arguments, original=F.cross_entropy, **options):
        nonlocal latest
        latest = original(*arguments, **options)
        return latest

    def compare(what, measured, *_, **__):
        compared[what] = ledger.plain(what, measured)

    with world(shift), mock.patch.multiple(ledger, progress=progress, compare=compare, budget=quick_budget):
        with mock.patch.object(F, "cross_entropy", cross_entropy):
            for cell in notebook.cells:
                if {*runs} <= losses.keys() and {*until} <= compared.keys():
                    break
                if cell.cell_type != "code" or any(text in cell.source for text in without):
                    continue
                try:
                    exec(compile(cell.source, "<cell>", "exec", optimize=1), space)  # 1: without asserts
                except Exception as error:
                    failures.append(f"{cell.source.partition(chr(10))[0]!r}: {error!r}")
                space.update(given or {})
    if missing := [name for name in (*runs, *until) if name not in losses and name not in compared]:
        raise LookupError(f"not reached: {', '.join(missing)}; cells that failed:\n" + "\n".join(failures))
    return losses, compared


def quick_budget(lecture: int, quick: int, whose: str = "") -> int:
    return quick


@contextlib.contextmanager
def world(shift: int) -> Iterator[None]:
    """No pictures, no output, the shipped list, other seeds; afterwards all is as before."""

    class Generator(torch.Generator):
        def manual_seed(self, seed):
            return super().manual_seed(seed + shift)

    stubs = {f"zth_helpers.{name}": mock.MagicMock() for name in STUBS}
    modules = stubs | {"zth_helpers.plots.figure": stubs["zth_helpers.plots"].figure}
    before = {name: sys.modules.get(name) for name in modules}  # not patch.dict: torch imports more meanwhile
    torch_seed, python_seed = torch.manual_seed, random.seed
    state, threads = random.getstate(), torch.get_num_threads()
    with contextlib.ExitStack() as stack:
        patch = lambda *what, **how: stack.enter_context(mock.patch.object(*what, **how))  # noqa: E731
        for name in STUBS:
            patch(zth_helpers, name, stubs[f"zth_helpers.{name}"], create=True)
        patch(names, "source", None)
        if shift:
            patch(torch, "Generator", Generator)
            patch(torch, "manual_seed", lambda seed: torch_seed(seed + shift))
            patch(random, "seed", lambda seed: python_seed(seed + shift))
        stack.enter_context(mock.patch.dict(os.environ))
        stack.enter_context(torch.random.fork_rng(devices=[]))
        stack.enter_context(torch.set_grad_enabled(True))
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        try:
            sys.modules.update(modules)
            for name in ("ZTH_NAMES", "ZTH_FULL", "ZTH_LEDGER"):
                os.environ.pop(name, None)
            yield
        finally:
            for name, module in before.items():
                sys.modules.pop(name)
                sys.modules.update({name: module} if module else {})
            gc.enable()  # a cell that failed may have left it off
            random.setstate(state)
            torch.set_num_threads(threads)
