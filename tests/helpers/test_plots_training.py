"""The figures from a Monitor: what is drawn equals what was recorded, and nothing is left behind."""

import functools
import gc

import numpy as np
import pytest
import torch
from matplotlib import _pylab_helpers
from matplotlib.artist import Artist
from torch import nn

from tests.helpers.test_monitor import mlp, train
from zth_helpers import plots
from zth_helpers.layers import Linear, Tanh
from zth_helpers.monitor import Monitor
from zth_helpers.plots.training import histogram_lines

FIGURES = [
    plots.activation_histograms,
    plots.gradient_histograms,
    plots.weight_gradient_histograms,
    plots.update_ratios,
    plots.statistics_heatmap,
]


def labels(fig, panel=0):
    """The legends stand in axes of their own, after the plots."""
    legends = [ax.get_legend() for ax in fig.axes if ax.get_legend()]
    return [text.get_text() for text in legends[panel].get_texts()]


@functools.cache
def trained(steps: int) -> dict[str, Monitor]:
    mons = {}
    for i, name in enumerate(("meh", "good")):
        C, layers, parameters = mlp(seed=i)
        mons[name] = Monitor(layers, parameters, every=2)
        train(C, layers, parameters, mons[name], steps)
    return mons


@pytest.fixture(scope="module")
def mons():
    return trained(5)


@pytest.mark.parametrize("figure", FIGURES)
def test_each_shows_alone_and_in_pairs(figure, mons):
    alone, pair = figure(mons["meh"]), figure(mons)
    assert alone.png().startswith(b"\x89PNG") and alone.png() == figure(mons["meh"]).png()
    for fig in (alone, pair):
        assert all(ax.get_title() and ax.get_xlabel() for ax in fig.axes if ax.get_title() or ax.lines)
        assert len(str(fig).splitlines()) > 2 and "nan" not in str(fig)
    assert "meh" in str(pair) and "good" in str(pair) and "meh" not in str(alone)
    drawn = [ax for ax in alone.axes if ax.lines or ax.images]
    both = [ax for ax in pair.axes if ax.lines or ax.images]
    for a, b in zip(drawn, both):  # the first of the pair is drawn as it is alone
        assert [line.get_label() for line in a.lines] == [line.get_label() for line in b.lines]
        for x, y in zip(a.lines, b.lines):
            np.testing.assert_array_equal(x.get_ydata(), y.get_ydata())
        for x, y in zip(a.images, b.images):
            np.testing.assert_array_equal(x.get_array(), y.get_array())


def test_histograms_draw_the_recorded_densities(mons):
    mon = mons["good"]
    fig = plots.activation_histograms(mon)
    ax = fig.axes[0]
    assert len(ax.lines) == 2  # the two Tanh layers
    for line, i in zip(ax.lines, (2, 5)):
        edges, hist = mon.outputs.edges[-1, i], mon.outputs.hist[-1, i]
        np.testing.assert_allclose(line.get_xdata(), (edges[1:] + edges[:-1]) / 2, rtol=1e-5, atol=1e-6)
        assert line.get_ydata() @ np.diff(edges) == pytest.approx(1, rel=1e-4)
        assert line.get_ydata()[7] == pytest.approx(hist[7] / hist.sum() / (edges[1] - edges[0]), rel=1e-4)
    assert labels(fig)[0] == (
        f"2 Tanh: mean {mon.outputs.mean[-1, 2]:+.2f}, std {mon.outputs.std[-1, 2]:.2f}, "
        f"saturated {mon.outputs.saturated[-1, 2]:.1%}"
    )


def test_an_axis_ends_where_the_values_do(mons):
    fig, mon = plots.activation_histograms(mons), mons["good"]
    low, high = fig.axes[0].get_xlim()
    edges = [m.outputs.edges[-1, i] for m in mons.values() for i in (2, 5)]
    assert min(e[0] for e in edges) <= low < high <= max(e[-1] for e in edges)
    for i in (2, 5):
        left, right = mon.outputs.edges[-1, i, :-1], mon.outputs.edges[-1, i, 1:]
        inside = mon.outputs.hist[-1, i, (left >= low - 1e-6) & (right <= high + 1e-6)].sum()
        assert inside >= 0.95 * mon.outputs.hist[-1, i].sum()


