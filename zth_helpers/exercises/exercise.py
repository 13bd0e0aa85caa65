"""How an exercise answers back: it runs the learner's answer on fresh inputs and says in words what is wrong.

An exercise is a judge function under `@exercise(...)`. It gets the learner's answers, runs and compares them
with the helpers of `judging.py`, and returns a sentence for a right answer. Whatever the learner's code
does, `check` returns a `Verdict`; it never raises.
"""

from __future__ import annotations

import html
import inspect
import json
import linecache
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from zth_helpers import __version__, settings

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
    message = f"your code raised {type(error).__name__}: {error}"
    if frame is None:
        asked = "\n(when it was called: does it take these arguments?)"
        return message + asked * isinstance(error, TypeError)
    line = linecache.getline(frame.filename, frame.lineno or 0).strip() or frame.line or ""
    return f"{message}\nin {frame.name}, line {frame.lineno} of its cell: {line}"


def _is_theirs(filename: str, judge: str) -> bool:
    inside = filename == judge or settings.PACKAGE in Path(filename).parents or "site-packages" in filename
    return not inside and not filename.startswith("<frozen")


@dataclass
class Verdict:
    """What a check says: `state` is "right", "wrong", "not tried yet", "could not be judged" or "hint"."""

    state: str
    title: str
    message: str

    def __str__(self) -> str:
        return f"{MARK[self.state]} {self.title}: {self.state}" + (
            f"\n{self.message}" if self.message else ""
        )

    __repr__ = __str__

    def __bool__(self) -> bool:
        return self.state == "right"

    def _repr_html_(self) -> str:
        head = f"<b style='color:{COLOUR[self.state]}'>{MARK[self.state]} {self.state}</b>"
        body = f"<pre style='margin:4px 0 0'>{html.escape(self.message)}</pre>" if self.message else ""
        style = f"border-left:4px solid {COLOUR[self.state]};padding:4px 12px"
        return f"<div style='{style}'>{head} · {html.escape(self.title)}{body}</div>"


class Exercise:
    """One exercise: `check(answer)`, `hint()`, `solution()`. Made by `@exercise`."""

    def __init__(self, judge: Callable[..., str], title: str, official: bool, hints: Sequence[str]):
        self.name = judge.__name__
        self.lesson = judge.__module__.rpartition(".")[2]
        self.title, self.official, self.hints = title, official, tuple(hints)
        self.judge = judge
        self.__doc__ = judge.__doc__
        self._hinted = 0

    def check(self, *answers: Any) -> Verdict:
        """Judges the learner's answers, in seconds."""
        try:
            if not answers or any(answer is ... for answer in answers):
                raise NotTried
            with torch.random.fork_rng(devices=[]):
                return Verdict("right", self.title, self.judge(*answers))
        except NotTried:
            return Verdict("not tried yet", self.title, "")
        except Wrong as wrong:
            return Verdict("wrong", self.title, str(wrong))
        except Exception as error:
            if isinstance(error, TypeError) and len(traceback.extract_tb(error.__traceback__)) == 1:
                message = f"check() takes other answers than the {len(answers)} it got: {self.usage()}"
                return Verdict("wrong", self.title, message)
            if theirs := their_frame(error, self.judge.__code__.co_filename):
                return Verdict("wrong", self.title, blame(error, theirs))
            return Verdict("could not be judged", self.title, self._report(error))

    def _report(self, error: Exception) -> str:
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

    def hint(self) -> Verdict:
        """The next hint; each says more than the one before."""
        if self._hinted == len(self.hints):
            return Verdict("hint", self.title, f"That was the last hint. Ours: ex.{self.name}.solution()")
        self._hinted += 1
        message = f"{self.hints[self._hinted - 1]}\n({self._hinted} of {len(self.hints)})"
        return Verdict("hint", self.title, message)

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
        return f"{self.title}: {self.usage()}, ex.{self.name}.hint(), ex.{self.name}.solution()"


def exercise(
    title: str, hints: Sequence[str], official: bool = False
) -> Callable[[Callable[..., str]], Exercise]:
    """Turns a judge function into an `Exercise`; `official` marks the lectures' own."""
    return lambda judge: Exercise(judge, title, official, hints)
