"""Gradients and updates of parameters, relative to their size; and what the optimizer says of itself."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zth_helpers.monitor.columns import why_unreadable

CPU = torch.device("cpu")
BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # bytes of a number -> the integer of that size


def as_given(parameters: Any) -> tuple[list[Tensor], dict[int, str]]:
    """The tensors of Monitor(parameters=), and the names that came with them, by id.

    Raises TypeError for what is neither tensors, nor names and tensors.
    """
    if isinstance(parameters, torch.optim.Optimizer):
        raise TypeError("parameters= got an optimizer: call Monitor(model, optimizer=optimizer)")
    what = "give a list of tensors, or names and tensors, such as {'C': C} or model.named_parameters()"
    if isinstance(parameters, Tensor) or not isinstance(parameters, Iterable):
        raise TypeError(f"parameters= got one {type(parameters).__name__}: {what}")
    found: list[Tensor] = []
    names: dict[int, str] = {}
    for entry in parameters.items() if isinstance(parameters, Mapping) else parameters:
        name, p = entry if isinstance(entry, tuple) and len(entry) == 2 else (None, entry)
        if not isinstance(p, Tensor):
            raise TypeError(f"parameters= got a list with a {type(p).__name__} in it: {what}")
        found.append(p)
        if name is not None:
            names[id(p)] = name
    return found, names


def belongs(name: str, layer: str) -> bool:
    """Is it a part of the layer? "0.weight" is one of "0", and "0 Linear weight" of the plain "0 Linear"."""
    return name.startswith((f"{layer}.", f"{layer} "))


class ParameterWatch:
    """The parameters that a Monitor follows, and the optimizers that move them, if they are known."""

    def __init__(
        self,
        parameters: Sequence[Tensor],
        names: dict[int, str],
        method: str,
        skip: Callable[[str, str], None],
    ):
        self.refs = [weakref.ref(p) for p in parameters]
        self.names = [names.get(id(p), f"parameter {i}") for i, p in enumerate(parameters)]
        self.shapes = [tuple(p.shape) for p in parameters]
        self.dtypes = [str(p.dtype).removeprefix("torch.") for p in parameters]
        self.trainable = np.array([p.requires_grad for p in parameters], bool)
        self.method, self.skip = method, skip
        self.on = True  # until the Monitor is closed
        self.wants_update = True  # shall the coming update be measured?
        self.optimizers: list[weakref.ref] = []
        self.stepped: list[int] = []  # how often each of them has stepped
        self.missing: list[str] = []  # trainable parameters that no optimizer has
        self.rates: list[float] = []  # their learning rates
        self.rate = math.nan  # the highest of them at the last update
        self.before: list[Tensor | None] | None = None  # copies from before an optimizer's update

    def attach(self, optimizers: Sequence[Any]) -> list:
        """Hooks the optimizers and gives the handles. Raises TypeError for what is no torch optimizer."""
        from zth_helpers.monitor.modules import Hook

        for optimizer in optimizers:
            # accelerate's wrapper calls itself an Optimizer, and so has the method, but no place for hooks
            needed = "register_step_pre_hook", "_optimizer_step_pre_hooks"
            if not all(hasattr(optimizer, name) for name in needed):
                raise TypeError(
                    f"{type(optimizer).__name__} has no register_step_pre_hook that works, by which a "
                    "Monitor sees updates: give the torch.optim.Optimizer inside of it, or leave optimizer= "
                    "out and call mon.step(loss, lr=lr)"
                )
        self.optimizers, self.stepped = [weakref.ref(o) for o in optimizers], [0] * len(optimizers)
        self.look_at_optimizers()
        return [o.register_step_pre_hook(Hook(self, "keep", i)) for i, o in enumerate(optimizers)]

    def look_at_optimizers(self) -> None:
        """Their learning rates, and the followed parameters that none of them has."""
        if not (groups := self._groups()):
            return
        has = {id(p) for group in groups for p in group["params"]}
        alive = [(name, ref()) for name, ref in zip(self.names, self.refs)]
        self.missing = [n for n, p in alive if p is not None and p.requires_grad and id(p) not in has]
        self.rates = [float(group["lr"]) for group in groups if "lr" in group]

    def _groups(self) -> list[dict[str, Any]]:
        return [group for ref in self.optimizers if (o := ref()) is not None for group in o.param_groups]

    def keep(self, i: int, optimizer: Any, args: object, kwargs: object) -> None:
        """An optimizer's hook: what the parameters, of several optimizers its own, are before its update."""
        self.stepped[i] += 1
        if not self.wants_update:
            return
        self.rate = max((float(group["lr"]) for group in self._groups() if "lr" in group), default=math.nan)
        if len(self.optimizers) == 1:
            self.before = [None if (p := ref()) is None else p.detach().clone() for ref in self.refs]
            return
        its_own = {id(p) for group in optimizer.param_groups for p in group["params"]}
        before: list[Tensor | None] = list(self.before or [None] * len(self.refs))
        for j, ref in enumerate(self.refs):
            if (p := ref()) is not None and id(p) in its_own:
                before[j] = p.detach().clone()
        self.before = before

    @torch.no_grad()
    def gradients(self) -> list[Tensor | None]:
        """The gradient of each parameter that can be read, dense; None where there is none."""
        found: list[Tensor | None] = []
        for i, ref in enumerate(self.refs):
            p = ref()
            if p is None:
                found.append(None)
                continue
            self.trainable[i] = p.requires_grad
            grad = p.grad if p.is_leaf else None
            if grad is not None and grad.is_sparse:
                grad = grad.to_dense()
            for t in (p, grad):
                if t is not None and (why := why_unreadable(t)) and not t.is_complex():
                    self.skip(self.names[i], why)
                    grad = None
            found.append(grad)
        return found

    def all_gone(self) -> bool:
        return all(ref() is None for ref in self.refs)

    @torch.no_grad()
    def ratios(self, grads: list[Tensor | None], lr: float | None) -> tuple[np.ndarray, np.ndarray | None]:
        """grad:data of each parameter, and update:data, None while no optimizer has stepped.

        With an optimizer the update is the true one, whatever `lr` says; without, it is lr * grad. Of several
        optimizers it is nan for the parameters of those that have not stepped.
        """
        have = [i for i, grad in enumerate(grads) if grad is not None]
        result = np.full((2, len(grads)), np.nan, np.float32)
        before, updates = self.before, []
        data: list[Any] = [self.refs[i]() for i in have]
        if before is not None:
            updates = [p - (p if (b := before[i]) is None else b) for i, p in zip(have, data)]
        if have:
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                sizes = self._sizes([*data, *(grads[i] for i in have), *updates]).reshape(-1, len(have))
                result[: len(sizes) - 1, have] = sizes[1:] / sizes[0]
        if before is not None:
            result[1, [b is None for b in before]] = math.nan
        if not self.optimizers:
            result[1] = _rate(lr) * result[0]
            return result[0], result[1]
        return result[0], None if before is None else result[1]

    def _sizes(self, values: list[Tensor]) -> np.ndarray:
        """Norms, or standard deviations, of all tensors; on one device read in one go."""
        kinds = {(t.dtype, t.device) for t in values}
        if self.method == "norm" and kinds <= {(torch.float32, CPU), (torch.float64, CPU)}:
            rows = [t.detach().numpy().ravel() for t in values]  # numpy's calls cost a fraction of torch's
            return np.sqrt([row.dot(row) for row in rows])
        if len(kinds) > 1 or values[0].element_size() < 4:
            # a norm in half precision overflows at 65504; complex numbers have a complex double
            values = [t.cpu().to(torch.complex128 if t.is_complex() else torch.float64) for t in values]
        if self.method == "std":
            sizes = [t.std() if t.numel() > 1 else t.new_tensor(torch.nan).abs() for t in values]
        elif any(t.is_complex() for t in values):
            sizes = [torch.linalg.vector_norm(t) for t in values]
        else:
            sizes = torch._foreach_norm(values)
        return torch.stack(list(sizes)).cpu().numpy()

    @torch.no_grad()
    def fingerprints(self) -> np.ndarray:
        """An integer for each parameter that changes when any of its bits does; 0 where it cannot be read."""
        found = np.zeros(len(self.refs), np.int64)
        alike: dict[tuple[torch.dtype, int], dict[int, Tensor]] = {}
        for i, ref in enumerate(self.refs):
            p = ref()
            if p is not None and p.numel() and p.element_size() in BITS and why_unreadable(p) is None:
                alike.setdefault((p.dtype, p.get_device()), {})[i] = p.reshape(-1)
        for tensors in alike.values():  # all of a kind in one go: a GPU is waited for once
            together = torch.cat(list(tensors.values()))
            bits = together.view(BITS[together.element_size()]).cpu().numpy()
            starts = np.cumsum([0, *(t.numel() for t in tensors.values())])[:-1]
            found[list(tensors)] = np.add.reduceat(bits, starts, dtype=np.int64)
        return found


def _rate(lr: Any) -> float:
    try:
        return math.nan if lr is None else float(lr)
    except (TypeError, ValueError):
        raise ValueError(f"lr={lr!r}: give one number, for example schedule.get_last_lr()[0]") from None
