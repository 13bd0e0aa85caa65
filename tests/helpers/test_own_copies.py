"""`start` never loses a learner's work; `progress` tells what is solved without touching it."""

from __future__ import annotations

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from zth_helpers.course import own_copies as work

SOLVED = (
    "from zth_helpers.exercises.exercise import exercise\n"
    "from zth_helpers.exercises.checks import call, expect\n"
    "def judge(f):\n    expect('f(2)', call(f, 2), 4)\n    return 'yes'\n"
    "twice = exercise('Twice', hints=('h',))(judge)"
)


@pytest.fixture
def course(tmp_path):
    """A course of two lectures, exercises included."""
    for name in ("01_micrograd", "02_bigram"):
        for folder in ("notebooks", "notebooks/exercises"):
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
            nbformat.write(new_notebook(cells=[new_code_cell("1")]), tmp_path / folder / f"{name}.ipynb")
    return tmp_path


def test_start_copies_lesson_and_exercises(course, capsys):
    assert work.start("2", course) == 0
    assert sorted(str(p.relative_to(course)) for p in (course / "work").rglob("*.ipynb")) == [
        "work/02_bigram.ipynb",
        "work/exercises/02_bigram.ipynb",
    ]
    assert work.start("all", course) == 0
    assert len(list((course / "work").rglob("*.ipynb"))) == 4


@pytest.mark.parametrize(("answer", "kept"), [("n", True), ("", True), ("y", False), (None, True)])
def test_start_never_overwrites_without_asking(course, monkeypatch, capsys, answer, kept):
    work.start("1", course)
    mine = course / "work" / "01_micrograd.ipynb"
    mine.write_text("my work")
    monkeypatch.setattr("sys.stdin.isatty", lambda: answer is not None, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: answer)
    assert work.start("1", course) == 0
    assert (mine.read_text() == "my work") is kept


@pytest.mark.parametrize("which", ["7", "0", "x", "-1"])
def test_start_of_no_lecture(course, capsys, which):
    assert work.start(which, course) == 2
    assert "there are 1, 2, and `all`" in capsys.readouterr().err


def test_progress(course, capsys):
    assert work.progress(course) == 0
    assert "start 1" in capsys.readouterr().out

    exercises = course / "work" / "exercises"
    exercises.mkdir(parents=True)
    cells = [SOLVED, "twice.check(lambda x: 2 * x)", "twice.check(lambda x: x)", "twice.check(...)", "1 / 0"]
    path = exercises / "01_micrograd.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell(c) for c in cells]), path)
    (exercises / "02_bigram.ipynb").write_text("{ not a notebook")
    before = path.read_bytes()
    assert work.progress(course) == 0
    said = capsys.readouterr().out
    assert "01_micrograd: 1 of 3 solved, 1 cells raise an error" in said
    assert "✓ Twice: right" in said and "✗ Twice: wrong" in said and "· Twice: not tried yet" in said
    assert "02_bigram: could not be run" in said
    assert path.read_bytes() == before
