"""Every figure and every explorable's still, against the picture that was looked at: widths, colours, places.

The tests of single figures say what must be drawn. This one sees the rest: a font, a width, a margin. After a
change that is meant, draw the pictures anew, look at them, and commit them:

    python -m pytest tests/helpers/test_pictures.py --mpl-generate-path=tests/helpers/pictures
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable

import matplotlib
import pytest
import torch

from tests.helpers.gallery import GALLERY
from tests.helpers.test_plots_data import VOCAB, counts
from tests.helpers.test_plots_sweeps import TRIALS
from tests.helpers.test_plots_training import trained
from zth_helpers import moons, plots
from zth_helpers.plots.figure import Figure

pytest.importorskip("pytest_mpl", reason="pictures are compared by pytest-mpl")
DRAWN_WITH = "3.11"  # another matplotlib places ticks and letters a little differently
WAVES = (torch.arange(240) * 0.37).sin() / 2 + 1 / (1 + torch.arange(240) / 40)
X, Y = moons.make_moons(20, noise=0.1, seed=1)
STEPS = {f"run {i}": (WAVES[i * 7 :] + i / 4).tolist() for i in range(7)}


PICTURES: dict[str, Callable[[], Figure]] = {
    "activation_functions": plots.activation_functions,
    "activation_histograms": lambda: plots.activation_histograms(trained(9)),
    "bessel": lambda: plots.bessel([2, 4, 8], [(0.5, 1.0), (0.75, 1.01), (0.875, 0.99)]),
    "between_two_points": lambda: plots.between_two_points([0, 0.25, 0.5, 1], [4.0, 1.0, 1.5, 2.0]),
    "bigram_heatmap": lambda: plots.bigram_heatmap(counts(), VOCAB),
    "counting_curve": lambda: plots.counting_curve(
        [2.9, 2.4, 2.1], [(2.8, 2.85), (2.5, 2.6), (2.2, 2.7)], {"net": (1, 2.45, 2.55)}
    ),
    "counts_image": lambda: plots.counts_image(counts(), VOCAB.stoi),
    "dashboard": lambda: plots.dashboard(trained(9)["good"]),
    "decision_boundary": lambda: plots.decision_boundary([1.0, 0.5, 0.25], [2, 1], X, Y),
    "dlogits_image": lambda: plots.dlogits_image(
        WAVES[:12].view(2, 6) / 2 - 0.5, torch.tensor([[0, 1], [1, 4]]), torch.tensor([4, 0]), VOCAB
    ),
    "embedding_scatter": lambda: plots.embedding_scatter(
        torch.cat([WAVES[30:40].view(5, 2), torch.tensor([[9.0, 0.1]])]), VOCAB
    ),
    "first_steps": lambda: plots.first_steps(STEPS, steps=200, block=10),
    "gradient_histograms": lambda: plots.gradient_histograms(trained(9)),
    "histograms": lambda: plots.histograms({"waves": WAVES, "flat": torch.linspace(-1, 1, 99)}, bins=20),
    "learning_rate_finder": lambda: plots.learning_rate_finder(
        10 ** torch.linspace(-3, 0, 240), (WAVES - 0.7).square() + 0.1, constant=WAVES
    ),
    "logit_pushes": lambda: plots.logit_pushes(
        torch.tensor([0.1, 0.2, -0.7, 0.1, 0.2, 0.1]), torch.tensor([0, 1]), torch.tensor(2), VOCAB
    ),
    "loss_against": lambda: plots.loss_against(TRIALS, "lr", group="layers"),
    "loss_and_levels": lambda: plots.loss_and_levels([3.0, 2.5, 2.25], {"counting": 2.2, "chance": 3.3}),
    "loss_curve": lambda: plots.loss_curve(WAVES + 2, window=20),
    "loss_curve-log": lambda: plots.loss_curve((WAVES + 1.5) ** 4, window=20),
    "losses_and_floors": lambda: plots.losses_and_floors(
        {
            "flat": {"train": 2.0, "dev": 2.2, "characters": 3},
            "tree": {"train": 1.9, "dev": 2.1, "characters": 8},
        },
        {3: 1.8, 8: 1.4},
        table_dev=2.05,
    ),
    "mlp_network": lambda: plots.mlp_network(["the", "cat", "is"], V=17_000, n_embd=30, n_hidden=100),
    "one_hot_image": lambda: plots.one_hot_image(
        torch.eye(6)[[0, 4, 1]], torch.tensor([0, 4, 1]), VOCAB.itos
    ),
    "parallel_coordinates": lambda: plots.parallel_coordinates(TRIALS, ["lr", "layers"], log=["lr"]),
    "recipes": lambda: plots.recipes(
        {f"recipe {i}": [(1.0, 2.5 - i / 10), (2.0, 2.4 - i / 10)] for i in range(7)}
    ),
    "row_bars": lambda: plots.row_bars(
        {
            "counted": torch.tensor([0.5, 0.1, 0.1, 0.1, 0.1, 0.1]),
            "smoothed": torch.full((6,), 1 / 6),
            "net": torch.tensor([0.4, 0.12, 0.12, 0.12, 0.12, 0.12]),
        },
        VOCAB.itos,
        "after a",
    ),
    "saturation_image": lambda: plots.saturation_image(torch.cat([torch.ones(12, 1), WAVES.view(12, 20)], 1)),
    "shape_flow": lambda: plots.shape_flow({f"t{i}": torch.zeros(i, 2) for i in range(1, 8)} | {"n": (5,)}),
    "staircase": lambda: plots.staircase(
        torch.tensor([0.5, 0.25, 0.25]), {0: ".", 1: "a", 2: "b"}, [0.6, 0.2], [1, 0]
    ),
    "statistics_heatmap": lambda: plots.statistics_heatmap(trained(9)),
    "tangents": lambda: plots.tangents(lambda x: x**2, {1.0: 2.0, -2.0: -4.0}),
    "tanh_and_slope": plots.tanh_and_slope,
    "training_curves": lambda: plots.training_curves(STEPS, "seven runs"),
    "trees": lambda: plots.trees("anna", [0, 1, 2], block_size=4),
    "two_moons": lambda: plots.two_moons(X, Y),
    "update_ratios": lambda: plots.update_ratios(trained(9)),
    "weight_gradient_histograms": lambda: plots.weight_gradient_histograms(trained(9)),
    "winners_again": lambda: plots.winners_again(TRIALS),
    "you_are_here": lambda: plots.you_are_here(4),
}
PICTURES |= {f"{module}-still": lambda make=make: make().still for module, make in GALLERY.items()}


@pytest.mark.skipif(
    not matplotlib.__version__.startswith(DRAWN_WITH), reason=f"pictures of matplotlib {DRAWN_WITH}"
)
@pytest.mark.mpl_image_compare(
    baseline_dir="pictures", style="default", savefig_kwargs={"dpi": 60}, tolerance=0.4, deterministic=True
)
@pytest.mark.parametrize("name", PICTURES)
def test_picture(name, request):
    if not (request.config.getoption("mpl") or request.config.getoption("mpl_generate_path")):
        pytest.skip("pictures are compared with --mpl, as `make test` does")
    return PICTURES[name]()


def test_every_figure_has_its_picture():
    functions = {
        name: getattr(plots, name) for name in plots.__all__ if inspect.isfunction(getattr(plots, name))
    }
    figures = {name for name, f in functions.items() if typing.get_type_hints(f).get("return") is Figure}
    assert len(figures) > 30 and figures <= {name.partition("-")[0] for name in PICTURES}
