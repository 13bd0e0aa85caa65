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
from tqdm import tqdm

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


def timed(call: Callable, *arguments) -> tuple[float, object]:
    start = time.perf_counter()
    result = call(*arguments)
    return time.perf_counter() - start, result


def measure(runs: dict[int, int] = RUNS, block_size: int = 3) -> list[dict]:
    """A row per list length and number of threads: seconds of both, in turn, and their ratio, its range."""
    names, before = load_names("shipped"), torch.get_num_threads()
    vocab = Vocabulary(names)
    rows = []
    with tqdm(total=sum(times * n for times, n in runs.items()), desc="context windows", leave=False) as bar:
        for times, n in runs.items():
            words = names * times
            slow, fast = [], {threads: [] for threads in THREADS}
            context_windows(words, vocab, block_size)  # a virtual machine's fresh memory is slow
            for _ in range(n):
                for threads in THREADS:
                    torch.set_num_threads(threads)
                    gc.collect()  # so that neither pays for the other's garbage
                    seconds, (X, Y) = timed(context_windows, words, vocab, block_size)
                    fast[threads].append(seconds)
                seconds, expected = timed(loop, words, vocab, block_size)
                slow.append(seconds)
                assert torch.equal(X, expected[0]) and torch.equal(Y, expected[1])
                del X, Y, expected
                bar.update(times)
            for threads in THREADS:
                ratios = [a / b for a, b in zip(slow, fast[threads])]
                rows.append(
                    {
                        "names": len(words),
                        "threads": threads,
                        "runs": n,
                        "loop_s": statistics.median(slow),
                        "vectorised_s": statistics.median(fast[threads]),
                        "ratio": statistics.median(ratios),
                        "ratio_low": min(ratios),
                        "ratio_high": max(ratios),
                    }
                )
    torch.set_num_threads(before)
    return rows


def table(rows: list[dict]) -> str:
    lines = ["| names | threads | loop | vectorised | ratio (lowest to highest) | runs |"]
    lines.append("|--:|--:|--:|--:|--:|--:|")
    for row in rows:
        fast = 1e3 * row["vectorised_s"]
        lines.append(
            f"| {row['names']:,} | {row['threads']} | {row['loop_s']:.2f} s | {fast:.1f} ms "
            f"| ×{row['ratio']:.0f} (×{row['ratio_low']:.0f} to ×{row['ratio_high']:.0f}) | {row['runs']} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(measure()))
