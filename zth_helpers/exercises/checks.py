"""What the judges of the exercises use: run the learner's function safely, compare its result in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zth_helpers.exercises import leash
from zth_helpers.exercises.exercise import NotTried, Wrong, blame, stub_or_work, their_frame

NOTHING = "got None: is a `return` missing?"


def call(answer: Callable, *inputs: Any, keep: bool = True, returns: bool = True) -> Any:
    """Runs the learner's function on copies of the inputs.

    What it returns is given on with NumPy's numbers and arrays as Python's and torch's.
    Raises NotTried for the untouched stub and Wrong for anything that is not callable, for an exception
    (theirs, with the line it came from), for None if it `returns` something and, with `keep`, for changed
    inputs.
    """
    if answer is ... or answer is None:
        raise NotTried if answer is ... else Wrong("got None: pass your function itself, without calling it")
    if not callable(answer):
        raise Wrong(f"expected a function, got {kind(answer)}: pass it without calling it")
    given = [_copied(value) for value in inputs]
    try:
        with leash.untouched_settings():
            result = plain(answer(*given))
    except (Wrong, NotTried):
        raise
    except Exception as error:
        if isinstance(error, NotImplementedError) and str(error) == "your code here":
            raise stub_or_work(error) from None
        raise Wrong(blame(error, their_frame(error))) from None
    if result is None and returns:
        raise Wrong(NOTHING)
    if keep:
        for i, (before, after) in enumerate(zip(inputs, given)):
            if not _same(before, after):
                raise Wrong(f"your function changed its argument {i + 1} in place: work on a copy")
    return result


def plain(value: Any) -> Any:
    """NumPy's arrays as tensors and its numbers as Python's, also inside of lists, tuples and dicts.

    Tensors come as dense ones on the CPU. Raises Wrong for complex numbers.
    """
    if isinstance(value, Tensor):
        if value.is_complex():
            raise Wrong("got complex numbers: everything here is real")
        if value.layout is not torch.strided:
            value = value.to_dense()
        return value if value.device.type == "cpu" else value.cpu()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        held = {"b": np.bool_, "i": np.int64, "u": np.int64, "f": np.float64}.get(value.dtype.kind)
        held = np.float32 if value.dtype == np.float32 else held
        return torch.tensor(value.astype(held)) if held else value.tolist()
    if type(value) in (list, tuple):
        return type(value)(map(plain, value))
    if type(value) is dict:
        return {plain(key): plain(part) for key, part in value.items()}
    return value


def kind(value: Any) -> str:
    """The name of a value's type, which says so when it is one of the course's own."""
    own = type(value).__module__.startswith("zth_helpers")
    name = type(value).__name__
    return f"the course's own {name} ({type(value).__module__}.{name})" if own else name


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone().requires_grad_(value.requires_grad)
    if isinstance(value, torch.Generator):
        return value.clone_state()
    return deepcopy(value) if isinstance(value, list | dict | tuple) else value


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return a.shape == b.shape and torch.equal(a, b)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    return not isinstance(a, int | float | str) or a == b


def expect(
    what: str,
    got: Any,
    want: Any,
    mistakes: Mapping[str, Any] | None = None,
    rtol: float = 1e-4,
    atol: float = 1e-6,
) -> None:
    """Raises Wrong, in words, unless `got` is `want`: type, shape, non-finite values, largest difference.

    `mistakes` maps the explanation of a typical mistake to the value it leads to; where the answer equals
    one of these, the explanation is the message.
    """
    got = plain(got)
    if got is None:
        raise Wrong(f"{what}: {NOTHING}")
    if isinstance(want, str | bool):
        if not isinstance(got, type(want)) or got != want:
            raise Wrong(named(what, got, mistakes) or f"{what}: got {got!r}, expected {want!r}")
        return
    if isinstance(want, list | tuple):
        if not isinstance(got, list | tuple | Tensor):
            raise Wrong(f"{what}: expected {len(want)} values, got {kind(got)}")
        if isinstance(got, Tensor) and got.ndim != 1:
            raise Wrong(f"{what}: expected {len(want)} values, got a tensor of shape {tuple(got.shape)}")
        if len(got) != len(want):
            raise Wrong(f"{what}: expected {len(want)} values, got {len(got)}")
        if not all(isinstance(value, int | float) for value in want):
            for i, (g, w) in enumerate(zip(got, want)):
                expect(f"{what}[{i}]", g, w, None, rtol, atol)
            return
    g, w = _as_tensor(what, got), _as_tensor(what, want)
    if isinstance(want, Tensor) and not isinstance(got, Tensor):
        raise Wrong(f"{what}: expected a tensor of shape {tuple(w.shape)}, got {kind(got)}")
    if g.shape != w.shape:
        raise Wrong(
            named(what, got, mistakes)
            or f"{what}: shape {tuple(g.shape)}, expected {tuple(w.shape)}" + _shape_help(g, w)
        )
    if g.dtype.is_floating_point != w.dtype.is_floating_point and isinstance(want, Tensor):
        raise Wrong(f"{what}: dtype {g.dtype}, expected {w.dtype}")
    if _close(g, w, rtol, atol):
        return
    explanation = named(what, got, mistakes)
    if explanation:
        raise Wrong(explanation)
    bad = ~torch.isfinite(g.double()) & torch.isfinite(w.double())
    if bad.any():
        where = tuple(bad.nonzero()[0].tolist())
        raise Wrong(f"{what}: {int(bad.sum())} of {g.numel()} values are nan or inf, the first at {where}")
    if g.ndim == 0:
        raise Wrong(f"{what}: {told_apart(g.item(), w.item())}")
    difference = (g.double() - w.double()).abs().nan_to_num(math.inf)
    where = _index(int(difference.argmax()), tuple(g.shape))
    raise Wrong(
        f"{what}: the shape is right, the values are not: largest difference at {list(where)}, "
        f"{told_apart(g[where].item(), w[where].item())}"
    )


def told_apart(got: float, want: float) -> str:
    """ "got 1.5, expected 1.25", with as many digits as it takes to see the difference."""
    digits = next((d for d in range(6, 18) if f"{got:.{d}g}" != f"{want:.{d}g}"), 17)
    if digits > 6:  # two more, and how far apart they are
        digits = min(digits + 1, 17)
        return f"got {got:.{digits}g}, expected {want:.{digits}g}, a difference of {got - want:.2g}"
    return f"got {got:.6g}, expected {want:.6g}"


def _index(flat: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The place in a tensor of its number `flat`. (torch.unravel_index would import sympy, half a second.)"""
    place = []
    for size in reversed(shape):
        flat, at = divmod(flat, size)
        place.append(at)
    return tuple(reversed(place))


