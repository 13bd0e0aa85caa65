"""Inventing names: the lecture's loop, a letter at a time, against all names at once, from the bigram table.

    python -m benchmarks.speed.sampling

Both functions are taken out of notebook 02 itself, draw from the same table of the shipped list, and run in
turn in one process; medians over the runs of the time for a name, and of the ratio within a run. The loop
has one thread, the batch one and two.
"""

from __future__ import annotations

import statistics

import torch
from tqdm import tqdm

from benchmarks.windows import THREADS, timed
from tools.lesson import definitions
from zth_helpers.name_lists import load_names
from zth_helpers.names import Vocabulary, context_windows

LOOP_NAMES, BATCH_NAMES, RUNS = 2_000, 100_000, 9


def bigram_table(words: list[str], vocab: Vocabulary) -> torch.Tensor:
    X, Y = context_windows(words, vocab, block_size=1)
    V = len(vocab)
    N = torch.bincount(V * X[:, 0] + Y, minlength=V * V).view(V, V)
    return N / N.sum(1, keepdim=True)


def measure(runs: int = RUNS, loop_names: int = LOOP_NAMES, batch_names: int = BATCH_NAMES) -> list[dict]:
    """A row per number of threads: microseconds for a name both ways, and their ratio (and its range)."""
    words, before = load_names("shipped"), torch.get_num_threads()
    vocab = Vocabulary(words)
    P = bigram_table(words, vocab)
    notebook = definitions("02_bigram", V=len(vocab), stoi=vocab.stoi, itos=vocab.itos)
    one, batch = notebook["multinomial_name"], notebook["sample_names"]
    slow, fast = [], {threads: [] for threads in THREADS}
    for run in tqdm(range(-1, runs), desc="sampling", leave=False):
        g = torch.Generator().manual_seed(run + 1)
        torch.set_num_threads(1)
        seconds, singly = timed(lambda g=g: [one(P, g) for _ in range(loop_names)])
        slow += [seconds / loop_names * 1e6] * (run >= 0)  # the first run warms up
        for threads in THREADS:
            torch.set_num_threads(threads)
            seconds, together = timed(batch, P, batch_names, g)
            fast[threads] += [seconds / batch_names * 1e6] * (run >= 0)
            lengths = [sum(map(len, names)) / len(names) for names in (singly, together)]
            assert len(together) == batch_names and abs(lengths[0] - 1 - lengths[1]) < 0.8, "other names"
    torch.set_num_threads(before)
    rows = []
    for threads in THREADS:
        ratios = [a / b for a, b in zip(slow, fast[threads])]
        rows.append(
            {
                "threads": threads,
                "runs": runs,
                "loop_us": statistics.median(slow),
                "batch_us": statistics.median(fast[threads]),
                "ratio": statistics.median(ratios),
                "ratio_low": min(ratios),
                "ratio_high": max(ratios),
            }
        )
    return rows


def table(rows: list[dict]) -> str:
    lines = ["| one at a time (lecture) | in a batch | threads | ratio (lowest to highest) | runs |"]
    lines.append("|--:|--:|--:|--:|--:|")
    for row in rows:
        lines.append(
            f"| {row['loop_us']:.0f} µs a name | {row['batch_us']:.2f} µs a name | {row['threads']} "
            f"| ×{row['ratio']:.0f} (×{row['ratio_low']:.0f} to ×{row['ratio_high']:.0f}) | {row['runs']} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(measure()))
