"""Figures with controls, one call each, in the notebook where the idea is taught (see `explorer.py`)."""

from zth_helpers.interact.backprop_ninja import gradients
from zth_helpers.interact.batchnorm import batch_norm, init_gain
from zth_helpers.interact.bigram import bigram
from zth_helpers.interact.explorer import Explorer, choice, slider, text
from zth_helpers.interact.micrograd import backward_pass, decision_boundary
from zth_helpers.interact.mlp import embedding, next_character
from zth_helpers.interact.wavenet import name_tree, temperature

__all__ = [
    "Explorer",
    "backward_pass",
    "batch_norm",
    "bigram",
    "choice",
    "decision_boundary",
    "embedding",
    "gradients",
    "init_gain",
    "name_tree",
    "next_character",
    "slider",
    "temperature",
    "text",
]
