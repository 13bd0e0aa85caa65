"""One training step of each lecture model, as a share of what matrix products reach; and memory.

    python benchmarks/steps.py          (about a minute; nothing else should run meanwhile)

A step is the lecture's: draw 32 examples, forward, backward, update by hand. Its floating-point operations
are counted by torch itself (matrix products alone, both ways), the peak is that of two square matrices; they
take turns, and the share is of the same round. Elapsed time, with one thread and with two.
"""

from __future__ import annotations

import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks import windows
from zth_helpers.layers import BatchNorm1d, Embedding, FlattenConsecutive, Linear, Sequential, Tanh
from zth_helpers.names import Vocabulary, context_windows, load_names

SQUARE, BATCH, ROUNDS, STEPS = 1024, 32, 15, 40


def mlp(block: int, embedding: int, widths: list[int], norm: bool) -> Sequential:
    layers, fan_in = [Embedding(27, embedding), FlattenConsecutive(block)], block * embedding
    for width in widths:
        layers += [Linear(fan_in, width, bias=not norm), *[BatchNorm1d(width)] * norm, Tanh()]
        fan_in = width
    return Sequential([*layers, Linear(fan_in, 27)])


def tree(embedding: int, hidden: int) -> Sequential:
    layers, width = [Embedding(27, embedding)], embedding
    for _ in range(3):
        layers += [FlattenConsecutive(2), Linear(2 * width, hidden, bias=False), BatchNorm1d(hidden), Tanh()]
        width = hidden
    return Sequential([*layers, Linear(hidden, 27)])


MODELS = {  # name -> context, how to build it
    "03 MLP, hidden 200": (3, lambda: mlp(3, 10, [200], norm=False)),
    "04 with batch norm": (3, lambda: mlp(3, 10, [200], norm=True)),
    "04 six layers": (3, lambda: mlp(3, 10, [100] * 5, norm=True)),
    "06 eight characters, flat": (8, lambda: mlp(8, 10, [200], norm=True)),
    "06 tree, hidden 68": (8, lambda: tree(10, 68)),
    "06 tree, hidden 128": (8, lambda: tree(24, 128)),
}


def stepper(net: Sequential, X: torch.Tensor, Y: torch.Tensor) -> Callable[[], None]:
    parameters = [p.requires_grad_() for p in net.parameters()]

    def step() -> None:
        ix = torch.randint(0, len(X), (BATCH,))
        loss = F.cross_entropy(net(X[ix]), Y[ix])
        for p in parameters:
            p.grad = None
        loss.backward()
        for p in parameters:
            p.data -= 0.1 * p.grad

    return step


def seconds(call: Callable, times: int) -> float:
    started = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - started) / times


def measure(rounds: int = ROUNDS, steps: int = STEPS) -> list[dict]:
    """A row per model and number of threads: microseconds, GFLOP/s, share of the peak (and its range)."""
    words, before = load_names("shipped"), torch.get_num_threads()
    vocab = Vocabulary(words)
    data = {k: context_windows(words, vocab, k) for k in (3, 8)}
    a, b = torch.randn(2, SQUARE, SQUARE)
    calls, flops = {}, {}
    for name, (context, build) in MODELS.items():
        torch.manual_seed(42)
        calls[name] = stepper(build(), *data[context])
        with FlopCounterMode(display=False) as counter:
            calls[name]()
        flops[name] = counter.get_total_flops()
    rows = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        peaks, times = [], {name: [] for name in calls}
        for i in tqdm(range(rounds + 1), desc=f"training steps, {threads} thread(s)", leave=False):
            peak = 2 * SQUARE**3 / seconds(lambda: a @ b, 2)
            for name, call in calls.items():
                took = seconds(call, steps)
                if i:  # the first round warms up
                    times[name].append(took)
            peaks += [peak] if i else []
        for name, took in times.items():
            shares = [flops[name] / t / peak for t, peak in zip(took, peaks)]
            rows.append(
                {
                    "model": name,
                    "threads": threads,
                    "step_us": 1e6 * statistics.median(took),
                    "gflops": flops[name] / statistics.median(took) / 1e9,
                    "peak_gflops": statistics.median(peaks) / 1e9,
                    "share": statistics.median(shares),
                    "low": min(shares),
                    "high": max(shares),
                }
            )
    torch.set_num_threads(before)
    return rows


def table(rows: list[dict]) -> str:
    lines = ["| one step of 32 | threads | time | GFLOP/s | share of the peak (lowest to highest) |"]
    lines.append("|---|--:|--:|--:|--:|")
    for row in rows:
        share = f"{row['share']:.1%} ({row['low']:.1%} to {row['high']:.1%}) of {row['peak_gflops']:.0f}"
        lines.append(
            f"| {row['model']} | {row['threads']} | {row['step_us']:,.0f} µs "
            f"| {row['gflops']:.1f} | {share} |"
        )
    return "\n".join(lines)


def peak_of(task: str, size: int) -> float:
    """MB that this process has used at most, after one task on `size` times the shipped list."""
    words = load_names("shipped")
    if task == "the tree's training":
        step = stepper(tree(24, 128), *context_windows(words, Vocabulary(words), 8))
        seconds(step, 200)
    elif task != "importing torch":
        make = windows.loop if task == "windows, loop" else context_windows
        make(words * size, Vocabulary(words), 3)
    status = Path("/proc/self/status")
    if status.exists():  # on Linux getrusage also counts what the process was before exec: its parent
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) / 1e3
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def memory(size: int = 10) -> list[dict]:
    """Peak memory of a few tasks, each in a fresh process, and what it is above importing torch."""
    tasks = ("importing torch", "windows, loop", "windows, vectorised", "the tree's training")
    rows = []
    for task in tqdm(tasks, desc="memory", leave=False):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            rows.append({"task": task, "times": size, "mb": pool.apply(peak_of, (task, size))})
    return [row | {"above_mb": row["mb"] - rows[0]["mb"]} for row in rows]


def memory_table(rows: list[dict]) -> str:
    lines = [
        "| peak memory (windows: of ten times the list) | all | above importing torch |",
        "|---|--:|--:|",
    ]
    lines += [f"| {row['task']} | {row['mb']:,.0f} MB | {row['above_mb']:,.0f} MB |" for row in rows]
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(measure()), memory_table(memory()), sep="\n\n")
