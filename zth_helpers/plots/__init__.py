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

__all__ = [
    "Figure",
    "activation_functions",
    "bigram_heatmap",
    "embedding_scatter",
    "learning_rate_finder",
    "loss_curve",
    "saturation_image",
    "table",
]
