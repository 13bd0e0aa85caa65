"""What watching costs: one training step of notebook 04's network, watched in several ways, against bare.

    python -m benchmarks.speed.monitor          (about two minutes; nothing else should run meanwhile)

The contenders train their own copy of the network and take turns, a block of steps each; the ratio is to the
bare loop of the same round, the median that of all rounds. A second bare copy tells what is chance. Plain
layers stand against plain layers, torch.nn against torch.nn. With one thread that is processor time, with two
elapsed time. TensorBoard and wandb take part if they can be imported: they log much the same as Monitor
(outputs or weights, and gradients), at every step, wandb offline.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import nn
from torch._inductor.compile_fx import compile_fx

from benchmarks.speed.alternate import alternate, ratio, spread
from zth_helpers.layers import BatchNorm1d, Linear, Tanh
from zth_helpers.monitor import Monitor

THREADS = 1, 2
ROUNDS, BLOCK = 15, 100  # a block holds whole intervals: 100 steps are one sample at every=100
SLOW_BLOCK = 4  # of TensorBoard and wandb
V, BATCH, HIDDEN, LR = 27, 32, 100, 0.1


class Plain:
    """Lecture 4's loop: plain layer objects, five hidden layers with batch norm, updates by hand."""

    def __init__(self):
        torch.manual_seed(0)
        self.C, self.layers, fan_in = torch.randn(V, 10), [], 30
        for _ in range(5):
            self.layers += [Linear(fan_in, HIDDEN, bias=False), BatchNorm1d(HIDDEN), Tanh()]
            fan_in = HIDDEN
        self.layers += [Linear(HIDDEN, V, bias=False), BatchNorm1d(V)]
        self.parameters = [self.C] + [p for layer in self.layers for p in layer.parameters()]
        for p in self.parameters:
            p.requires_grad = True
        self.X, self.Y = torch.randint(0, V, (10_000, 3)), torch.randint(0, V, (10_000,))
        self.retain, self.after = None, None

    def step(self) -> None:
        ix = torch.randint(0, len(self.X), (BATCH,))
        x = self.C[self.X[ix]].view(BATCH, -1)
        for layer in self.layers:
            x = layer(x)
        loss = F.cross_entropy(x, self.Y[ix])
        if self.retain:
            self.retain()
        for p in self.parameters:
            p.grad = None
        loss.backward()
        for p in self.parameters:
            p.data += -LR * p.grad
        if self.after:
            self.after(loss)


class Module:
    """The same in torch.nn, with its optimizer."""

    def __init__(self):
        torch.manual_seed(0)
        layers, fan_in = [nn.Embedding(V, 10), nn.Flatten()], 30
        for _ in range(5):
            layers += [nn.Linear(fan_in, HIDDEN, bias=False), nn.BatchNorm1d(HIDDEN), nn.Tanh()]
            fan_in = HIDDEN
        self.net = nn.Sequential(*layers, nn.Linear(HIDDEN, V, bias=False), nn.BatchNorm1d(V))
        self.optimizer = torch.optim.SGD(self.net.parameters(), LR)
        self.X, self.Y = torch.randint(0, V, (10_000, 3)), torch.randint(0, V, (10_000,))
        self.after = None

    def step(self) -> None:
        ix = torch.randint(0, len(self.X), (BATCH,))
        loss = F.cross_entropy(self.net(self.X[ix]), self.Y[ix])
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        if self.after:
            self.after(loss)


class Compiled(Module):
    """The same under torch.compile; a watched model becomes several graphs instead of one."""

    def __init__(self, every: int | None = None):
        super().__init__()
        # Models with the same forward share their graphs, hooked or not: a compiler of its own for each.
        compiled = torch.compile(self.net, backend=lambda graph, inputs: compile_fx(graph, inputs))
        mon = Monitor(compiled, every=every) if every else None
        self.net = compiled
        self.after = mon.step if mon else None


class Watched(Plain):
    def __init__(self, every: int, updates_every: int | None = None, histograms_every: int | None = None):
        super().__init__()
        self.options = dict(every=every, updates_every=updates_every, histograms_every=histograms_every)

    def renew(self) -> None:
        """A new Monitor: one whose table of 512 samples is full takes every second one from then on."""
        mon = Monitor(self.layers, self.parameters, **self.options)
        self.retain, self.after = mon.retain_grads, lambda loss: mon.step(loss, lr=LR)


class WatchedModule(Module):
    def __init__(self, every: int):
        super().__init__()
        self.every, self.mon = every, None

    def renew(self) -> None:
        if self.mon:
            self.mon.close()
        self.mon = Monitor(self.net, every=self.every)
        self.after = self.mon.step


