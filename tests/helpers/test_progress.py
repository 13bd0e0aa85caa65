"""`progress` counts every exercise once, runs only what has changed, and survives what learners write."""

from __future__ import annotations

import json

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from tests.exercises.answers import ROOT
from zth_helpers.course import progress as module

STEM = "01_micrograd"


@pytest.fixture
def course(tmp_path):
    """The first lecture's exercises, untouched, in work/."""
    for folder in ("notebooks", "notebooks/exercises", "work/exercises"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(), tmp_path / "notebooks" / f"{STEM}.ipynb")
    text = (ROOT / "notebooks" / "exercises" / f"{STEM}.ipynb").read_text(encoding="utf-8")
    for folder in ("notebooks/exercises", "work/exercises"):
        (tmp_path / folder / f"{STEM}.ipynb").write_text(text, encoding="utf-8")
    return tmp_path


def answer(course, **sources):
    """Replaces the cells that define these names; `more` is put at the end."""
    path = course / "work" / "exercises" / f"{STEM}.ipynb"
    notebook = nbformat.read(path, 4)
    for name, source in sources.items():
        cells = [c for c in notebook.cells if c.cell_type == "code" and f"def {name}(" in c.source]
        if name == "more":
            notebook.cells.append(new_code_cell(source))
        else:
            cells[0].source = source
    nbformat.write(notebook, path)


def ran(course, capsys, monkeypatch, which="all"):
    """What progress prints, and which exercises it ran."""
    judged = []
    original = module._judge

    def watching(answers, folder):
        judged.extend(a.name for a in answers)
        return original(answers, folder)

    monkeypatch.setattr(module, "_judge", watching)
    assert module.progress(which, course) == 0
    monkeypatch.setattr(module, "_judge", original)
    return capsys.readouterr().out, judged


NUDGE = (
    "def nudge(g, x, h):\n    return [(g(*x[:i], x[i] + h, *x[i + 1 :]) - g(*x)) / h for i in range(len(x))]"
)


def test_progress(course, capsys, monkeypatch):
    said, judged = ran(course, capsys, monkeypatch)
    assert "01_micrograd: 0 of 6 solved" in said and len(judged) == 6
    assert said.count("not tried yet") == 6 and "next: The gradient by hand" in said

    # One right, one wrong, one that is no Python, one checked twice.
    path = course / "work" / "exercises" / f"{STEM}.ipynb"
    wrong = "def gradient(a, b, c):\n    return None"
    answer(
        course, nudge=NUDGE, gradient=wrong, nudge_both="def nudge_both(g, x, h:\n    return", more="1 / 0"
    )
    answer(course, more="ex.forward_difference.check(nudge)")
    before = path.read_bytes()
    said, judged = ran(course, capsys, monkeypatch, "micrograd")
    assert sorted(judged) == ["forward_difference", "gradient_by_hand", "symmetric_difference"]
    assert "01_micrograd: 1 of 6 solved" in said and said.count("The gradient by nudging") == 1
    assert "✓ The gradient by nudging: right" in said
    assert "✗ The gradient by hand: wrong, got None" in said
    assert "A better nudge: wrong, SyntaxError" in said or "symmetric_difference: wrong, SyntaxError" in said
    assert said.count("not tried yet") == 3 and path.read_bytes() == before

    said_again, judged = ran(course, capsys, monkeypatch)
    assert said_again == said and judged == []  # nothing has changed, so nothing runs

    kept = json.loads((course / "work" / module.KEPT).read_text())[STEM]
    assert kept["forward_difference"]["state"] == "right"
    answer(course, nudge="def nudge(g, x, h):\n    return []")
    said, judged = ran(course, capsys, monkeypatch)
    assert judged == ["forward_difference"] and "1 of 6" not in said


def test_an_error_in_the_cell_of_a_right_answer_does_not_make_it_wrong(course, capsys, monkeypatch):
    broken = "1 / 0\ndef gradient(a, b, c):\n    return 1, 2, 3"
    answer(course, nudge=NUDGE + "\n1 / 0", gradient=broken)
    said, _ = ran(course, capsys, monkeypatch)
    assert "✓ The gradient by nudging: right" in said and "01_micrograd: 1 of 6 solved" in said
    assert "gradient_by_hand: wrong, ZeroDivisionError" in said


def test_an_endless_loop_costs_its_own_exercise_alone(course, capsys, monkeypatch):
    monkeypatch.setattr(module, "SECONDS", 5)
    gradient = "import time\nwhile True:\n    time.sleep(0.01)\ndef gradient(a, b, c):\n    return 1, 2, 3"
    answer(course, gradient=gradient, nudge=NUDGE)
    said, _ = ran(course, capsys, monkeypatch)
    assert "✓ The gradient by nudging: right" in said and "01_micrograd: 1 of 6 solved" in said
    assert "this cell was stopped after" in said


def test_a_notebook_that_cannot_be_read(course, capsys, monkeypatch):
    (course / "work" / "exercises" / f"{STEM}.ipynb").write_text("{ not a notebook")
    said, _ = ran(course, capsys, monkeypatch)
    assert "01_micrograd: cannot be read" in said


def test_nothing_there_and_no_such_lesson(tmp_path, course, capsys):
    (course / "work" / "exercises" / f"{STEM}.ipynb").unlink()
    assert module.progress("all", course) == 0 and "start 1" in capsys.readouterr().out
    assert module.progress("9", course) == 2 and "there is no lecture '9'" in capsys.readouterr().err
