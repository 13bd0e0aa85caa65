"""Explorables, one call each, in the notebook where the idea is taught (see `explorable.py`)."""

from zth_helpers.interact.backprop_ninja import gradients
from zth_helpers.interact.batchnorm import batch_norm, scale_through_depth
from zth_helpers.interact.bigram import counts_and_rows
from zth_helpers.interact.explorable import MIME, Explorable, page_html
from zth_helpers.interact.micrograd import expression, moons_playground
from zth_helpers.interact.mlp import letters_and_next
from zth_helpers.interact.several import broadcasting, logits_to_loss, rate_on_a_surface
from zth_helpers.interact.wavenet import name_tree, temperature

__all__ = [
    "MIME",
    "Explorable",
    "batch_norm",
    "broadcasting",
    "counts_and_rows",
    "expression",
    "gradients",
    "letters_and_next",
    "logits_to_loss",
    "moons_playground",
    "name_tree",
    "page_html",
    "rate_on_a_surface",
    "scale_through_depth",
    "temperature",
]
