"""Every figure of the course: data in, `Figure` out, each with a text twin (see `figure.py`)."""

from zth_helpers.plots.data import (
    activation_functions,
    bigram_heatmap,
    embedding_scatter,
    learning_rate_finder,
    loss_curve,
    saturation_image,
)
from zth_helpers.plots.figure import Figure, table
from zth_helpers.plots.training import (
    activation_histograms,
    gradient_histograms,
    statistics_heatmap,
    update_ratios,
    weight_gradient_histograms,
)

__all__ = [
    "Figure",
    "activation_functions",
    "activation_histograms",
    "bigram_heatmap",
    "embedding_scatter",
    "gradient_histograms",
    "learning_rate_finder",
    "loss_curve",
    "saturation_image",
    "statistics_heatmap",
    "table",
    "update_ratios",
    "weight_gradient_histograms",
]
