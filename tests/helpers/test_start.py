"""`start` never loses a learner's work, and what it copies can be used where it lies."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from tools.lesson import ROOT
from zth_helpers.course import work_folder as work


@pytest.fixture
def course(tmp_path):
    """A course of two lectures, exercises included."""
    for name in ("01_micrograd", "02_bigram"):
        for folder in ("notebooks", "notebooks/exercises"):
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
            nbformat.write(new_notebook(cells=[new_code_cell("1")]), tmp_path / folder / f"{name}.ipynb")
    (tmp_path / "notebooks" / "welcome.md").write_text("Welcome")
    return tmp_path


def test_start_lays_out_all_and_says_what_to_open(course, capsys):
    assert work.start("2", course) == 0
    said = capsys.readouterr().out
    for name in ("02_bigram.ipynb", "exercises/02_bigram.ipynb"):
        assert (course / "work" / name).exists() and str(course / "work" / name) in said
    assert len(list((course / "work").rglob("*.ipynb"))) == 4  # links from one to another work


def test_start_never_overwrites(course, capsys):
    work.start("1", course)
    mine = course / "work" / "01_micrograd.ipynb"
    mine.write_text("my work")
    assert work.start("1", course) == 0
    assert mine.read_text() == "my work" and "update 01_micrograd" in capsys.readouterr().out


@pytest.mark.parametrize("which", ["7", "0", "x", "-1"])
def test_start_of_no_lecture(course, capsys, which):
    assert work.start(which, course) == 2
    assert "there are 1 (micrograd), 2 (bigram), and `all`" in capsys.readouterr().err


@pytest.mark.parametrize("which", ["2", "02", "bigram", "02_bigram", "02_bigram.ipynb", " Bigram "])
def test_start_takes_every_name_of_a_lesson(course, capsys, which):
    assert work.start(which, course) == 0
    said = capsys.readouterr().out
    assert "make lab" in said and str(course / "work" / "02_bigram.ipynb") in said


def test_the_links_of_the_copies_work(tmp_path, capsys):
    """Of the real course: every relative link of every copy leads to a file."""
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    shutil.copytree(ROOT / "figs", tmp_path / "figs")
    work.start("3", tmp_path)
    copies = list((tmp_path / "work").rglob("*.ipynb"))
    assert len(copies) >= 3
    for copy in copies:
        for cell in nbformat.read(copy, as_version=4).cells:
            if cell.cell_type == "markdown":
                for link in re.findall(r"\]\(([^)#:\s]+\.(?:ipynb|png|md))", cell.source):
                    target = (copy.parent / link).resolve()
                    assert target.exists() or not (ROOT / link).exists(), f"{copy}: {link}"


def test_start_works_from_any_folder(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "zth_helpers", "start", "77"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 2 and "there is no lecture '77'" in done.stderr
    assert list(tmp_path.iterdir()) == []
