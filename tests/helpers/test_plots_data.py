"""The figures of plain data: what they draw against the data, their look, and what they refuse."""

import gc
import io
import re
import weakref

import matplotlib
import matplotlib.image
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex, to_rgb
from matplotlib.text import Text

from zth_helpers import plots
from zth_helpers.names import Vocabulary
from zth_helpers.plots.figure import PAPER, alternative, ramp

WORDS = ["anna", "bob", "anna", "cab"]
VOCAB = Vocabulary(WORDS)  # . a b c n o


def counts(words=WORDS, vocab=VOCAB) -> torch.Tensor:
    N = torch.zeros(len(vocab), len(vocab), dtype=torch.int64)
    for word in words:
        for a, b in zip("." + word, word + "."):
            N[vocab.stoi[a], vocab.stoi[b]] += 1
    return N


def rows(fig) -> list[list[str]]:
    """What the figure reads, line by line, cut at two or more spaces."""
    return [re.split(r"\s{2,}", line.strip()) for line in str(fig).splitlines()]


def sample_figures() -> dict:
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(200, generator=generator)
    return {
        "bigram_heatmap": lambda: plots.bigram_heatmap(counts(), VOCAB),
        "activation_functions": plots.activation_functions,
        "saturation_image": lambda: plots.saturation_image(torch.tensor([[1.0, 0.2], [-1.0, 0.3]])),
        "loss_curve": lambda: plots.loss_curve(3 - noise, window=20),
        "learning_rate_finder": lambda: plots.learning_rate_finder(10 ** torch.linspace(-3, 0, 200), noise),
        "embedding_scatter": lambda: plots.embedding_scatter(noise[:12].view(6, 2), VOCAB),
    }


FIGURES = sample_figures()


def test_bigram_heatmap_shows_every_pair_and_count():
    N = counts()
    fig = plots.bigram_heatmap(N, VOCAB)
    cells = [
        (round(t.get_position()[0]), round(t.get_position()[1]), t.get_text()) for t in fig.axes[0].texts
    ]
    for i, a in VOCAB.itos.items():
        for j, b in VOCAB.itos.items():
            assert [text for x, y, text in cells if (x, y) == (j, i)] == [a + b, str(N[i, j].item())]
    assert np.array_equal(fig.axes[0].images[0].get_array(), N)
    table = rows(fig)
    assert table[0] == ["18 bigrams, 12 of 36 pairs occur (colour: √count)"]
    assert [".", "4", "a 2, b 1, c 1"] in table
    assert ["n", "4", "a 2, n 2"] in table


def test_activation_functions_draw_the_closed_form_and_its_derivative():
    fig = plots.activation_functions()
    sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    closed = {
        "tanh": (np.tanh, lambda x: 1 - np.tanh(x) ** 2),
        "sigmoid": (sigmoid, lambda x: sigmoid(x) * (1 - sigmoid(x))),
        "ReLU": (lambda x: np.maximum(x, 0), lambda x: (x > 0) * 1.0),
        "leaky ReLU (slope .1)": (lambda x: np.maximum(x, 0.1 * x), lambda x: np.where(x > 0, 1, 0.1)),
        "ELU": (lambda x: np.where(x > 0, x, np.expm1(x)), lambda x: np.where(x > 0, 1, np.exp(x))),
    }
    panels = {ax.get_title(): ax for ax in fig.axes}
    assert len(panels) == 6 and closed.keys() < panels.keys()
    for name, ax in panels.items():
        curve, slope = (line for line in ax.lines if len(line.get_xdata()) > 100)
        assert (curve.get_label(), slope.get_label()) == ("f(x)", "slope f′(x)")
        x, y = (np.asarray(v) for v in curve.get_data())
        for line, f in zip((curve, slope), closed.get(name, ())):
            assert line.get_ydata() == pytest.approx(f(x), abs=1e-9), name
        smooth = np.abs(x[:-1]) > 0.02  # and where there is no closed form the slope is the curve's
        middle = (slope.get_ydata()[:-1] + slope.get_ydata()[1:])[smooth] / 2
        assert np.diff(y)[smooth] / np.diff(x)[smooth] == pytest.approx(middle, abs=1e-3)


def test_saturation_image_counts_and_finds_the_white_columns():
    generator = torch.Generator().manual_seed(3)
    h = torch.tanh(torch.randn(32, 50, generator=generator) * 2)
    h[:, 7], h[:, 41] = 1.0, -0.995
    fig = plots.saturation_image(h)
    share = sum(abs(v) > 0.99 for row in h.tolist() for v in row) / h.numel()
    title = fig.axes[0].get_title()
    assert (
        title.startswith(f"{share:.1%} of the outputs are saturated") and "2 of 50 columns are white" in title
    )
    assert fig.axes[0].lines[0].get_xdata().tolist() == [7, 41]
    assert np.array_equal(fig.axes[0].images[0].get_array(), h.abs().numpy() > 0.99)
    assert fig.axes[0].images[0].get_cmap().name == "gray"  # True is white
    assert "0 of 50" in plots.saturation_image(h, threshold=2).axes[0].get_title()


