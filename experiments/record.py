"""Writes a sweep down: one line of JSON a trial, to be read in a notebook without any database.

    ZTH_NAMES=shipped python -m experiments.sweep --name recorded --trials 24 --steps 240
    ZTH_NAMES=shipped python -m experiments.record --name recorded --to data/sweep_gru.jsonl

A line holds the trial's settings, its dev loss at each check, and, if it was not given up, its losses in the
end on train, dev and test. The best are trained once more with another seed: what a sweep has chosen by luck
shows in the difference. The file that the sequel of lesson 06 reads was made like this, with `--again 8`.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.trial import FrozenTrial, TrialState
from tqdm import tqdm

from experiments.data import Data
from experiments.report import finished
from experiments.sweep import FINISHED
from experiments.train import RUNS, load, run, split_loss
from zth_helpers import load_names, settings


def losses(folder: Path) -> dict[str, float]:
    """The loss of a trained net on each split, in nats a character."""
    net, config = load(folder)
    data = Data(load_names(), config)
    return {part: round(split_loss(net, *getattr(data, part)), 5) for part in ("train", "dev", "test")}


def line_of(trial: FrozenTrial, out: Path, another_seed: int | None = None) -> dict[str, Any]:
    """What is written of a trial; with `another_seed` it is trained again."""
    params = {name: float(f"{v:.4g}") if isinstance(v, float) else v for name, v in trial.params.items()}
    curve = [round(value, 5) for _, value in sorted(trial.intermediate_values.items())]
    line: dict[str, Any] = {
        "trial": trial.number,
        "state": trial.state.name.lower(),
        **params,
        "curve": curve,
    }
    if trial.state == TrialState.COMPLETE:
        folder = out / trial.user_attrs["run"]
        line |= losses(folder)
        if another_seed is not None:
            config = json.loads((folder / "result.json").read_text("utf-8"))["config"] | {
                "seed": another_seed
            }
            again = run(config, out, watch=False)
            line["again"] = losses(out / again["name"])
    return line


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.record",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--name", default="sweep")
    add("--out", type=Path, default=RUNS)
    add("--again", type=int, default=10, help="how many of the best are trained again: 10")
    add("--seed", type=int, default=43, help="with which seed: 43")
    add("--to", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder = options.out / options.name
    if options.again < 0:
        parser.error("--again is a whole number of 0 or more")
    if not options.to.parent.is_dir():
        parser.error(f"--to: there is no folder {options.to.parent}")
    if not (folder / "study.db").exists():
        parser.error(f"--name: there is no sweep {options.name} in {options.out}; make one with make sweep")
    study = optuna.load_study(study_name=options.name, storage=f"sqlite:///{folder / 'study.db'}")
    best = {trial.number for trial in finished(study)[: options.again]}
    trials = study.get_trials(deepcopy=False, states=FINISHED)
    try:
        lines = [
            line_of(trial, folder, options.seed if trial.number in best else None)
            for trial in tqdm(trials, desc="trials", disable=settings.quiet())
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        options.to.write_text(text, encoding="utf-8")
    except (ValueError, OSError) as error:
        print(f"✗ {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
