"""How an exercise answers back: it runs the learner's answer on fresh inputs and says in words what is wrong.

An exercise is a judge function under `@exercise(...)`. It gets the learner's answers, runs and compares them
with the helpers of `checks.py`, and returns a sentence for a right answer. Whatever the learner's code
does, `check` returns a `Verdict` within seconds; it never raises.
"""

from __future__ import annotations

import ast
import html
import inspect
import json
import linecache
import sys
import sysconfig
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any

from zth_helpers import __version__, settings
from zth_helpers.exercises import leash

SOLUTIONS = settings.course_folder("_solutions", "notebooks/solutions")
BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
STUB = 'raise NotImplementedError("your code here")'
MARK = {"right": "✓", "wrong": "✗", "not tried yet": "·", "could not be judged": "!", "hint": "→"}
COLOUR = {
    "right": "#3a8f5c",
    "wrong": "#d1495b",
    "not tried yet": "#8a8f98",
    "could not be judged": "#c98a1b",
    "hint": "#2a6fbb",
}
_LIBRARY = (sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))


class Wrong(Exception):
    """The answer is wrong; the message tells the learner what is."""


class NotTried(Exception):
    """The stub is untouched."""


def their_frame(error: BaseException, judge: str = "") -> traceback.FrameSummary | None:
    """The innermost place in the learner's own code that an exception went through; `judge` is our file."""
    frames = traceback.extract_tb(error.__traceback__)
    return next((frame for frame in reversed(frames) if _is_theirs(frame.filename, judge)), None)


def blame(error: BaseException, frame: traceback.FrameSummary | None) -> str:
    """The learner's exception as theirs: its message and the line of their code that raised it."""
    kind, what = type(error).__name__, str(error)
    message = f"your code raised {kind}: {what}" if what else f"your code raised {kind}"
    if isinstance(error, SystemExit):
        message = "your code ends Python (SystemExit, as sys.exit and quit do): leave with `return`"
    if frame is None:
        asked = "\n(when it was called: does it take these arguments?)"
        return message + asked * isinstance(error, TypeError)
    return f"{message}\n{_place(frame)}"


def stub_or_work(error: BaseException) -> NotTried | Wrong:
    """What the stub's NotImplementedError means: nothing was tried, or a stub is in the way of an answer."""
    reached = [(f.f_code, line) for f, line in traceback.walk_tb(error.__traceback__)]
    theirs = [(code, line) for code, line in reached if _is_theirs(code.co_filename, "")]
    code, line = theirs[-1] if theirs else reached[-1]
    if _has_work(code, line):
        return Wrong(
            f"the stub still stands in {code.co_name}, line {line} of its cell: your code is there, but"
            f" delete the line `{STUB}`"
        )
    if len({c for c, _ in theirs}) > 1:  # the answer calls another function that is still a stub
        return Wrong(f"your code calls {code.co_name}, which is still a stub (line {line} of its cell)")
    return NotTried(code.co_name)


def _has_work(code: CodeType, stub: int) -> bool:
    """Does the function hold more than its docstring and the stub's line?"""
    try:
        tree = ast.parse("".join(linecache.getlines(code.co_filename)))
    except SyntaxError:
        tree = ast.Module([], [])
    inside = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        and node.name == code.co_name
        and node.lineno <= stub <= (node.end_lineno or 0)
    ]
    if inside:
        body = max(inside, key=lambda node: node.lineno).body
        docstring = isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant)
        return any(node.lineno != stub for node in body[docstring:])
    lines = {line for *_, line in code.co_lines() if line}  # no source: what was compiled tells
    return any(code.co_firstlineno < line < stub for line in lines)


def _place(frame: traceback.FrameSummary) -> str:
    line = linecache.getline(frame.filename, frame.lineno or 0).strip() or frame.line or ""
    return f"in {frame.name}, line {frame.lineno} of its cell: {line}"