def test_loss_curve_averages_whole_blocks():
    losses = torch.arange(105, dtype=torch.float32)
    fig = plots.loss_curve(losses, window=20)
    raw, mean = fig.axes[0].lines
    assert len(raw.get_ydata()) == 105
    assert mean.get_ydata() == pytest.approx(losses[:100].view(-1, 20).mean(1).numpy())
    assert mean.get_xdata() == pytest.approx(
        mean.get_ydata()
    )  # each mean stands over the middle of its block
    assert str(plots.loss_curve(losses.tolist(), 20)) == str(plots.loss_curve(losses.numpy(), 20)) == str(fig)
    assert str(plots.loss_curve(list(losses), 20)) == str(fig)  # a list of one-element tensors


def test_loss_curve_of_a_bad_start_uses_a_log_scale():
    bad = [30.0, *[2.5] * 50]
    assert plots.loss_curve(bad, 1).axes[0].get_yscale() == "log"
    assert "log scale" in plots.loss_curve(bad, 1).axes[0].get_ylabel()
    assert plots.loss_curve(bad[1:], 1).axes[0].get_yscale() == "linear"
    assert plots.loss_curve([*bad, -1.0], 1).axes[0].get_yscale() == "linear"
    assert plots.loss_curve([*bad, 0.0], 1).axes[0].get_yscale() == "linear"


def test_learning_rate_finder_marks_the_valley():
    lrs = 10 ** torch.linspace(-3, 0, 1000)
    fig = plots.learning_rate_finder(lrs, (torch.log10(lrs) + 1) ** 2, constant=torch.full((1000,), 0.5))
    rule = next(line for line in fig.axes[0].lines if line.get_label().startswith("valley"))
    assert rule.get_label() == "valley near 0.1" and rule.get_xdata() == pytest.approx([0.1, 0.1], rel=0.1)
    assert fig.axes[0].get_xscale() == "log"
    means = {line.get_label(): line for line in fig.axes[0].lines if "mean of 50 steps" in line.get_label()}
    rising, constant = (means[f"{name} rate, mean of 50 steps"] for name in ("rising", "constant"))
    assert constant.get_ydata() == pytest.approx(0.5)
    assert rising.get_ydata()[100] == pytest.approx(((torch.log10(lrs[100:150]) + 1) ** 2).mean().item())


def test_the_valley_is_that_of_the_mean_and_not_of_one_lucky_loss():
    lrs = 10 ** torch.linspace(-3, 0, 1000)
    losses = (torch.log10(lrs) + 1) ** 2
    losses[100] = -0.1  # the lowest of all, by chance
    rule = next(
        line
        for line in plots.learning_rate_finder(lrs, losses).axes[0].lines
        if line.get_label().startswith("valley")
    )
    assert rule.get_xdata() == pytest.approx([0.1, 0.1], rel=0.1)


def test_embedding_scatter_places_every_letter():
    C = torch.tensor([[0.0, 0], [5, 5], [-3, 2], [5, 4.5], [-3, 2.25], [1, 0]], requires_grad=True)
    fig = plots.embedding_scatter(C, VOCAB)
    placed = {t.get_text(): t.xy for t in fig.axes[0].texts}
    assert placed == {VOCAB.itos[i]: tuple(C[i].tolist()) for i in range(6)}
    drawn = np.concatenate([c.get_offsets() for c in fig.axes[0].collections])
    assert sorted(map(tuple, drawn)) == sorted(map(tuple, C.tolist()))


