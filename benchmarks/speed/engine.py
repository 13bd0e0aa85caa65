"""The engines of lesson 1 and its sequel: seconds per step on the moons, and time per node as graphs grow.

    python -m benchmarks.speed.engine          (about two minutes; nothing else should run meanwhile)

The engines come out of the sequel; only the lecture's, closures that hold their own node, children in a
set, recursive order, is written here. They take turns, step by step; medians, and ratios to the lecture's
in the same round, of processor time, since all of it is Python on one thread. Each is timed as everybody
runs it, with Python's garbage collector on, and with it off (then the lecture's circles are collected
between the steps, outside of the clock).
"""

from __future__ import annotations

import gc
import random
import statistics
import time

from tqdm import tqdm

from benchmarks.speed.alternate import alternate, ratio, spread
from tools.lesson import definitions
from zth_helpers import moons

ROUNDS = 9
SIZES = (1_000, 10_000, 100_000, 1_000_000)
sequel = definitions("beyond/01_micrograd", seed=1337, sizes=[2, 16, 16, 1])
Value, Node = sequel["Value"], sequel["Node"]


class LectureValue:
    """The engine as lecture 1 leaves it, in the operations that the moons need."""

    def __init__(self, data, children=(), op=""):
        self.data = data
        self.grad = 0
        self._backward = lambda: None
        self._prev = set(children)
        self._op = op

    def __add__(self, other):
        other = other if isinstance(other, LectureValue) else LectureValue(other)
        out = LectureValue(self.data + other.data, (self, other), "+")

        def _backward():
            self.grad += out.grad
            other.grad += out.grad

        out._backward = _backward
        return out

    def __mul__(self, other):
        other = other if isinstance(other, LectureValue) else LectureValue(other)
        out = LectureValue(self.data * other.data, (self, other), "*")

        def _backward():
            self.grad += other.data * out.grad
            other.grad += self.data * out.grad

        out._backward = _backward
        return out

    def relu(self):
        out = LectureValue(self.data if self.data > 0 else 0, (self,), "ReLU")

        def _backward():
            self.grad += (out.data > 0) * out.grad

        out._backward = _backward
        return out

    __radd__, __rmul__ = __add__, __mul__

    def backward(self):
        order, visited = [], set()

        def visit(v):
            if v not in visited:
                visited.add(v)
                for child in v._prev:
                    visit(child)
                order.append(v)

        visit(self)
        self.grad = 1
        for v in reversed(order):
            v._backward()


def engines() -> dict[str, tuple]:
    """Name -> (model, inputs); the same network and data in each."""
    X, _ = moons.make_moons(100, 0.1, 1337)

    def engine(Number: type, how: str) -> tuple:
        return sequel["Net"](Number, sequel[how]), [[Number(x) for x in row] for row in X.tolist()]

    return {
        "the lecture's closures": engine(LectureValue, "single_steps"),
        "the lesson's slopes": engine(Value, "single_steps"),
        "slopes and a tape": engine(Node, "single_steps"),
        "and whole sums": engine(Node, "dot"),
    }


def training_steps(rounds: int, collect: bool) -> list[dict]:
    """A row per engine: median seconds of a step, and ratio (median, lowest, highest) to the lecture's."""
    _, y = moons.make_moons(100, 0.1, 1337)
    targets, losses = y.tolist(), {}

    def step(name: str, model, inputs: list) -> float:
        gc.collect()
        if not collect:
            gc.disable()
        start = time.process_time()
        loss, _ = sequel["moons_loss"](model, inputs, targets)
        for p in model.parameters():
            p.grad = 0.0
        loss.backward()
        for p in model.parameters():
            p.data -= (1 - 0.9 * len(losses.setdefault(name, [])) / 100) * p.grad
        seconds = time.process_time() - start
        gc.enable()
        losses[name].append(loss.data)
        return seconds

    ways = {name: lambda n=name, e=engine: step(n, *e) for name, engine in engines().items()}
    seconds = alternate(ways, rounds, f"training, gc {'on' if collect else 'off'}")
    first, *others = losses.values()
    for other in others:  # the same gradients, or the losses would part
        assert all(abs(a - b) < 1e-9 * a for a, b in zip(first, other))
    slow = seconds["the lecture's closures"]
    return [
        dict(engine=name, gc="on" if collect else "off", ms=1e3 * statistics.median(times))
        | ratio(slow, times)
        for name, times in seconds.items()
    ]


def expression(Number: type, size: int):
    """A random graph of `size` operations over 100 leaves, data kept near 1."""
    rng = random.Random(size)
    values = [Number(rng.uniform(0.5, 1.5)) for _ in range(100)]
    for _ in range(size // 2):
        values.append((values[rng.randrange(len(values))] + values[-1]) * 0.5)
    return values[-1]


def growth(Number: type, size: int) -> float:
    """Nanoseconds per operation, forward and backward together."""
    gc.collect()
    start = time.process_time()
    root = expression(Number, size)
    root.backward()
    return 1e9 * (time.process_time() - start) / size


def measure(rounds: int = ROUNDS, sizes: tuple[int, ...] = SIZES) -> tuple[list[dict], list[dict]]:
    """Rows of the training steps (see `training_steps`), and of nanoseconds per operation for each size."""
    steps = [row for collect in (True, False) for row in training_steps(rounds, collect)]
    sizes_rows = []
    gc.disable()
    for size in tqdm(sizes, desc="graph sizes", leave=False):
        runs = [(growth(Value, size), growth(Node, size)) for _ in range(5)]
        values, nodes = (statistics.median(column) for column in zip(*runs))
        sizes_rows.append({"operations": size, "slopes_ns": values, "node_ns": nodes})
    gc.enable()
    return steps, sizes_rows


def table(steps: list[dict], sizes: list[dict]) -> str:
    lines = [
        "| engine | gc | ms per step | faster than the lecture's (lowest to highest) |",
        "|---|---|--:|--:|",
    ]
    for row in steps:
        lines.append(f"| {row['engine']} | {row['gc']} | {row['ms']:.1f} | {spread(row, 1)} |")
    lines += ["", "Nanoseconds per operation, forward and backward (gc off, median of 5):", ""]
    lines += ["| operations | slopes | slopes and a tape |", "|--:|--:|--:|"]
    for row in sizes:
        lines.append(f"| {row['operations']:,} | {row['slopes_ns']:.0f} | {row['node_ns']:.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(*measure()))
