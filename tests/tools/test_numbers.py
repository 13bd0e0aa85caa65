"""The measured numbers and the notebooks that they come from cannot part unseen."""

from __future__ import annotations

import json
import os
import random

import nbformat
import pytest
import torch
from benchmarks.replay import replay

from benchmarks import prefixes, report, reproduce
from tools.notebooks import ROOT


def notebook(name: str, *changes: tuple[str, str]) -> nbformat.NotebookNode:
    """A notebook with texts of its code replaced; each must stand in exactly one cell."""
    nb = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    for old, new in changes:
        [cell] = [cell for cell in nb.cells if cell.cell_type == "code" and old in cell.source]
        cell.source = cell.source.replace(old, new)
    return nb


def lesson(*cells: str) -> nbformat.NotebookNode:
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])


def recorded(name: str) -> dict[str, list[float]]:
    runs = json.loads((ROOT / "benchmarks" / "prefixes.json").read_text(encoding="utf-8"))
    if name not in runs:
        pytest.skip(f"{name} has no recorded run yet: make numbers")
    return runs[name]


@pytest.mark.parametrize("name", prefixes.RUNS)
def test_first_steps_are_as_recorded(name):
    changed = prefixes.difference(recorded(name), prefixes.record(name, notebook(name)))
    assert changed is None, f"{name}: {changed}. Its numbers are of another recipe now: make numbers"


@pytest.mark.parametrize(
    ("name", "old", "new", "run"),
    [
        (
            "05_backprop_ninja",
            "lr = 0.1 if i < steps // 2",
            "lr = 0.12 if i < steps // 2",
            "training by hand",
        ),
        ("05_backprop_ninja", "else 0.01", "else 0.02", "training by hand"),  # seen in the last steps only
    ],
)
def test_a_changed_learning_rate_is_caught(name, old, new, run):
    before = prefixes.record(name, notebook(name))
    after = prefixes.record(name, notebook(name, (old, new)))
    assert f"the run '{run}'" in prefixes.difference(before, after)
    assert prefixes.difference(before, before) is None


def test_difference_names_the_run_and_the_step():
    assert "'b' is new" in prefixes.difference({"a": [1.0]}, {"a": [1.0], "b": [2.0]})
    assert "'b' is gone" in prefixes.difference({"a": [1.0], "b": [2.0]}, {"a": [1.0]})
    assert "'a' had a loss of 2.0000 at its step 10" in prefixes.difference(
        {"a": [1.0, 2.0]}, {"a": [1, 2.1]}
    )
    assert "another number of steps" in prefixes.difference({"a": [1.0, 2.0]}, {"a": [1.0]})


TRAINING = """\
import torch, random
import torch.nn.functional as F
from zth_helpers.course.lecture_numbers import budget, compare, progress
from zth_helpers import plots
w = torch.randn(3, generator=torch.Generator().manual_seed(7))
u = torch.rand(1); torch.manual_seed(8); v = torch.rand(1)
random.seed(9); r = random.random()
for i in progress(budget(1_000, quick=50), "mine"):
    loss = (w * i).sum()
for i in progress(5, "mine"):
    F.cross_entropy(torch.zeros(1, 4), torch.tensor([i % 4]))
compare("last", [w[0], v[0], r], lecture=[0, 0, 0])
"""


def test_replay_takes_losses_from_a_loop_and_from_cross_entropy():
    runs, compared = replay(
        lesson(TRAINING), ["mine", "mine 2"], part=lambda run, steps: steps[:2] + steps[-1:]
    )
    w = torch.randn(3, generator=torch.Generator().manual_seed(7)).sum().item()
    assert runs["mine"] == pytest.approx([0, w, 49 * w]) and runs["mine 2"] == pytest.approx([1.386294] * 3)
    v = torch.rand(1, generator=torch.Generator().manual_seed(8)).item()
    assert compared["last"][1:] == pytest.approx([v, random.Random(9).random()])


def test_replay_shifts_every_seed():
    _, compared = replay(lesson(TRAINING), [], ["last"], shift=3)
    first = torch.randn(3, generator=torch.Generator().manual_seed(10))[0].item()
    v = torch.rand(1, generator=torch.Generator().manual_seed(11)).item()
    assert compared["last"] == pytest.approx([first, v, random.Random(12).random()])