def test_embedding_scatter_keeps_the_crowd_readable_beside_an_outlier():
    C = torch.randn((6, 2), generator=torch.Generator().manual_seed(0))
    C[3] = torch.tensor([500.0, -700.0])
    fig = plots.embedding_scatter(C, VOCAB)
    notes = [t for t in fig.axes[0].texts if "beyond" in t.get_text()]
    assert [t.get_text() for t in notes] == ["beyond: (500.00, -700.00)"]
    assert fig.axes[0].get_xlim()[1] < 20 and fig.axes[0].get_ylim()[0] > -20


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_a_picture_with_title_and_axes_that_reads_as_text(name):
    plt.get_backend()  # pyplot chooses one when first asked
    before = dict(matplotlib.rcParams), plt.get_fignums()
    fig = FIGURES[name]()
    bundle, size = fig._repr_mimebundle_()
    assert (dict(matplotlib.rcParams), plt.get_fignums()) == before, "pyplot state was left behind"
    assert bundle["text/plain"] == str(fig) and len(rows(fig)) >= 2
    again = FIGURES[name]()
    assert fig.dpi == again.dpi, "the figure itself is left as it was"
    assert bundle["image/png"].startswith(b"\x89PNG") and bundle["image/png"] == again.png()
    image = matplotlib.image.imread(io.BytesIO(bundle["image/png"]))
    assert size["image/png"]["width"] * 2 == image.shape[1]  # sharp on a screen of twice the pixels
    assert image.shape[0] > 100 and image.shape[1] > 300 and image.std() > 0.02
    assert all(ax.get_title() and ax.get_xlabel() for ax in fig.axes)
    assert any(ax.get_ylabel() for ax in fig.axes) or name == "activation_functions"


def luminance(colour) -> float:
    parts = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return float(np.dot(parts, (0.2126, 0.7152, 0.0722)))


def contrast(one, other) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("style", ["default", "dark_background"])
@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_readable_whatever_the_theme(name, style):
    """The background is opaque paper, and each text stands out from it (WCAG asks for 4.5:1)."""
    with plt.style.context(style):
        fig = FIGURES[name]()
        image = matplotlib.image.imread(io.BytesIO(fig.png()))
    assert (image[..., 3] == 1).all() if image.shape[2] == 4 else True
    assert to_hex(image[0, 0, :3]) == PAPER

    for ax in fig.axes:
        inside = set(ax.texts)  # drawn on a coloured cell or disc
        for text in ax.findobj(Text):
            if text.get_text() and text not in inside:
                assert contrast(PAPER, text.get_color()) > 4.5, f"{text.get_text()!r} is {text.get_color()}"


def test_the_words_of_a_heat_map_stand_out_from_their_cells():
    ax = plots.bigram_heatmap(counts(), VOCAB).axes[0]
    (image,) = ax.images
    N, shades = counts(), image.cmap(image.norm(counts().numpy()))
    # The colour goes with the root of the count, so that rare pairs show.
    assert (image.norm([1, 4, 9]) * image.norm.vmax**0.5).tolist() == pytest.approx([1, 2, 3])
    for text in ax.texts:
        j, i = (round(place) for place in text.get_position())
        assert contrast(shades[i, j, :3], text.get_color()) > (4.5 if N[i, j] else 1.5), text.get_text()


@pytest.mark.parametrize("n", [2, 5, 12])
def test_depth_is_a_ramp_from_dark_to_light(n):
    shades = [luminance(ramp(i, n)) for i in range(n)]
    assert shades == sorted(shades) and shades[-1] > shades[0] + 0.15 and ramp(0, 1) == ramp(0, n)


def test_figures_are_freed():
    figures = []
    for _ in range(10):
        fig = plots.loss_curve([1.0, 2.0], window=1)
        fig.png()
        figures.append(weakref.ref(fig))
    del fig
    gc.collect()
    assert not any(figure() for figure in figures)


def nan(x: torch.Tensor, *at) -> torch.Tensor:
    x = x.clone().float()
    x[at] = torch.nan
    return x


