"""Monitor: watch the activations, gradients and updates of a network while it trains.

    mon = Monitor(layers, parameters)        # or Monitor(model), Monitor(model, optimizer=optimizer)
    for i in range(steps):
        ...forward...
        mon.retain_grads()                   # plain layer objects only
        ...backward, update...
        mon.step(loss, lr=lr)
    mon.close()                              # or: with Monitor(...) as mon:

The idea is lecture 4's, for its lists of layer objects and for any torch.nn.Module. A tensor is reduced to a
few numbers and a histogram, and only at every `every`-th step. What cannot be seen: `module.forward(x)` and
functional calls such as torch.tanh (a bypassed layer shows 0 calls), forward passes without gradients or in
eval mode, and of a plain layer all but its last call. Under DistributedDataParallel each process sees the
activations of its own examples, p.grad is the mean over all. `step` reads the loss: on a GPU it waits for it.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

import numpy as np
import torch
from torch import Tensor, nn

from zth_helpers.monitor.modules import Columns, Hook, ModuleWatch, remove, unwrap
from zth_helpers.monitor.parameters import ParameterWatch, PlainWatch
from zth_helpers.monitor.statistics import BINS, FIELDS, NONFINITE, Rows, Statistics, summarise

MEMORY = 5_000_000  # bytes of the table of samples, and as much for a moment when it is thinned out


class Monitor:
    """Records a network while it trains; read it with zth_helpers.plots and diagnose.

    model_or_layers: a torch.nn.Module, a list of layer objects that store `.out`, or anything with `.layers`.
    parameters: the tensors to follow, by default the network's; {"C": C, "W1": W1} names them.
    only: shell patterns of the layers and parameters to watch by name, such as "blocks.0.*"; default all.
    optimizer: with it, update ratios are those of the true updates; without, of lr * grad.
    every: take a sample at each `every`-th step. updates_every: the same for the update ratios alone, which
        cost a fifth of a sample; by default as `every`.
    method: "norm" for ratios of norms; "std" for the lecture's, which are infinite for a constant parameter.

    To read, all numpy (S samples, L layers, P parameters, U update samples, T losses, B bins):
        steps (S,); outputs, gradients: .mean .std .saturated .dead .nonfinite .lo .hi (S, L), .hist (S, L, B)
        and .edges (S, L, B+1); grad_data (S, P), update_data (U, P): ratios; update_steps (U,)
        parameter_grads: as gradients, (W, P), of weights (ndim >= 2) only, at weight_steps (W,): samples that
        are at least 10 steps apart; losses, loss_steps (T,)
        calls (L,): of sampled steps; trainable (P,); nonfinite_first: (step, layer) or None
    and lists: layer_names, layer_kinds, parameter_names, parameter_shapes.

    Raises ValueError or TypeError when there is nothing to watch.
    """

    def __init__(
        self,
        model_or_layers,
        parameters: Iterable[Tensor] | Mapping[str, Tensor] | None = None,
        optimizer: torch.optim.Optimizer | None = None,
        every: int = 100,
        *,
        only: str | Sequence[str] | None = None,
        updates_every: int | None = None,
        method: str = "norm",
    ):
        updates_every = every if updates_every is None else updates_every
        for name, value in (("every", every), ("updates_every", updates_every)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}={value!r}: give a whole number of steps, 1 or more")
        if method not in ("norm", "std"):
            raise ValueError(f'method={method!r}: give "norm", or "std" for the lecture\'s own numbers')
        self.every, self.closed = every, False
        self._passed_over: list[
            str
        ] = []  # names that `only` leaves out, for the message when nothing is left
        self.nonfinite_first: tuple[int, str] | None = None
        self._columns = Columns()
        self._modules, self._plain = ModuleWatch(self._columns), PlainWatch(self._columns)
        self._handles: list = []
        self._detach = weakref.finalize(self, _detach, self._modules, self._handles)

        self._only = (only,) if isinstance(only, str) else tuple(only or ("*",))
        names: dict[int, str] = {}
        found = self._watch(unwrap(model_or_layers), "", names)
        if not self._columns.kinds and self._passed_over:
            there = ", ".join(self._passed_over)
            raise ValueError(f"no layer is named like {' or '.join(self._only)}: there are {there}")
        if not self._columns.kinds:
            raise ValueError(
                f"{type(model_or_layers).__name__} has no layers to watch: give a torch.nn.Module, a list of "
                "layer objects that store .out, or an object with .layers"
            )
        if isinstance(parameters, Mapping):
            names.update((id(p), name) for name, p in parameters.items())
            parameters = parameters.values()
        followed = list({id(p): p for p in (found if parameters is None else parameters)}.values())
        followed = [p for p in followed if self._wanted(names.get(id(p), "")) or parameters is not None]
        if not followed or not all(isinstance(p, Tensor) for p in followed):
            raise ValueError("no parameters to follow: give a list of tensors, Monitor(layers, parameters)")
        self._parameters = ParameterWatch(followed, names, method)
        if optimizer is not None:
            self._handles.append(optimizer.register_step_pre_hook(Hook(self._parameters, "keep")))

        P = len(followed)
        self._now, self._due = 0, True
        self._losses = Rows(2**18, 2**22, 1, loss=np.float32(0))
        self._updates = Rows(4096, 10**6, updates_every, ratio=np.zeros(P, np.float32))
        self._weights = Rows(256, 10**6, -(-10 // every) * every, **_blank(P))
        self._samples: Rows | None = None  # made at the first sample, when the columns are known

    def _watch(self, model, prefix: str, names: dict[int, str]) -> list[Tensor]:
        """Hooks modules and lists plain layers; names their parameters and returns them."""
        if isinstance(model, nn.Module):
            self._modules.watch(model, prefix, self._wanted)
            trained = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
            names.update((id(p), prefix + n) for n, p in trained)
            return [p for _, p in trained]
        layers, found = getattr(model, "layers", model), []
        for i, layer in enumerate(layers if isinstance(layers, list | tuple) else []):
            name = f"{prefix}{i} {type(layer).__name__}"
            if isinstance(layer, nn.Module) or hasattr(layer, "layers"):
                found += self._watch(unwrap(layer), f"{prefix}{i}.", names)
            elif isinstance(layer, Tensor) or not (hasattr(layer, "out") or hasattr(layer, "parameters")):
                raise TypeError(
                    f"layer {prefix}{i} is a {type(layer).__name__}, which cannot be watched: a layer object "
                    "stores its result in .out and lists its tensors in parameters()"
                )
            elif self._wanted(name) and self._plain.add(name, layer):
                attribute = {id(value): key for key, value in vars(layer).items()}
                for j, p in enumerate(layer.parameters() if hasattr(layer, "parameters") else []):
                    names[id(p)] = f"{name} {attribute.get(id(p), j)}"
                    found.append(p)
        return found

    def _wanted(self, name: str) -> bool:
        if any(fnmatchcase(name, pattern) for pattern in self._only):
            return True
        self._passed_over.append(name)
        return False

    # -- in the loop --------------------------------------------------------------------------------------

    def retain_grads(self) -> None:
        """Between forward and backward: keeps the gradients of plain layers' `.out`; free if not sampled."""
        self._check_open()
        if self._due and torch.is_grad_enabled():
            self._plain.retain()

    def step(self, loss: Tensor | float, lr: float | None = None) -> None:
        """After backward and the update: counts the step and, when it is due, takes the sample.

        Raises ValueError for a loss that is not one number; RuntimeError when no layer has run, no parameter
        has a gradient (zero_grad came first), or the monitor is closed.
        """
        self._check_open()
        value = _number(loss)
        # A loss that has just become nan: look at once, rather than when everything is nan.
        broke = not math.isfinite(value) and self.nonfinite_first is None
        if self._due or (broke and self._plain.layers):
            self._sample(lr)
        elif self._parameters.on:
            self._updates.append(step=self._now, ratio=self._parameters.read(lr)[2])
        if self._now % self._losses.interval == 0:
            self._losses.append(step=self._now, loss=value)
        self._now += 1
        self._due = self._now % self.interval == 0 or (broke and not self.nonfinite_first)
        self._modules.switch(self._due)
        self._parameters.on = self._due or self._now % self._updates.interval == 0

    def close(self) -> None:
        """Removes all hooks. What was recorded stays."""
        self._detach()
        self.closed, self._plain.kept, self._parameters.before = True, {}, None

    def __enter__(self) -> Monitor:
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def _check_open(self) -> None:
        if self.closed:
            raise RuntimeError("this Monitor is closed: its records can be read; to go on, make a new one")

    def _sample(self, lr: float | None) -> None:
        """Reduces what this step has shown and appends it to the tables."""
        names, outs, retained = self._plain.take()
        shown = self._modules.shown
        if not names and not shown:
            raise RuntimeError(
                "no layer has run since the last step: call the model in training mode and with gradients, "
                "then mon.step; a Monitor is attached before a compiled model's first call"
            )
        grads, grad_data, update_data = self._parameters.read(lr)
        samples, row = self._room()
        at = {name: i for i, name in enumerate(self._columns)}
        entries = [(name, pair) for name, pair in zip(names, zip(outs, retained))] + list(shown.items())
        batch = []  # (0 output or 1 gradient, column, tensor, kind)
        for name, pair in entries:
            for i, item in enumerate(pair):
                if isinstance(item, Tensor):
                    batch.append((i, at[name], item, "" if i else self._columns.kinds[self._columns[name]]))
                elif item is not None:
                    row["numbers"][i, at[name]], row["hist"][i, at[name]] = item[0][0], item[1][0]
        if batch:
            which, column, found, kinds = (list(values) for values in zip(*batch))
            row["numbers"][which, column], row["hist"][which, column] = summarise(found, kinds)
        shown.clear()
        self._modules.turns.clear()
        self._note_nonfinite(row["numbers"][..., NONFINITE] > 0)
        samples.append(step=self._now, grad_data=grad_data, **row)
        if self._parameters.on:
            self._updates.append(step=self._now, ratio=update_data)
        if self._now % self._weights.interval == 0:
            numbers, hist = summarise([g if g is not None and g.ndim > 1 else None for g in grads])
            self._weights.append(step=self._now, numbers=numbers, hist=hist)

    def _room(self) -> tuple[Rows, dict[str, np.ndarray]]:
        """The table of samples, with a column for all that has been seen, and a blank row for it."""
        columns = self._columns
        if self._samples is None:
            columns.update((layer, layer) for layer in columns.kinds if layer not in columns.values())
            if (
                self._plain.layers
            ):  # in the order of the list; a module's layers in the order of their first run
                order = list(columns.kinds)
                in_order = sorted(columns.items(), key=lambda item: order.index(item[1]))
                columns.clear()
                columns.update(in_order)
            grad_data = np.zeros(len(self.parameter_names), np.float32)
            row = _blank(2, len(columns))
            self._samples = Rows(512, MEMORY, self.every, grad_data=grad_data, **row)
        missing = len(columns) - self._samples["numbers"].shape[2]
        if missing:
            self._samples.widen(2, missing, "numbers", "hist")
        return self._samples, _blank(2, len(columns))

    def _note_nonfinite(self, bad: np.ndarray) -> None:
        """The first layer: of the outputs the first that runs, else of the gradients the last."""
        if self.nonfinite_first is None and bad.any():
            i = np.flatnonzero(bad[0])[0] if bad[0].any() else np.flatnonzero(bad[1])[-1]
            self.nonfinite_first = self._now, list(self._columns)[i]

    # -- to read ------------------------------------------------------------------------------------------

    @property
    def interval(self) -> int:
        """Steps between samples: `every`, doubled each time that the table was full."""
        return self.every if self._samples is None else self._samples.interval

    @property
    def layer_names(self) -> list[str]:
        if self._samples is None:
            return list(self._columns.kinds)
        return list(self._columns)[: self._samples["numbers"].shape[2]]  # those seen since wait for a sample

    @property
    def layer_kinds(self) -> list[str]:
        return [self._columns.kinds[self._columns.get(name, name)] for name in self.layer_names]

    @property
    def calls(self) -> np.ndarray:
        return np.array([self._columns.calls[self._columns.get(name, name)] for name in self.layer_names])

    @property
    def outputs(self) -> Statistics:
        return self._statistics(0)

    @property
    def gradients(self) -> Statistics:
        return self._statistics(1)

    def _statistics(self, i: int) -> Statistics:
        if self._samples is None:
            blank = _blank(0, len(self.layer_names))
            return Statistics(**blank)
        return Statistics(self._samples["numbers"][:, i], self._samples["hist"][:, i])

    @property
    def steps(self) -> np.ndarray:
        return np.zeros(0, np.int64) if self._samples is None else self._samples["step"]

    @property
    def grad_data(self) -> np.ndarray:
        return (
            np.zeros((0, len(self.parameter_names))) if self._samples is None else self._samples["grad_data"]
        )

    parameter_names = property(lambda self: self._parameters.names)
    parameter_shapes = property(lambda self: self._parameters.shapes)
    trainable = property(lambda self: self._parameters.trainable)
    parameter_grads = property(lambda self: Statistics(self._weights["numbers"], self._weights["hist"]))
    weight_steps = property(lambda self: self._weights["step"])
    update_data = property(lambda self: self._updates["ratio"])
    update_steps = property(lambda self: self._updates["step"])
    losses = property(lambda self: self._losses["loss"])
    loss_steps = property(lambda self: self._losses["step"])

    def __repr__(self) -> str:
        return (
            f"Monitor of {len(self.layer_names)} layers and {len(self.parameter_names)} parameters: "
            f"{len(self.steps)} samples in {self._now} steps"
        )


def _blank(*shape: int) -> dict[str, np.ndarray]:
    numbers = np.full((*shape, len(FIELDS)), np.nan, np.float32)
    return dict(numbers=numbers, hist=np.zeros((*shape, BINS), np.int32))


def _detach(modules: ModuleWatch, handles: list) -> None:
    modules.on = False
    remove(modules.handles)
    remove(handles)


def _number(loss: Tensor | float) -> float:
    if isinstance(loss, Tensor) and loss.numel() != 1:
        raise ValueError(f"the loss has shape {tuple(loss.shape)}: give one number, for example loss.mean()")
    try:
        return loss.item() if isinstance(loss, Tensor) else float(loss)
    except (TypeError, ValueError):
        raise ValueError(f"the loss is a {type(loss).__name__}: give a number or a tensor of one") from None
