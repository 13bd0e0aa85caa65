"""What is normal: the lectures' final losses from ten seeds, quick recipes, the course's own list."""

from __future__ import annotations

import nbformat
from tqdm import tqdm

from benchmarks.prefixes import RUNS
from benchmarks.replay import replay

# The comparisons whose number depends on a seed, in the order in which the notebook makes them.
WHAT = {
    "01_micrograd": ["moons: last, fast engine"],
    "02_bigram": ["loss at 0, 1, 9, 49, 99, 199"],
    "03_mlp": [
        "hidden 300, train loss",
        "hidden 300, dev loss",
        "embedding 10, hidden 200, train loss",
        "embedding 10, hidden 200, dev loss",
    ],
    "04_batchnorm": [
        f"{run}, {split} loss"
        for run in ("original", "W2 × .01", "W1 × .2", "Kaiming", "running stats")
        for split in ("train", "dev")
    ]
    + ["6 layers, 1,001 steps, train", "6 layers, 1,001 steps, dev"],
    "05_backprop_ninja": ["train loss", "dev loss"],
    "06_wavenet": [
        f"{model}: {split}"
        for model in (
            "3 characters, hidden 200",
            "8 characters, flat",
            "hierarchical, hidden 68, BN bug",
            "BN fixed",
            "embedding 24, hidden 128",
        )
        for split in ("train", "dev")
    ],
}


def losses(name: str, notebook: nbformat.NotebookNode, seeds: int) -> dict[str, list[float]]:
    """Each of a notebook's final losses, `seeds` times: its own seeds, then those plus 1, plus 2, …"""
    found = {what: [] for what in WHAT[name]}
    for shift in tqdm(range(seeds), desc=f"{name}, seeds", leave=False):
        _, compared = replay(notebook, RUNS[name], WHAT[name], shift=shift)
        for what, values in found.items():
            values.append(compared[what])
    curves = [what for what, values in found.items() if isinstance(values[0], list)]
    ends = {f"{what}: the last": [value[-1] for value in found[what]] for what in curves}
    return {what: values for what, values in found.items() if what not in curves} | ends
