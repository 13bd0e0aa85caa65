"""A stand-in for a Monitor, with healthy numbers into which a test writes its own."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np

SAMPLES, EVERY = 6, 10
ALWAYS = {"since": 0, "samples": SAMPLES}


def shown(count: int, std: float) -> SimpleNamespace:
    """Statistics of `count` layers that are all alike, each of 32 examples and 50 units."""
    fields = {name: np.zeros((SAMPLES, count)) for name in ("mean", "saturated", "dead", "nonfinite")}
    hist = np.full((SAMPLES, count, 50), 32)
    return SimpleNamespace(std=np.full((SAMPLES, count), std), hist=hist, **fields)


def healthy(*kinds: str) -> SimpleNamespace:
    """What diagnose reads of a Monitor: 60 steps of a network with a weight and a bias in each Linear.

    By default it has four Linears with three Tanhs between them. Samples come at steps 0, 10, …, 50.
    """
    kinds = kinds or ("Linear", "Tanh") * 3 + ("Linear",)
    linear = [i for i, kind in enumerate(kinds) if kind == "Linear"]
    parameters = [f"{i}.{name}" for i in linear for name in ("weight", "bias")]
    P = len(parameters)
    return SimpleNamespace(
        layer_names=[str(i) for i in range(len(kinds))],
        layer_kinds=list(kinds),
        output_layers=[],
        networks=[""],
        without_gradients=[],
        skipped={},
        calls=np.full(len(kinds), SAMPLES),
        units=np.full(len(kinds), 50),
        steps=np.arange(SAMPLES) * EVERY,
        outputs=shown(len(kinds), 0.6),
        gradients=shown(len(kinds), 1e-3),
        nonfinite_first=None,
        classes=None,
        losses=np.linspace(3.0, 2.0, 60),
        loss_steps=np.arange(60),
        parameter_names=parameters,
        parameter_shapes=[(50, 50), (50,)] * len(linear),
        parameter_dtypes=["float32"] * P,
        trainable=np.ones(P, bool),
        grad_data=np.full((SAMPLES, P), 1e-2),
        moved=np.ones((SAMPLES, P), bool),
        update_data=np.full((SAMPLES, P), 1e-3),
        update_steps=np.arange(SAMPLES) * EVERY,
        update_rates=np.full(SAMPLES, 0.1),
        optimizer_steps=60,
        not_in_optimizer=[],
        learning_rates=[0.1],
    )


def only_first(mon: SimpleNamespace, samples: int = 1) -> SimpleNamespace:
    """The same run after its first samples, and as many losses and updates."""
    for seen in (mon.outputs, mon.gradients):
        vars(seen).update({name: values[:samples] for name, values in vars(seen).items()})
    rows = "steps losses loss_steps grad_data moved update_data update_steps update_rates"
    for name in rows.split():
        setattr(mon, name, getattr(mon, name)[:samples])
    mon.optimizer_steps = samples
    return mon


def more(limit: float) -> float:
    return float(np.nextafter(limit, math.inf))


def less(limit: float) -> float:
    return float(np.nextafter(limit, -math.inf))


def geometric(count: int, overall: float) -> np.ndarray:
    """`count` values that grow by `overall` from the first to the last."""
    return 0.1 * overall ** (np.arange(count) / (count - 1))


def deep(count: int) -> SimpleNamespace:
    return healthy(*("Linear", "Tanh") * count, "Linear")