def test_replay_leaves_no_trace(monkeypatch):
    from zth_helpers import ledger, names, plots

    monkeypatch.setenv("ZTH_NAMES", "lecture")
    before = ledger.compare, ledger.cut_short, names.source, torch.get_rng_state().tolist(), random.getstate()
    replay(lesson(TRAINING, "torch.set_grad_enabled(False)\ntorch.set_num_threads(1)"), ["mine"], ["last"])
    after = ledger.compare, ledger.cut_short, names.source, torch.get_rng_state().tolist(), random.getstate()
    assert before == after and torch.is_grad_enabled() and os.environ["ZTH_NAMES"] == "lecture"
    assert plots.table(["a"], [[1]])  # the real one again


def test_replay_passes_over_asserts_on_runs_that_it_leaves_out():
    _, compared = replay(
        lesson("from zth_helpers.course.lecture_numbers import compare", "assert 0\ncompare('a', 1, 1)"),
        [],
        ["a"],
    )
    assert compared == {"a": 1}


def test_replay_says_what_failed_when_a_run_is_not_reached():
    with pytest.raises(LookupError, match=r"not reached: mine; [\s\S]*'undefined'.*NameError"):
        replay(lesson("undefined", "from zth_helpers.settings import progress"), ["mine"])


def test_key_is_of_the_code_alone():
    code = "x = 1  # one\ncompare(x)"
    same = lesson(
        "import os\nx = 1\ncompare(x)", "from zth_helpers import interact\ninteract.bigram()", "y = 2"
    )
    assert reproduce.key(lesson(code)) == reproduce.key(same) != reproduce.key(lesson("x = 2\ncompare(x)"))


def test_rows_of_several_values_are_split_and_judged_one_by_one():
    row = dict(what="w", lecture=[1.0, 2.0], measured=[1.0, 2.1], difference=[0, 0.1], same=False, tol=0.01)
    first, second = report.split([row | {"differs": "unseeded"}])
    assert (first["what"], first["same"], second["what"], second["same"]) == ("w [1]", True, "w [2]", False)
    assert (
        report.number("03_mlp", first)["why"] is None and report.number("03_mlp", second)["why"] == "unseeded"
    )
    unexplained = report.number("03_mlp", second | {"differs": None})
    assert report.line(unexplained) == "| 03 | w [2] | 2.0000 | 2.1000 | +0.1000 | ✗ **not explained** |"


def test_text_goes_between_its_markers(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- x -->\nold\n<!-- /x -->\nb\n<!-- y -->\n<!-- /y -->\n", encoding="utf-8")
    report.between("x", "n\\1ew", page)
    assert page.read_text(encoding="utf-8") == (
        "a\n<!-- x -->\nn\\1ew\n<!-- /x -->\nb\n<!-- y -->\n<!-- /y -->\n"
    )
    with pytest.raises(ValueError, match="<!-- z --> and <!-- /z --> once, has 0"):
        report.between("z", "", page)


def test_a_run_keeps_all_numbers_though_one_is_off_and_names_cells_that_fail(tmp_path):
    compare = "from zth_helpers.course.lecture_numbers import compare"
    both = "compare('off', 1.0, lecture=2.0)\ncompare('on', 3, lecture=3)"
    result = reproduce.run("test", lesson(compare, both, "1 / 0\n# why", "compare('after', 4, 4)"), "shipped")
    assert [(row["what"], row["same"]) for row in result["rows"]] == [
        ("off", False),
        ("on", True),
        ("after", True),
    ]
    assert result["failed"] == [{"cell": "1 / 0", "error": "ZeroDivisionError: division by zero"}]


def test_numbers_are_many_and_every_difference_says_why():
    data = json.loads((ROOT / "benchmarks" / "numbers.json").read_text(encoding="utf-8"))
    if data["missing"]:
        pytest.skip(f"not measured yet: {', '.join(data['missing'])}")
    assert len(data["numbers"]) >= 60
    assert [row["what"] for row in data["numbers"] if not row["same"] and not row["why"]] == []
