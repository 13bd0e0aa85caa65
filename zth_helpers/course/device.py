"""The lessons train on the processor; with ZTH_DEVICE=cuda their loops run on a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from zth_helpers import settings


@contextmanager
def on_device(*things: Any) -> Iterator[None]:
    """Moves tensors to the device that ZTH_DEVICE names for a `with` block, and back at its end.

        with on_device(parameters, X, Y):
            ...  # the training loop

    things: tensors, and whatever holds some: lists, dicts, layers, partial functions. A tensor stays the
    same object, with its gradient; tensors that a layer or a dict gets meanwhile come back too. Batches are
    drawn as always: indices on the processor read rows of a tensor on a GPU. Does nothing for "cpu", and on
    "mps" where double precision is asked for, which it lacks. Raises ValueError for a device that torch does
    not find.
    """
    device = settings.device()
    if device.startswith("mps") and any(t.dtype == torch.float64 for t in _tensors(things)):
        print("ZTH_DEVICE=mps has no double precision: this trains on the processor")
        device = "cpu"
    if device == "cpu":
        yield
        return
    try:
        _move(things, device)
        yield
    finally:
        _move(things, "cpu")


def _move(things: Any, device: str) -> None:
    for tensor in _tensors(things):
        tensor.data = _to(tensor.data, device)
        if (tensor.is_leaf or tensor.retains_grad) and tensor.grad is not None:
            tensor.grad.data = _to(tensor.grad.data, device)


def _to(data: Tensor, device: str) -> Tensor:
    return data.to(device)


def _tensors(things: Any) -> list[Tensor]:
    """All tensors that can be reached, each once."""
    found: list[Tensor] = []
    seen: set[int] = set()
    waiting = [things]
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, Tensor):
            found.append(thing)
        elif isinstance(thing, dict):
            waiting += thing.values()
        elif isinstance(thing, list | tuple):
            waiting += thing
        elif isinstance(thing, partial):
            waiting += [thing.args, thing.keywords]
        elif hasattr(thing, "__dict__"):
            waiting.append(vars(thing))
    return found