def _is_theirs(filename: str, judge: str) -> bool:
    inside = filename == judge or settings.PACKAGE in Path(filename).parents or "site-packages" in filename
    return not inside and not filename.startswith("<frozen") and not filename.startswith(_LIBRARY)


@dataclass
class Verdict:
    """What a check says: `state` is "right", "wrong", "not tried yet", "could not be judged" or "hint"."""

    state: str
    title: str
    message: str

    def __str__(self) -> str:
        head = f"{MARK[self.state]} {self.title}: {self.state}"
        return f"{head}\n{self.message}" if self.message else head

    __repr__ = __str__

    def __bool__(self) -> bool:
        return self.state == "right"

    def _repr_html_(self) -> str:
        head = f"<b style='color:{COLOUR[self.state]}'>{MARK[self.state]} {self.state}</b>"
        body = f"<pre style='margin:4px 0 0'>{html.escape(self.message)}</pre>" if self.message else ""
        style = f"border-left:4px solid {COLOUR[self.state]};padding:4px 12px"
        return f"<div style='{style}'>{head} · {html.escape(self.title)}{body}</div>"


class Exercise:
    """One exercise: `check(answer)`, `hint()`, `solution()`. Made by `@exercise`.

    `level` is its difficulty, 1 to 5, and `minutes` what a learner needs who has just read the lesson.
    """

    def __init__(
        self,
        judge: Callable[..., str],
        title: str,
        hints: Sequence[str],
        official: bool,
        level: int,
        minutes: int,
        slow: str,
    ):
        self.name = judge.__name__
        self.lesson = judge.__module__.rpartition(".")[2]
        self.title, self.official, self.hints = title, official, tuple(hints)
        self.level, self.minutes, self.slow = level, minutes, slow
        self.judge = judge
        self.__doc__ = judge.__doc__
        self._hinted = 0
        self._cells: dict[str, list[int]] = {}  # which hints each cell has shown
        self._now: tuple[str, int, int] = "", 0, 0  # the cell, its run, and how many hints in this run

    def check(self, *answers: Any) -> Verdict:
        """Judges the learner's answers, in seconds."""
        if not answers or any(answer is ... for answer in answers):
            return Verdict("not tried yet", self.title, "")
        limit = leash.time_limit(leash.SECONDS)
        with leash.judging() as notes:
            try:
                try:
                    inspect.signature(self.judge).bind(*answers)
                except TypeError:
                    raise Wrong(f"it got {len(answers)} where it takes {self.usage()}") from None
                with limit:
                    verdict = Verdict("right", self.title, self.judge(*answers))
            except KeyboardInterrupt:
                raise  # the learner's own: they want to stop
            except BaseException as error:
                limit.end()
                verdict = self._failed(error)
        message = [verdict.message, *(f"Note: {note}." for note in notes)]
        if verdict and (following := self.next()):
            message.append(f"Next: {following.title} (ex.{following.name})")
        return Verdict(verdict.state, verdict.title, "\n".join(line for line in message if line))

    def _failed(self, error: BaseException) -> Verdict:
        """The verdict that an exception on the way means."""
        if isinstance(error, NotTried):
            several = len(inspect.signature(self.judge).parameters) > 1
            return Verdict(
                "not tried yet", self.title, f"still a stub: {error}" if several and str(error) else ""
            )
        if isinstance(error, Wrong):
            return Verdict("wrong", self.title, str(error))
        theirs = their_frame(error, self.judge.__code__.co_filename)
        if isinstance(error, leash.TooSlow):
            place = f"\nit was {_place(theirs)}" if theirs else ""
            advice = f"\n{self.slow[0].upper()}{self.slow[1:]}." if self.slow else ""
            message = f"too slow: stopped after {leash.SECONDS:.0f} seconds{place}{advice}"
            return Verdict("wrong", self.title, message)
        if theirs:
            return Verdict("wrong", self.title, blame(error, theirs))
        return Verdict("could not be judged", self.title, self._report(error))

    def _report(self, error: BaseException) -> str:
        """For a check that itself has failed: never the learner's fault."""
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(last.filename).name}, line {last.lineno}"
        return (
            "The check itself has failed: this is a fault of the course, not of your answer.\n"
            "Please report it, with your answer and this line:\n"
            f"{self.lesson}.{self.name}: {type(error).__name__}: {error} ({place}, course {__version__})"
        )

    def usage(self) -> str:
        return f"ex.{self.name}.check({', '.join(inspect.signature(self.judge).parameters)})"

    def next(self) -> Exercise | None:
        """The exercise after this one in its lesson."""
        module = sys.modules.get(self.judge.__module__)
        all_ = [value for value in vars(module).values() if isinstance(value, Exercise)] if module else []
        place = all_.index(self) + 1 if self in all_ else len(all_)
        return all_[place] if place < len(all_) else None

    def effort(self) -> str:
        """How hard it is and how long it takes: "●●○○○ · about 10 minutes"."""
        return f"{'●' * self.level}{'○' * (5 - self.level)} · about {self.minutes} minutes"

    def hint(self, number: int | None = None) -> Verdict:
        """The next hint, which says more than the one before, or hint `number` once more.

        A cell that is run again shows its hint again.
        """
        n = len(self.hints)
        if number is not None and not (isinstance(number, int) and 1 <= number <= n):
            return Verdict("hint", self.title, f"there are hints 1 to {n}: ex.{self.name}.hint(1)")
        number = number or self._due()
        if number > n:
            return Verdict("hint", self.title, f"That was the last hint. Ours: ex.{self.name}.solution()")
        self._hinted = max(self._hinted, number)
        more = f"; the next is ex.{self.name}.hint({number + 1})" if number < n else ""
        return Verdict("hint", self.title, f"{self.hints[number - 1]}\n({number} of {n}{more})")

    def _due(self) -> int:
        """The number of the hint to show: a new one, or the one that this cell has shown before."""
        cell, run = _cell()
        index = self._now[2] + 1 if cell and (cell, run) == self._now[:2] else 0
        self._now = cell, run, index
        shown = self._cells.setdefault(cell, []) if cell else []
        if index >= len(shown):
            shown.append(min(self._hinted, len(self.hints)) + 1)
            index = -1
        return shown[index]

    def solution(self) -> Verdict:
        """The course's answer, taken from the solution notebook."""
        for path in sorted(SOLUTIONS.glob("*.ipynb")):
            sources = [
                "".join(cell["source"])
                for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]
                if cell["cell_type"] == "code"
            ]
            for before, source in zip(sources, sources[1:]):
                if f"ex.{self.name}.check(" in source and BEGIN in before:
                    lines = [line for line in before.splitlines() if line.strip() not in (BEGIN, END)]
                    return Verdict("hint", f"{self.title} — one right answer", "\n".join(lines))
        raise FileNotFoundError(
            f"no solution of {self.name} under {SOLUTIONS}: git checkout notebooks/solutions"
        )

    def __repr__(self) -> str:
        usage = f"{self.usage()}, ex.{self.name}.hint(), ex.{self.name}.solution()"
        return f"{self.title} ({self.effort()}): {usage}"


def _cell() -> tuple[str, int]:
    """The notebook cell that runs now and the number of its run; ("", 0) outside of IPython."""
    shell = settings.ipython()
    if shell is None:
        return "", 0
    kernel: Any = getattr(shell, "kernel", None)
    parent = kernel.get_parent() if kernel is not None else {}
    known = (parent or {}).get("metadata", {}).get("cellId")  # JupyterLab sends it
    return known or str(shell.user_ns.get("In", [""])[-1]), shell.execution_count


def exercise(
    title: str,
    hints: Sequence[str],
    official: bool = False,
    level: int = 2,
    minutes: int = 10,
    slow: str = "",
) -> Callable[[Callable[..., str]], Exercise]:
    """Turns a judge function into an `Exercise`.

    `official` marks the lectures' own; `slow` says what is to blame when the time runs out.
    """
    return lambda judge: Exercise(judge, title, hints, official, level, minutes, slow)
