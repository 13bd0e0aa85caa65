"""The figures of single lessons: their lines, bars, images and words against what they are drawn from."""

import math

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

from zth_helpers import moons, plots
from zth_helpers.names import Vocabulary
from zth_helpers.plots.figure import COLOURS, INK

VOCAB = Vocabulary(["anna", "bob", "cab"])  # . a b c n o


def lines(ax) -> dict[str, tuple[list, list]]:
    """The lines that the legend names: label -> (x, y)."""
    found = ((line.get_label(), line) for line in ax.lines)
    return {name: tuple(map(list, line.get_data())) for name, line in found if not name.startswith("_")}


def ticks(axis) -> list[str]:
    return [tick.get_text() for tick in axis.get_ticklabels()]


def legend(ax) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


# -- 01 -----------------------------------------------------------------------------------------------------


def test_tangents_touch_the_curve_with_their_slope():
    (ax,) = plots.tangents(lambda x: x**2, {1.0: 2.0, -2.0: -4.0}).axes
    curve, *rest = ax.lines
    assert np.allclose(curve.get_ydata(), curve.get_xdata() ** 2)
    assert curve.get_xdata()[[0, -1]].tolist() == [-4, 3]
    for at, slope, tangent, point in zip([1.0, -2.0], [2.0, -4.0], rest[::2], rest[1::2]):
        (x0, x1, x2), (y0, y1, y2) = tangent.get_data()
        assert (x1, y1) == (at, at**2) and (y2 - y0) / (x2 - x0) == pytest.approx(slope)
        assert [v[0] for v in point.get_data()] == [at, at**2]
    assert legend(ax) == ["f(x)", "slope +2.0 at x = 1.00", "slope -4.0 at x = -2.00"]


def test_tanh_has_the_slope_that_is_drawn():
    drawn = lines(plots.tanh_and_slope().axes[0])
    n, value = map(np.array, drawn["tanh n"])
    _, slope = drawn["its slope, 1 − tanh² n"]
    assert np.allclose(value, np.tanh(n)) and np.allclose(slope, np.gradient(value, n), atol=2e-3)


def test_training_curves_and_their_legend():
    curves = {f"run {i}": [3.0 - i, 2.0 - i, 1.0] for i in range(5)}
    (ax,) = plots.training_curves(curves, "five runs").axes
    assert lines(ax) == {name: ([0, 1, 2], losses) for name, losses in curves.items()}
    assert legend(ax) == list(curves) and ax.get_title() == "five runs"
    assert len({(line.get_color(), line.get_linestyle()) for line in ax.lines}) == 5


def test_moons_have_a_colour_and_a_marker_for_each_class():
    X, y = moons.make_moons(20, noise=0.1, seed=1)
    (ax,) = plots.two_moons(X, y).axes
    for points, label, colour in zip(ax.collections, (-1, 1), COLOURS):
        assert np.allclose(points.get_offsets(), X[y == label]) and points.get_label() == f"y = {label:+d}"
        assert to_hex(points.get_facecolor()[0]) == to_hex(colour)
    assert ax.get_title() == "20 points, two classes" and legend(ax) == ["y = -1", "y = +1"]


def test_the_boundary_lies_where_the_score_is_zero():
    X, y = moons.make_moons(20, noise=0.1, seed=1)
    fig = plots.decision_boundary([1.0, 0.5, 0.25], [2, 1], X, y)  # one linear neuron: x + y/2 + 1/4
    found = {}
    for contour in fig.axes[0].collections:
        for path in contour.get_paths() if hasattr(contour, "levels") and len(contour.levels) == 1 else ():
            found[float(contour.levels[0])] = path.vertices @ [1.0, 0.5] + 0.25
    assert set(found) == {-1.0, 0.0, 1.0}
    assert all(np.allclose(scores, level, atol=1e-6) for level, scores in found.items())
    top = str(fig).splitlines()[2]  # at the largest x₂: minus on the left, plus on the right
    assert top.split()[1].strip("-").strip("+") == "" and top.split()[1].startswith("-")


# -- 02 -----------------------------------------------------------------------------------------------------


def test_counts_are_shaded_by_their_root():
    N = torch.arange(36).view(6, 6)
    ax = plots.counts_image(N, VOCAB.stoi).axes[0]
    assert np.allclose(ax.images[0].get_array() ** 2, N)
    assert ticks(ax.xaxis) == ticks(ax.yaxis) == list(".abcno")


