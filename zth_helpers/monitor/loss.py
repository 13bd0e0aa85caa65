"""What a Monitor reads off the loss: its value, and how many classes it distinguishes."""

from __future__ import annotations

from torch import Tensor


def number(loss: Tensor | float) -> float:
    """Its value; for a GPU's it is waited for. Raises ValueError for what is not one number."""
    if isinstance(loss, Tensor) and loss.numel() != 1:
        raise ValueError(f"the loss has shape {tuple(loss.shape)}: give one number, for example loss.mean()")
    try:
        return loss.item() if isinstance(loss, Tensor) else float(loss)
    except (TypeError, ValueError):
        raise ValueError(f"the loss is a {type(loss).__name__}: give a number or a tensor of one") from None


def classes(loss: Tensor | float) -> int | None:
    """Read off the graph of the loss, which remembers the shape of what went in; not in torch 2.4."""
    node = loss.grad_fn if isinstance(loss, Tensor) else None
    if node is None or not node.name().startswith("NllLoss") or getattr(node, "_saved_reduction", None) != 1:
        return None
    before = node.next_functions[0][0]
    shapes = [tuple(into.shape) for into in getattr(before, "_input_metadata", ())]
    return shapes[0][min(1, len(shapes[0]) - 1)] if shapes and shapes[0] else None
