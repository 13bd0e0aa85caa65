"""Monitor: watch the activations, gradients and updates of a network while it trains.

    mon = Monitor(layers, parameters)        # or Monitor(model), Monitor(model, optimizer=optimizer)
    for i in range(steps):
        ...forward...
        mon.retain_grads()                   # plain layer objects only
        ...backward, update...
        mon.step(loss, lr=lr)
    mon.close()                              # or: with Monitor(...) as mon:

The idea is lecture 4's (1:26:51 to 1:46:04), for its lists of layer objects and for any torch.nn.Module. A
tensor is reduced to a few numbers and a histogram, and only at every `every`-th step.

What a row means. Of each layer it shows the last forward pass that took part in the backward; output and
gradient belong to the same pass. Gradients of several backwards over one graph add up, as in p.grad; what
someone takes aside with torch.autograd.grad does not count. A layer that is checkpointed runs once.
What cannot be seen: `module.forward(x)` and functional calls such as torch.tanh (a bypassed layer shows 0
calls), forward passes without gradients or of a model in eval mode, and of a plain layer all but its last
call. Under DistributedDataParallel each process sees the activations of its own examples, p.grad is the mean
over all. What cannot be read (complex outputs, nested, quantised or distributed tensors, tensors inside of
vmap) is left out and named in `mon.skipped`; no error of a Monitor's hooks reaches the user's own call.
What it costs: `step` reads the loss, for which a GPU is waited for; at a sampled step the gradients of the
outputs stay in memory until `step`; a compiled model gets a graph for each layer instead of one, always.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from zth_helpers.monitor.columns import Columns
from zth_helpers.monitor.loss import classes, number
from zth_helpers.monitor.modules import ModuleWatch, remove, unwrap
from zth_helpers.monitor.parameters import ParameterWatch, as_given, belongs
from zth_helpers.monitor.plain_layers import PlainWatch, gradient, parameters_of
from zth_helpers.monitor.statistics import BINS, EXTRA, FIELDS, NONFINITE, Statistics, summarise, usual_axis
from zth_helpers.monitor.table import Rows

MEMORY = 5_000_000  # bytes of the table of samples, and as much for a moment when it is thinned out
APART = 10  # steps at least between two samples of the weights' gradients, which are many numbers


class Monitor:
    """Records a network while it trains; read it with zth_helpers.plots and diagnose.

    model_or_layers: a torch.nn.Module, a list of layer objects that store `.out`, or anything with `.layers`.
    parameters: the tensors to follow, by default the network's; {"C": C, "W1": W1} names them, as do pairs
        (name, tensor), and {"C": C} | named_parameters(layers) adds one to those of a list of layers.
    optimizer: one, or a list of those that share the parameters. With it, update ratios are those of the true
        updates, whole ones where several calls of `step` go into one update; without, of lr * grad.
    every: take a sample at each `every`-th step. updates_every: the same for the update ratios alone, which
        cost a fifth of a sample; by default as `every`. histograms_every: the same for the histograms, which
        cost as much; by default as `every`, and a sample without them has counts of 0.
    only: shell patterns of the layers and parameters to watch by name, such as "blocks.0.*"; a layer brings
        its parameters along. By default all.
    scaler: a torch.amp.GradScaler; gradients of outputs are then in the units of p.grad.
    method: "norm" for ratios of norms; "std" for the lecture's, which are infinite for a constant parameter.

    To read, all numpy (S samples, L layers, P parameters, U update samples, T losses, B bins):
        steps (S,); outputs, gradients: .mean .std .saturated .dead .nonfinite .lo .hi (S, L), .hist (S, L, B)
        and .edges (S, L, B+1); grad_data (S, P), update_data (U, P): ratios; update_steps, update_rates (U,)
        parameter_grads: as gradients, (W, P), of weights (ndim >= 2) only, at weight_steps (W,): samples that
        are at least 10 steps apart; moved (W, P): has the parameter changed since the last of them?
        losses, loss_steps (T,)
        calls (L,): of sampled steps; units (L,); trainable (P,); nonfinite_first: (step, layer) or None
    and lists: layer_names, layer_kinds, parameter_names, parameter_shapes, without_gradients (layers);
        skipped: {name: why}; networks: how the names of each network's layers begin, if there are several.
        classes: the number of classes of the first loss, where that is a mean F.cross_entropy; else None

    `after_sample` is a list of functions that are called with the Monitor when a sample has been taken.
    A Monitor can be pickled; the copy is closed. Raises ValueError or TypeError when there is nothing to
    watch.
    """

    def __init__(
        self,
        model_or_layers: Any,
        parameters: Iterable[Tensor] | Iterable[tuple[str, Tensor]] | Mapping[str, Tensor] | None = None,
        optimizer: torch.optim.Optimizer | Sequence[torch.optim.Optimizer] | None = None,
        every: int = 100,
        *,
        only: str | Sequence[str] | None = None,
        scaler: Any = None,
        updates_every: int | None = None,
        histograms_every: int | None = None,
        method: str = "norm",
    ):
        updates_every = every if updates_every is None else updates_every
        histograms_every = every if histograms_every is None else histograms_every
        counts = {"every": every, "updates_every": updates_every, "histograms_every": histograms_every}
        for name, value in counts.items():
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}={value!r}: give a whole number of steps, 1 or more")
        if method not in ("norm", "std"):
            raise ValueError(f'method={method!r}: give "norm", or "std" for the lecture\'s own numbers')
        patterns = (only,) if isinstance(only, str) else only or ("*",)
        if not isinstance(patterns, list | tuple) or not all(isinstance(name, str) for name in patterns):
            raise TypeError(f"only={only!r}: give the pattern of a name, or a list of them")
        if scaler is not None and not hasattr(scaler, "get_scale"):
            raise TypeError(f"scaler is a {type(scaler).__name__}: give the torch.amp.GradScaler, or nothing")
        given = None if parameters is None else as_given(parameters)
        self.every, self.histograms_every, self.closed = every, histograms_every, False
        self.nonfinite_first: tuple[int, str] | None = None
        self.skipped: dict[str, str] = {}
        self.classes: int | None = None
        self.networks = [""]  # what the names of each network's layers begin with, where there are several
        self.output_layers: list[str] = []  # the last activations, behind the last layer that computes
        self.after_sample: list[Callable[[Monitor], object]] = []
        self._only = tuple(patterns)
        self._passed_over: list[str] = []  # names that `only` leaves out
        self._statistics_names = (*FIELDS, *EXTRA)
        reduce = partial(summarise, extra=tuple(EXTRA.values()))
        self._reduce = reduce
        self._columns = Columns()
        self._plain = PlainWatch(self._columns)
        self._modules = ModuleWatch(self._columns, reduce, self._skip)
        self._handles: list = []
        self._detach: Callable[[], object] | None = weakref.finalize(
            self, _detach, self._modules, self._handles
        )
        try:
            self._parameters = self._attach(model_or_layers, given, optimizer, method)
        except Exception:
            self._detach()  # of a Monitor that could not be made nothing stays in the network
            raise
        self._scaler, self._scale_before = scaler, math.inf
        if scaler is not None:
            self._modules.scale_of = scaler.get_scale
            self._scale_before = scaler.get_scale()
        self._plain_scale: float | None = None

        P = len(self._parameters.names)
        self._now, self._due, self._wants_update = 0, True, True
        self._losses = Rows(2**18, 2**22, 1, loss=np.array(0, np.float32))
        self._updates = Rows(4096, 10**6, updates_every, ratio=np.zeros(P, np.float32), rate=np.array(0.0))
        weights = self._blank(P) | {"moved": np.zeros(P, bool)}
        self._weights = Rows(256, 10**6, -(-APART // every) * every, **weights)
        self._fingerprints: np.ndarray | None = None
        self._samples: Any = None  # Rows, made at the first sample, when the columns are known

    def _attach(
        self, model: Any, given: tuple[list[Tensor], dict[int, str]] | None, optimizer: Any, method: str
    ) -> ParameterWatch:
        """Hooks the layers and the optimizer; gives what follows the parameters."""
        names: dict[int, str] = {}
        followed = self._watch(unwrap(model), "", names)
        if not self._columns.kinds and self._passed_over:
            there = ", ".join(self._passed_over)
            raise ValueError(f"no layer is named like {' or '.join(self._only)}: there are {there}")
        if not self._columns.kinds:
            raise ValueError(
                f"{type(model).__name__} has no layers to watch: give a torch.nn.Module (several networks as "
                "an nn.ModuleDict), a list of layer objects that store .out, or an object with .layers"
            )
        if given is not None:
            followed, its_names = given
            names.update(its_names)
        elif followed:
            followed = [p for p in followed if self._follows(names.get(id(p), ""))]
            if not followed:
                chosen = " or ".join(self._only)
                raise ValueError(f"only={chosen} leaves no parameters to follow: name a layer that has some")
        if not followed:
            raise ValueError("no parameters to follow: give a list of tensors, Monitor(layers, parameters)")
        followed = list({id(p): p for p in followed}.values())
        watch = ParameterWatch(followed, names, method, self._skip)
        if optimizer is not None:
            several = isinstance(optimizer, list | tuple)
            self._handles += watch.attach(optimizer if several else [optimizer])
        return watch

    def _watch(self, model: Any, prefix: str, names: dict[int, str]) -> list[Tensor]:
        """Hooks modules and lists plain layers; names their parameters and returns them."""
        if isinstance(model, nn.ModuleList | nn.ModuleDict):  # several networks: each has passes of its own
            if not prefix and any(True for m in model.children() for _ in m.children()):
                self.networks = [f"{name}." for name, _ in model.named_children()]
            inside = [self._watch(unwrap(m), f"{prefix}{n}.", names) for n, m in model.named_children()]
            return [p for found in inside for p in found]
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
                mine = parameters_of(name, layer)
                names.update((id(p), parameter) for parameter, p in mine.items())
                found += mine.values()
        return found

    def _wanted(self, name: str) -> bool:
        if any(fnmatchcase(name, pattern) for pattern in self._only):
            return True
        self._passed_over.append(name)
        return False

    def _follows(self, parameter: str) -> bool:
        """By its own name, or by that of a layer that is watched."""
        return any(belongs(parameter, layer) for layer in self._columns.kinds) or self._wanted(parameter)

    @property
    def _skip(self) -> Callable[[str, str], None]:
        """Notes once what cannot be read; holds no reference to the Monitor."""
        skipped = self.skipped

        def skip(name: str, why: str) -> None:
            skipped.setdefault(name, why)

        return skip

    # -- in the loop --------------------------------------------------------------------------------------

    def retain_grads(self) -> None:
        """Between forward and backward: keeps the gradients of plain layers' `.out`; free if not sampled."""
        self._check_open()
        if self._due and torch.is_grad_enabled():
            self._plain.retain()
            self._plain_scale = None if self._scaler is None else self._scaler.get_scale()

    def step(self, loss: Tensor | float, lr: float | None = None) -> None:
        """After backward and the update: counts the step and, when it is due, takes the sample.

        Raises ValueError for a loss that is not one number; RuntimeError when no layer has run, when the
        first sample finds no gradient at all (zero_grad came first), and when the monitor is closed.
        """
        self._check_open()
        value = number(loss)
        if self._now == 0:
            self.classes = classes(loss)
        # A loss that has just become nan: look at once, rather than when everything is nan.
        broke = not math.isfinite(value) and self.nonfinite_first is None
        sampled = self._due or (broke and bool(self._plain.layers))
        if sampled:
            sampled = self._sample(lr, histograms=broke or self._now % self.histograms_every == 0)
        elif self._wants_update:
            self._take_update(self._parameters.ratios(self._parameters.gradients(), lr)[1])
        if self._now % self._losses.interval == 0:
            self._losses.append(self._now, loss=value)
        self._get_ready(broke)
        if sampled:
            for function in self.after_sample:
                function(self)

    def _get_ready(self, broke: bool) -> None:
        """For the next step: what is due in it? Most steps have nothing, and are to cost next to nothing."""
        now = self._now + 1
        due = now % self.interval == 0 or (broke and not self.nonfinite_first)
        wants_update = self._wants_update or due or now % self._updates.interval == 0
        if due or wants_update or self._due or self._parameters.wants_update:
            self._parameters.wants_update, self._parameters.before = wants_update, None
            self._modules.forget()
            self._modules.switch(due)
            if self._scaler is not None and wants_update:
                self._scale_before = self._scaler.get_scale()
        self._due, self._wants_update = due, wants_update
        self._now = now

    def close(self) -> None:
        """Removes all hooks. What was recorded stays."""
        if self._detach is not None:
            self._detach()
        self.closed = True
        self._plain.forget()
        self._parameters.on, self._parameters.before = False, None

    def __enter__(self) -> Monitor:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _check_open(self) -> None:
        if self.closed:
            raise RuntimeError("this Monitor is closed: its records can be read; to go on, make a new one")

    def _sample(self, lr: float | None, histograms: bool) -> bool:
        """Reduces what this step has shown and appends it to the tables; False when there is nothing new."""
        plain, calls = self._plain.taken(), self._modules.taken()
        grads = self._parameters.gradients()
        if not self._there_is_something(bool(plain or calls), grads):
            return False
        names: dict[str, str] = {}  # column -> layer, in the order of the run
        batch: list[tuple[str, int, Any, int | None]] = []  # column, 0 output or 1 gradient, what, axis
        for layer, outs in plain:
            for name, out in zip(self._columns.named(layer, 1, len(outs)), outs):
                names[name] = layer
                self._columns.units[name] = out.shape[usual_axis(out.ndim)] if out.ndim else 1
                batch += [(name, 0, out, None), (name, 1, _unscaled(gradient(out), self._plain_scale), None)]
        for call in calls:
            for name, one in zip(self._columns.named(call.layer, call.turn, len(call.seen)), call.seen):
                names[name] = call.layer
                self._columns.units[name] = one.units
                grad = _unscaled(one.gradient, self._modules.scale)
                batch += [(name, 0, one.value, one.axis), (name, 1, grad, one.axis)]
        self._make_room(names)
        weights: list[Tensor | None] = []
        if self._now % self._weights.interval == 0:
            weights = [g if g is not None and g.ndim > 1 and g.is_floating_point() else None for g in grads]
        row, of_weights = self._row(batch, weights, histograms)
        ratios, update = self._parameters.ratios(grads, lr)
        self._parameters.look_at_optimizers()
        self._columns.calls.update(layer for layer, _ in plain)
        if not self._skipped_by_scaler():
            self._note_nonfinite(row["numbers"][..., NONFINITE] > 0)
        self._samples.append(self._now, grad_data=ratios, **row)
        if self._wants_update:
            self._take_update(update)
        if weights:
            self._note_weights(*of_weights)
        self._plain.forget(plain)
        return True

    def _there_is_something(self, ran: bool, grads: list) -> bool:
        """Raises RuntimeError for a loop that has never shown anything, with the likely cause."""
        if self._parameters.all_gone() and self._parameters.trainable.any():
            raise RuntimeError(
                "the parameters that this Monitor follows are gone: load_state_dict(assign=True), a new "
                "model or new tensors took their place. Make a new Monitor, and a new optimizer"
            )
        nothing_arrived = all(g is None for g in grads) and self._parameters.trainable.any()
        if ran and not (nothing_arrived and self._samples is None and not self.skipped):
            return True
        if not ran and self.skipped:  # it ran, and could not be read
            return False
        if not ran and (name := self._plain.without_out()) is not None:
            raise RuntimeError(
                f"no layer has run since the last step, or the layers keep no .out: {name} has none. A layer "
                "object stores its result in self.out when it is called"
            )
        if not ran:
            raise RuntimeError(
                "no layer has run since the last step: call the model in training mode and with gradients, "
                "then mon.step. A Monitor is attached before a compiled model's first call; if that model or "
                "one of the same class has run without it, call torch._dynamo.reset() first"
            )
        raise RuntimeError(
            "no parameter has a gradient: call mon.step after backward and the update, before zero_grad"
        )

    def _make_room(self, names: dict[str, str]) -> None:
        """A column for all that has been seen, in the table of samples."""
        first, columns = self._samples is None, self._columns
        columns.add(names, in_order_of_listing=bool(self._plain.layers))
        if first:
            grad_data = np.zeros(len(self.parameter_names), np.float32)
            self._samples = Rows(512, MEMORY, self.every, grad_data=grad_data, **self._blank(2, len(columns)))
        missing = len(columns) - self._samples["numbers"].shape[2]
        if missing:
            self._samples.widen(2, missing, "numbers", "hist")
        if first or missing:
            self.output_layers = columns.behind_the_last(self.layer_names, [*self._modules.roots] or [""])

    def _row(
        self, batch: list[tuple[str, int, Any, int | None]], weights: list[Tensor | None], histograms: bool
    ) -> tuple[dict[str, np.ndarray], tuple[np.ndarray, np.ndarray]]:
        """The numbers and histograms of a sample, and those of the weights' gradients, all in one go.

        `batch` has tensors, and what was reduced before.
        """
        row = self._blank(2, len(self._columns))
        at = {name: i for i, name in enumerate(self._columns)}
        kind = {name: self._columns.kinds[layer] for name, layer in self._columns.items()}
        numbers, hist = row["numbers"], row["hist"]
        for name, which, found, _ in batch:
            if isinstance(found, tuple):
                numbers[which, at[name]], hist[which, at[name]] = found[0][0], found[1][0]
        rest = [entry for entry in batch if isinstance(entry[2], Tensor)]
        n, together = len(rest), [*(t for *_, t, _ in rest), *weights]
        kinds = ["" if which else kind[name] for name, which, _, _ in rest]
        reduced = self._reduce(together, kinds, [axis for *_, axis in rest], histograms=histograms)
        places = [which for _, which, _, _ in rest], [at[name] for name, _, _, _ in rest]
        numbers[places], hist[places] = reduced[0][:n], reduced[1][:n]
        if not histograms:
            hist[...] = 0
        return row, (reduced[0][n:], reduced[1][n:])

    def _take_update(self, ratio: np.ndarray | None) -> None:
        """Appends the update ratios, once the update is there: it may take several steps to come."""
        rate = self._parameters.rate
        if ratio is None and self._skipped_by_scaler():
            ratio, rate = np.zeros(len(self.parameter_names), np.float32), 0.0
        if ratio is not None:
            self._updates.append(self._now, ratio=ratio, rate=rate)
            self._wants_update = False

    def _skipped_by_scaler(self) -> bool:
        """A GradScaler that has met inf leaves the update out and lowers its scale."""
        return self._scaler is not None and self._scaler.get_scale() < self._scale_before

    def _note_weights(self, numbers: np.ndarray, hist: np.ndarray) -> None:
        now, before = self._parameters.fingerprints(), self._fingerprints
        moved = np.ones(len(now), bool) if before is None else now != before
        self._weights.append(self._now, numbers=numbers, hist=hist, moved=moved)
        self._fingerprints = now

    def _note_nonfinite(self, bad: np.ndarray) -> None:
        """The first layer: of the outputs the first that runs, else of the gradients the last."""
        if self.nonfinite_first is None and bad.any():
            i = np.flatnonzero(bad[0])[0] if bad[0].any() else np.flatnonzero(bad[1])[-1]
            self.nonfinite_first = self._now, list(self._columns)[i]

    def _blank(self, *shape: int) -> dict[str, np.ndarray]:
        numbers = np.full((*shape, len(self._statistics_names)), np.nan, np.float32)
        return dict(numbers=numbers, hist=np.zeros((*shape, BINS), np.int32))

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
    def units(self) -> np.ndarray:
        """(L,): how many units, features or channels, the last output had; 0 where there was none."""
        return np.array([self._columns.units.get(name, 0) for name in self.layer_names])

    @property
    def without_gradients(self) -> list[str]:
        """The layers that have run, in training mode, with gradients switched off and not otherwise."""
        off = self._columns.without_grad
        never = [name for name, calls in zip(self.layer_names, self.calls) if not calls]
        return [name for name in never if self._columns.get(name, name) in off]

    @property
    def outputs(self) -> Statistics:
        return self._statistics(0)

    @property
    def gradients(self) -> Statistics:
        return self._statistics(1)

    def _statistics(self, i: int) -> Statistics:
        if self._samples is None:
            blank = self._blank(0, len(self.layer_names))
            return Statistics(self._statistics_names, blank["numbers"], blank["hist"])
        numbers, hist = self._samples["numbers"][:, i], self._samples["hist"][:, i]
        return Statistics(self._statistics_names, numbers, hist)

    @property
    def steps(self) -> np.ndarray:
        return np.zeros(0, np.int64) if self._samples is None else self._samples["step"]

    @property
    def grad_data(self) -> np.ndarray:
        empty = np.zeros((0, len(self.parameter_names)))
        return empty if self._samples is None else self._samples["grad_data"]

    @property
    def parameter_names(self) -> list[str]:
        return self._parameters.names

    @property
    def parameter_shapes(self) -> list[tuple[int, ...]]:
        return self._parameters.shapes

    @property
    def parameter_dtypes(self) -> list[str]:
        return self._parameters.dtypes

    @property
    def trainable(self) -> np.ndarray:
        return self._parameters.trainable

    @property
    def optimizer_steps(self) -> int | None:
        """How often the optimizer has stepped, of several the one that has least; None without one."""
        return min(self._parameters.stepped, default=None)

    @property
    def not_in_optimizer(self) -> list[str]:
        """The trainable parameters that no optimizer has."""
        return self._parameters.missing

    @property
    def learning_rates(self) -> list[float]:
        """The optimizer's, of each of its groups."""
        self._parameters.look_at_optimizers()
        return self._parameters.rates

    @property
    def parameter_grads(self) -> Statistics:
        return Statistics(self._statistics_names, self._weights["numbers"], self._weights["hist"])

    @property
    def weight_steps(self) -> np.ndarray:
        return self._weights["step"]

    @property
    def moved(self) -> np.ndarray:
        return self._weights["moved"]

    @property
    def update_data(self) -> np.ndarray:
        return self._updates["ratio"]

    @property
    def update_steps(self) -> np.ndarray:
        return self._updates["step"]

    @property
    def update_rates(self) -> np.ndarray:
        """(U,): the highest learning rate at each update, 0 where a GradScaler left it out, or nan."""
        try:
            return self._updates["rate"]
        except KeyError:  # of a Monitor that was saved by 1.0
            return np.full(len(self.update_steps), np.nan)

    @property
    def losses(self) -> np.ndarray:
        return self._losses["loss"]

    @property
    def loss_steps(self) -> np.ndarray:
        return self._losses["step"]

    def __repr__(self) -> str:
        return (
            f"Monitor of {len(self.layer_names)} layers and {len(self.parameter_names)} parameters: "
            f"{len(self.steps)} samples in {self._now} steps"
        )

    def __getstate__(self) -> dict[str, Any]:
        """What was recorded, without the network: a copy or a saved Monitor is closed."""
        tables = ("_samples", "_updates", "_weights", "_losses")
        plain = (
            "every",
            "histograms_every",
            "classes",
            "nonfinite_first",
            "skipped",
            "output_layers",
            "networks",
            "_now",
            "_statistics_names",
        )
        kept = {name: getattr(self, name) for name in (*tables, *plain)}
        columns, parameters = self._columns, self._parameters
        kept["columns"] = dict(columns), columns.kinds, columns.calls, columns.without_grad, columns.units
        read = ("names", "shapes", "dtypes", "trainable", "missing", "rates", "stepped")
        kept["parameters"] = {name: getattr(parameters, name) for name in read}
        return kept

    def __setstate__(self, kept: dict[str, Any]) -> None:
        (names, kinds, calls, *new), parameters = kept.pop("columns"), kept.pop("parameters")
        self._columns = Columns()
        self._columns.update(names)
        self._columns.kinds, self._columns.calls = kinds, calls
        self._columns.without_grad, self._columns.units = new or (set(), {})
        if "has_optimizer" in kept:  # a Monitor saved by 1.0 knows one optimizer, and no classes
            parameters["stepped"] = [parameters["stepped"]] if kept.pop("has_optimizer") else []
        self._parameters = ParameterWatch([], {}, "norm", lambda name, why: None)
        vars(self._parameters).update(parameters)
        vars(self).update({"classes": None, "networks": [""]} | kept)
        self.closed, self.after_sample = True, []
        self._plain = PlainWatch(self._columns)
        self._detach = None


def _detach(modules: ModuleWatch, handles: list) -> None:
    modules.on = False
    remove(modules.handles)
    remove(modules.on_tensors)
    remove(handles)


def _unscaled(grad: Any, scale: float | None) -> Any:
    return grad if grad is None or scale in (None, 1.0) else grad / scale
