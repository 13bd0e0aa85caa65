"""The lectures' numbers: what is printed, what counts, what is recorded; nothing raises in a lesson."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from zth_helpers import budget, check, compare, progress, recomputed
from zth_helpers.name_lists import Names

LECTURE, OWN = Names(["anna"], "lecture"), Names(["anna"], "own")


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    for variable in ("ZTH_FULL", "ZTH_SHRINK", "ZTH_QUIET", "ZTH_LEDGER", "ZTH_DEVICE"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def rows(tmp_path, monkeypatch):
    path = tmp_path / "numbers.jsonl"
    monkeypatch.setenv("ZTH_LEDGER", str(path))
    return lambda: [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


# ---- compare


def test_what_was_made_otherwise_is_said_and_does_not_count(capsys, rows):
    quick = budget(200_000, quick=4_000)
    capsys.readouterr()
    for made_with in ((OWN,), (LECTURE, quick), (OWN, quick)):
        compare("dev loss", 2.43104, 2.13, *made_with)
    assert capsys.readouterr().out.splitlines() == [
        "dev loss 2.4310 · lecture 2.13 (its list)",
        "dev loss 2.4310 · lecture 2.13 (all steps)",
        "dev loss 2.4310 · lecture 2.13 (its list, all steps)",
    ]
    assert [row["other"] for row in rows()] == [["its list"], ["all steps"], ["its list", "all steps"]]


def test_with_the_lectures_list_and_steps_it_counts(capsys, rows):
    all_steps = budget(200_000, quick=200_000)
    compare("dev loss", 2.1301, 2.13, LECTURE, all_steps)
    compare("dev loss", 2.43104, 2.13, LECTURE, all_steps)
    compare("stale loss", 2.4540, 2.4765, differs="stale state in the published notebook")
    assert capsys.readouterr().out.splitlines() == [
        "dev loss 2.1301 · lecture 2.13 ✓",
        "dev loss 2.4310 · lecture 2.13 ✗",
        "stale loss 2.4540 · lecture 2.4765 ≠ stale state in the published notebook",
    ]
    assert [row["same"] for row in rows()] == [True, False, False]
    assert rows()[2]["differs"] == "stale state in the published notebook"


@pytest.mark.parametrize(
    ("measured", "lecture", "shown"),
    [
        (27.88171, 27.8817, "27.8817 · lecture 27.8817"),
        (2.454013, 2.454014, "2.454013 · lecture 2.454014"),  # as many decimals as the lecture's
        (0.88137358, 0.8813735870195432, "0.881374 · lecture 0.881374"),  # six at most
        (182_625, 182_625, "182,625 · lecture 182,625"),
        (torch.tensor(3.3221), 3.3221, "3.3221 · lecture 3.3221"),
        (np.float64(2.0), 2, "2.0000 · lecture 2"),
        (np.int64(41), 41, "41 · lecture 41"),
        (2.651e-3, 2.64e-3, "0.00265 · lecture 0.00264"),
        (5.1e-9, 5.1e-9, "5.10e-09 · lecture 5.1e-09"),
        (math.inf, math.inf, "inf · lecture inf"),
        ((2.126, 2.17), (2.1260, 2.1701), "2.1260, 2.1700 · lecture 2.126, 2.1701"),
        (torch.tensor([0.5, 1.0]), [0.5, 1.0], "0.5000, 1.0000 · lecture 0.5, 1.0"),
        ("mor. axx.", "mor. axx.", "mor. axx. · lecture mor. axx."),
        (True, True, "True · lecture True"),
    ],
)
def test_every_kind_of_number(capsys, measured, lecture, shown):
    compare("it", measured, lecture, tol=0.005)
    assert capsys.readouterr().out == f"it {shown} ✓\n"


@pytest.mark.parametrize(
    ("measured", "lecture", "same"),
    [
        (2.4540 * 1.004, 2.4540, True),
        (2.4540 * 0.996, 2.4540, True),
        (0.004, 0.0, True),
        (20.0, 20, True),
        (2.4540 * 1.006, 2.4540, False),
        (2.4540 * 0.994, 2.4540, False),
        (-2.4540, 2.4540, False),
        (0.006, 0.0, False),
        (0.004, 0.001, False),  # the tolerance is relative, unless to zero
        (11_898, 11_897, False),  # as floats they would be within it
        (math.inf, 3.0, False),
        (-math.inf, math.inf, False),
        (math.nan, 2.0, False),
        ((2.126, 2.3), (2.1260, 2.1701), False),
        ((2.3, 2.1701), (2.1260, 2.1701), False),
        ([1.0], [1.0, 2.0], False),
        (2.0, [2.0], False),
        ("2.0", 2.0, False),
        (None, 2.0, False),
        ("mor.", "axx.", False),
    ],
)
def test_what_agrees(capsys, rows, measured, lecture, same):
    compare("it", measured, lecture)
    assert capsys.readouterr().out.endswith(" ✓\n" if same else " ✗\n")
    assert [row["same"] for row in rows()] == [same]


# ---- recomputed, check


@pytest.mark.parametrize(("device", "loose"), [("", False), ("cpu", False), ("cuda", True)])
def test_on_a_gpu_numbers_are_compared_loosely(capsys, rows, monkeypatch, device, loose):
    monkeypatch.setenv("ZTH_DEVICE", device)
    compare("one in a hundred off", 2.02, 2.0)
    recomputed("the same", 2.02, 2.0)
    compare("three in a hundred off", 2.06, 2.0)
    compare("a count", 33, 32)
    assert [row["same"] for row in rows()] == [loose, loose, False, False]


def test_our_own_numbers_stand_alone_and_are_held_to_what_we_found(capsys, rows):
    recomputed("floor of 3 letters", 1.8842, 1.8842, LECTURE)
    recomputed("floor of 3 letters", 1.9, 1.8842, LECTURE)
    recomputed("floor of 3 letters", 1.7, 1.8842, OWN)
    assert capsys.readouterr().out.splitlines() == [f"floor of 3 letters {x:.4f}" for x in (1.8842, 1.9, 1.7)]
    assert [(row["kind"], row["same"]) for row in rows()[:2]] == [("recomputed", True), ("recomputed", False)]
    assert [row["other"] for row in rows()] == [[], [], ["its list"]]


@pytest.mark.parametrize("holds", [True, np.bool_(True), torch.tensor(True), 1])
def test_a_claim_that_holds(capsys, holds):
    check("gradients agree", holds)
    assert capsys.readouterr().out == "✓ gradients agree\n"


@pytest.mark.parametrize("fails", [False, np.bool_(False), torch.tensor(0.0), torch.ones(2), np.zeros(3)])
def test_a_claim_that_does_not_is_shown_and_never_raised(capsys, rows, fails):
    check("gradients agree", fails)
    assert capsys.readouterr().out == "✗ gradients agree (not with these settings)\n"
    assert rows() == [{"kind": "check", "what": "gradients agree", "same": False}]


# ---- what is recorded


def test_rows(rows):
    compare("bigram NLL", torch.tensor(2.5, dtype=torch.float64), 2.4999, LECTURE)
    assert len(rows()) == 1  # in the file at once: an interruption loses none
    compare("train, dev", (2.0, 3.0), (2.0, 3.01), tol=0.01)
    compare("names", "mor.", "mor.")
    first, second, third = rows()
    assert first.pop("difference") == pytest.approx(1e-4)
    assert first == {
        "kind": "published",
        "what": "bigram NLL",
        "lecture": 2.4999,
        "measured": 2.5,
        "same": True,
        "differs": None,
        "other": [],
    }
    assert second["measured"] == [2.0, 3.0] and second["difference"] == pytest.approx([0, -0.01])
    assert third["difference"] is None


def test_nothing_is_written_unless_asked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    compare("f(3)", 20.0, 20)
    assert list(tmp_path.iterdir()) == []


def test_ledger_that_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setenv("ZTH_LEDGER", str(tmp_path / "missing" / "numbers.jsonl"))
    with pytest.raises(OSError, match=r"ZTH_LEDGER=.*numbers\.jsonl cannot be written: No such file"):
        compare("f(3)", 20.0, 20)


# ---- budget


def test_quick_is_the_default(capsys):
    steps = budget(200_000, quick=20_000)
    assert steps == 20_000 and steps.full == 200_000 and steps.differs == "all steps"
    line = "20,000 steps instead of the lecture's 200,000; ZTH_FULL=1 runs them all\n"
    assert capsys.readouterr().out == line
    assert list(range(steps))[-1] == 19_999 and type(steps // 2) is int


def test_full(capsys, monkeypatch):
    monkeypatch.setenv("ZTH_FULL", "1")
    steps = budget(200_000, quick=20_000)
    assert steps == 200_000 and steps.differs == "" and capsys.readouterr().out == ""


def test_a_run_that_the_lecture_does_not_have_says_so(capsys):
    budget(4_000, quick=200, whose="our")
    assert capsys.readouterr().out == "200 steps instead of our 4,000; ZTH_FULL=1 runs them all\n"


@pytest.mark.parametrize("value", ["", "0"])
def test_full_switched_off(monkeypatch, value):
    monkeypatch.setenv("ZTH_FULL", value)
    assert budget(10, quick=5) == 5


def test_a_quick_count_above_the_lectures_is_the_learners_choice():
    assert budget(10, quick=20) == 20


@pytest.mark.parametrize(("shrink", "steps"), [("40", 500), ("1000000", 2), ("1", 20_000), ("", 20_000)])
def test_shrink_divides_the_quick_steps(monkeypatch, shrink, steps):
    monkeypatch.setenv("ZTH_SHRINK", shrink)
    assert budget(200_000, quick=20_000) == steps
    monkeypatch.setenv("ZTH_FULL", "1")
    assert budget(200_000, quick=20_000) == 200_000


@pytest.mark.parametrize("shrink", ["0", "-1", "a few", "1.5"])
def test_a_bad_shrink_is_named(monkeypatch, shrink):
    monkeypatch.setenv("ZTH_SHRINK", shrink)
    with pytest.raises(ValueError, match=f"ZTH_SHRINK={shrink}: give a whole number"):
        budget(10, quick=5)


@pytest.mark.parametrize(("lecture", "quick"), [(10, 0), (10, -1), (0, 5)])
def test_bad_budget(lecture, quick):
    with pytest.raises(ValueError, match=f"got lecture={lecture}, quick={quick}"):
        budget(lecture, quick=quick)


# ---- progress


@pytest.mark.parametrize("quiet", ["0", "1"])
def test_progress(capsys, monkeypatch, quiet):
    monkeypatch.setenv("ZTH_QUIET", quiet)
    assert list(progress(3, "training")) == [0, 1, 2]
    assert list(progress(budget(2, quick=2), "training")) == [0, 1]
    assert list(progress(iter("ab"))) == ["a", "b"]
    out, err = capsys.readouterr()
    assert err == ""
    assert ("training" in out) == (quiet == "0")
    if quiet == "1":
        assert out == ""
    else:
        assert out.split("\r")[-1] == "" and out.split("\r")[-2].strip() == ""  # the bar is wiped
