"""The learner's code on a leash: limited in time and in what it prints, and the kernel is left as it was.

A check runs code that nobody has seen before. It may loop for ever, call `sys.exit`, print a million lines,
seed the generators or change torch's defaults. None of that may cost the learner the kernel, and what their
code has changed for everything after it is put back and told.
"""

from __future__ import annotations

import contextlib
import ctypes
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any, TextIO

import numpy as np
import torch

from zth_helpers import settings

SECONDS = 20.0  # at most, for one verdict
PRINTED = 20_000  # characters of the learner's own output that one check lets through
_TICK = 0.05  # seconds between two looks at the clock
_notes: list[str] = []


class TooSlow(BaseException):
    """The time is up. Not an Exception, so that a learner's `except Exception` does not catch it."""


def note(text: str) -> None:
    """Adds a remark, once, to the verdict that is in the making."""
    if text not in _notes:
        _notes.append(text)


@contextlib.contextmanager
def judging() -> Iterator[list[str]]:
    """Everything around one verdict but the time limit: torch's defaults are set, and the kernel's own
    settings, generators and output come back afterwards. Yields the notes."""
    del _notes[:]
    python, numpy_state = random.getstate(), np.random.get_state()
    limit, streams = sys.getrecursionlimit(), (sys.stdout, sys.stderr)
    shown = _Shown()
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad(), _on_cpu():
        dtype = torch.get_default_dtype()
        torch.set_default_dtype(torch.float32)
        # What they write to stderr goes to stdout too: nbgrader takes stderr for a failed test.
        bounded: Any = _Bounded(sys.stdout, shown)
        sys.stdout = sys.stderr = bounded
        try:
            yield _notes
        finally:
            sys.stdout, sys.stderr = streams
            sys.setrecursionlimit(limit)
            torch.set_default_dtype(dtype)
            random.setstate(python)
            np.random.set_state(numpy_state)
            if shown.left < 0:
                note(f"your code printed {PRINTED - shown.left:,} characters; the rest is not shown")


@contextlib.contextmanager
def untouched_settings() -> Iterator[None]:
    """Around each call of the learner's code: its changes of torch's defaults end with it and are told."""
    dtype, grad = torch.get_default_dtype(), torch.is_grad_enabled()
    seed, python = torch.initial_seed(), random.getstate()
    try:
        yield
    finally:
        if torch.initial_seed() != seed:
            note(
                "your code calls torch.manual_seed, which seeds everything that runs after it; the check has"
                " put it back. A generator of its own disturbs nothing: torch.Generator().manual_seed(…)"
            )
        if random.getstate() != python:
            note(
                "your code uses Python's global random numbers, which everything after it shares; the check"
                " has put them back. random.Random(seed) is a generator of its own"
            )
        if torch.get_default_dtype() != dtype:
            torch.set_default_dtype(dtype)
            note("your code changes torch's default dtype for everything that runs after it; it was put back")
        if torch.is_grad_enabled() != grad:
            torch.set_grad_enabled(grad)
            note("your code switches gradients on or off for everything after it; it was put back")


def _on_cpu() -> contextlib.AbstractContextManager:
    """Where the kernel's default device is another one."""
    elsewhere = torch.get_default_device().type != "cpu"
    return torch.device("cpu") if elsewhere else contextlib.nullcontext()


class _Shown:
    left = PRINTED


class _Bounded:
    """A stream that lets the first characters through and counts the rest."""

    def __init__(self, stream: TextIO, shown: _Shown):
        self._stream, self._shown = stream, shown

    def write(self, text: str) -> int:
        if self._shown.left > 0:
            self._stream.write(text[: self._shown.left])
        self._shown.left -= len(text)
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class time_limit:
    """A context in which TooSlow is raised once the time is up.

    What counts is the smaller of the clock's time and the processor's, so that a busy machine takes nothing
    from the learner; three times as much by the clock ends it too (a `sleep`). A bar shows the time after
    two seconds, except under ZTH_QUIET. Where there are no alarms (Windows, other threads) a thread watches.
    """

    def __init__(self, seconds: float):
        self.seconds = seconds
        self._on = self._alarm = self._traced = False
        self._bar: Any = None

    def __enter__(self) -> time_limit:
        self._start = time.perf_counter(), time.process_time()
        self._on, self._raised, self._trace = True, -1.0, sys.gettrace()
        self._alarm = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
        if self._alarm:
            self._before = signal.signal(signal.SIGALRM, lambda _, frame: self._tick(frame))
            signal.setitimer(signal.ITIMER_REAL, _TICK, _TICK)
        else:
            self._target = threading.get_ident()
            threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """No TooSlow after this, however often it is called."""
        self._on = False
        if self._traced:
            sys.settrace(self._trace)
            self._traced = False
        if self._alarm:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self._before)
            self._alarm = False
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def spent(self) -> tuple[float, float]:
        """Seconds that count, and seconds by the clock."""
        wall = time.perf_counter() - self._start[0]
        return min(wall, time.process_time() - self._start[1]), wall

    def _over(self) -> bool:
        counted, wall = self.spent()
        if counted < self.seconds and wall < 3 * self.seconds:
            return False
        # Once more and again, for code that catches everything; with a pause in which we may leave.
        if self._raised < 0:
            self._raised = wall
            return True
        return wall - self._raised > 0.5

    def _tick(self, frame: FrameType | None) -> None:
        if not self._on:
            return
        first = self._raised < 0
        if self._over():
            if first:
                raise TooSlow
            return self._insist(frame)
        self._show()

    def _insist(self, frame: FrameType | None) -> None:
        """For `try: … except: pass` in a loop: its next line raises, which may be the handler's own."""

        def at_next_line(_: FrameType, event: str, __: object) -> Any:
            if event == "line" and self._on:
                raise TooSlow
            return at_next_line

        while frame is not None and not frame.f_code.co_filename.startswith(str(settings.PACKAGE)):
            frame.f_trace = at_next_line
            frame = frame.f_back
        self._traced = True
        sys.settrace(lambda *_: None)

    def _show(self) -> None:
        counted, _ = self.spent()
        if counted < 2 or settings.quiet():
            return
        with contextlib.suppress(Exception):  # a bar must not disturb; a stream may be busy just now
            if self._bar is None:
                from tqdm import tqdm

                look = "your code has run for {n:.0f} of {total:.0f} s |{bar}|"
                how = {"leave": False, "ncols": 80, "mininterval": 0.5, "bar_format": look}
                self._bar = tqdm(total=self.seconds, initial=counted, file=sys.stdout, **how)
            self._bar.update(counted - self._bar.n)

    def _watch(self) -> None:
        while self._on:
            time.sleep(_TICK)
            if self._on and self._over():
                target = ctypes.c_ulong(self._target)
                ctypes.pythonapi.PyThreadState_SetAsyncExc(target, ctypes.py_object(TooSlow))
