"""The lessons' recipes on a GPU against the processor: milliseconds a step, and that both learn the same.

    python -m benchmarks.speed.device --device cuda --steps 300

Blocks of steps alternate between the two. The same seed and the same batches: the losses agree loosely,
since sums are added in another order. Large batches show what a GPU is for; the lessons' networks are too
small for one.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from experiments.train import Run, complete
from zth_helpers.text import table

BLOCKS = 5
RECIPES = {
    "lesson 03, MLP": {"model": "mlp"},
    "lesson 04, batch norm": {"model": "batchnorm"},
    "lesson 06, tree": {"model": "wavenet"},
    "sequel 06, gated": {"model": "gated"},
    "sequel 06, GRU": {"model": "gru"},
    "tree, hidden 1024, batch 4096": {"model": "wavenet", "hidden": 1024, "batch": 4096},
    "GRU, hidden 512, 16,384 characters": {"model": "gru", "hidden": 512, "layers": 2, "batch": 16_384},
}


def block(run: Run, steps: int) -> tuple[float, float]:
    """Milliseconds a step, and the mean loss of these steps."""
    started, total = time.perf_counter(), 0.0
    for _ in range(steps):
        total = total + run.one_step(run.net, None)
    loss = float(total) / steps  # waits for the GPU
    return 1e3 * (time.perf_counter() - started) / steps, loss


def compare(config: dict, device: str, steps: int, folder: Path) -> list:
    """A row: milliseconds on the processor and on the device, ratio and its range, and both last losses."""
    runs = [Run(config, folder, where, 0, 1) for where in ("cpu", device)]
    runs[1].net.load_state_dict(runs[0].net.state_dict())
    for run in runs:
        run.config["steps"] = steps * (BLOCKS + 1)
        block(run, max(1, steps // 10))  # warms up
        run.step = 0
    times, losses = [], []
    for _ in range(BLOCKS):
        pair = [block(run, steps // BLOCKS) for run in runs]
        times.append([ms for ms, _ in pair])
        losses = [loss for _, loss in pair]
    cpu, there = (statistics.median(column) for column in zip(*times))
    ratios = [a / b for a, b in times]
    return [cpu, there, f"×{cpu / there:.2f} (×{min(ratios):.2f} to ×{max(ratios):.2f})", *losses]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument(
        "--steps", type=int, default=300, help="of each small recipe; a sixtieth of it for the large ones"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    with TemporaryDirectory() as folder:
        for name, given in RECIPES.items():
            steps = options.steps if "batch" not in given else max(BLOCKS, options.steps // 60)
            rows.append([name, *compare(complete(**given), options.device, steps, Path(folder))])
            print(name, "done", flush=True)
    what = torch.cuda.get_device_name() if options.device.startswith("cuda") else options.device
    print(f"{what}, torch {torch.__version__}, one thread on the processor")
    header = ["one step of", "processor, ms", "device, ms", "times faster", "loss, processor", "loss, device"]
    print(table(header, rows, digits=5))


if __name__ == "__main__":
    main()
