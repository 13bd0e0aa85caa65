"""How much sooner than the lecture: time to its dev loss, and the lowest dev loss that two minutes buy.

    ZTH_NAMES=lecture python -m benchmarks.speed.time_to_loss         (six minutes; let nothing else run)

The recipes come out of lesson 04 and the sequel to 06. The lecture's takes 200,000 steps of one size, so it
is not run to its end: its time is 200,000 × the median time of a step, and that it arrives at its dev loss is
what `make numbers` confirms. The fast recipes run whole, preparation included. They take turns: blocks of the
lecture's steps, a fast run, blocks again; a ratio for each run. Elapsed time; measuring the dev loss does not
count.
"""

from __future__ import annotations

import itertools
import math
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from tools.lesson import definitions
from zth_helpers import load_names, names

LECTURE_STEPS, BLOCKS = 200_000, 5
MLP_STEPS, WAVENET_STEPS = 100, 960  # of the fast recipes
BUDGET = 120.0  # seconds


def lesson(notebook: str) -> dict:
    """The functions of a notebook, and the list that they work on."""
    words = load_names()
    space = definitions(notebook)
    space["vocab"] = names.Vocabulary(words)
    space["train_words"], space["dev_words"], _ = names.split_words(words)
    space["length"], space["seed"] = max(map(len, words)) + 1, 42
    return space


def windows(space: dict, part: str, block_size: int) -> tuple[Tensor, Tensor]:
    return names.context_windows(space[part], space["vocab"], block_size)


def padded(space: dict, part: str) -> tuple[Tensor, Tensor]:
    return space["padded"](space[part], space["vocab"], space["length"])


class MLP:
    """Lecture 4's network with batch norm against the distinct contexts of the sequel to lesson 06."""

    name, target, goal = "MLP with batch norm", 2.1057, 25
    block, runs = 1_000, 5

    def __init__(self):
        self.slow, self.new = lesson("04_batchnorm"), lesson("beyond/06_wavenet")
        self.X, self.Y = windows(self.new, "train_words", 3)
        self.slow.update(Xtr=self.X, Ytr=self.Y, V=len(self.new["vocab"]), seed=2147483647, momentum=0.001)
        self.slow.update(n_embd=10, n_hidden=200, batch_size=32, fan_in=30, lr=0.1)
        self.g, self.params, running = self.slow["init_bn"]()
        self.forward = partial(self.slow["forward_bn"], running=running)

    def lecture(self, steps: int) -> None:
        self.slow["train"](self.forward, self.g, self.params, steps, self.name)

    def fast(self) -> nn.Module:
        contexts = self.new["distinct_contexts"](self.X, self.Y, len(self.new["vocab"]))
        net, _ = self.new["fast_mlp"](itertools.repeat(contexts), MLP_STEPS, dev=None, checks=0)
        return net

    def dev_loss(self, net: nn.Module) -> float:
        return self.new["split_loss"](net, *windows(self.new, "dev_words", 3))


class WaveNet:
    """Lecture 6's scaled-up tree against the recurrent net of its sequel."""

    name, target, goal = "WaveNet", 1.9937, 20
    block, runs = 100, 3

    def __init__(self):
        self.space = lesson("beyond/06_wavenet")
        torch.manual_seed(42)
        self.tree, self.windows = self.space["tree"](24, 128), windows(self.space, "train_words", 8)

    def lecture(self, steps: int) -> None:
        self.space["train"](self.tree, *self.windows, steps, self.name)

    def fast(self) -> nn.Module:
        torch.manual_seed(42)
        net = self.space["RecurrentNet"](len(self.space["vocab"]), embedding=32, hidden=128)
        self.space["fast_recipe"](net, padded(self.space, "train_words"), WAVENET_STEPS, checks=0)
        return net

    def dev_loss(self, net: nn.Module) -> float:
        return self.space["split_loss"](net, *padded(self.space, "dev_words"))


def seconds_of(function: Callable, *arguments) -> tuple[float, object]:
    started = time.perf_counter()
    result = function(*arguments)
    return time.perf_counter() - started, result


