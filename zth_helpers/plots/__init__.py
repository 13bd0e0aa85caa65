"""Every figure of the course: data in, `Figure` out, which also reads as text (see `figure.py`)."""

from zth_helpers.plots.backprop_ninja import bessel, dlogits_image, logit_pushes
from zth_helpers.plots.batchnorm import first_steps, histograms
from zth_helpers.plots.bigram import (
    between_two_points,
    counts_image,
    loss_and_levels,
    one_hot_image,
    row_bars,
    staircase,
)
from zth_helpers.plots.dashboard import dashboard
from zth_helpers.plots.data import (
    activation_functions,
    bigram_heatmap,
    embedding_scatter,
    learning_rate_finder,
    loss_curve,
    saturation_image,
)
from zth_helpers.plots.diagrams import shape_flow, you_are_here
from zth_helpers.plots.figure import Figure, ramp
from zth_helpers.plots.micrograd import (
    decision_boundary,
    tangents,
    tanh_and_slope,
    training_curves,
    two_moons,
)
from zth_helpers.plots.mlp import counting_curve, mlp_network
from zth_helpers.plots.report import save_report
from zth_helpers.plots.sweeps import loss_against, parallel_coordinates, winners_again
from zth_helpers.plots.training import (
    activation_histograms,
    gradient_histograms,
    statistics_heatmap,
    update_ratios,
    weight_gradient_histograms,
)
from zth_helpers.plots.wavenet import losses_and_floors, recipes, trees
from zth_helpers.text import table

__all__ = [
    "Figure",
    "activation_functions",
    "activation_histograms",
    "bessel",
    "between_two_points",
    "bigram_heatmap",
    "counting_curve",
    "counts_image",
    "dashboard",
    "decision_boundary",
    "dlogits_image",
    "embedding_scatter",
    "first_steps",
    "gradient_histograms",
    "histograms",
    "learning_rate_finder",
    "logit_pushes",
    "loss_against",
    "loss_and_levels",
    "loss_curve",
    "losses_and_floors",
    "mlp_network",
    "one_hot_image",
    "parallel_coordinates",
    "ramp",
    "recipes",
    "row_bars",
    "saturation_image",
    "save_report",
    "shape_flow",
    "staircase",
    "statistics_heatmap",
    "table",
    "tangents",
    "tanh_and_slope",
    "training_curves",
    "trees",
    "two_moons",
    "update_ratios",
    "weight_gradient_histograms",
    "winners_again",
    "you_are_here",
]
