"""Improve on my loss: the course's answer to the last exercise of lecture 6, which ends at 1.9937 on dev.

    ZTH_NAMES=lecture python -m experiments.study --minutes 2
    ZTH_NAMES=lecture python -m experiments.study --minutes 10 --test

Several GRUs, which differ in their seed alone, are trained one after another on each core, and the mean of
what they predict is taken. The minutes are processor time on `--cores` cores, one thread a net, so that
other programs do not count; `--processes` says how many nets are trained at once here. A study that is
stopped goes on. All choices were made by the dev loss; `--test` looks at the test loss, which one does once,
at the end.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from experiments.data import SKIP, Data
from experiments.train import RUNS, complete, load, name_of, run
from zth_helpers import load_names, settings

MINUTES_A_NET = 3.3  # about: a longer run of one net gains less than another net does
RECIPE = {
    "model": "gru",
    "embedding": 64,
    "hidden": 128,
    "layers": 2,
    "dropout": 0.1,
    "weight_decay": 0.1,
    "lr": 0.005,
    "batch": 1024,
}


def plan(minutes: float, cores: int, recipe: dict[str, Any] = RECIPE) -> list[dict[str, Any]]:
    """The runs that fill so many minutes on so many cores: as many nets a core as fit with a bit over three
    minutes each.
    """
    each = max(1, round(minutes / MINUTES_A_NET))
    seconds = 60 * minutes / each
    return [complete(**recipe, seconds=seconds, seed=42 + i, checks=4) for i in range(each * cores)]


@torch.no_grad()
def probabilities(folder: Path, part: str) -> Tensor:
    """What a trained net gave to each character that came, of the split "dev" or "test": (characters,)."""
    net, config = load(folder)
    X, Y = getattr(Data(load_names(), config), part)
    p = torch.cat([net(x).softmax(-1) for x in X.split(2_000)])
    return p[Y != SKIP].gather(1, Y[Y != SKIP][:, None])[:, 0].double()


def loss_of_mean(folders: list[Path], part: str) -> float:
    """The loss in nats a character of the mean of the nets' predictions."""
    return -torch.stack([probabilities(folder, part) for folder in folders]).mean(0).log().mean().item()


def _train(config: dict[str, Any], out: Path) -> dict[str, Any]:
    torch.set_num_threads(1)
    settings.be_quiet()
    return run(config, out, watch=False)


def study(configs: list[dict[str, Any]], out: Path, processes: int, label: str) -> list[dict[str, Any]]:
    """Trains what is not trained yet; the lines of all runs, in order."""
    total = int(sum(config["seconds"] for config in configs) / processes)
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        nets = [pool.submit(_train, config, out) for config in configs]
        bar = tqdm(total=total, desc=label, unit="s", disable=settings.quiet())
        while not all(net.done() for net in nets):
            time.sleep(1)
            bar.update()
        bar.close()
        return [net.result() for net in nets]


def value_of(text: str) -> tuple[str, Any]:
    """NAME=VALUE as a pair; a value that is not JSON is a word, as in optimizer=sgd."""
    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.study",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--minutes", type=float, default=2)
    add("--cores", type=int, default=2, help="whose minutes are meant: 2")
    add("--processes", type=int, help="nets at once; as many as cores")
    add("--set", action="append", default=[], metavar="NAME=VALUE", help="another value than the recipe's")
    add("--out", type=Path, default=RUNS / "study")
    add("--test", action="store_true", help="also the test loss: once, when all is chosen")
    options = parser.parse_args()
    processes = options.cores if options.processes is None else options.processes
    if not 0 < options.minutes < math.inf or options.cores < 1 or processes < 1:
        parser.error("--minutes is a number above 0; --cores and --processes are whole numbers of 1 or more")
    try:
        other = dict(map(value_of, options.set))
        if ours := sorted(other.keys() & {"seconds", "seed", "checks"}):
            raise ValueError(
                f"--set {ours[0]}: that follows from --minutes, --cores and the number of the net"
            )
        configs = plan(options.minutes, options.cores, RECIPE | other)
        lines = study(configs, options.out, processes, f"{options.minutes:g} minutes")
    except (ValueError, OSError) as error:
        print(f"✗ {error}", file=sys.stderr)
        return 1
    folders = [options.out / name_of(config) for config in configs]
    result = {
        "minutes": options.minutes,
        "cores": options.cores,
        "recipe": RECIPE | other,
        "dev": loss_of_mean(folders, "dev"),
        "dev_each": [line["dev"] for line in lines],
        "train_each": [line["train"] for line in lines],
        "steps_each": [line["steps"] for line in lines],
        "list": lines[0]["list"],
        "torch": torch.__version__,
    }
    if options.test:
        result["test"] = loss_of_mean(folders, "test")
    with open(options.out / "study.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(result) + "\n")
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
