"""The recorded numbers and the lessons that they come from cannot part unseen."""

from __future__ import annotations

import json
import re

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from benchmarks.lecture_numbers import report, reproduce
from conftest import Tolerant
from tools import lesson
from tools.lesson import ROOT

DATA = json.loads((ROOT / "benchmarks" / "lecture_numbers" / "numbers.json").read_text(encoding="utf-8"))
LESSONS = [name for name in reproduce.NOTEBOOKS if reproduce.measuring_cells(lesson.read(name))]


def made(*cells: str) -> nbformat.NotebookNode:
    return new_notebook(cells=[new_code_cell(source) for source in cells])


@pytest.mark.parametrize("name", LESSONS)
def test_numbers_are_of_the_lesson_as_it_is(name):
    """The quick results that stood in the lesson when its full run was measured still stand there."""
    if name not in DATA["notebooks"]:
        pytest.skip(f"{name} has no recorded run yet: make numbers")
    recorded = DATA["notebooks"][name]["stored"]
    now = reproduce.stored(lesson.read(name))
    assert len(recorded) == len(now), f"{name} has other numbers than when they were measured: make numbers"
    for before, after in zip(recorded, now):
        assert Tolerant(before) == after, f"{name}: {after!r} was {before!r}: make numbers"


def test_numbers_are_many_and_every_difference_says_why():
    assert report.count([row for row in DATA["numbers"] if row["kind"] == "published"]) >= 60
    assert [row["what"] for row in DATA["numbers"] if not row["same"] and not row["differs"]] == []
    assert DATA["claims_that_fail"] == [] and not any(run["failed"] for run in DATA["notebooks"].values())


def full_tables(name: str):
    """(label, cells) of each row of the tables headed `full run` in a lesson."""
    for cell in lesson.read(name).cells:
        if cell.cell_type == "markdown":
            for table in re.findall(r"^\| full run.*(?:\n\|.*)+", cell.source, re.M):
                for row in table.splitlines()[2:]:
                    label, *cells = [part.strip().strip("*") for part in row.strip("| ").split("|")]
                    yield label, cells


@pytest.mark.parametrize("name", LESSONS)
def test_the_full_runs_that_a_lesson_shows_are_the_recorded_ones(name):
    if name not in DATA["notebooks"]:
        pytest.skip(f"{name} has no recorded run yet: make numbers")
    recorded = {row["what"]: row["measured"] for row in DATA["numbers"] if row["notebook"] == name}
    for label, cells in full_tables(name):
        assert label in recorded, f"{name}: {label!r} is not a recorded number"
        values = recorded[label] if isinstance(recorded[label], list) else [recorded[label]]
        assert len(cells) == len(values), label
        for cell, value in zip(cells, values):
            number = cell.replace(",", "")
            digits = len(number.partition(".")[2])
            assert float(number) == pytest.approx(value, abs=0.51 * 10**-digits), f"{name}, {label}"


def test_most_lessons_show_what_the_full_run_gave():
    assert sum(bool(list(full_tables(name))) for name in lesson.lessons()) >= 4


TOLD = re.compile(
    r"\bfive seeds on each of two lists\b.*?\bin (all|nine of|eight of|seven of) ten runs\b", re.S
)
RUNS = {"all": 10, "nine of": 9, "eight of": 8, "seven of": 7}


def sentences_over_seeds():
    """(notebook, the last claims before it, in how many of ten runs they held) of each text that tells it."""
    for name in reproduce.NOTEBOOKS:
        claims: list[str] = []
        for cell in lesson.read(name).cells:
            if cell.cell_type == "code":
                claims = re.findall(r"^\s*check\(\s*\"([^\"]+)\"", cell.source, re.M) or claims
            else:
                yield from ((name, claims, RUNS[told]) for told in TOLD.findall(cell.source))


def test_what_is_said_to_hold_with_other_seeds_was_counted():
    """By `make numbers ARGS="--seeds 5 …"`: a run counts if all of the claims held in it."""
    told = list(sentences_over_seeds())
    assert len(told) >= 7
    for name, claims, expected in told:
        held = 0
        for found in DATA["seeds"][name].values():
            assert claims and all(len(found[claim]) == 5 for claim in claims), (name, claims)
            held += sum(set(run) == {"✓"} for run in zip(*(found[claim] for claim in claims)))
        assert held == expected, f"{name}: {claims} held in {held} of ten runs"
    assert sum(text_of(name).count("five seeds") for name in reproduce.NOTEBOOKS) == len(told)


def text_of(name: str) -> str:
    return "\n".join(cell.source for cell in lesson.read(name).cells if cell.cell_type == "markdown")


def test_a_changed_result_or_budget_is_seen():
    cell = new_code_cell("steps = budget(10, quick=5)\ncompare('loss', 1, 2)")
    cell.outputs = [
        new_output("stream", text="5 steps instead of the lecture's 10\nloss 1 · lecture 2\n✓ x\n")
    ]
    notebook = new_notebook(cells=[new_code_cell("x = 1"), cell, new_code_cell("print(5)")])
    assert reproduce.stored(notebook) == ["5 steps instead of the lecture's 10", "loss 1 · lecture 2"]


def test_a_run_keeps_all_numbers_though_one_is_off_and_names_cells_that_fail():
    start = "from zth_helpers import compare, check, recomputed"
    both = "compare('off', 1.0, 2.0)\nrecomputed('on', 3, 3)\ncheck('a claim', False)"
    notebook = made(start, both, "1 / 0\n# why", "compare('after', 4, 4)", "compare_not_reached = 1")
    result = reproduce.run("01_micrograd", notebook, {})
    assert [(row["kind"], row["what"], row["same"]) for row in result["rows"]] == [
        ("published", "off", False),
        ("recomputed", "on", True),
        ("check", "a claim", False),
        ("published", "after", True),
    ]
    assert result["failed"] == [{"cell": "1 / 0", "error": "ZeroDivisionError: division by zero"}]


def test_seeds_turn_the_knob():
    start = "from zth_helpers import recomputed\nimport random\nseed = 7  # try: 1, 2"
    draw = "recomputed('x', random.Random(seed).random(), 0.0)"
    found = reproduce.seeds("01_micrograd", made(start, draw), 3)
    import random

    assert found == {"x": [random.Random(seed).random() for seed in (7, 8, 9)]}


def test_a_row_of_several_numbers_stands_in_one_line():
    row = dict(notebook="03_mlp", what="train | dev", kind="published", lecture=[1.0, 2.0], same=False)
    row |= dict(measured=[1.0, 2.1], difference=[0, 0.1], differs=None)
    cells = "| 03 | train \\| dev | 1.0000, 2.0000 | 1.0000, 2.1000 | 0, +0.1000 |"
    assert report.line(row) == f"{cells} ✗ **not explained** |"
    assert report.line(row | {"differs": "unseeded"}) == f"{cells} unseeded |"
    assert report.count([row, row | {"measured": 3}]) == 3


def test_text_goes_between_its_markers(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- x -->\nold\n<!-- /x -->\nb\n<!-- y -->\n<!-- /y -->\n", encoding="utf-8")
    report.between("x", "n\\1ew", page)
    assert page.read_text(encoding="utf-8") == (
        "a\n<!-- x -->\nn\\1ew\n<!-- /x -->\nb\n<!-- y -->\n<!-- /y -->\n"
    )
    with pytest.raises(ValueError, match="<!-- z --> and <!-- /z --> once, has 0"):
        report.between("z", "", page)
