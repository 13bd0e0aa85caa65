"""Every figure of the course: data in, `Figure` out, which also reads as text (see `figure.py`)."""

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
from zth_helpers.plots.figure import Figure
from zth_helpers.plots.micrograd import (
    decision_boundary,
    tangents,
    tanh_and_slope,
    training_curves,
    two_moons,
)
from zth_helpers.plots.report import save_report
from zth_helpers.plots.training import (
    activation_histograms,
    gradient_histograms,
    statistics_heatmap,
    update_ratios,
    weight_gradient_histograms,
)
from zth_helpers.text import table

__all__ = [
    "Figure",
    "activation_functions",
    "activation_histograms",
    "between_two_points",
    "bigram_heatmap",
    "counts_image",
    "dashboard",
    "decision_boundary",
    "embedding_scatter",
    "gradient_histograms",
    "learning_rate_finder",
    "loss_and_levels",
    "loss_curve",
    "one_hot_image",
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
    "two_moons",
    "update_ratios",
    "weight_gradient_histograms",
    "you_are_here",
]
