"""plots.sweeps: what is drawn is what the trials say."""

from __future__ import annotations

import math

import pytest

from zth_helpers import plots
from zth_helpers.plots.figure import ramp

TRIALS = [
    {"lr": 0.1, "layers": 1, "dev": 2.5, "test": 2.6, "again": {"dev": 2.55}},
    {"lr": 0.001, "layers": 2, "dev": 2.3, "test": 2.35, "again": {"dev": 2.45}},
    {"lr": 0.01, "layers": 2, "dev": 2.4, "test": 2.41},
]


def test_parallel_coordinates():
    fig = plots.parallel_coordinates(TRIALS, ["lr", "layers"], log=["lr"])
    [ax] = fig.axes
    lines = [list(line.get_ydata()) for line in ax.lines if line.get_gid() == "trial"]
    assert lines == [pytest.approx(row) for row in ([0, 1, 0], [0.5, 1, 0.5], [1, 0, 1])]
    trials = [line for line in ax.lines if line.get_gid() == "trial"]
    assert [line.get_color() for line in trials] == [ramp(0, 3), ramp(1, 3), ramp(2, 3)]
    assert [line.get_linewidth() for line in trials] == [2.2, 0.9, 0.9]  # the best quarter
    assert sorted(trials, key=lambda line: -line.get_zorder()) == trials
    rows = [list(map(float, line.split())) for line in str(fig).splitlines()[2:]]
    assert rows == [[0.001, 2, 2.3], [0.01, 2, 2.4], [0.1, 1, 2.5]]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["lr (log)", "layers", "dev"]


def test_the_best_quarter_is_wide():
    four = [*TRIALS, {"lr": 0.02, "layers": 1, "dev": 2.7}]
    [ax] = plots.parallel_coordinates(four, ["lr", "layers"]).axes
    assert sum(line.get_linewidth() == 2.2 for line in ax.lines if line.get_gid() == "trial") == 1


def test_a_setting_that_all_share_stands_in_the_middle():
    same = [trial | {"batch": 512} for trial in TRIALS]
    [ax] = plots.parallel_coordinates(same, ["batch"]).axes
    first = next(line for line in ax.lines if line.get_gid() == "trial")
    assert math.isfinite(sum(first.get_ydata()))
    assert "512" in str(plots.parallel_coordinates(same, ["batch"]))


def test_nothing_to_compare():
    assert len(plots.parallel_coordinates(TRIALS[:2], ["lr"]).axes) == 1
    with pytest.raises(ValueError, match="1 trials with 1 settings"):
        plots.parallel_coordinates(TRIALS[:1], ["lr"])


def test_loss_against_has_a_colour_for_each_group():
    [ax] = plots.loss_against(TRIALS, "lr", group="layers").axes
    drawn = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in ax.lines}
    assert drawn == {"layers 1": ([0.1], [2.5]), "layers 2": ([0.001, 0.01], [2.3, 2.4])}
    assert ax.get_xscale() == "log"


def test_winners_again_are_in_the_order_of_the_sweep():
    [ax] = plots.winners_again(TRIALS).axes
    assert [list(line.get_ydata()) for line in ax.lines] == [[2.3, 2.5], [2.45, 2.55], [2.35, 2.6]]
