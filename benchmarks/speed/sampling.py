"""Inventing names: the lecture's loop, a letter at a time, against all names at once, from the bigram table.

    python -m benchmarks.speed.sampling

Both functions are taken out of notebook 02 itself, draw from the same table of the shipped list, and run in
turn in one process; medians over the runs of the time for a name, and of the ratio within a run. The loop
has one thread, the batch one and two.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

from benchmarks.speed.alternate import alternate, ratio, spread
from benchmarks.speed.windows import THREADS
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
    lesson = definitions("02_bigram", stoi=vocab.stoi, itos=vocab.itos)
    sequel = definitions("beyond/02_bigram", stoi=vocab.stoi, itos=vocab.itos)
    g = torch.Generator().manual_seed(1)

    def timed(draw: Callable[[int], list[str]], count: int, threads: int) -> float:
        """Microseconds a name."""
        torch.set_num_threads(threads)
        start = time.perf_counter()
        assert len(draw(count)) == count
        return (time.perf_counter() - start) / count * 1e6

    def one(count: int) -> list[str]:
        return [lesson["sample_name"](P, g) for _ in range(count)]

    ways = {"loop": lambda: timed(one, loop_names, 1)}
    for threads in THREADS:
        ways[str(threads)] = lambda t=threads: timed(
            lambda n: sequel["sample_names"](P, n, g), batch_names, t
        )
    found = alternate(ways, runs, "sampling")
    torch.set_num_threads(before)
    return [
        dict(threads=threads, runs=runs, loop_us=statistics.median(found["loop"]))
        | {"batch_us": statistics.median(found[str(threads)])}
        | ratio(found["loop"], found[str(threads)])
        for threads in THREADS
    ]


def table(rows: list[dict]) -> str:
    lines = ["| one at a time (lecture) | in a batch | threads | ratio (lowest to highest) | runs |"]
    lines.append("|--:|--:|--:|--:|--:|")
    for row in rows:
        lines.append(
            f"| {row['loop_us']:.0f} µs a name | {row['batch_us']:.2f} µs a name | {row['threads']} "
            f"| {spread(row, 0)} | {row['runs']} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(measure()))
