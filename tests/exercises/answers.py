"""Shared by the tests of the exercises: the masters' own answers, taken out of the solution notebooks."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import nbformat

from zth_helpers.exercises.exercise import Exercise, Verdict

ROOT = Path(__file__).resolve().parents[2]
TOPICS = {
    "micrograd": "01_micrograd",
    "bigram": "02_bigram",
    "mlp": "03_mlp",
    "batchnorm": "04_batchnorm",
    "backprop_ninja": "05_backprop_ninja",
    "wavenet": "06_wavenet",
}


def code(path: Path) -> list[str]:
    return [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


@functools.cache
def answers(topic: str, folder: str = "solutions") -> dict:
    """The namespace after running a master (or, from "exercises", its stubs) without the checks."""
    namespace: dict = {"__name__": "notebook"}
    for source in code(ROOT / "notebooks" / folder / f"{TOPICS[topic]}.ipynb"):
        if ".check(" not in source:
            exec(compile(source, f"<{TOPICS[topic]}>", "exec"), namespace)
    return namespace


@functools.cache
def checks(topic: str) -> dict[str, tuple[str, ...]]:
    """Exercise name -> the names of the answers that its check gets, read from the master."""
    lines = "\n".join(code(ROOT / "notebooks" / "solutions" / f"{TOPICS[topic]}.ipynb"))
    found = re.findall(r"^ex\.(\w+)\.check\(([^)]*)\)$", lines, re.M)
    return {name: tuple(re.split(r"\s*,\s*", arguments)) for name, arguments in found}


def right(topic: str, name: str) -> tuple:
    """The master's own answers to one exercise."""
    return tuple(answers(topic)[argument] for argument in checks(topic)[name])


def stubs(topic: str, name: str) -> tuple:
    return tuple(answers(topic, "exercises")[argument] for argument in checks(topic)[name])


def rejected(verdict: Verdict, message: str) -> None:
    """Asserts that a wrong answer was called wrong, with this in the message and nothing of our insides."""
    assert verdict.state == "wrong", str(verdict)
    assert message in verdict.message, str(verdict)
    assert "could not be judged" not in verdict.message and "checks.py" not in verdict.message, str(verdict)


def exercises_of(module) -> dict[str, Exercise]:
    return {name: value for name, value in vars(module).items() if isinstance(value, Exercise)}


def named_mistakes(module, topic: str) -> set[tuple[str, str]]:
    """(exercise, explanation) of every named mistake that the judges hold while the masters are judged."""
    seen: set[tuple[str, str]] = set()
    original = module.expect

    def watching(what, got, want, mistakes=None, *rest, **more):
        seen.update((name, explanation) for explanation in mistakes or {})
        return original(what, got, want, mistakes, *rest, **more)

    module.expect = watching
    try:
        for name, exercise in exercises_of(module).items():
            assert exercise.check(*right(topic, name)), name
    finally:
        module.expect = original
    return seen
