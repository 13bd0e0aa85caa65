"""Monitor: watch the activations, gradients and updates of a network while it trains.

    mon = Monitor(layers, parameters)        # or Monitor(model), Monitor(model, optimizer=optimizer)
    for i in range(steps):
        ...forward...
        mon.retain_grads()                   # plain layer objects only
        ...backward, update...
        mon.step(loss, lr=lr)
    mon.close()                              # or: with Monitor(...) as mon:

The idea is lecture 4's, for its lists of layer objects and for any torch.nn.Module. A tensor is reduced to a
few numbers at once, and only at every `every`-th step. What cannot be seen: `module.forward(x)` and functional
calls such as torch.tanh (a bypassed layer shows 0 calls), forward passes without gradients or in eval mode,
and of plain layers more than their last call. Under DistributedDataParallel each process sees the activations
of its own examples, while p.grad is the mean over all. `step` reads the loss: on a GPU it waits for it.
"""

from __future__ import annotations

import math
import weakref
from collections import Counter
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from zth_helpers.hooks import Hook, leaves, tensors, unwrap
from zth_helpers.samples import BINS, FIELDS, Rows, Statistics, summarise

MEMORY = 6_000_000  # bytes for all samples
MAX_TURNS = 8  # recorded calls of one module within one forward pass: name, name#2, …