def named(what: str, got: Any, mistakes: Mapping[str, Any] | None) -> str | None:
    """The explanation of the typical mistake that leads to exactly this answer, if there is one."""
    got = plain(got)
    for explanation, value in (mistakes or {}).items():
        if isinstance(value, str):
            matches = value == got
        else:
            try:
                g, w = _as_tensor(what, got), _as_tensor(what, value)
            except Wrong:
                continue
            matches = g.shape == w.shape and _close(g, w, 1e-4, 1e-6)
        if matches:
            return f"{what}: {explanation}"
    return None


def _shape_help(got: Tensor, want: Tensor) -> str:
    if got.ndim == 2 and got.T.shape == want.shape:
        return ": is it transposed?"
    if got.numel() == want.numel():
        return ": the number of values is right; which axes did you sum or keep (keepdim)?"
    return ""


def _close(g: Tensor, w: Tensor, rtol: float, atol: float) -> bool:
    return torch.allclose(g.double(), w.double(), rtol=rtol, atol=atol, equal_nan=True)


def _numbers(value: Any) -> Any:
    """Lists of tensors as lists of numbers; a tensor of one element counts as a number."""
    if isinstance(value, list | tuple):
        return [_numbers(part) for part in value]
    if isinstance(value, Tensor):
        return value.item() if value.numel() == 1 else value.tolist()
    return value


def _as_tensor(what: str, value: Any) -> Tensor:
    value = plain(value)
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, bool) or not isinstance(value, int | float | list | tuple):
        raise Wrong(f"{what}: expected a number or a tensor, got {kind(value)}")
    try:
        dtype = torch.int64 if isinstance(value, int) else torch.float64
        return torch.tensor(_numbers(value), dtype=dtype)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise Wrong(f"{what}: cannot be read as numbers ({error})") from None


def require(condition: bool, message: str) -> None:
    """Raises Wrong with the message unless the condition holds."""
    if not condition:
        raise Wrong(message)


def parts_of(what: str, got: Any, n: int) -> list:
    """A tuple or list of n things, or Wrong: `what` names them, "the new W and the new b"."""
    amount = f" of {len(got)}" if isinstance(got, tuple | list) else ""
    right = isinstance(got, tuple | list) and len(got) == n
    require(right, f"expected {n} things, {what}, got {kind(got)}{amount}")
    return list(got)


def finite(what: str, value: Any) -> float:
    """One finite number, or Wrong."""
    number = _as_tensor(what, value)
    require(number.numel() == 1, f"{what}: expected one number, got shape {tuple(number.shape)}")
    require(math.isfinite(number.item()), f"{what}: is {number.item()}")
    return number.item()
