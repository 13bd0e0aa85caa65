"""How Monitor attaches to a torch.nn.Module: what counts as a layer, and hooks that leave no trace."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge

from zth_helpers.monitor.columns import Columns, tensors, why_unreadable
from zth_helpers.monitor.statistics import usual_axis

# They do not call their children, or not through Python: one layer each.
OPAQUE = (nn.MultiheadAttention, torch.jit.ScriptModule)
CONTAINERS = (nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)  # are never called
# As convolutions, put their units on axis 1, behind the examples: (N, C, L), (N, C, H, W), (N, C, D, H, W).
CHANNELS_FIRST = (
    nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd,
)
SMALL = 2**16  # values: such a tensor is copied, to be reduced with others in one go, which is cheaper
MAX_TURNS = 8  # recorded calls of one layer in one forward pass, with gradients: name, name#2, …; and without
MAX_PASSES = 8  # forward passes before one step that are kept, until it is known which took part in backward
GRAPH_BREAK = (
    "zth_helpers.Monitor looks at this layer from Python, which breaks the graph: compile without "
    "fullgraph=True, close the Monitor first, or watch a copy that is not compiled"
)


class Hook:
    """Calls `method(*args, …)` of its owner while there is one, and always returns None.

    A hook that returned anything would replace the layer's output. It holds its owner weakly, does nothing
    in copies and pickles of the model, and torch.compile leaves it to plain Python. What goes wrong in it is
    noted by the owner and never reaches the user's own call.
    """

    def __init__(self, owner: Any = None, method: str = "", *args: object):
        self.owner = (lambda: None) if owner is None else weakref.ref(owner)
        self.method, self.args = method, args

    def __call__(self, *args: object) -> None:
        if torch.compiler.is_compiling():
            self.outside(*args)
        elif (owner := self.owner()) is not None and owner.on:
            try:
                getattr(owner, self.method)(*self.args, *args)
            except Exception as error:
                owner.skip(
                    str(self.args[0]) if self.args else self.method, f"{type(error).__name__}: {error}"
                )

    def outside(self, *args: object) -> None:
        if (owner := self.owner()) is not None:
            owner.compiled = True
        self(*args)

    @classmethod
    def leave_to_python(cls) -> None:
        """Tells torch.compile not to look into `outside`; before the first hook is registered, and not on
        import, since this imports the compiler (seconds)."""
        if hasattr(cls.outside, "_torchdynamo_disable"):
            return
        try:
            cls.outside = torch.compiler.disable(cls.outside, reason=GRAPH_BREAK)  # type: ignore[method-assign]
        except TypeError:  # an older torch takes no reason
            cls.outside = torch.compiler.disable(cls.outside)  # type: ignore[method-assign]

    def __reduce__(self) -> tuple:
        return Hook, ()


def unwrap(model: object) -> object:
    """The model inside torch.compile, DataParallel and DistributedDataParallel.

    Raises ValueError for a model compiled with fullgraph=True, whose first call would fail.
    """
    while True:
        if hasattr(model, "_orig_mod"):
            if getattr(getattr(model, "dynamo_ctx", None), "fullgraph", False):
                raise ValueError(
                    "this model is compiled with fullgraph=True, and a Monitor's hooks break the graph: "
                    "give the Monitor a model compiled without fullgraph=True, or one that is not compiled"
                )
            model = model._orig_mod
        elif isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        else:
            return model


def layers_of(model: nn.Module) -> Iterator[tuple[str, nn.Module, bool]]:
    """(dotted name, module, has it layers inside?) of each module that computes by itself; shared ones once.

    That is a module without children, and one that has both children and parameters of its own.
    """
    inside: tuple[str, ...] = ()
    for name, module in model.named_modules():
        if name.startswith(inside) or "parametrizations" in name.split("."):
            continue
        children = [child for child, _ in module.named_children() if child != "parametrizations"]
        own = any(True for _ in module.parameters(recurse=False)) and not isinstance(module, CONTAINERS)
        if isinstance(module, OPAQUE):
            inside += (name + "." if name else "",)
            children = []
        if isinstance(module, OPAQUE) or own or not (children or isinstance(module, CONTAINERS)):
            yield name or type(module).__name__, module, bool(children)


@dataclass(eq=False, slots=True)
class Seen:
    """One tensor that a layer put out: a copy of it or what it was reduced to, and its gradient."""

    value: Any
    axis: int
    units: int
    gradient: Tensor | None = None


@dataclass(eq=False, slots=True)
class Call:
    """One call of a layer: its place among all calls of the step; and its turn among the layer's calls with
    gradients in this pass, counted from 1 when the step is over."""

    layer: str
    place: int
    with_grad: bool
    seen: list[Seen] = field(default_factory=list)
    turn: int = 0
    again: bool = False  # its gradient comes to a second run of it, see ModuleWatch._again

    @property
    def arrived(self) -> bool:
        return any(one.gradient is not None for one in self.seen)


@dataclass(eq=False)
class Pass:
    """One forward pass of the model."""

    prefix: str
    calls: list[Call] = field(default_factory=list)
    turns: Counter[tuple[str, bool]] = field(default_factory=Counter)  # {(layer, with gradients?): calls}


class ModuleWatch:
    """The hooks on modules, and what they have seen since the last step.

    While `on`, a layer's output is copied or reduced at once, for a later in-place operation would overwrite
    it. Its gradient comes by a hook on the output, since hooks on modules break in-place ReLUs; it is kept as
    it is until the step, and a second backward over the same graph is added. Between samples the modules have
    no hooks, for even an idle one slows down every call; but a compiled model keeps them, since it may be
    compiled again at any step, with the hooks that it then has.
    """

    def __init__(self, columns: Columns, reduce: Callable[..., tuple], skip: Callable[[str, str], None]):
        self.columns, self.reduce, self.skip = columns, reduce, skip
        self.on, self.compiled = True, False
        self.hooks: list[tuple[weakref.ref, str, Hook]] = []  # a module, how to register, and what
        self.handles: list = []  # of hooks on modules
        self.on_tensors: list = []  # of hooks on outputs
        self.roots: dict[str, weakref.ref] = {}
        self.parameters: list[weakref.ref] = []
        self.scale_of: Callable[[], float] | None = None  # of a GradScaler
        self.forget()

    def forget(self) -> None:
        """What was seen belongs to a step that is over."""
        remove(self.on_tensors)
        self.passes: list[Pass] = []
        self.axes: dict[int, tuple[weakref.ref, int]] = {}  # where an output's units lie, by the output's id
        self.called = 0  # calls of layers so far
        self.task: tuple[int, bool] = (-1, False)
        self.scale: float | None = None

    def watch(self, model: nn.Module, prefix: str, wanted: Callable[[str], bool]) -> None:
        """Hooks all layers of the model, at once: a compiled one knows only the hooks of its first call.

        Raises ValueError for parameters that have no shape yet, and for a TorchScript model.
        """
        lazy = [n for n, p in model.named_parameters() if isinstance(p, nn.parameter.UninitializedParameter)]
        if lazy:
            raise ValueError(
                f"{prefix}{lazy[0]} has no shape yet: run one batch first, then make the Monitor"
            )
        if isinstance(model, torch.jit.ScriptModule):
            raise ValueError(
                "this is a TorchScript model, whose layers do not call Python: give the Monitor the model "
                "that was scripted or traced, and train that"
            )
        Hook.leave_to_python()
        found = [(model, "register_forward_pre_hook", Hook(self, "new_pass", prefix))]
        for name, module, inside in layers_of(model):
            if isinstance(module, torch.jit.ScriptModule):
                self.skip(prefix + name, "a TorchScript module")
            elif wanted(prefix + name):
                self.columns.kinds[prefix + name] = type(module).__name__
                hook = Hook(self, "output", prefix + name, prefix, inside)
                found.append((module, "register_forward_hook", hook))
        self.roots[prefix] = weakref.ref(model)
        self.hooks += [(weakref.ref(module), how, hook) for module, how, hook in found]
        self.handles += [getattr(module, how)(hook) for module, how, hook in found]
        self.parameters += [weakref.ref(p) for p in model.parameters() if p.requires_grad]

    def switch(self, on: bool) -> None:
        if on and not self.handles:
            alive = [(ref(), how, hook) for ref, how, hook in self.hooks if ref() is not None]
            self.handles += [getattr(module, how)(hook) for module, how, hook in alive]
        elif not (on or self.compiled):
            remove(self.handles)
        self.on = on

    # -- while the model runs

    def new_pass(self, prefix: str, module: nn.Module, args: object) -> None:
        if module.training and torch._C._current_graph_task_id() == -1:  # else a checkpoint runs
            self.passes.append(Pass(prefix))
            if len(self.passes) > 1:
                self._thin()

    def _thin(self) -> None:
        """Only passes that can still matter are kept: the last MAX_PASSES, and of those before the last one
        whose gradients have arrived only what has gradients, or layers, that no later one has."""
        kept: list[Pass] = []
        layers: set[str] = set()
        arrived: set[str] = set()
        later_trained: set[str] = set()
        for p in reversed(self.passes):
            mine, mine_arrived = {call.layer for call in p.calls}, {c.layer for c in p.calls if c.arrived}
            if p.prefix not in later_trained or mine - layers or mine_arrived - arrived:
                kept.append(p)
                layers |= mine
                arrived |= mine_arrived
                later_trained |= {p.prefix} if mine_arrived else set()
        self.passes = kept[:MAX_PASSES][::-1]

    def output(
        self, layer: str, prefix: str, inside: bool, module: nn.Module, args: object, output: object
    ) -> None:
        root = self.roots[prefix]()
        if not (module.training or (root is not None and root.training)):
            return
        readable = tensors(output)
        if isinstance(output, Tensor) and not readable and (why := why_unreadable(output)):
            self.skip(layer, why)
        if inside and readable and self._axis_of(readable[0]) is not None:
            self.columns.passing_on.add(layer)
            self.columns.calls[layer] += 1
            return
        if torch._C._current_graph_task_id() != -1:
            self._again(layer, readable)
            return
        of = self._pass(prefix)
        with_grad = torch.is_grad_enabled()
        of.turns[layer, with_grad] += 1
        self.columns.calls[layer] += with_grad
        if not with_grad:
            self.columns.without_grad.add(layer)
        if of.turns[layer, with_grad] > MAX_TURNS:
            return
        self.called += 1
        call = Call(layer, self.called, with_grad)
        for out in readable:
            axis = self._axis(module, args, out)
            units = out.shape[axis] if out.ndim else 1
            call.seen.append(Seen(self._kept(out, self.columns.kinds[layer], axis), axis, units))
        of.calls.append(call)
        self._hook_outputs(call, readable)

    def _pass(self, prefix: str) -> Pass:
        for p in reversed(self.passes):
            if p.prefix == prefix:
                return p
        self.passes.append(Pass(prefix))  # a layer was called, not the model
        return self.passes[-1]

    def _kept(self, t: Tensor, kind: str, axis: int | None) -> object:
        t = t.detach() if type(t) is Tensor else t.detach().as_subclass(Tensor)
        return t.clone() if t.numel() <= SMALL else self.reduce([t], [kind], [axis])

    def _hook_outputs(self, call: Call, readable: list[Tensor]) -> None:
        for one, out in zip(call.seen, readable):
            if out.requires_grad:
                self.on_tensors.append(out.register_hook(Hook(self, "gradient", call.layer, one)))

    def _again(self, layer: str, readable: list[Tensor]) -> None:
        """A checkpointed layer runs once more, during backward. Where its first run had no graph
        (use_reentrant=True), the gradient comes to this run, and belongs to the first: of several, as when an
        evaluation came in between, to the one that put out the same."""
        if not torch.is_grad_enabled():
            return
        runs = [
            call
            for p in reversed(self.passes)
            for call in reversed(p.calls)
            if call.layer == layer and len(call.seen) == len(readable)
        ]
        without, own = [c for c in runs if not c.with_grad], [c for c in runs if c.with_grad and not c.again]
        if not without or any(self._is_alike(layer, call, readable) for call in own):
            return  # the gradient comes to the first run itself
        alike = (call for call in without if self._is_alike(layer, call, readable))
        call = next(alike, None if own else without[0])
        if call is not None:
            call.with_grad = call.again = True
            self.columns.calls[layer] += 1
            self._hook_outputs(call, readable)

    def _is_alike(self, layer: str, call: Call, readable: list[Tensor]) -> bool:
        """Are these the outputs of that call?"""
        kept = (self._kept(out, self.columns.kinds[layer], one.axis) for one, out in zip(call.seen, readable))
        return all(_equal(one.value, now) for one, now in zip(call.seen, kept))

    def gradient(self, layer: str, one: Seen, gradient: Tensor) -> None:
        if why_unreadable(gradient) is None and self._is_training():
            if self.scale is None and self.scale_of is not None:
                self.scale = self.scale_of()
            if gradient.requires_grad or type(gradient) is not Tensor:
                gradient = gradient.detach().as_subclass(Tensor)
            one.gradient = gradient if one.gradient is None else one.gradient + gradient

    def _is_training(self) -> bool:
        """Does this backward reach parameters' .grad? It does not when someone calls torch.autograd.grad."""
        task = torch._C._current_graph_task_id()
        if task != self.task[0]:
            self.task = task, self._reaches_a_parameter()
        return self.task[1]

    def _reaches_a_parameter(self) -> bool:
        trained = [p for ref in self.parameters if (p := ref()) is not None and p.requires_grad]
        if any(why_unreadable(p) and not p.is_complex() for p in trained):
            return True  # sharded parameters are put together for each pass: the graph does not know these
        for p in trained:
            try:
                with torch.enable_grad():  # torch before 2.5 finds no edge without
                    node = get_gradient_edge(p).node
                if torch._C._will_engine_execute_node(node):
                    return True
            except RuntimeError:  # a parameter whose gradient is asked for by autograd.grad
                return False
        return not trained

    def _axis_of(self, t: Tensor) -> int | None:
        ref, axis = self.axes.get(id(t), (None, None))
        return axis if ref is not None and ref() is t else None

    def _axis(self, module: nn.Module, args: object, out: Tensor) -> int:
        """Where the units of an output lie: as the layer that made it puts them.

        A convolution, normalisation over channels or pooling puts them on the channels, behind the examples;
        other layers with parameters on the last axis, as does a LayerNorm of that axis. An activation, PReLU
        included, dropout, a LayerNorm of several axes and their like leave them where they were in their
        input; where that was made by no layer (a sum, a functional call), it is taken to be like the last
        output before it with the same number of axes.
        """
        if isinstance(module, nn.modules.conv._ConvNd):
            axis = out.ndim - len(module.kernel_size) - 1  # 0 for a single example
        elif out.ndim < 3:
            axis = max(out.ndim - 1, 0)
        elif isinstance(module, CHANNELS_FIRST):
            axis = 1
        elif _puts_units_last(module, out):
            axis = out.ndim - 1
        else:
            first = next(iter(tensors(args)), None)
            inherited = self._axis_of(first) if first is not None and first.ndim == out.ndim else None
            axis = self._like_the_last(out) if inherited is None else inherited
        self.axes[id(out)] = weakref.ref(out), axis
        return axis

    def _like_the_last(self, out: Tensor) -> int:
        for ref, axis in reversed(self.axes.values()):
            if (other := ref()) is not None and other.ndim == out.ndim:
                return axis
        return usual_axis(out.ndim)

    # -- when the step is over

    def taken(self) -> list[Call]:
        """The calls that make the row, in the order in which they ran.

        For each layer they are those of its last pass that took part in the backward. A layer without any
        gradient is shown in the pass that the others' gradients belong to, else in its last pass.
        """
        chosen: dict[str, Pass] = {}
        for p in sorted(self.passes, key=lambda p: any(call.arrived for call in p.calls)):
            chosen.update((call.layer, p) for call in p.calls if call.with_grad)
        for p in self.passes:
            chosen.update((call.layer, p) for call in p.calls if call.arrived)
        calls = [c for p in self.passes for c in p.calls if c.with_grad and chosen[c.layer] is p]
        calls.sort(key=lambda call: call.place)
        turns: Counter[str] = Counter()
        for call in calls:
            turns[call.layer] += 1
            call.turn = turns[call.layer]
        return [call for call in calls if call.turn <= MAX_TURNS]


def _puts_units_last(module: nn.Module, out: Tensor) -> bool:
    if normalized := getattr(module, "normalized_shape", None):  # of LayerNorm and RMSNorm
        return tuple(normalized) == tuple(out.shape[-1:])
    return any(True for _ in module.parameters(recurse=False)) and not isinstance(module, nn.PReLU)


def _equal(a: Any, b: Any) -> bool:
    """Of two outputs: their copies, or what they were reduced to."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return torch.equal(a.nan_to_num(), b.nan_to_num())
    return type(a) is type(b) and all(np.array_equal(x, y, equal_nan=True) for x, y in zip(a, b))


def remove(handles: list) -> None:
    for handle in handles:
        handle.remove()
    handles.clear()
