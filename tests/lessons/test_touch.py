"""Lessons are made to be touched: nothing that a learner does to one ends in an error."""

from __future__ import annotations

import os

import pytest

from tests.lessons.hands import LISTS, Bars, Notebook, bench
from tools import lesson
from zth_helpers import settings

ALL = [*lesson.lessons(), *lesson.lessons("beyond")]
each = pytest.mark.parametrize("name", ALL)


@each
def test_every_cell_twice_and_every_section_again_in_reverse_order(name, monkeypatch, tmp_path):
    """And what holds in one run from top to bottom holds when each cell is run twice. Before the sections
    come again, every training is stopped; the cells behind it find what was there before."""
    once, twice, bars = Notebook(name), Notebook(name), Bars()
    monkeypatch.setattr(settings, "progress", bars)
    with bench(monkeypatch, tmp_path):
        failing = once.run(once.cells())
        once.run_and_stop(once.cells(), bars)
        for section in reversed(once.sections):
            once.run(section)
    with bench(monkeypatch, tmp_path):
        again = twice.run(cell for cell in twice.cells() for _ in range(2))
    assert again <= failing, f"{name}: these hold in one run, and fail when each cell is run twice"


@pytest.mark.parametrize("which", [0, 1])
@each
def test_every_knob_turned(name, which, monkeypatch, tmp_path):
    notebook = Notebook(name)
    for knob in notebook.knobs:
        notebook.turn(knob, knob.others[which])
    with bench(monkeypatch, tmp_path):
        notebook.run(notebook.cells())


@pytest.mark.sweep
@pytest.mark.parametrize(
    ("name", "knob", "value"),
    [(n, k, v) for n in ALL for k in lesson.knobs(lesson.read(n)) for v in k.others],
    ids=lambda x: x.name if isinstance(x, lesson.Knob) else str(x),
)
def test_one_knob_turned(name, knob, value, monkeypatch, tmp_path):
    notebook = Notebook(name)
    notebook.turn(knob, value)
    with bench(monkeypatch, tmp_path):
        notebook.run(notebook.cells())


@pytest.mark.parametrize("words", [*LISTS, "lecture"])
@each
def test_another_list_of_names(name, words, monkeypatch, tmp_path):
    lecture = os.environ.get("ZTH_LECTURE_LIST")
    if words == "lecture" and not lecture:
        pytest.skip("the lecture's list is not part of the course: ZTH_LECTURE_LIST names it")
    notebook = Notebook(name)
    if not any("load_names" in cell for cell in notebook.cells()):
        pytest.skip("it uses no names")
    with bench(monkeypatch, tmp_path, lecture if words == "lecture" else LISTS[words]):
        notebook.run(notebook.cells())


def test_an_alphabet_of_hundreds(monkeypatch, tmp_path):
    """A table of all its contexts would need 200 GB."""
    words = [chr(0x4E00 + i) + chr(0x4E00 + 7 * i % 600) for i in range(600)]
    notebook = Notebook("06_wavenet")
    with bench(monkeypatch, tmp_path, words):
        notebook.run(notebook.cells())


@each
def test_knobs_have_two_other_values(name):
    for knob in lesson.knobs(lesson.read(name)):
        assert len(set(knob.others)) >= 2, knob.line
        assert knob.default not in knob.others, knob.line
