"""Figures with controls, one call each, in the notebook where the idea is taught (see `explorer.py`)."""

from zth_helpers.interact.engine import backward_pass, decision_boundary
from zth_helpers.interact.explorer import Explorer, choice, slider, text
from zth_helpers.interact.gradients import gradients
from zth_helpers.interact.language import bigram, embedding, next_character, temperature
from zth_helpers.interact.layers import batch_norm, init_gain
from zth_helpers.interact.tree import name_tree

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