def test_one_hot_rows_stand_beside_their_character():
    xs = torch.tensor([0, 4, 1])
    xenc = torch.nn.functional.one_hot(xs, 6)
    (ax,) = plots.one_hot_image(xenc, xs, VOCAB.itos).axes
    assert np.array_equal(ax.images[0].get_array(), xenc)
    assert ticks(ax.yaxis) == [".", "n", "a"] and ticks(ax.xaxis) == list(".abcno")
    assert [line.get_ydata()[0] for line in ax.lines] == [0.5, 1.5]  # between the rows


def test_a_loss_and_the_levels_beside_it():
    (ax,) = plots.loss_and_levels([3.0, 2.5, 2.25], {"counting": 2.2, "chance": 3.3}).axes
    assert lines(ax) == {
        "the net": ([0, 1, 2], [3.0, 2.5, 2.25]),
        "counting 2.2000": ([0, 1, 2], [2.2] * 3),
        "chance 3.3000": ([0, 1, 2], [3.3] * 3),
    }
    assert legend(ax) == list(lines(ax))


def test_rows_of_probabilities():
    rows = {"counted": [0.5, 0.1, 0.1, 0.1, 0.1, 0.1], "smoothed": [1 / 6] * 6, "net": [0.4] + [0.12] * 5}
    (ax,) = plots.row_bars({k: torch.tensor(v) for k, v in rows.items()}, VOCAB.itos, "after a").axes
    assert [bar.get_height() for bar in ax.patches] == pytest.approx(rows["counted"])
    drawn = lines(ax)
    assert drawn["smoothed"][1] == pytest.approx(rows["smoothed"]) and drawn["net"][1] == pytest.approx(
        rows["net"]
    )
    assert drawn["equally likely"][1] == pytest.approx([1 / 6] * 2)
    assert ticks(ax.xaxis) == list(".abcno") and set(legend(ax)) == {*rows, "equally likely"}


def test_the_chord_joins_the_ends():
    (ax,) = plots.between_two_points([0, 0.25, 1], [4.0, 1.0, 2.0]).axes
    drawn = lines(ax)
    assert drawn["the loss on the way"] == ([0, 0.25, 1], [4.0, 1.0, 2.0])
    assert drawn["chord between the ends"] == ([0, 0.25, 1], [4.0, 3.5, 2.0])
    assert legend(ax) == list(drawn)


def test_a_height_meets_the_staircase_at_its_character():
    (ax,) = plots.staircase(
        torch.tensor([0.5, 0.25, 0.25]), {0: ".", 1: "a", 2: "b"}, [0.6, 0.2], [1, 0]
    ).axes
    stairs, *ways = ax.lines
    assert stairs.get_ydata().tolist() == [0.5, 0.75, 1.0] and stairs.get_drawstyle() == "steps-mid"
    assert [tuple(map(list, way.get_data())) for way in ways] == [
        ([-0.5, 1, 1], [0.6, 0.6, 0]),
        ([-0.5, 0, 0], [0.2, 0.2, 0]),
    ]
    assert legend(ax) == ["cumulative probability", "u → character"]


# -- 03 -----------------------------------------------------------------------------------------------------


def test_the_network_of_bengio_counts_its_parameters():
    (ax,) = plots.mlp_network(["the", "cat", "is"], V=17_000, n_embd=30, n_hidden=100).axes
    said = "\n".join(text.get_text() for text in ax.texts)
    for words in (
        "side by side: 90 numbers",
        "C: 17,000 × 30 (510,000 parameters)",
        "W1, b1: 90 × 100, 100 (9,100 parameters)",
        "W2, b2: 100 × 17,000, 17,000 (1,717,000 parameters)",
    ):
        assert words in said
    arrows = [(text.xyann, text.xy) for text in ax.texts if hasattr(text, "xyann") and not text.get_text()]
    assert ((0, 0), (0, 1)) in arrows and ((2, 1), (1.0, 2)) in arrows and ((1.0, 3), (1.0, 4)) in arrows
    assert len(arrows) == 8


def test_what_counting_reaches():
    (ax,) = plots.counting_curve([2.9, 2.4], [(2.8, 2.85), (2.5, 2.6)], {"net": (1, 2.45, 2.55)}).axes
    assert lines(ax) == {
        "counts, dev": ([0, 1], [2.85, 2.6]),
        "counts, train": ([0, 1], [2.8, 2.5]),
        "minimum of the training loss": ([0, 1], [2.9, 2.4]),
        "net, dev": ([1], [2.55]),
        "net, train": ([1], [2.45]),
    }
    assert legend(ax) == list(lines(ax))