def test_the_lines_for_the_page_are_densities_of_the_last_sample(mons):
    mon = mons["good"]
    lines = histogram_lines(mon, "outputs")
    assert [line["name"].split(":")[0] for line in lines] == ["2 Tanh", "5 Tanh"]
    for line, i in zip(lines, (2, 5)):
        edges, hist = mon.outputs.edges[-1, i], mon.outputs.hist[-1, i]
        assert line["from"] == pytest.approx(edges[0]) and line["to"] >= edges[-1] - 1e-6
        width = (line["to"] - line["from"]) / len(line["density"])
        assert width == pytest.approx(2 * (edges[1] - edges[0]), rel=1e-4)  # 50 bins become 25
        assert sum(line["density"]) * width == pytest.approx(1, rel=1e-3)
        pair = hist[6:8].sum() / hist.sum() / width
        assert line["density"][3] == pytest.approx(pair, rel=1e-3)
        mean, std = mon.outputs.mean[-1, i], mon.outputs.std[-1, i]
        assert line["low"] == pytest.approx(max(edges[0], mean - 4 * std), rel=1e-4)
        assert line["high"] == pytest.approx(min(edges[-1], mean + 4 * std), rel=1e-4)


def test_it_reads_as_it_is_drawn(mons):
    mon = mons["good"]
    lines = str(plots.activation_histograms(mon)).splitlines()
    assert lines[0] == "outputs of Tanh layers, step 4" and lines[1] == "x: output; y: density"
    assert lines[3].startswith(labels(plots.activation_histograms(mon))[0])
    assert str(plots.activation_histograms(mon, at=0)).startswith("outputs of Tanh layers, step 0")


def test_the_last_sample_that_has_histograms_is_drawn():
    C, layers, parameters = mlp()
    mon = Monitor(layers, parameters, every=1, histograms_every=3)
    train(C, layers, parameters, mon, 6)
    assert mon.steps[-1] == 5 and not mon.outputs.hist[4:].any()
    fig = plots.activation_histograms(mon)
    line, edges, hist = fig.axes[0].lines[0], mon.outputs.edges[3, 2], mon.outputs.hist[3, 2]
    np.testing.assert_allclose(line.get_ydata(), hist / hist.sum() / (edges[1] - edges[0]), rtol=1e-4)
    assert fig.axes[0].get_title() == "outputs of Tanh layers, step 3"
    assert f"std {mon.outputs.std[3, 2]:.2f}" in labels(fig)[0]
    board = plots.dashboard(mon)
    assert [ax.get_title() for ax in board.axes[:2]] == ["Outputs, step 3", "Gradients, step 3"]
    assert all(len(ax.lines) == 2 for ax in board.axes[:2])
    with pytest.raises(ValueError, match="nothing to draw"):
        plots.activation_histograms(mon, at=4)


@pytest.mark.parametrize("every", [1, 3, 10])
def test_the_sample_of_a_loss_that_has_just_become_nan_has_histograms(every):
    C, layers, parameters = mlp()
    mon = Monitor(layers, parameters, every=every, histograms_every=10)
    train(C, layers, parameters, mon, 3)
    layers[-1].weight.data.fill_(torch.nan)
    train(C, layers, parameters, mon, 1)
    assert mon.steps[-1] == 3 and mon.outputs.hist[-1, 2].sum() == mon.outputs.hist[0, 2].sum()
    assert plots.activation_histograms(mon).axes[0].get_title() == "outputs of Tanh layers, step 3"


def test_update_ratios_are_log10_with_the_line_at_minus_3(mons):
    mon = mons["good"]
    ax = plots.update_ratios(mon).axes[0]
    *lines, rule = ax.lines
    weights = [i for i, shape in enumerate(mon.parameter_shapes) if len(shape) == 2]
    assert len(lines) == len(weights) and list(rule.get_ydata()) == [-3, -3]
    np.testing.assert_allclose(lines[1].get_ydata(), np.log10(mon.update_data[:, weights[1]]))


def test_weight_gradients_show_grad_to_data(mons):
    mon = mons["good"]
    label = labels(plots.weight_gradient_histograms(mon))[1]
    assert label.startswith("0 Linear weight 12×20: ") and f"grad:data {mon.grad_data[0, 1]:.1e}" in label


