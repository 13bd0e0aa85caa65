"""Inventing names: the lecture's loop, a letter at a time, against all names at once, from the bigram table.

    python benchmarks/sampling.py

Both functions are taken out of notebook 02 itself, draw from the same table of the shipped list, and run in
turn in one process, one thread; medians over the runs of the time for a name, and of the ratio within a run.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

import torch
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tools.lesson import definitions
from zth_helpers.names import Vocabulary, context_windows, load_names

LOOP_NAMES, BATCH_NAMES, RUNS = 2_000, 100_000, 9


def bigram_table(words: list[str], vocab: Vocabulary) -> torch.Tensor:
    X, Y = context_windows(words, vocab, block_size=1)
    V = len(vocab)
    N = torch.bincount(V * X[:, 0] + Y, minlength=V * V).view(V, V)
    return N / N.sum(1, keepdim=True)


def measure(runs: int = RUNS, loop_names: int = LOOP_NAMES, batch_names: int = BATCH_NAMES) -> dict:
    """Microseconds for a name both ways, and their ratio (median, lowest, highest)."""
    words = load_names("shipped")
    vocab = Vocabulary(words)
    P = bigram_table(words, vocab)
    notebook = definitions("02_bigram", V=len(vocab), stoi=vocab.stoi, itos=vocab.itos)
    one, batch = notebook["multinomial_name"], notebook["sample_names"]
    slow, fast = [], []
    for run in tqdm(range(-1, runs), desc="sampling", leave=False):
        g = torch.Generator().manual_seed(run + 1)
        start = time.perf_counter()
        a = [one(P, g) for _ in range(loop_names)]
        middle = time.perf_counter()
        b = batch(P, batch_names, g)
        end = time.perf_counter()
        if run < 0:
            continue  # the first run warms up
        slow.append((middle - start) / loop_names * 1e6)
        fast.append((end - middle) / batch_names * 1e6)
        lengths = [sum(map(len, names)) / len(names) for names in (a, b)]
        assert len(b) == batch_names and abs(lengths[0] - 1 - lengths[1]) < 0.8, "not the same names"
    ratios = [a / b for a, b in zip(slow, fast)]
    return {
        "runs": runs,
        "loop_us": statistics.median(slow),
        "batch_us": statistics.median(fast),
        "ratio": statistics.median(ratios),
        "ratio_low": min(ratios),
        "ratio_high": max(ratios),
    }


def table(row: dict) -> str:
    return (
        "| one at a time (lecture) | in a batch | ratio (lowest to highest) | runs |\n|--:|--:|--:|--:|\n"
        f"| {row['loop_us']:.0f} µs a name | {row['batch_us']:.2f} µs a name "
        f"| ×{row['ratio']:.0f} (×{row['ratio_low']:.0f} to ×{row['ratio_high']:.0f}) | {row['runs']} |"
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(table(measure()))
