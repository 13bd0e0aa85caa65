"""How Monitor reads the lecture's plain layer objects, which store their result in `.out`."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from zth_helpers.monitor.columns import Columns, tensors


class PlainWatch:
    """Layer objects that store their result in `.out`; of several calls before a step the last is seen."""

    def __init__(self, columns: Columns):
        self.columns = columns
        self.layers: dict[str, weakref.ref] = {}
        self.kept: dict[str, list[Tensor]] = {}  # the outputs between retain() and take()
        self.last: dict[str, list] = {}  # those of the last sample, to tell new ones from old ones

    def add(self, name: str, layer: Any) -> bool:
        """False for an object that is listed already: its `.out` can show one call only."""
        if any(ref() is layer for ref in self.layers.values()):
            return False
        self.columns.kinds[name] = type(layer).__name__
        self.layers[name] = weakref.ref(layer)
        return True

    def without_out(self) -> str | None:
        """The name of the first layer, if none of them stores an `.out`."""
        alive = {name: layer for name, ref in self.layers.items() if (layer := ref()) is not None}
        return None if any(hasattr(layer, "out") for layer in alive.values()) else next(iter(alive), None)

    def outputs(self) -> dict[str, list[Tensor]]:
        return {name: tensors(getattr(ref(), "out", None)) for name, ref in self.layers.items()}

    def retain(self) -> None:
        self.kept = self.outputs()
        for out in (t for outs in self.kept.values() for t in outs if t.requires_grad):
            out.retain_grad()

    def taken(self) -> list[tuple[str, list[Tensor]]]:
        """(layer, outputs) of the layers that have run since the last sample; changes nothing."""
        return [
            (layer, found)
            for layer, found in (self.kept or self.outputs()).items()
            if found and not self._is_old(layer, found)
        ]

    def _is_old(self, layer: str, found: list[Tensor]) -> bool:
        last = self.last.get(layer, [])
        for (ref, version), t in zip(last, found):
            if ref() is not t or version != t._version:
                return False
        return len(last) == len(found)

    def forget(self, taken: Sequence[tuple[str, list[Tensor]]] = ()) -> None:
        """What was taken belongs to a step that is over."""
        for layer, found in taken:
            self.last[layer] = [(weakref.ref(t), t._version) for t in found]
        self.kept = {}


def parameters_of(name: str, layer: Any) -> dict[str, Tensor]:
    """The parameters of a layer of that name, each by the attribute that holds it, or by its number."""
    attribute = {id(value): key for key, value in vars(layer).items()}
    listed = layer.parameters() if hasattr(layer, "parameters") else []
    return {f"{name} {attribute.get(id(p), j)}": p for j, p in enumerate(listed)}


def named_parameters(layers: Sequence[Any]) -> dict[str, Tensor]:
    """The parameters of a list of layer objects, by the names that a Monitor gives them: "0 Linear weight".

    Monitor(layers, {"C": C} | named_parameters(layers)) follows and names what is not in the layers, too.
    """
    all_of_them = (parameters_of(f"{i} {type(layer).__name__}", layer) for i, layer in enumerate(layers))
    return {name: p for named in all_of_them for name, p in named.items()}


def gradient(t: Tensor) -> Tensor | None:
    return t.grad if t.is_leaf or t.retains_grad else None
