"""Lesson 1's two moons: scikit-learn's points without scikit-learn, and the lesson's network in NumPy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def make_moons(n: int, noise: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """n points X (n, 2) on two interlocking half circles, with normal noise, and y (n,): -1 above, +1 below.

    The points, their order and the noise are those of scikit-learn, for this random_state. An odd
    n gives one point less.
    """
    rng, t = np.random.RandomState(seed), np.linspace(0, np.pi, n // 2)
    upper, lower = (np.cos(t), np.sin(t)), (1 - np.cos(t), 0.5 - np.sin(t))
    arcs = np.concatenate([upper, lower], axis=1).T
    order = rng.permutation(len(arcs))
    X, y = arcs[order], np.repeat([-1, 1], n // 2)[order]
    return X + rng.normal(scale=noise, size=X.shape), y


def scores(parameters: Sequence[float], sizes: Sequence[int], points: np.ndarray) -> np.ndarray:
    """The scores (n,) of points (n, sizes[0]) by a network of relus whose last layer is linear.

    `parameters` are its numbers in the order of the lesson's `model.parameters()`: neuron by neuron, the
    weights and then the bias. Raises ValueError when there are more or fewer than `sizes` asks for.
    """
    x, rest = np.asarray(points, dtype=float), np.asarray(parameters, dtype=float)
    wanted = sum(nout * (nin + 1) for nin, nout in zip(sizes, sizes[1:]))
    if len(rest) != wanted:
        raise ValueError(f"a network of sizes {list(sizes)} has {wanted} parameters, got {len(rest)}")
    for i, (nin, nout) in enumerate(zip(sizes, sizes[1:]), 1):
        layer, rest = np.split(rest, [nout * (nin + 1)])
        layer = layer.reshape(nout, nin + 1)
        x = x @ layer[:, :-1].T + layer[:, -1]
        x = x if i == len(sizes) - 1 else np.maximum(x, 0)
    return x[:, 0]
