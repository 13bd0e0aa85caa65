"""The same sweep on a Ray cluster: Ray Tune hands the trials out, with the objective of experiments.sweep.

    ray start --head                      on one machine; on the others, ray start --address=THAT:6379
    python -m experiments.cluster --model gru --trials 1000 --address auto

Each machine needs this repository in its Python path. Ray starts a trial again when its machine is lost. For
a few machines that reach one database, `experiments.sweep --storage` does the same with less.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import optuna
import ray
from optuna.trial import FixedTrial
from ray import tune

from experiments.models import MODELS
from experiments.sweep import RETRIES, suggest
from experiments.train import RUNS, complete, run
from zth_helpers import settings


def space(model: str) -> dict[str, Any]:
    """The space of `sweep.suggest` in Ray Tune's words."""
    study = optuna.create_study()
    trial = study.ask()
    suggest(trial, model)
    found: dict[str, Any] = {}
    for name, distribution in trial.distributions.items():
        if isinstance(distribution, optuna.distributions.CategoricalDistribution):
            found[name] = tune.choice(list(distribution.choices))
        elif isinstance(distribution, optuna.distributions.IntDistribution):
            found[name] = tune.randint(distribution.low, distribution.high + 1)
        else:
            draw = tune.loguniform if distribution.log else tune.uniform
            found[name] = draw(distribution.low, distribution.high)
    return found


def trainable(params: dict[str, Any], model: str, fixed: dict[str, Any], device: str, out: str) -> None:
    """One trial in a Ray worker: reports the dev loss at each check, so that Ray can give it up."""
    settings.be_quiet()
    config = complete(model=model, **suggest(FixedTrial(params), model), **fixed)
    line = run(config, Path(out), device, lambda step, dev: tune.report({"dev": dev, "step": step}))
    where = ray.get_runtime_context().get_node_id()
    tune.report(
        {"dev": line["dev"] or float("inf"), "run": line["name"], "state": line["state"], "node": where}
    )


def search(
    model: str, fixed: dict, trials: int, out: Path, device: str = "cpu", address: str | None = None
) -> Any:
    """Runs the sweep on the cluster at `address`, or on this machine; Ray Tune's ResultGrid."""
    ray.init(address=address, ignore_reinit_error=True, log_to_driver=False)
    tuner = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(trainable, model=model, fixed=fixed, device=device, out=str(out.resolve())),
            {"cpu": 1, "gpu": 1 if device.startswith("cuda") else 0},
        ),
        param_space=space(model),
        tune_config=tune.TuneConfig(
            metric="dev",
            mode="min",
            num_samples=trials,
            reuse_actors=True,  # a process that has torch loaded is worth keeping for trials this short
            scheduler=tune.schedulers.MedianStoppingRule(
                time_attr="training_iteration", grace_period=4, min_samples_required=8
            ),
        ),
        run_config=tune.RunConfig(
            name="cluster",
            storage_path=str(out.resolve()),
            failure_config=tune.FailureConfig(max_failures=RETRIES),
            verbose=0,
        ),
    )
    return tuner.fit()


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.cluster",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--model", default="gru", choices=MODELS)
    add("--trials", type=int, default=30)
    add("--steps", type=int, default=600)
    add("--address", help="of the cluster's head, or auto; without it, this machine alone")
    add("--out", type=Path, default=RUNS)
    add("--device")
    options = parser.parse_args()
    if options.trials < 1:
        parser.error("--trials is a whole number of 1 or more")
    fixed = {"steps": options.steps}
    try:
        complete(model=options.model, **fixed)
        device = settings.device(options.device)
        found = search(options.model, fixed, options.trials, options.out, device, options.address)
        best = found.get_best_result()
    except (ValueError, OSError, RuntimeError) as error:
        print(f"✗ {error}", file=sys.stderr)
        return 1
    print(json.dumps({"dev": best.metrics["dev"], "config": best.config, "trials": len(found)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
