"""Context windows: the lecture's loop against zth_helpers.names.context_windows, on the shipped list.

    python -m benchmarks.speed.windows

Both make the same two tensors from the same words, in turn, in one process; medians of several runs (two
of a hundredfold list, whose loop takes most of a minute and about 2 GB). The loop is Python on one thread,
the other is timed with one thread and with two.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable

import torch

from benchmarks.speed.alternate import alternate, ratio, spread
from zth_helpers.name_lists import load_names
from zth_helpers.names import Vocabulary, context_windows

THREADS = 1, 2
RUNS = {1: 9, 10: 5, 100: 2}  # how many times the list -> how many runs of each


def loop(words: list[str], vocab: Vocabulary, block_size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """As lecture 3 builds them: a letter at a time."""
    X, Y = [], []
    for word in words:
        context = [0] * block_size
        for letter in word + ".":
            ix = vocab.stoi[letter]
            X.append(context)
            Y.append(ix)
            context = context[1:] + [ix]
    return torch.tensor(X), torch.tensor(Y)


def measure(runs: dict[int, int] = RUNS, block_size: int = 3) -> list[dict]:
    """A row per list length and number of threads: seconds of both, in turn, and their ratio, its range."""
    names, before = load_names("shipped"), torch.get_num_threads()
    vocab, rows = Vocabulary(names), []
    for times, n in runs.items():
        words = names * times
        assert all(
            map(torch.equal, loop(words, vocab, block_size), context_windows(words, vocab, block_size))
        )

        def timed(build: Callable, threads: int, words: list[str] = words) -> float:
            torch.set_num_threads(threads)
            gc.collect()  # so that neither pays for the other's garbage
            start = time.perf_counter()
            build(words, vocab, block_size)
            return time.perf_counter() - start

        ways = {"loop": lambda timed=timed: timed(loop, 1)}
        ways |= {str(t): lambda t=t, timed=timed: timed(context_windows, t) for t in THREADS}
        seconds = alternate(ways, n, f"context windows of {len(words):,} names")
        for threads in THREADS:
            fast = seconds[str(threads)]
            row = dict(names=len(words), threads=threads, runs=n, loop_s=statistics.median(seconds["loop"]))
            rows.append(row | {"vectorised_s": statistics.median(fast)} | ratio(seconds["loop"], fast))
    torch.set_num_threads(before)
    return rows


def table(rows: list[dict]) -> str:
    lines = ["| names | threads | loop | vectorised | ratio (lowest to highest) | runs |"]
    lines.append("|--:|--:|--:|--:|--:|--:|")
    for row in rows:
        fast = 1e3 * row["vectorised_s"]
        lines.append(
            f"| {row['names']:,} | {row['threads']} | {row['loop_s']:.2f} s | {fast:.1f} ms "
            f"| {spread(row, 0)} | {row['runs']} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(measure()))
