"""A learner's hands on a notebook: cells and sections run again, knobs turned, other lists of names."""

from __future__ import annotations

import ast
import contextlib
import gc
import importlib
import io
import itertools
import os
import random
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from tools import lesson
from zth_helpers import load_names, settings
from zth_helpers.course import interrupts
from zth_helpers.plots import Figure

ELEMENTS = """hydrogen helium lithium beryllium boron carbon nitrogen oxygen fluorine neon sodium magnesium
aluminium silicon phosphorus sulfur chlorine argon potassium calcium scandium titanium vanadium chromium
manganese iron cobalt nickel copper zinc gallium germanium arsenic selenium bromine krypton rubidium
strontium yttrium zirconium""".split()
GREEK = """αγγελική αθηνά αικατερίνη αλέξανδρος αλεξάνδρα αναστασία ανδρέας αντώνης αριστοτέλης βασίλης
βασιλική γεωργία γιάννης γιώργος δέσποινα δημήτρης διονύσης ειρήνη ελένη ελευθερία ευάγγελος ευγενία
ζωή ηλίας θανάσης θεοδώρα θωμάς ιουλία ισμήνη ιωάννα καλλιόπη κλειώ κυριάκος κωνσταντίνος λεωνίδας
λουκάς μαρία μαρίνα μιχάλης μυρτώ νίκη νικόλαος ξένια ξενοφών οδυσσέας όλγα παναγιώτης πηνελόπη ραλλού
σοφία στέλιος σωκράτης τάσος ουρανία φαίδρα φίλιππος χαρά χρήστος ψαραντώνης ωραιοζήλη""".split()
SHORT = ["".join(pair) for pair in itertools.product("abcdefghijklmn", repeat=2)][:190] + list("abcdefghij")
# Every tenth name of the course's own list: most of a lesson's time goes into losses over all of them.
TENTH = list(load_names("shipped"))[::10]
real_run, real_progress, real_device = subprocess.run, settings.progress, settings.device
LISTS = {"greek": GREEK, "elements": ELEMENTS, "short": SHORT}


class Notebook:
    """A notebook's cells, run in this process in a namespace of their own; an error names its cell."""

    def __init__(self, name: str):
        self.name, self.space = name, {"__name__": "__main__"}
        self.notebook = lesson.read(name)
        self.sections = lesson.sections(self.notebook)
        self.knobs = list(lesson.knobs(self.notebook))

    def cells(self) -> Iterator[str]:
        return itertools.chain.from_iterable(self.sections)

    def turn(self, knob: lesson.Knob, value: object) -> None:
        self.sections = [[knob.turned(cell, value) for cell in cells] for cells in self.sections]

    def run(self, cells: Iterable[str]) -> set[str]:
        """The claims that did not hold."""
        return set().union(*(self.execute(cell) for cell in cells))

    def execute(self, source: str) -> set[str]:
        """As a kernel does it: the value of a last expression is shown. Gives the claims that do not hold."""
        tree, before, printed = ast.parse(source), switches(), io.StringIO()
        with contextlib.redirect_stdout(printed):
            self._execute(tree, source)
        assert switches() == before, f"{self.name}: a cell leaves one of (grad, gc, dtype) changed:\n{source}"
        return {line for line in printed.getvalue().splitlines() if line.startswith("✗")}

    def _execute(self, tree: ast.Module, source: str) -> None:
        try:
            last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
            exec(compile(tree, "<cell>", "exec"), self.space)
            if last is not None:
                value = eval(compile(ast.Expression(last.value), "<cell>", "eval"), self.space)
                if value is not None:
                    self.space["_"] = value
                    str(value)  # a figure is read, a graph is walked
        except Exception as error:
            error.add_note(f"in {self.name}, in the cell\n{source}")
            raise

    def run_and_stop(self, cells: Iterable[str], bars: Bars) -> None:
        """Each training is stopped as ■ does, halfway in its first bar; then the next cell comes."""
        bars.stop = True
        for cell in cells:
            with contextlib.suppress(KeyboardInterrupt):
                self.execute(cell)
        bars.stop = False


class Bars:
    """Stands in for settings.progress, and can stop what it shows."""

    stop = False

    def __call__(self, steps: int | Iterable, label: str = "") -> Iterator[Any]:
        return self._half(steps) if self.stop else iter(real_progress(steps, label))

    def _half(self, steps: int | Iterable) -> Iterator[Any]:
        items = list(range(steps) if isinstance(steps, int) else steps)
        yield from items[: max(1, len(items) // 2)]
        raise KeyboardInterrupt


def run_here(command: list[str], **options: Any) -> subprocess.CompletedProcess:
    """Stands in for subprocess.run: `python -m MODULE …` runs in this interpreter, because another one takes
    three seconds to import torch. nbval runs the same cells with a process of their own."""
    if command[:2] != [sys.executable, "-m"]:
        return real_run(command, **options)
    printed, said = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        torch.random.fork_rng(),
        contextlib.chdir(options["cwd"]),
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(said),
    ):
        patch.setattr(sys, "argv", command[2:])
        patch.setattr(signal, "signal", lambda *_: None)  # what it does at SIGTERM is not for this process
        patch.setattr(settings, "device", real_device)  # another process would not see a test's pretended one
        code = importlib.import_module(command[2]).main()
    assert code == 0, said.getvalue()  # the lesson goes on without, and would not tell
    return subprocess.CompletedProcess(command, code, printed.getvalue())


def switches() -> tuple:
    return *interrupts.switches(), torch.get_default_dtype()


@contextmanager
def bench(monkeypatch, tmp_path: Path, words: list[str] | str = TENTH, shrink: int = 40) -> Iterator[None]:
    """The settings of a run (a list of names, few steps), and all that is global put back after it."""
    if isinstance(words, list):
        path = tmp_path / "names.txt"
        path.write_text("\n".join(words) + "\n", encoding="utf-8")
        words = str(path)
    state, threads, generator = torch.get_rng_state(), torch.get_num_threads(), random.getstate()
    variables = {"ZTH_NAMES": words, "ZTH_SHRINK": str(shrink), "ZTH_QUIET": "1"}
    folder = os.getcwd()
    with monkeypatch.context() as patch, warnings.catch_warnings():
        for name, value in variables.items():
            patch.setenv(name, value)
        patch.setattr(Figure, "png", lambda self, scale=2: b"")  # what is drawn is compared elsewhere
        patch.setattr(subprocess, "run", run_here)
        os.chdir(lesson.NOTEBOOKS)
        try:
            yield
        finally:
            os.chdir(folder)
            torch.set_rng_state(state), torch.set_num_threads(threads), random.setstate(generator)
            torch.set_grad_enabled(True), torch.set_default_dtype(torch.float32), gc.enable()