# -- 04 and 05 ----------------------------------------------------------------------------------------------


def test_histograms_count_every_value():
    x = torch.tensor([-2.0, -1.9, 0.1, 0.2, 0.3])
    first, second = plots.histograms({"a": x, "b": torch.zeros(3)}, bins=4, reach=3).axes
    values, edges, _ = first.patches[0].get_data()
    assert values.tolist() == [2, 0, 3, 0] and edges.tolist() == [-2, -1, 0, 1, 2]
    assert second.patches[0].get_data().edges.tolist() == [-1, -0.5, 0, 0.5, 1]
    assert first.get_title() == f"a\nmean {x.mean():+.2f}, std {x.std():.2f}"
    assert (first.get_ylabel(), second.get_ylabel()) == ("count", "") and first.get_xlim() == (-3, 3)


def test_histograms_leave_out_what_is_not_finite_and_say_so():
    x = torch.tensor([1.0, 2.0, torch.nan, torch.inf])
    (ax,) = plots.histograms({"a": x}, bins=2).axes
    assert ax.patches[0].get_data().values.tolist() == [0, 2]
    assert ax.get_title() == "a\nmean +1.50, std 0.71, 2 not finite"
    (ax,) = plots.histograms({"a": x[2:]}, bins=2).axes
    assert ax.patches[0].get_data().values.tolist() == [0, 0]
    assert ax.get_title() == "a\nno values, 2 not finite"


def test_first_steps_are_means_of_whole_blocks():
    (ax,) = plots.first_steps({"a": list(range(11)), "short": [4.0, 6.0]}, steps=9, block=4).axes
    assert lines(ax) == {"a": ([2.0, 6.0], [1.5, 5.5]), "short": ([1.0], [5.0])}
    assert legend(ax) == ["a", "short"]


def test_bessel_beside_its_formula():
    (ax,) = plots.bessel([2, 4], [(0.5, 1.0), (0.75, 1.01)]).axes
    drawn = lines(ax)
    assert drawn["divided by n"] == ([2, 4], [0.5, 0.75]) == drawn["(n − 1)/n"]
    assert drawn["divided by n − 1"] == ([2, 4], [1.0, 1.01]) and set(legend(ax)) == set(drawn)
    assert ticks(ax.xaxis) == ["2", "4"] and ax.get_xscale() == "log"


def test_the_right_logit_is_pulled_up_and_the_others_are_pushed_down():
    p = torch.tensor([0.1, 0.2, 0.3, 0.1, 0.2, 0.1])
    row = p - torch.nn.functional.one_hot(torch.tensor(2), 6)
    (ax,) = plots.logit_pushes(row, torch.tensor([0, 1]), torch.tensor(2), VOCAB).axes
    drawn = lines(ax)
    assert drawn["right character"][0] == [2] and drawn["right character"][1] == pytest.approx([0.7])
    assert drawn["wrong characters"][0] == [0, 1, 3, 4, 5]
    assert drawn["wrong characters"][1] == pytest.approx((-p[[0, 1, 3, 4, 5]]).tolist())
    assert ax.get_title() == "“.a” is followed by “b”: what the loss asks for"
    ends = [segment[1][1] for bars in ax.collections for segment in bars.get_segments()]
    assert sorted(ends) == pytest.approx(sorted((-row).tolist()))
    assert ax.get_ylim() == pytest.approx((-0.25, 1.1))  # wide enough for a full push up


def test_dlogits_are_drawn_times_n():
    dlogits = torch.arange(12.0).view(2, 6) / 12 - 0.5
    X, Y = torch.tensor([[0, 1], [1, 4]]), torch.tensor([4, 0])
    ax = plots.dlogits_image(dlogits, X, Y, VOCAB).axes[0]
    assert np.allclose(ax.images[0].get_array(), 2 * dlogits)
    assert ticks(ax.yaxis) == [".a → n", "an → ."] and ticks(ax.xaxis) == list(".abcno")


