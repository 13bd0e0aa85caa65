"""How Monitor reads the lecture's plain layer objects, and the parameters of any network."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from zth_helpers.monitor.modules import Columns, tensors


class PlainWatch:
    """Layer objects that store their result in `.out`."""

    def __init__(self, columns: Columns):
        self.columns = columns
        self.layers: dict[str, weakref.ref] = {}
        self.kept: dict[str, list[Tensor]] = {}  # the outputs between retain() and take()
        self.last: dict[str, list] = {}  # those of the last sample, to tell new ones from old ones

    def add(self, name: str, layer) -> bool:
        """False for an object that is already there: its `.out` holds one call only."""
        if any(ref() is layer for ref in self.layers.values()):
            return False
        self.columns.kinds[name] = type(layer).__name__
        self.layers[name] = weakref.ref(layer)
        return True

    def outputs(self) -> dict[str, list[Tensor]]:
        return {name: list(tensors(getattr(ref(), "out", None))) for name, ref in self.layers.items()}

    def retain(self) -> None:
        self.kept = self.outputs()
        for out in (t for outs in self.kept.values() for t in outs if t.requires_grad):
            out.retain_grad()

    def take(self) -> tuple[list[str], list[Tensor], list[Tensor | None]]:
        """Columns, outputs and gradients of the layers that have run since the last call."""
        names, outs = [], []
        for layer, found in (self.kept or self.outputs()).items():
            last = self.last.get(layer, [])
            self.last[layer] = [(weakref.ref(t), t._version) for t in found]
            old = len(last) == len(found) and all(
                r() is t and v == t._version for (r, v), t in zip(last, found)
            )
            if found and not old:
                self.columns.calls[layer] += 1
                for name, out in self.columns.named(layer, 1, found):
                    names.append(name), outs.append(out)
        self.kept = {}
        return names, outs, [t.grad if t.is_leaf or t.retains_grad else None for t in outs]


class ParameterWatch:
    """Gradients and updates of parameters, relative to their size."""

    def __init__(self, parameters: Sequence[Tensor], names: dict[int, str], method: str):
        self.refs = [weakref.ref(p) for p in parameters]
        self.names = [names.get(id(p), f"parameter {i}") for i, p in enumerate(parameters)]
        self.shapes = [tuple(p.shape) for p in parameters]
        self.trainable = np.array([p.requires_grad for p in parameters], bool)
        self.method, self.on = method, True
        self.before: list[Tensor | None] | None = None  # copies from before the optimizer's update

    def keep(self, optimizer, args, kwargs) -> None:
        """The optimizer's hook; called while `on`."""
        self.before = [None if ref() is None else ref().detach().clone() for ref in self.refs]

    @torch.no_grad()
    def read(self, lr: float | None) -> tuple[list[Tensor | None], np.ndarray, np.ndarray]:
        """Gradients, grad:data and update:data of each parameter; None and nan where there is none."""
        have, data, grads = [], [], [None] * len(self.refs)
        for i, ref in enumerate(self.refs):
            p = ref()
            grad = p.grad if p is not None and p.is_leaf else None
            if grad is not None:
                grads[i] = grad.to_dense() if grad.is_sparse else grad
                have.append(i), data.append(p)
            elif p is not None:
                self.trainable[i] = p.requires_grad
        if not have and self.trainable.any():
            raise RuntimeError(
                "no parameter has a gradient: call mon.step after backward and the update, before zero_grad"
            )
        ratios = np.full((2, len(grads)), np.nan, np.float32)
        before, self.before = self.before, None
        if not have:
            return grads, ratios[0], ratios[1]
        updates = [] if before is None else [p - before[i] for i, p in zip(have, data)]
        sizes = self.sizes(data + [grads[i] for i in have] + updates).reshape(-1, len(have))
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios[: len(sizes) - 1, have] = sizes[1:] / sizes[0]
        if before is None and lr is not None:
            ratios[1] = float(lr) * ratios[0]
        return grads, ratios[0], ratios[1]

    def sizes(self, values: list[Tensor]) -> np.ndarray:
        """Norms, or standard deviations, of all tensors, read in one go."""
        if len({(t.dtype, t.device) for t in values}) > 1 or values[0].element_size() < 4:
            values = [t.double().cpu() for t in values]  # a norm in half precision overflows at 65504
        if self.method == "norm":
            sizes = torch._foreach_norm(values)
        else:
            sizes = [t.std() if t.numel() > 1 else t.new_tensor(torch.nan) for t in values]
        return torch.stack(sizes).cpu().numpy()
