"""How Monitor attaches to a torch.nn.Module: what counts as a layer, and hooks that let go."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from zth_helpers.monitor.statistics import summarise

OPAQUE = (nn.MultiheadAttention,)  # use their children's weights without calling them: one layer each
CONTAINERS = (nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)  # are never called
SMALL = 2**16  # values: such a tensor is copied, to be reduced with others in one go, which is cheaper
MAX_TURNS = 8  # recorded calls of one module within one forward pass: name, name#2, …


class Hook:
    """Calls `method(*args, …)` of its owner while there is one, and always returns None.

    A hook that returned anything would replace the layer's output. It holds its owner weakly, does nothing
    in copies and pickles of the model, and torch.compile leaves it to plain Python.
    """

    def __init__(self, owner=None, method: str = "", *args):
        self.owner = (lambda: None) if owner is None else weakref.ref(owner)
        self.method, self.args = method, args

    def __call__(self, *args) -> None:
        if torch.compiler.is_compiling():
            self.outside(*args)
        elif (owner := self.owner()) is not None and owner.on:
            getattr(owner, self.method)(*self.args, *args)

    @torch.compiler.disable  # costs ten times the rest of a hook that has nothing to do
    def outside(self, *args) -> None:
        if (owner := self.owner()) is not None:
            owner.compiled = True
        self(*args)

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
    """(dotted name, module) of each module that computes by itself; a shared one comes once."""
    inside: tuple[str, ...] = ()
    for name, module in model.named_modules():
        if name.startswith(inside) or "parametrizations" in name.split("."):
            continue
        children = [child for child, _ in module.named_children() if child != "parametrizations"]
        if isinstance(module, OPAQUE):
            inside += (name + "." if name else "",)
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


class Columns(dict):
    """What samples hold, column by column: {name: layer}. A layer can have several (`name#2`, `name[1]`)."""

    def __init__(self):
        super().__init__()
        self.kinds: dict[str, str] = {}  # of all watched layers, in the order of listing
        self.calls: Counter[str] = Counter()

    def named(self, layer: str, turn: int, found: list[Tensor]) -> list[tuple[str, Tensor]]:
        """Names what the layer has put out at its turn-th call, and makes columns for it."""
        name = layer if turn == 1 else f"{layer}#{turn}"
        names = [name] if len(found) == 1 else [f"{name}[{i}]" for i in range(len(found))]
        self.update((n, layer) for n in names if n not in self)
        return list(zip(names, found))


class ModuleWatch:
    """The hooks on modules. While `on`, a layer's output is copied or reduced at once, for a later in-place
    operation would overwrite it; so is its gradient, by a hook on the output: those on modules break in-place
    ReLUs. Between samples the modules have no hooks, for even an idle one slows down every call; but a
    compiled model keeps them, since it may be compiled again at any step, with the hooks that it then has."""

    def __init__(self, columns: Columns):
        self.columns, self.on, self.compiled = columns, True, False
        self.hooks: list[tuple[weakref.ref, str, Hook]] = []  # a module, how to register, and what
        self.handles: list = []
        self.shown: dict[str, list] = {}  # name -> [output, gradient], each a copy, a summary or None
        self.turns: Counter[str] = Counter()  # calls within one pass of a model

    def watch(self, model: nn.Module, prefix: str, wanted: Callable[[str], bool]) -> None:
        """Hooks all layers of the model, at once: a compiled one knows only the hooks of its first call."""
        found = [(model, "register_forward_pre_hook", Hook(self, "new_pass", prefix))]
        for name, module in leaves(model):
            if not wanted(prefix + name):
                continue
            self.columns.kinds[prefix + name] = type(module).__name__
            found.append((module, "register_forward_hook", Hook(self, "output", prefix + name)))
        self.hooks += [(weakref.ref(module), how, hook) for module, how, hook in found]
        self.handles += [getattr(module, how)(hook) for module, how, hook in found]

    def switch(self, on: bool) -> None:
        if on and not self.handles:
            alive = [(ref(), how, hook) for ref, how, hook in self.hooks if ref() is not None]
            self.handles += [getattr(module, how)(hook) for module, how, hook in alive]
        elif not (on or self.compiled):
            remove(self.handles)
        self.on = on

    def new_pass(self, prefix: str, module: nn.Module, args) -> None:
        """Of several passes before one step the last counts; an interrupted one is forgotten."""
        if module.training and torch.is_grad_enabled():
            for name in [name for name in self.shown if name.startswith(prefix)]:
                del self.shown[name]
            self.turns.clear()

    def output(self, layer: str, module: nn.Module, args, output) -> None:
        if not (module.training and torch.is_grad_enabled()):
            return
        self.columns.calls[layer] += 1
        self.turns[layer] += 1
        if self.turns[layer] <= MAX_TURNS:
            for name, out in self.columns.named(layer, self.turns[layer], list(tensors(output))):
                self.shown[name] = [copied_or_reduced(out, self.columns.kinds[layer]), None]
                if out.requires_grad:
                    out.register_hook(Hook(self, "gradient", name))

    def gradient(self, name: str, gradient: Tensor) -> None:
        if name in self.shown:
            self.shown[name][1] = copied_or_reduced(gradient)


def remove(handles: list) -> None:
    for handle in handles:
        handle.remove()
    handles.clear()


def copied_or_reduced(t: Tensor, kind: str = "") -> Tensor | tuple[np.ndarray, np.ndarray]:
    return t.detach().clone() if t.numel() <= SMALL else summarise([t], [kind])