# -- 06 -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("starts", [[3], [0, 1, 2]])
def test_each_node_of_a_tree_joins_the_two_below_it(starts):
    (ax,) = plots.trees("anna", starts, block_size=4).axes
    nodes = {(line.get_xdata()[0], line.get_ydata()[0]) for line in ax.lines if len(line.get_xdata()) == 1}
    edges = {tuple(zip(*line.get_data())) for line in ax.lines if len(line.get_xdata()) == 2}
    assert nodes == {(s + k * 2**d + 2**d - 1, -d) for s in starts for d in range(3) for k in range(4 >> d)}
    inner = [(at, level) for at, level in nodes if level < 0]
    assert edges == {
        ((child, level + 1), (at, level)) for at, level in inner for child in (at, at - 2 ** (-level - 1))
    }
    assert all(child in nodes for child, _ in edges)
    letters = {round(text.get_position()[0]): text.get_text() for text in ax.texts}
    assert letters == {i: ("....anna")[i] for i in range(starts[0], starts[-1] + 4)}
    last = [line for line in ax.lines if line.get_color() == COLOURS[0]]
    assert {x for line in last for x in line.get_xdata()} == set(range(starts[-1], starts[-1] + 4))
    assert ticks(ax.yaxis) == ["level 2", "level 1", "characters"]
    assert ax.get_title().startswith("One window: 3 nodes on 2" if len(starts) == 1 else "3 windows, 9 nodes")


def test_losses_and_the_floors_below_them():
    log = {
        "flat": {"train": 2.0, "dev": 2.2, "characters": 3},
        "tree": {"train": 1.9, "dev": 2.1, "characters": 8},
    }
    fig = plots.losses_and_floors(log, {3: 1.8, 8: 1.4}, table_dev=2.05)
    (ax,) = fig.axes
    drawn = {name: x for name, (x, _) in lines(ax).items()}
    assert drawn == {
        "train": [2.0, 1.9],
        "dev": [2.2, 2.1],
        "floor of train": [1.8, 1.4],
        "table of counts, dev": [2.05, 2.05],
    }
    assert ticks(ax.yaxis) == ["flat", "tree"] and ax.yaxis_inverted()
    assert [text.get_text() for text in fig.legends[0].get_texts()] == list(drawn)


def test_recipes_over_their_seconds():
    curves = {f"recipe {i}": [(1.0, 2.5 - i / 10), (2.0, 2.4 - i / 10)] for i in range(7)}
    (ax,) = plots.recipes(curves).axes
    assert lines(ax) == {name: tuple(map(list, zip(*curve))) for name, curve in curves.items()}
    styles = {(line.get_color(), line.get_linestyle(), line.get_marker()) for line in ax.lines}
    assert len(styles) == 7 and legend(ax) == list(curves)


# -- diagrams -----------------------------------------------------------------------------------------------


def test_you_are_here_fills_one_lesson():
    fig = plots.you_are_here(4)
    boxes = {text.get_text().partition("\n")[0]: text for text in fig.axes[0].texts}
    filled = [
        name for name, text in boxes.items() if to_hex(text.get_bbox_patch().get_facecolor()) == COLOURS[0]
    ]
    assert filled == ["04 batch norm"] and boxes["04 batch norm"].get_color() == "white"
    assert boxes["03 MLP"].get_color() == INK and [*boxes] == sorted(boxes)
    assert str(fig) == "You are here: 04 batch norm, lesson 4 of 6"
    for wrong in (0, 7):
        with pytest.raises(ValueError, match="lessons 1 to 6"):
            plots.you_are_here(wrong)


def test_shapes_flow_from_box_to_box_and_on_to_the_next_row():
    shapes = {f"t{i}": torch.zeros(i, 2) for i in range(1, 8)} | {"n": (5,)}
    fig = plots.shape_flow(shapes)
    boxes = [text for text in fig.axes[0].texts if text.get_text()]
    arrows = [text for text in fig.axes[0].texts if not text.get_text()]
    assert [box.get_text() for box in boxes][::7] == ["t1\n(1, 2)", "n\n(5,)"]
    assert [box.get_position() for box in boxes] == [(i % 6, -(i // 6)) for i in range(8)]
    assert len(arrows) == 6  # five in the first row, one in the second
    assert all(arrow.xy[0] > arrow.xyann[0] and arrow.xy[1] == arrow.xyann[1] for arrow in arrows)
    assert math.isclose(fig.get_figheight(), 0.35 + 0.75 * 2)
    for nothing in ({}, [torch.zeros(2)]):
        with pytest.raises(ValueError, match="no tensors"):
            plots.shape_flow(nothing)
