"""The learner's copies: made once, renewed only while nobody has edited them, and never lost."""

from __future__ import annotations

import json
import re

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from zth_helpers.course import work_folder
from zth_helpers.settings import ROOT

LESSON, EXERCISES = "01_micrograd.ipynb", "exercises/01_micrograd.ipynb"
PAGE = "| [6 exercises](exercises/01_micrograd.ipynb) | [10 exercises](exercises/02_bigram.ipynb) |"


def write(path, *cells: str, output: str = ""):
    path.parent.mkdir(parents=True, exist_ok=True)
    notebook = new_notebook(cells=[new_code_cell(cell) for cell in cells])
    if output:
        notebook.cells[0].outputs = [new_output("stream", text=output)]
    nbformat.write(notebook, path)


@pytest.fixture
def course(tmp_path):
    for name in (LESSON, "beyond/01_micrograd.ipynb", EXERCISES, "solutions/01_micrograd.ipynb"):
        write(tmp_path / "notebooks" / name, "1")
    (tmp_path / "notebooks" / "welcome.md").write_text(PAGE)
    return tmp_path


def test_all_that_one_works_in_is_copied_once(course):
    assert work_folder.lay_out(course) == ["✓ 3 notebooks copied to work/, yours to edit"]
    copies = sorted(p.relative_to(course / "work").as_posix() for p in (course / "work").rglob("*.ipynb"))
    assert copies == [LESSON, "beyond/01_micrograd.ipynb", EXERCISES]  # the solutions stay where they are
    assert work_folder.lay_out(course) == []


def test_a_new_version_reaches_a_copy_that_was_run_but_not_edited(course):
    work_folder.lay_out(course)
    write(course / "work" / LESSON, "1", output="1\n")  # run
    write(course / "notebooks" / LESSON, "1", "2")
    assert work_folder.lay_out(course) == [
        f"✓ work/{LESSON} is the course's new version (you had not edited it)"
    ]
    assert len(nbformat.read(course / "work" / LESSON, as_version=4).cells) == 2


def test_an_edited_copy_is_kept_and_the_new_version_offered_until_it_is_taken(course):
    work_folder.lay_out(course)
    write(course / "work" / LESSON, "mine")
    assert work_folder.lay_out(course) == []  # the course has nothing newer
    write(course / "notebooks" / LESSON, "newer")
    for _ in range(2):
        (line,) = work_folder.lay_out(course)
        assert line.startswith(f"· work/{LESSON} is kept") and line.endswith("update 01_micrograd")
    assert "mine" in (course / "work" / LESSON).read_text()

    said = work_folder.update("01_micrograd", course)
    assert "newer" in (course / "work" / LESSON).read_text()
    (kept,) = (course / "work" / "earlier").glob("*.ipynb")
    assert "mine" in kept.read_text() and kept.name in said[0]
    assert work_folder.lay_out(course) == []
    work_folder.update("01_micrograd", course)  # on the same day: none takes the place of another
    assert len(list((course / "work" / "earlier").glob("*.ipynb"))) == 2


@pytest.mark.parametrize("text", ["{ half a notebook", "[]", '{"cells": 3}', ""])
def test_a_file_that_cannot_be_read_counts_as_edited(course, text):
    work_folder.lay_out(course)
    (course / "work" / LESSON).write_text(text)
    write(course / "notebooks" / LESSON, "newer")
    assert work_folder.lay_out(course)[0].startswith("· ")
    assert (course / "work" / LESSON).read_text() == text


def test_copies_from_before_there_was_a_record_are_kept(course):
    write(course / "work" / LESSON, "mine")
    lines = work_folder.lay_out(course)
    assert "mine" in (course / "work" / LESSON).read_text()
    assert [line for line in lines if line.startswith("·")]


def test_a_deleted_copy_comes_back_afresh(course):
    work_folder.lay_out(course)
    (course / "work" / LESSON).unlink()
    (course / "work" / work_folder.RECORD).write_text("{ not json")
    assert work_folder.lay_out(course)[0].startswith("✓ 1 notebooks copied")


def test_no_such_notebook(course, capsys):
    assert work_folder.main("07_transformer", course) == 1
    assert "there are 01_micrograd, beyond/01_micrograd, exercises/01_micrograd" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_one_clear_line(course, capsys):
    (course / "work").write_text("a file where the folder should be")
    assert work_folder.main(root=course) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_the_welcome_page_counts_what_is_solved(course):
    page = work_folder.write_welcome({"02_bigram": 4}, course).read_text()
    assert page == (
        "| [0 of 6 solved](exercises/01_micrograd.ipynb) | [4 of 10 solved](exercises/02_bigram.ipynb) |"
    )


def test_the_welcome_page_names_every_lesson_and_the_true_number_of_exercises():
    text = (ROOT / "notebooks" / "welcome.md").read_text(encoding="utf-8")
    found = {name: int(count) for count, name in work_folder.SOLVED.findall(text)}
    there = {
        path.stem: sum(".check(" in "".join(cell["source"]) for cell in json.loads(path.read_text())["cells"])
        for path in (ROOT / "notebooks" / "exercises").glob("*.ipynb")
    }
    assert found == there
    for target in re.findall(r'\]\(([^)#:]+)\)|src="([^"]+)"', text):
        assert (ROOT / "notebooks" / "".join(target)).is_file(), target
        assert (ROOT / "work" / "".join(target)).resolve().is_relative_to(ROOT)  # and from work/ as well
