"""The first steps of the recorded runs: is what numbers.json rests on still what the notebooks do?

`make numbers` keeps what `record` gives in prefixes.json; the tests train the same steps again.
"""

from __future__ import annotations

import math

import nbformat

from benchmarks.replay import replay

# run -> its first steps; a tenth as many of its last follow, where the learning rate has fallen
RUNS = {
    "01_micrograd": {"training 2": 40},  # the moons, by the fast engine
    "02_bigram": {"one-hot": 10, "training": 200},
    "03_mlp": {"hidden 300, rate .1": 200, "hidden 300, rate .01": 200, "embedding 10, hidden 200": 200},
    "04_batchnorm": {
        "original": 200,
        "W2 × .01": 200,
        "W1 × .2": 200,
        "Kaiming": 200,
        "BatchNorm": 200,
        "watched 7": 200,  # six layers with batch norm
    },
    "05_backprop_ninja": {"training by hand": 200},
    "06_wavenet": {
        "3 characters": 200,
        "8 flat": 200,
        "tree, bug": 200,
        "tree, fixed": 200,
        "tree 24/128": 200,
    },
}
EVERY = 10  # what is off at one step stays off: every tenth loss is enough
# How far another processor may be off by rounding alone; weights as wild as the first ones of 04 magnify it.
TOLERANCE, WILD = 1e-3, {"original": 2e-2}
# Evaluation and demonstrations take most of the time, and no run depends on them.
GIVEN = {
    "03_mlp": {"loss_on": lambda *_: 0.0},
    "04_batchnorm": {"split_loss": lambda net, parameters, *splits: [0.0] * len(splits)},
    "06_wavenet": {"split_loss": lambda *_: 0.0},
}
WITHOUT = {
    "01_micrograd": ("recursive_order(total", "model([u, v])", "of the upper moon", "right = ["),
    "02_bigram": ("train_net(W, N, 10_000)", "train_net(W2"),
    "03_mlp": ("class Made", "Counter(word["),
    "04_batchnorm": ("def wobble", "def in_company", "calibrated", "dead_after", "def memorise"),
}


def record(name: str, notebook: nbformat.NotebookNode) -> dict[str, list[float]]:
    """Every tenth loss of the first and last steps of each run of a notebook, quick steps, shipped list."""

    def part(run: str, steps: list) -> list:
        head = RUNS[name][run]
        return steps[:head] + steps[head:][-(head // 10) :]

    losses, _ = replay(notebook, RUNS[name], part=part, given=GIVEN.get(name), without=WITHOUT.get(name, ()))
    return {run: losses[run][::EVERY] for run in RUNS[name]}


def difference(recorded: dict[str, list[float]], now: dict[str, list[float]]) -> str | None:
    """In words, the first run and step that are no longer as recorded; None if all is."""
    for run in {**recorded, **now}:
        if run not in recorded or run not in now:
            return f"the run {run!r} is {'new' if run in now else 'gone'}"
        for i, (then, today) in enumerate(zip(recorded[run], now[run])):
            if not math.isclose(then, today, rel_tol=WILD.get(run, TOLERANCE)):
                return (
                    f"the run {run!r} had a loss of {then:.4f} at its step {i * EVERY}, and has {today:.4f}"
                )
        if len(recorded[run]) != len(now[run]):
            return f"the run {run!r} has another number of steps"
    return None