def lecture() -> Plain:
    """Its update ratios: one line, one .item() for each parameter."""
    loop, ud, lossi = Plain(), [], []

    def after(loss):
        lossi.append(loss.log10().item())
        with torch.no_grad():
            ud.append([((LR * p.grad).std() / p.data.std()).log10().item() for p in loop.parameters])

    loop.after = after
    return loop


def tensorboard(folder: str) -> Plain:
    from torch.utils.tensorboard import SummaryWriter

    loop, writer, step = Plain(), SummaryWriter(folder), 0

    def retain():
        for layer in loop.layers:
            layer.out.retain_grad()

    def after(loss):
        nonlocal step
        writer.add_scalar("loss", loss.item(), step)
        for i, layer in enumerate(loop.layers):
            writer.add_histogram(f"{i} out", layer.out, step)
            writer.add_histogram(f"{i} gradient", layer.out.grad, step)
        step += 1

    loop.retain, loop.after = retain, after
    return loop


def wandb_watch(folder: str) -> Module:
    import wandb

    os.environ["WANDB_SILENT"] = "true"
    loop, run = Module(), wandb.init(mode="offline", dir=folder, project="zth")
    run.watch(loop.net, log="all", log_freq=1)
    loop.after = lambda loss: run.log({"loss": loss.item()})
    return loop


def contenders(folder: str) -> Iterator[tuple[str, str, int, Callable]]:
    """(name, its baseline, steps in a block, how to make it)."""
    yield "plain layers, bare", "plain layers, bare", BLOCK, Plain
    yield "plain layers, bare, once more", "plain layers, bare", BLOCK, Plain
    for every in (100, 10, 1):
        yield f"Monitor, every={every}", "plain layers, bare", BLOCK, lambda every=every: Watched(every)
    yield "Monitor, every=1, histograms_every=10", "plain layers, bare", BLOCK, lambda: Watched(1, 1, 10)
    yield "Monitor, update ratios alone, every step", "plain layers, bare", BLOCK, lambda: Watched(10**9, 1)
    yield "the lecture's line, every step", "plain layers, bare", BLOCK, lecture
    yield "TensorBoard histograms, every step", "plain layers, bare", SLOW_BLOCK, lambda: tensorboard(folder)
    yield "torch.nn, bare", "torch.nn, bare", BLOCK, Module
    yield "torch.nn, bare, once more", "torch.nn, bare", BLOCK, Module
    for every in (100, 1):
        yield f"Monitor(module), every={every}", "torch.nn, bare", BLOCK, lambda e=every: WatchedModule(e)
    yield "torch.compile, bare", "torch.compile, bare", BLOCK, Compiled
    yield "Monitor(compiled), every=100", "torch.compile, bare", BLOCK, lambda: Compiled(every=100)
    yield "wandb.watch, offline, log_freq=1", "torch.nn, bare", SLOW_BLOCK, lambda: wandb_watch(folder)


def block_of(loop: Plain | Module, steps: int, clock: Callable[[], float]) -> float:
    """Seconds a step."""
    if hasattr(loop, "renew"):
        loop.renew()
        loop.step()  # its table is made at the first sample, and only then
    start = clock()
    for _ in range(steps):
        loop.step()
    return (clock() - start) / steps


def measure(rounds: int = ROUNDS) -> list[dict]:
    """A row per contender and number of threads: microseconds of a step, its ratio to bare, its range."""
    before, rows = torch.get_num_threads(), []
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(None):
        loops = {}
        for name, base, block, make in contenders(folder):
            with contextlib.suppress(ImportError):
                loops[name] = base, block, make()
        for threads in THREADS:
            torch.set_num_threads(threads)
            clock = time.process_time if threads == 1 else time.perf_counter
            ways = {
                name: lambda block=block, loop=loop, clock=clock: block_of(loop, block, clock)
                for name, (_, block, loop) in loops.items()
            }
            seconds = alternate(ways, rounds, f"monitor, {threads} thread(s)")
            for name, (base, _, _) in loops.items():
                row = dict(name=name, base=base, threads=threads) | ratio(seconds[name], seconds[base])
                rows.append(row | {"step_us": statistics.median(seconds[name]) * 1e6})
        if "wandb.watch, offline, log_freq=1" in loops:
            import wandb

            wandb.finish()
    torch.set_num_threads(before)
    return rows


def table(rows: list[dict]) -> str:
    heads = [f"time, {n} thread(s) | against bare (lowest to highest)" for n in THREADS]
    lines = [f"| one step, watched by | {' | '.join(heads)} |", "|:--|" + "--:|--:|" * len(THREADS)]
    for name in dict.fromkeys(row["name"] for row in rows):
        cells = []
        for row in (row for row in rows if row["name"] == name):
            cells += [f"{row['step_us']:,.0f} µs", "1" if row["name"] == row["base"] else spread(row)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(measure()))