def sooner(recipe: MLP | WaveNet) -> dict:
    """A row: milliseconds of the lecture's step, both times in seconds, dev loss, ratio (and its range)."""
    steps, times, ratios = [], [], []
    recipe.lecture(recipe.block)  # warms up
    for _ in tqdm(range(recipe.runs), desc=recipe.name, leave=False):
        before = [seconds_of(recipe.lecture, recipe.block)[0] for _ in range(BLOCKS)]
        seconds, net = seconds_of(recipe.fast)
        after = [seconds_of(recipe.lecture, recipe.block)[0] for _ in range(BLOCKS)]
        steps.append(statistics.median(before + after) / recipe.block)
        times.append(seconds)
        ratios.append(LECTURE_STEPS * steps[-1] / seconds)
    return {
        "what": f"{recipe.name}: time to dev {recipe.target}",
        "lecture_step_ms": 1e3 * statistics.median(steps),
        "lecture_s": LECTURE_STEPS * statistics.median(steps),
        "fast_s": statistics.median(times),
        "dev": recipe.dev_loss(net),
        "dev_target": recipe.target,
        "ratio": statistics.median(ratios),
        "low": min(ratios),
        "high": max(ratios),
        "ratio_target": recipe.goal,
    }


def lowest_of_one(seed: int, started: float, seconds: float) -> tuple[np.ndarray, float]:
    """Trains two recurrent layers until `seconds` after `started`: each dev letter's probability, and epochs.

    The clock, not the step, drives the learning rate: up in the first tenth, then a cosine down to nothing.
    """
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    space = lesson("beyond/06_wavenet")
    X, Y = padded(space, "train_words")
    net = space["RecurrentNet"](len(space["vocab"]), 64, 128, layers=2, dropout=0.2)
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=0.1, betas=(0.9, 0.98), fused=True)
    letters = 0
    for x, y in space["length_batches"](X, Y, 1024):
        spent = (time.time() - started) / seconds
        if spent >= 1:
            break
        warm, cool = min(spent / 0.1, 1), 0.5 + 0.5 * math.cos(math.pi * max(0, spent - 0.1) / 0.9)
        optimizer.param_groups[0]["lr"] = 5e-3 * warm * cool
        space["training_step"](net, x, y)
        optimizer.step()
        letters += (y >= 0).sum().item()
    X, Y_dev = padded(space, "dev_words")
    with torch.no_grad():
        p = net.eval()(X).softmax(-1)[Y_dev >= 0]
    return p.gather(1, Y_dev[Y_dev >= 0][:, None])[:, 0].numpy(), letters / (Y >= 0).sum().item()


def lowest(threads: int, seconds: float = BUDGET) -> dict:
    """A row: the dev loss of the mean prediction of as many nets as threads, trained side by side."""
    started = time.time()
    with ProcessPoolExecutor(threads, multiprocessing.get_context("spawn")) as pool:
        nets = [pool.submit(lowest_of_one, seed, started, seconds) for seed in range(threads)]
        for _ in tqdm(range(int(seconds)), desc=f"lowest dev in {seconds:.0f} s", leave=False):
            time.sleep(1)
        probabilities, epochs = zip(*(net.result() for net in nets))
    return {
        "what": f"lowest dev in {seconds:.0f} s",
        "fast_s": seconds,
        "dev": -np.log(np.mean(probabilities, 0)).mean().item(),
        "dev_target": 1.93,
        "dev_each": [-np.log(p).mean().item() for p in probabilities],
        "epochs_each": list(epochs),
    }


def measure() -> list[dict]:
    """Rows: both recipes with one thread and with two, and the lowest dev loss, on the list in ZTH_NAMES."""
    os.environ["ZTH_QUIET"] = "1"  # the notebooks' own bars
    before, rows = torch.get_num_threads(), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        rows += [sooner(recipe()) | {"threads": threads} for recipe in (MLP, WaveNet)]
    rows.append(lowest(2) | {"threads": 2})
    torch.set_num_threads(before)
    return [row | {"list": load_names().source} for row in rows]


def table(rows: list[dict]) -> str:
    lines = [
        f"On the {rows[0]['list']} list; the lecture's time is 200,000 × its step.",
        "",
        "| | threads | the lecture's way | fast | dev (target) | times sooner (lowest to highest; target) |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        slow = ratio = ""
        if "ratio" in row:
            slow = f"{row['lecture_s']:.0f} s ({row['lecture_step_ms']:.2f} ms a step)"
            ratio = f"×{row['ratio']:.0f} (×{row['low']:.0f} to ×{row['high']:.0f}; ×{row['ratio_target']})"
        dev = f"{row['dev']:.4f} ({row['dev_target']})"
        lines.append(
            f"| {row['what']} | {row['threads']} | {slow} | {row['fast_s']:.1f} s | {dev} | {ratio} |"
        )
    each = zip(rows[-1]["dev_each"], rows[-1]["epochs_each"])
    alone = ", ".join(f"{d:.4f} after {e:.1f} epochs" for d, e in each)
    return "\n".join([*lines, "", f"The lowest is the mean prediction of nets on one thread each: {alone}."])


if __name__ == "__main__":
    print(table(measure()))
