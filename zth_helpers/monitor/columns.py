"""The columns of the samples: which layers there are, and what each of their outputs is called."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields, is_dataclass

import torch
from torch import Tensor

PLAIN = (Tensor, torch.nn.Parameter)
# Layers that pass on what they get: behind the last layer that computes, they are part of the output.
PASSIVE = (
    *("Tanh", "Sigmoid", "ReLU", "LeakyReLU", "ELU", "GELU", "SiLU", "Softmax", "LogSoftmax", "Softplus"),
    *("Dropout", "Flatten", "Unflatten", "Identity"),
)
FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


class Columns(dict[str, str]):
    """What samples hold, column by column: {name: layer}. A layer can have several (`name#2`, `name[1]`)."""

    def __init__(self) -> None:
        super().__init__()
        self.kinds: dict[str, str] = {}  # of all watched layers, in the order of listing
        self.calls: Counter[str] = Counter()
        self.units: dict[str, int] = {}  # column -> how many units (features, channels) its output has
        self.without_grad: set[str] = set()  # layers that have run without gradients, whatever else they did
        self.passing_on: set[str] = set()  # layers whose output is that of a layer inside of them

    def named(self, layer: str, turn: int, amount: int) -> list[str]:
        """The names of what a layer has put out, `amount` tensors, at its turn-th call within one pass."""
        name = layer if turn == 1 else f"{layer}#{turn}"
        return [name] if amount == 1 else [f"{name}[{i}]" for i in range(amount)]

    def add(self, names: dict[str, str], in_order_of_listing: bool) -> None:
        """Columns for {name: layer}, at the end; at the first sample also one for each layer not seen yet."""
        first = not self
        self.update({name: layer for name, layer in names.items() if name not in self})
        if not first:
            return
        unseen = set(self.kinds) - set(self.values()) - self.passing_on
        self.update((layer, layer) for layer in self.kinds if layer in unseen)
        if in_order_of_listing:
            order = list(self.kinds)
            in_order = sorted(self.items(), key=lambda item: order.index(item[1]))
            self.clear()
            self.update(in_order)

    def behind_the_last(self, names: list[str], prefixes: list[str]) -> list[str]:
        """Of these columns the activations behind the last computing layer of each network."""
        found: list[str] = []
        for prefix in prefixes:
            mine = [name for name in names if name.startswith(prefix)]
            kinds = [self.kinds[self[name]] for name in mine]
            last = max((i for i, kind in enumerate(kinds) if kind not in PASSIVE), default=len(mine))
            found += mine[last + 1 :]
        return found


def tensors(output: object) -> list[Tensor]:
    """The readable tensors in a tensor, or in nested tuples, lists, dicts and dataclasses of them."""
    if isinstance(output, Tensor):
        return [output] if why_unreadable(output) is None else []
    if isinstance(output, dict):
        parts: list = list(output.values())
    elif isinstance(output, tuple | list):
        parts = list(output)
    elif is_dataclass(output) and not isinstance(output, type):
        parts = [getattr(output, field.name) for field in fields(output)]
    else:
        return []
    return [t for part in parts for t in tensors(part)]


def why_unreadable(t: Tensor) -> str | None:
    """Why a tensor's numbers are not looked at, or None when they are. Integers are no surprise: ""."""
    if type(t) in PLAIN and t.dtype in FLOATS and t.layout is torch.strided:  # nearly all: answered quickly
        if not (t.is_nested or t.is_meta or torch._C._functorch.is_functorch_wrapped_tensor(t)):
            return None
    if torch._C._functorch.is_functorch_wrapped_tensor(t):
        return "a tensor inside of vmap, grad or jvp"
    if t.is_nested or t.layout != torch.strided:
        return f"a {'nested' if t.is_nested else str(t.layout).removeprefix('torch.')} tensor"
    if t.is_quantized:
        return "a quantised tensor"
    if type(t).__torch_dispatch__ is not Tensor.__torch_dispatch__:  # DTensor and its like
        return f"a {type(t).__name__}"
    if t.is_meta:
        return "a tensor on the meta device"
    if t.is_complex():
        return "complex numbers"
    return None if t.is_floating_point() else ""