def test_pairs_share_their_axes(mons):
    left, right, *_ = plots.gradient_histograms(mons).axes
    assert left.get_xlim() == right.get_xlim() and left.get_ylim() == right.get_ylim()
    assert left.get_title().startswith("meh: ") and right.get_title().startswith("good: ")


def test_heatmap_draws_layers_by_steps(mons):
    mon = mons["good"]
    axes = [ax for ax in plots.statistics_heatmap(mon).axes if ax.images]
    assert [ax.get_title() for ax in axes][1] == "saturated or dead share"
    with np.errstate(divide="ignore"):
        maps = np.log10(mon.outputs.std), mon.outputs.saturated, np.log10(mon.gradients.std)
    for ax, values in zip(axes, maps):
        np.testing.assert_allclose(ax.images[0].get_array().filled(np.nan), values.T)
    assert [t.get_text() for t in axes[0].get_yticklabels()] == mon.layer_names


def test_more_layers_than_colours_are_picked_evenly():
    layers = [f(20, 20) if f is Linear else f() for _ in range(20) for f in (Linear, Tanh)]
    mon = Monitor(layers, every=1)
    x = torch.randn(8, 20)
    layers[0].weight.requires_grad = True
    for layer in layers:
        x = layer(x)
    mon.retain_grads()
    x.sum().backward()
    mon.step(x.sum(), lr=0.1)
    fig = plots.activation_histograms(mon)
    drawn = [label.split(":")[0] for label in labels(fig)]
    assert len(drawn) == 8 and drawn[0] == "1 Tanh" and drawn[-1] == "39 Tanh"


def test_networks_without_activation_layers_show_all_layers():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    mon = Monitor(model, every=1)
    loss = model(torch.randn(8, 3)).square().mean()
    loss.backward()
    mon.step(loss)
    assert str(plots.activation_histograms(mon)).startswith("outputs of Linear layers")
    assert "saturated" not in str(plots.activation_histograms(mon))
    with pytest.raises(ValueError, match="lr=lr"):
        plots.update_ratios(mon)


def test_nan_and_dead_layers_can_be_drawn():
    layers = [Linear(4, 6), Tanh(), Linear(6, 2), Tanh()]
    for layer in layers[::2]:
        layer.weight.requires_grad = True
    mon = Monitor(layers, every=1)
    for spoil in (0.0, torch.nan):
        layers[2].weight.data[0] = spoil
        x = torch.zeros(5, 4)
        for layer in layers:
            x = layer(x)
        mon.retain_grads()
        x.sum().backward()
        mon.step(x.sum(), lr=0.1)
    for figure in FIGURES:
        figure(mon, **({} if figure in FIGURES[3:] else {"at": 0}))
        figure(mon).png()


@pytest.mark.parametrize("figure", FIGURES)
def test_errors_say_what_to_do(figure):
    _, layers, parameters = mlp()
    with pytest.raises(TypeError, match="give a Monitor"):
        figure([1, 2])
    with pytest.raises(TypeError, match="give a Monitor"):
        figure({})
    with pytest.raises(ValueError, match=r"mon\.step\(loss, lr=lr\)"):
        figure(Monitor(layers, parameters))


def test_missing_gradients_name_retain_grads():
    C, layers, parameters = mlp()
    mon = Monitor(layers, parameters, every=1)
    mon.retain_grads = lambda: None
    train(C, layers, parameters, mon, 1)
    with pytest.raises(ValueError, match="retain_grads"):
        plots.gradient_histograms(mon)


def test_a_run_that_was_interrupted_draws(mons):
    C, layers, parameters = mlp()
    mon = Monitor(layers, parameters, every=2)

    def interrupt(i, loss):
        if i == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(C, layers, parameters, mon, 9, look=interrupt)
    assert all(str(figure(mon)) for figure in FIGURES)


def test_figures_leave_no_memory_and_no_pyplot_state(mons):
    """60 stand for the 1,000 (tried by hand): one object left by each would show."""

    def alive():
        gc.collect()
        return sum(issubclass(type(o), Artist) for o in gc.get_objects())

    for figure in FIGURES:
        figure(mons["good"]).png()
    before = alive()
    for i in range(60):
        FIGURES[i % 4](mons["good"])
    assert alive() <= before
    assert not _pylab_helpers.Gcf.figs
