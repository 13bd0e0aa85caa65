"""What a Monitor recorded, taken elsewhere: plain Python, lines of JSON, TensorBoard, Weights & Biases."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from zth_helpers.monitor.core import Monitor


def to_dict(mon: Monitor) -> dict[str, Any]:
    """All numbers as lists, without the histograms; nan and inf become None, as JSON has neither."""
    what = {"outputs": mon.outputs, "gradients": mon.gradients}
    return {
        "layers": mon.layer_names,
        "kinds": mon.layer_kinds,
        "parameters": mon.parameter_names,
        "steps": mon.steps.tolist(),
        **{key: {name: _plain(getattr(s, name)) for name in s.names} for key, s in what.items()},
        "grad_data": _plain(mon.grad_data),
        "update_steps": mon.update_steps.tolist(),
        "update_data": _plain(mon.update_data),
        "loss_steps": mon.loss_steps.tolist(),
        "losses": _plain(mon.losses),
        "nonfinite_first": mon.nonfinite_first,
        "skipped": dict(mon.skipped),
    }


def to_json_lines(mon: Monitor, path: str | PathLike) -> None:
    """One line a sample: {"step": 100, "loss": 2.41, "outputs.std/2 Tanh": 0.63, …}. Raises OSError."""
    lines = (json.dumps({"step": step, **values}, ensure_ascii=False) for step, values in scalars(mon))
    Path(path).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def scalars(mon: Monitor, after: int = -1) -> Iterator[tuple[int, dict[str, float]]]:
    """(step, {tag: number}) of each sample after a step; only finite numbers."""
    losses = dict(zip(mon.loss_steps.tolist(), mon.losses.tolist()))
    updates = {int(step): row for step, row in zip(mon.update_steps, mon.update_data)}
    for row, step in enumerate(mon.steps.tolist()):
        if step <= after:
            continue
        found: dict[str, float] = {"loss": losses[step]} if step in losses else {}
        for key, seen in (("outputs", mon.outputs), ("gradients", mon.gradients)):
            for name in seen.names:
                values = getattr(seen, name)[row]
                found |= {f"{key}.{name}/{layer}": float(v) for layer, v in zip(mon.layer_names, values)}
        ratios = [("grad_data", mon.grad_data[row])]
        ratios += [("update_data", updates[step])] if step in updates else []
        for key, values in ratios:
            found |= {f"{key}/{name}": float(v) for name, v in zip(mon.parameter_names, values)}
        yield step, {tag: value for tag, value in found.items() if np.isfinite(value)}


def write_to(mon: Monitor, log: Callable[[dict[str, float], int], object]) -> None:
    """From now on each sample goes to log({tag: number}, step).

    Weights & Biases: `write_to(mon, lambda values, step: run.log(values, step=step))`. TensorBoard:
    `write_to(mon, tensorboard(SummaryWriter()))`. Raises TypeError for what is no function.
    """
    if not callable(log):
        raise TypeError(
            f"write_to got a {type(log).__name__}: give a function of (values, step), such as "
            "tensorboard(SummaryWriter())"
        )
    last = int(mon.steps[-1]) if len(mon.steps) else -1

    def write(mon: Monitor) -> None:
        nonlocal last
        for step, values in scalars(mon, last):
            log(values, step)
            last = step

    mon.after_sample.append(write)


def tensorboard(writer: Any) -> Callable[[dict[str, float], int], object]:
    """What `write_to` needs for a torch.utils.tensorboard.SummaryWriter, or anything with add_scalar.

    Raises TypeError for anything without.
    """
    if not hasattr(writer, "add_scalar"):
        raise TypeError(f"a {type(writer).__name__} has no add_scalar: give a SummaryWriter")

    def log(values: dict[str, float], step: int) -> None:
        for tag, value in values.items():
            writer.add_scalar(tag, value, step)

    return log


def _plain(values: np.ndarray) -> Any:
    plain = values.astype(object)
    plain[~np.isfinite(values)] = None
    return plain.tolist()
