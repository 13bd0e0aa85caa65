"""zth_helpers.course.lecture_numbers: what is printed, what is checked and recorded, and when; the budget; the bar."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from zth_helpers import ledger, names
from zth_helpers.course.lecture_numbers import budget, compare, progress


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(names, "source", None)
    monkeypatch.setattr(ledger, "cut_short", False)
    for variable in ("ZTH_FULL", "ZTH_QUIET", "ZTH_LEDGER"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def rows(tmp_path, monkeypatch):
    path = tmp_path / "numbers.jsonl"
    monkeypatch.setenv("ZTH_LEDGER", str(path))
    return lambda: [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


# ---- what is printed


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("shipped", "bigram NLL                      2.5655 (course's list) · lecture 2.4540 (its list)\n"),
        ("own", "bigram NLL                      2.5655 (your list) · lecture 2.4540 (its list)\n"),
    ],
)
def test_another_list_is_said_and_not_checked(capsys, monkeypatch, rows, source, line):
    monkeypatch.setattr(names, "source", source)
    compare("bigram NLL", 2.565498, lecture=2.4540)
    assert capsys.readouterr().out == line
    assert rows() == []


def test_the_lectures_list(capsys, monkeypatch):
    monkeypatch.setattr(names, "source", "lecture")
    compare("bigram NLL", 2.454014, lecture=2.4540)
    line = "bigram NLL                      2.4540 (lecture's list) · lecture 2.4540 (its list)  ✓\n"
    assert capsys.readouterr().out == line


def test_quick_steps_are_said_and_not_checked(capsys, monkeypatch, rows):
    monkeypatch.setattr(names, "source", "lecture")
    budget(200_000, quick=20_000)
    capsys.readouterr()
    compare("dev loss", 2.319, lecture=2.1701)
    out = capsys.readouterr().out
    assert out.split("  ")[-1] == "2.3190 (lecture's list), quick steps · lecture 2.1701 (its list)\n"
    assert rows() == []


@pytest.mark.parametrize(
    ("measured", "lecture", "shown"),
    [
        (27.88171, 27.8817, "27.8817 · lecture 27.8817"),
        (2.454013, 2.454014, "2.454013 · lecture 2.454014"),  # as many decimals as the lecture's
        (0.88137358, 0.8813735870195432, "0.881374 · lecture 0.881374"),  # six at most
        (182_625, 182_625, "182,625 · lecture 182,625"),
        (torch.tensor(3.3221), 3.3221, "3.3221 · lecture 3.3221"),
        (torch.tensor(41), 41, "41 · lecture 41"),
        (np.float64(2.0), 2, "2.0000 · lecture 2"),
        (2.651e-3, 2.64e-3, "0.00265 · lecture 0.00264"),
        (5.1e-9, 5.1e-9, "5.10e-09 · lecture 5.10e-09"),
        (math.inf, math.inf, "inf · lecture inf"),
        ((2.126, 2.17), (2.1260, 2.1701), "2.1260, 2.1700 · lecture 2.1260, 2.1701"),
        (torch.tensor([0.5, 1.0]), [0.5, 1.0], "0.5000, 1.0000 · lecture 0.5000, 1.0000"),
        ("mor. axx.", "mor. axx.", "mor. axx. · lecture mor. axx."),
        (True, True, "True · lecture True"),
    ],
)
def test_every_kind_of_number(capsys, measured, lecture, shown):
    compare("it", measured, lecture=lecture)
    assert capsys.readouterr().out.split(maxsplit=1) == ["it", f"{shown}  ✓\n"]


def test_lines_of_one_cell_align(capsys):
    compare("parameters", 11_897, lecture=11_897)
    compare("first loss", 3.3221, lecture=3.3221)
    first, second = capsys.readouterr().out.splitlines()
    assert first.index(" · ") == second.index(" · ")


# ---- what is checked


@pytest.mark.parametrize(
    ("measured", "lecture", "tol"),
    [
        (2.4540 * 1.004, 2.4540, 0.005),
        (2.4540 * 0.996, 2.4540, 0.005),
        (-1.0004, -1.0, 0.0005),
        (0.004, 0.0, 0.005),
        (20.0, 20, 0.005),
    ],
)
def test_within_the_tolerance(measured, lecture, tol):
    compare("it", measured, lecture=lecture, tol=tol)


@pytest.mark.parametrize("source", ["lecture", None])
@pytest.mark.parametrize(
    ("measured", "lecture", "rule"),
    [
        (2.4540 * 1.006, 2.4540, "agree to 0.50%"),
        (2.4540 * 0.994, 2.4540, "agree to 0.50%"),
        (-2.4540, 2.4540, "agree to 0.50%"),
        (0.006, 0.0, "agree to 0.50%"),
        (0.004, 0.001, "agree to 0.50%"),  # the tolerance is relative, unless to zero
        (11_898, 11_897, "be equal"),  # a float would be within the tolerance
        (math.inf, 3.0, "agree"),
        (3.0, math.inf, "agree"),
        (-math.inf, math.inf, "agree"),
        ((2.126, 2.3), (2.1260, 2.1701), "agree"),
        ((2.3, 2.1701), (2.1260, 2.1701), "agree"),
        ("mor.", "axx.", "be equal"),
        (False, True, "be equal"),
    ],
)
def test_disagreement_is_an_error_and_is_recorded(capsys, monkeypatch, rows, source, measured, lecture, rule):
    monkeypatch.setattr(names, "source", source)
    with pytest.raises(AssertionError) as error:
        compare("that number", measured, lecture=lecture)
    text = str(error.value)
    assert text.startswith("that number: measured ") and rule in text and "differs=" in text
    for number in np.atleast_1d(measured).tolist() + np.atleast_1d(lecture).tolist():
        assert str(number) in text
    assert capsys.readouterr().out.endswith("  ✗\n")
    assert [row["same"] for row in rows()] == [False]  # none is left out for being off


def test_known_difference_is_printed_not_checked(capsys, rows):
    compare("stale loss", 2.4540, lecture=2.4765, differs="stale state in the published notebook")
    assert capsys.readouterr().out.endswith("lecture 2.4765  ≠ stale state in the published notebook\n")
    (row,) = rows()
    assert row["same"] is False and row["differs"] == "stale state in the published notebook"


def test_difference_that_was_not_one(capsys, monkeypatch, rows):
    compare("loss", 2.4540, lecture=2.4540, differs="unseeded")
    assert capsys.readouterr().out.endswith("  ✓\n")
    assert rows()[0]["same"] is True
    monkeypatch.setattr(names, "source", "shipped")
    compare("loss", 2.4540, lecture=2.4540, differs="unseeded")
    assert capsys.readouterr().out.endswith("(its list)\n")


@pytest.mark.parametrize("source", ["shipped", "lecture"])
@pytest.mark.parametrize(
    ("measured", "lecture", "error", "message"),
    [
        (math.nan, 2.0, ValueError, "it is nan"),
        (2.0, math.nan, ValueError, "it is nan"),
        (torch.tensor([1.0, math.nan]), [1.0, 2.0], ValueError, "it is nan"),
        ([1.0], [1.0, 2.0], ValueError, "measured has 1 numbers, the lecture's has 2"),
        (2.0, [2.0], TypeError, "cannot compare"),
        ("2.0", 2.0, TypeError, "cannot compare"),
        (None, 2.0, TypeError, "cannot compare a NoneType"),
        ({"a": 1}, 2.0, TypeError, "cannot compare a dict"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_every_mode(
    monkeypatch, source, measured, lecture, error, message
):
    monkeypatch.setattr(names, "source", source)
    with pytest.raises(error, match=message):
        compare("it", measured, lecture=lecture, differs="whatever")


# ---- what is recorded


def test_rows(monkeypatch, rows):
    monkeypatch.setattr(names, "source", "lecture")
    compare("bigram NLL", torch.tensor(2.5, dtype=torch.float64), lecture=2.4999)
    assert len(rows()) == 1  # in the file at once: an interruption loses none
    compare("train / dev", (2.0, 3.0), lecture=(2.0, 3.01), tol=0.01)
    compare("names", "mor.", lecture="mor.")
    compare("inf", math.inf, lecture=math.inf)
    first, second, third, fourth = rows()
    assert first.pop("difference") == pytest.approx(1e-4)
    assert first == {
        "what": "bigram NLL",
        "lecture": 2.4999,
        "measured": 2.5,
        "same": True,
        "differs": None,
        "tol": 0.005,
        "list": "lecture",
    }
    assert second["measured"] == [2.0, 3.0] and second["difference"] == pytest.approx([0, -0.01])
    assert third["difference"] is None
    assert fourth["difference"] == 0


def test_no_list_is_recorded_as_none(rows):
    compare("f(3)", 20.0, lecture=20)
    assert rows()[0]["list"] is None


def test_nothing_is_written_unless_asked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    compare("f(3)", 20.0, lecture=20)
    assert list(tmp_path.iterdir()) == []


def test_ledger_that_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setenv("ZTH_LEDGER", str(tmp_path / "missing" / "numbers.jsonl"))
    with pytest.raises(OSError, match=r"ZTH_LEDGER=.*numbers\.jsonl cannot be written: No such file"):
        compare("f(3)", 20.0, lecture=20)


# ---- budget


def test_quick_is_the_default(capsys):
    assert budget(200_000, quick=20_000) == 20_000
    line = "20,000 steps instead of the lecture's 200,000; ZTH_FULL=1 runs them all\n"
    assert capsys.readouterr().out == line
    assert ledger.cut_short


def test_full(capsys, monkeypatch, rows):
    monkeypatch.setenv("ZTH_FULL", "1")
    assert budget(200_000, quick=20_000) == 200_000
    assert capsys.readouterr().out == "200,000 steps, as in the lecture\n"
    with pytest.raises(AssertionError):
        compare("dev loss", 2.319, lecture=2.1701)
    assert len(rows()) == 1


def test_a_run_that_the_lecture_does_not_have_says_so(capsys, monkeypatch):
    budget(4_000, quick=200, whose="our")
    assert capsys.readouterr().out == "200 steps instead of our 4,000; ZTH_FULL=1 runs them all\n"
    monkeypatch.setenv("ZTH_FULL", "1")
    budget(4_000, quick=200, whose="our")
    assert capsys.readouterr().out == "4,000 steps\n"


@pytest.mark.parametrize("value", ["", "0"])
def test_full_switched_off(monkeypatch, value):
    monkeypatch.setenv("ZTH_FULL", value)
    assert budget(10, quick=5) == 5


def test_budget_that_is_the_lectures_anyway_counts():
    assert budget(100, quick=100) == 100
    assert not ledger.cut_short


def test_one_quick_budget_is_enough():
    budget(100, quick=10)
    budget(100, quick=100)
    compare("loss", 1.0, lecture=2.0)  # not checked


@pytest.mark.parametrize("quick", [0, -1, 11])
def test_bad_budget(quick):
    with pytest.raises(ValueError, match=f"between 1 and the lecture's 10, got {quick}"):
        budget(10, quick=quick)


# ---- progress


@pytest.mark.parametrize("quiet", ["0", "1"])
def test_progress(capsys, monkeypatch, quiet):
    monkeypatch.setenv("ZTH_QUIET", quiet)
    assert list(progress(3, "training")) == [0, 1, 2]
    assert list(progress(iter("ab"))) == ["a", "b"]
    out, err = capsys.readouterr()
    assert err == ""
    assert ("training" in out) == (quiet == "0")
    if quiet == "1":
        assert out == ""
    else:
        assert out.split("\r")[-1] == "" and out.split("\r")[-2].strip() == ""  # the bar is wiped
