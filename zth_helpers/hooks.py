"""How Monitor attaches to a torch.nn.Module: which modules are layers, what they return, hooks that let go."""

from __future__ import annotations

import weakref
from collections.abc import Iterator

import torch
from torch import Tensor, nn

OPAQUE = (nn.MultiheadAttention,)  # use their children's weights without calling them: one layer each
CONTAINERS = (nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)  # are never called


class Hook:
    """Calls `method(*args, …)` of a monitor while there is one, and always returns None.

    A hook that returned anything would replace the layer's output. It holds the monitor weakly and turns
    to a hook that does nothing in copies and pickles of the model; torch.compile runs it as plain Python.
    """

    def __init__(self, monitor=None, method: str = "", *args):
        self.monitor = (lambda: None) if monitor is None else weakref.ref(monitor)
        self.method, self.args = method, args

    @torch.compiler.disable
    def __call__(self, *args) -> None:
        monitor = self.monitor()
        if monitor is not None:
            getattr(monitor, self.method)(*self.args, *args)

    def __reduce__(self):
        return Hook, ()


def unwrap(model):
    """The model inside torch.compile, DataParallel and DistributedDataParallel."""
    while True:
        if hasattr(model, "_orig_mod"):
            model = model._orig_mod
        elif isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        else:
            return model


def leaves(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """(dotted name, module) of each module that computes by itself, once each if shared."""
    inside: tuple[str, ...] = ()
    for name, module in model.named_modules():
        children = [child for child, _ in module.named_children() if child != "parametrizations"]
        if name.startswith(inside) or "parametrizations" in name.split("."):
            continue
        if isinstance(module, OPAQUE):
            inside += (name + ".",)
        if isinstance(module, OPAQUE) or not (children or isinstance(module, CONTAINERS)):
            yield name or type(module).__name__, module


def tensors(output) -> Iterator[Tensor]:
    """The floating-point tensors in a tensor, or in nested tuples, lists and dicts of them."""
    if isinstance(output, Tensor):
        if output.is_floating_point() and output.layout == torch.strided:
            yield output
    elif isinstance(output, dict):
        yield from (t for value in output.values() for t in tensors(value))
    elif isinstance(output, tuple | list):
        yield from (t for value in output for t in tensors(value))