class Monitor:
    """Records a network while it trains; read it with zth_helpers.plots and diagnose.

    model_or_layers: a torch.nn.Module, a list of layer objects that store `.out`, or an object with `.layers`.
    parameters: the tensors to follow; by default those of the network. (Lecture 4's list has C in it too.)
    optimizer: with it, update ratios are those of the true updates; without, of lr * grad.
    every: take a sample at each `every`-th step; updates_every: the same for the update ratios alone, which
        cost a fifth of a full sample; by default as `every`.
    method: "norm" for ratios of norms; "std" for the lecture's own, which is infinite for a constant parameter.

    To read, all numpy (S samples, L layers, P parameters, U update samples, T losses, B bins): steps (S,);
    outputs and gradients with .mean .std .saturated .dead .nonfinite .lo .hi (S, L), .hist (S, L, B) and
    .edges (S, L, B+1); parameter_grads, the same of weights (ndim >= 2) with P for L; grad_data (S, P) and
    update_data (U, P), ratios; update_steps (U,); losses, loss_steps (T,); calls (L,), of sampled steps;
    trainable (P,). Lists: layer_names, layer_kinds, parameter_names, parameter_shapes. nonfinite_first:
    (step, layer) or None.

    Raises ValueError or TypeError, here and in `step`, when there is nothing to watch.
    """

    def __init__(
        self,
        model_or_layers,
        parameters: Iterable[Tensor] | None = None,
        optimizer: torch.optim.Optimizer | None = None,
        every: int = 100,
        *,
        updates_every: int | None = None,
        method: str = "norm",
    ):
        updates_every = every if updates_every is None else updates_every
        for name, value in (("every", every), ("updates_every", updates_every)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}={value!r}: give a whole number of steps, 1 or more")
        if method not in ("norm", "std"):
            raise ValueError(f'method={method!r}: give "norm", or "std" for the lecture\'s own numbers')
        self.every, self.method, self.closed = every, method, False
        self.nonfinite_first: tuple[int, str] | None = None
        self._plain: dict[str, weakref.ref] = {}  # layer objects
        self._last_out: dict[str, list] = {}  # of plain layers, to tell a new .out from an old one
        self._kept: dict[str, list[Tensor]] = {}  # .out between retain_grads() and step()
        self._kinds: dict[str, str] = {}  # all watched layers, as they are listed
        self._calls: Counter[str] = Counter()
        self._turns: Counter[str] = Counter()  # calls within one forward pass of the model
        self._pass: dict[str, list] = {}  # what this pass has shown so far: name -> [output, gradient]
        self._columns: dict[str, str] = {}  # what samples hold: name of a column -> its layer
        self._handles: list = []
        self._detach = weakref.finalize(self, _remove, self._handles)

        names: dict[int, str] = {}
        found = self._watch(unwrap(model_or_layers), "", names)
        if not self._kinds:
            raise ValueError(
                f"{type(model_or_layers).__name__} has no layers to watch: give a torch.nn.Module, a list of "
                "layer objects that store .out, or an object with .layers"
            )
        followed = list({id(p): p for p in (found if parameters is None else parameters)}.values())
        if not followed or not all(isinstance(p, Tensor) for p in followed):
            raise ValueError("no parameters to follow: give a list of tensors, Monitor(layers, parameters)")
        self._parameters = [weakref.ref(p) for p in followed]
        self.parameter_names = [names.get(id(p), f"parameter {i}") for i, p in enumerate(followed)]
        self.parameter_shapes = [tuple(p.shape) for p in followed]
        self.trainable = np.array([p.requires_grad for p in followed])
        self._before: list[Tensor | None] | None = None  # the parameters before the optimizer's update
        if optimizer is not None:
            self._handles.append(optimizer.register_step_pre_hook(Hook(self, "_before_update")))

        self._losses = Rows(2**18, 1, step=np.int64(0), loss=np.float32(0))
        P = np.zeros(len(followed), np.float32)
        self._updates = Rows(min(4096, 1_000_000 // P.nbytes), updates_every, step=np.int64(0), ratio=P)
        self._samples: Rows | None = None  # allocated at the first sample, when the columns are known
        self._now = 0
        self.sampling = self._updating = True  # does the coming step fill a row?

    def _watch(self, model, prefix: str, names: dict[int, str]) -> list[Tensor]:
        """Hooks modules and lists plain layers; names their parameters and returns them."""
        if isinstance(model, nn.Module):
            self._handles.append(model.register_forward_pre_hook(Hook(self, "_new_pass", prefix)))
            for name, module in leaves(model):
                self._kinds[prefix + name] = type(module).__name__
                self._handles.append(module.register_forward_hook(Hook(self, "_output", prefix + name)))
            trained = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
            names.update((id(p), prefix + n) for n, p in trained)
            return [p for _, p in trained]
        layers = getattr(model, "layers", model)
        found = []
        for i, layer in enumerate(layers if isinstance(layers, list | tuple) else []):
            name = f"{prefix}{i} {type(layer).__name__}"
            if isinstance(layer, nn.Module) or hasattr(layer, "layers"):
                found += self._watch(layer, f"{prefix}{i}.", names)
            elif isinstance(layer, Tensor) or not (hasattr(layer, "out") or hasattr(layer, "parameters")):
                raise TypeError(
                    f"layer {prefix}{i} is a {type(layer).__name__}, which cannot be watched: a layer object "
                    "stores its result in .out and lists its tensors in parameters()"
                )
            elif all(ref() is not layer for ref in self._plain.values()):  # a shared layer is listed once
                self._kinds[name], self._plain[name] = type(layer).__name__, weakref.ref(layer)
                own = layer.parameters() if hasattr(layer, "parameters") else []
                attribute = {id(value): key for key, value in vars(layer).items()}
                for j, p in enumerate(own):
                    names[id(p)] = f"{name} {attribute.get(id(p), j)}"
                    found.append(p)
        return found

    # -- in the loop --------------------------------------------------------------------------------------

    def retain_grads(self) -> None:
        """Between forward and backward: keeps the gradients of plain layers' `.out`; free if not sampled."""
        self._check_open()
        if self.sampling and torch.is_grad_enabled():
            self._kept = self._plain_outputs()
            for out in (t for outs in self._kept.values() for t in outs if t.requires_grad):
                out.retain_grad()

    def step(self, loss: Tensor | float, lr: float | None = None) -> None:
        """After backward and update: counts the step and, when it is due, takes the sample.

        Raises ValueError for a loss that is no single number; RuntimeError when no layer has run, no
        parameter has a gradient (call it before zero_grad), or the monitor is closed.
        """
        self._check_open()
        value = _scalar(loss)
        broke = not math.isfinite(value) and self.nonfinite_first is None
        if self.sampling or (broke and self._plain):
            self._sample(lr)
        elif self._updating:
            self._updates.append(step=self._now, ratio=self._ratios(lr)[2])
        if self._now % self._losses.interval == 0:
            self._losses.append(step=self._now, loss=value)
        self._now += 1
        # A loss that has just become nan: look at once, rather than when all is nan.
        self.sampling = self._now % self.interval == 0 or (broke and self.nonfinite_first is None)
        self._updating = self._now % self._updates.interval == 0

    def close(self) -> None:
        """Removes all hooks. What was recorded stays."""
        self._detach()
        self.closed, self.sampling, self._kept, self._before = True, False, {}, None

    def __enter__(self) -> Monitor:
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def _check_open(self) -> None:
        if self.closed:
            raise RuntimeError("this Monitor is closed: its records can be read; to watch on, make a new one")

    # -- called by hooks ----------------------------------------------------------------------------------

    def _new_pass(self, prefix: str, module: nn.Module, args) -> None:
        if self.sampling and module.training and torch.is_grad_enabled():
            for name in [n for n in self._pass if n.startswith(prefix)]:  # the last of several passes counts
                del self._pass[name]
            self._turns.clear()

    def _output(self, layer: str, module: nn.Module, args, output) -> None:
        if not (self.sampling and module.training and torch.is_grad_enabled()):
            return
        self._calls[layer] += 1
        self._turns[layer] += 1
        if self._turns[layer] > MAX_TURNS:
            return
        turn = layer if self._turns[layer] == 1 else f"{layer}#{self._turns[layer]}"
        found = list(tensors(output))
        for i, out in enumerate(found):
            name = turn if len(found) == 1 else f"{turn}[{i}]"
            self._columns.setdefault(name, layer)
            self._pass[name] = [summarise([out], [self._kinds[layer]]), None]
            if out.requires_grad:
                out.register_hook(Hook(self, "_gradient", name))

    def _gradient(self, name: str, gradient: Tensor) -> None:
        if name in self._pass:
            self._pass[name][1] = summarise([gradient])

    def _before_update(self, optimizer, args, kwargs) -> None:
        if self.sampling or self._updating:
            self._before = [None if ref() is None else ref().detach().clone() for ref in self._parameters]

    # -- a sample -----------------------------------------------------------------------------------------

    def _plain_outputs(self) -> dict[str, list[Tensor]]:
        return {name: list(tensors(getattr(ref(), "out", None))) for name, ref in self._plain.items()}

    def _sample(self, lr: float | None) -> None:
        """Reduces what this step has shown and appends it to the tables."""
        names, outs, kinds = [], [], []
        for layer, found in (self._kept or self._plain_outputs()).items():
            if self._is_new(layer, found):
                self._calls[layer] += 1
                for i, out in enumerate(found):
                    names.append(layer if len(found) == 1 else f"{layer}[{i}]")
                    outs.append(out)
                    kinds.append(self._kinds[layer])
                    self._columns.setdefault(names[-1], layer)
        if not names and not self._pass:
            raise RuntimeError(
                "no layer has run since the last step: call the model (in training mode, with gradients), then "
                "backward, the update, and mon.step; attach a Monitor before the first call of a compiled model"
            )
        grads, grad_data, update_data = self._ratios(lr)
        grads = [g if g is not None and g.ndim > 1 else None for g in grads]
        retained = [t.grad if t.is_leaf or t.retains_grad else None for t in outs]
        n = len(names)
        everything = summarise(outs + retained + grads, kinds + [""] * (n + len(grads)))

        samples, width = self._room()
        numbers, hist = (
            np.full((2, width, len(FIELDS)), np.nan, np.float32),
            np.zeros((2, width, BINS), np.int32),
        )
        at = {name: i for i, name in enumerate(self._columns)}
        columns = [at[name] for name in names]
        for row, part in ((numbers, everything[0]), (hist, everything[1])):
            row[0, columns], row[1, columns] = part[:n], part[n : 2 * n]
        for name, shown in self._pass.items():
            for i, part in enumerate(shown):
                if part is not None:
                    numbers[i, at[name]], hist[i, at[name]] = part[0][0], part[1][0]
        self._note_nonfinite(numbers[..., FIELDS.index("nonfinite")])
        samples.append(
            step=self._now,
            numbers=numbers,
            hist=hist,
            weight_numbers=everything[0][2 * n :],
            weight_hist=everything[1][2 * n :],
            grad_data=grad_data,
        )
        if self._updating:
            self._updates.append(step=self._now, ratio=update_data)
        self._kept = {}
        self._pass.clear()

    def _is_new(self, layer: str, outs: list[Tensor]) -> bool:
        last = self._last_out.get(layer, [])
        self._last_out[layer] = [(weakref.ref(t), t._version) for t in outs]
        old = len(last) == len(outs) and all(r() is t and v == t._version for (r, v), t in zip(last, outs))
        return bool(outs) and not old

    def _room(self) -> tuple[Rows, int]:
        """The table of samples, with a column for everything that has been seen, and its width."""
        if self._samples is None:
            self._columns.update(
                (layer, layer) for layer in self._kinds if layer not in self._columns.values()
            )
            if self._plain:  # in the order of the list; modules in that of their first run
                order = list(self._kinds)
                self._columns = dict(sorted(self._columns.items(), key=lambda item: order.index(item[1])))
            L, P = len(self._columns), len(self._parameters)
            row = dict(
                step=np.int64(0),
                numbers=np.zeros((2, L, len(FIELDS)), np.float32),
                hist=np.zeros((2, L, BINS), np.int32),
                weight_numbers=np.zeros((P, len(FIELDS)), np.float32),
                weight_hist=np.zeros((P, BINS), np.int32),
                grad_data=np.zeros(P, np.float32),
            )
            capacity = MEMORY // sum(value.nbytes for value in row.values())
            self._samples = Rows(min(512, capacity), self.every, **row)
        missing = len(self._columns) - self._samples["numbers"].shape[2]
        if missing:
            self._samples.widen(2, missing, "numbers", "hist")
        return self._samples, len(self._columns)

    def _note_nonfinite(self, nonfinite: np.ndarray) -> None:
        """The first layer: of the outputs the first that runs, else of the gradients the last."""
        if self.nonfinite_first is None and (bad := nonfinite > 0).any():
            outputs, gradients = np.flatnonzero(bad[0]), np.flatnonzero(bad[1])
            i = outputs[0] if len(outputs) else gradients[-1]
            self.nonfinite_first = self._now, list(self._columns)[i]

    @torch.no_grad()
    def _ratios(self, lr: float | None) -> tuple[list[Tensor | None], np.ndarray, np.ndarray]:
        """Gradients, grad:data and update:data of each parameter; nan where there is none."""
        current = [ref() for ref in self._parameters]
        self.trainable = np.array([p is not None and p.requires_grad for p in current])
        grads = [None if p is None or p.grad is None else p.grad.detach() for p in current]
        grads = [g.to_dense() if g is not None and g.is_sparse else g for g in grads]
        have = [i for i, g in enumerate(grads) if g is not None]
        if not have and self.trainable.any():
            raise RuntimeError(
                "no parameter has a gradient: call mon.step after backward and the update, before zero_grad"
            )
        before, self._before = self._before, None
        data = [current[i].detach() for i in have]
        updates = [] if before is None else [p - before[i] for i, p in zip(have, data)]
        sizes = self._sizes(data + [grads[i] for i in have] + updates)
        data, rest = sizes[: len(have)], sizes[len(have) :].reshape(-1, len(have))
        ratios = np.full((2, len(grads)), np.nan, np.float32)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios[: len(rest), have] = rest / data
            if before is None and lr is not None:
                ratios[1] = float(lr) * ratios[0]
        return grads, ratios[0], ratios[1]

    def _sizes(self, sizes: list[Tensor]) -> np.ndarray:
        sizes = [t.float() if t.element_size() < 4 else t for t in sizes]
        if not sizes:
            return np.zeros(0)
        if self.method == "norm":
            sizes = torch._foreach_norm(sizes)
        else:
            sizes = [t.std() if t.numel() > 1 else t.new_tensor(torch.nan) for t in sizes]
        if len({t.device for t in sizes}) > 1:
            sizes = [t.cpu() for t in sizes]
        return torch.stack(sizes).cpu().numpy()

    # -- to read ------------------------------------------------------------------------------------------

    @property
    def interval(self) -> int:
        """Steps between samples: `every`, doubled each time that the table was full."""
        return self.every if self._samples is None else self._samples.interval

    @property
    def layer_names(self) -> list[str]:
        return list(self._kinds if self._samples is None else self._columns)

    @property
    def layer_kinds(self) -> list[str]:
        return [self._kinds[self._columns.get(name, name)] for name in self.layer_names]

    @property
    def calls(self) -> np.ndarray:
        return np.array([self._calls[self._columns.get(name, name)] for name in self.layer_names])

    @property
    def steps(self) -> np.ndarray:
        return np.zeros(0, np.int64) if self._samples is None else self._samples["step"]

    @property
    def outputs(self) -> Statistics:
        return self._statistics(0)

    @property
    def gradients(self) -> Statistics:
        return self._statistics(1)

    def _statistics(self, which: int) -> Statistics:
        if self._samples is None:
            L = len(self._kinds)
            return Statistics(np.zeros((0, L, len(FIELDS))), np.zeros((0, L, BINS), np.int32))
        return Statistics(self._samples["numbers"][:, which], self._samples["hist"][:, which])

    @property
    def parameter_grads(self) -> Statistics:
        if self._samples is None:
            P = len(self._parameters)
            return Statistics(np.zeros((0, P, len(FIELDS))), np.zeros((0, P, BINS), np.int32))
        return Statistics(self._samples["weight_numbers"], self._samples["weight_hist"])

    @property
    def grad_data(self) -> np.ndarray:
        return np.zeros((0, len(self._parameters))) if self._samples is None else self._samples["grad_data"]

    @property
    def update_steps(self) -> np.ndarray:
        return self._updates["step"]

    @property
    def update_data(self) -> np.ndarray:
        return self._updates["ratio"]

    @property
    def losses(self) -> np.ndarray:
        return self._losses["loss"]

    @property
    def loss_steps(self) -> np.ndarray:
        return self._losses["step"]

    def __repr__(self) -> str:
        return (
            f"Monitor of {len(self.layer_names)} layers and {len(self._parameters)} parameters: "
            f"{len(self.steps)} samples in {self._now} steps"
        )


def _remove(handles: list) -> None:
    for handle in handles:
        handle.remove()
    handles.clear()


def _scalar(loss: Tensor | float) -> float:
    if isinstance(loss, Tensor) and loss.numel() != 1:
        raise ValueError(f"the loss has shape {tuple(loss.shape)}: give one number, for example loss.mean()")
    try:
        return loss.item() if isinstance(loss, Tensor) else float(loss)
    except (TypeError, ValueError):
        raise ValueError(f"the loss is a {type(loss).__name__}: give one number or a tensor of one") from None