LRS = 10 ** torch.linspace(-3, 0, 50)
BAD = {
    "heatmap, other vocabulary": (
        lambda: plots.bigram_heatmap(torch.ones(27, 27), VOCAB),
        "27 rows.* 6 char",
    ),
    "heatmap, not square": (lambda: plots.bigram_heatmap(torch.ones(6, 7), VOCAB), r"square.*\(6, 7\)"),
    "heatmap, probabilities": (
        lambda: plots.bigram_heatmap(torch.full((6, 6), 1 / 6), VOCAB),
        "whole numbers",
    ),
    "heatmap, negative": (lambda: plots.bigram_heatmap(counts() - 1, VOCAB), "none negative"),
    "heatmap, nan": (
        lambda: plots.bigram_heatmap(nan(counts(), 2, 3), VOCAB),
        "first character 2, next .* 3",
    ),
    "heatmap, one axis": (lambda: plots.bigram_heatmap(torch.ones(6), VOCAB), r"got shape \(6,\)"),
    "saturation, empty": (lambda: plots.saturation_image(torch.ones(0, 5)), "empty"),
    "saturation, one axis": (lambda: plots.saturation_image(torch.ones(5)), r"\(examples, neurons\)"),
    "saturation, inf": (
        lambda: plots.saturation_image([[1.0, float("inf")]]),
        "1 of 2 .* example 0, neuron 1",
    ),
    "saturation, threshold": (lambda: plots.saturation_image([[1.0]], threshold=-1), "positive"),
    "loss, empty": (lambda: plots.loss_curve([]), "empty"),
    "loss, short": (lambda: plots.loss_curve(torch.ones(400)), "400 losses given, got 1000; try window=20"),
    "loss, window 0": (lambda: plots.loss_curve(torch.ones(400), window=0), "window must"),
    "loss, half a window": (
        lambda: plots.loss_curve(torch.ones(400), window=2.5),
        "a whole number .* got 2.5",
    ),
    "loss, ragged": (lambda: plots.loss_curve([[1.0], [1.0, 2.0]]), "got lists of several lengths"),
    "heatmap, stoi": (lambda: plots.bigram_heatmap(torch.ones(6, 6), VOCAB.stoi), "vocab is a dict"),
    "embedding, itos": (lambda: plots.embedding_scatter(torch.ones(6, 2), VOCAB.stoi), "vocab is a dict"),
    "loss, nan": (
        lambda: plots.loss_curve(nan(torch.ones(400), slice(390, None)), 20),
        "10 of 400.*step 390",
    ),
    "loss, text": (lambda: plots.loss_curve(["a"], 1), "must be numbers"),
    "finder, lengths": (lambda: plots.learning_rate_finder(LRS, torch.ones(49)), "50 rates and 49 losses"),
    "finder, constant": (lambda: plots.learning_rate_finder(LRS, LRS, LRS[:9]), "9 losses .constant"),
    "finder, falling": (lambda: plots.learning_rate_finder(LRS.flip(0), LRS), "rising"),
    "finder, exponents": (lambda: plots.learning_rate_finder(torch.linspace(-3, 0, 50), LRS), "positive"),
    "scatter, 10-D": (lambda: plots.embedding_scatter(torch.ones(6, 10), VOCAB), r"\(6, 10\).*two columns"),
    "scatter, vocabulary": (lambda: plots.embedding_scatter(torch.ones(27, 2), VOCAB), "27 rows"),
    "scatter, nan": (lambda: plots.embedding_scatter(nan(torch.ones(6, 2), 4, 1), VOCAB), "character 4"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case):
    call, message = BAD[case]
    with pytest.raises((ValueError, TypeError), match=message):
        call()


def test_half_precision_and_gradients_can_be_drawn():
    x = torch.rand(6, 2, dtype=torch.bfloat16, requires_grad=True)
    plots.embedding_scatter(x, VOCAB), plots.saturation_image(x.half())


def test_a_figure_reads_out_the_lines_that_say_something():
    fig = plots.Figure(4, 3)
    ax = fig.add_subplot(title="two", xlabel="x", ylabel="y")
    ax.plot([0, 1, 2], [1.0, 4.0, 2.0], label="seen")
    ax.plot([0, 1, 2], [np.nan] * 3, label="never measured")
    ax.plot([0, 2], [0.0, 0.0])  # an axis, without a name
    ax.plot([0, 1, 2], [7.0, 8.0, 9.0])  # a curve without a name
    rows = [line.split() for line in str(fig).splitlines() if re.search(r"\d", line)]
    assert [row[-6:] for row in rows] == [
        ["3", "1", "4", "2", "1", "4"],
        ["3", "7", "8", "9", "7", "9"],
    ]


def test_a_density_is_read_out_as_from_mean_deviation_to():
    values = torch.tensor([0.0, 0.0, 1.0, 4.0]).repeat(50)
    text = str(plots.histograms({"some": values}))
    found = re.search(r"from (\S+) to (\S+), centre (\S+), spread (\S+)", text)
    low, high, centre, spread = map(float, found.groups())
    assert low <= 0 and high >= 4
    assert centre == pytest.approx(1.25, abs=0.1) and len(found[3]) == len("1.27")  # three digits
    assert spread == pytest.approx(1.64, abs=0.1)
    alone = str(plots.histograms({"one value": torch.zeros(50)}))
    assert re.search(r"centre -?\d", alone), alone  # no spread, and no error


@pytest.mark.parametrize("way", ["bar", "barh"])
def test_bars_are_read_out_by_the_names_beside_them(way):
    ax = (fig := plots.Figure(4, 3)).add_subplot(title="what mattered")
    getattr(ax, way)(["lr", "layers"], [0.75, 0.25], label="share")
    assert str(fig).splitlines()[-1] == "share: lr 0.75, layers 0.25"


def test_the_alternative_text_is_the_first_line_or_two_where_that_is_a_word():
    assert alternative("\nLoss over 240 steps\nx: step; y: loss") == "Loss over 240 steps"
    assert alternative("tanhs\nx: n; y: value") == "tanhs; x: n; y: value"
    assert alternative("") == "figure"
    assert alternative("a" * 201) == "a" * 199 + "…" and alternative("a" * 200) == "a" * 200
