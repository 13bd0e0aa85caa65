"""Searches for good values of a model's settings, in several processes; Optuna keeps the score.

    make sweep                                                    30 short runs of the GRU, two at a time
    python -m experiments.sweep --name wide --model gated --trials 100 --steps 4000 --processes 2

Stop it whenever you like: the same command goes on. A trial whose process dies is noticed (its heartbeat
stops), and tried again; bad trials are given up early. At the end there are a table and a picture,
runs/NAME/sweep.png.

On several machines: name a database that all of them reach, and give the same command on each of them
    python -m experiments.sweep --name wide --storage postgresql://user@host/sweeps --trials 10000
"""

from __future__ import annotations

import argparse
import multiprocessing
import signal
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.exceptions import ExperimentalWarning
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy import event
from sqlalchemy.exc import SQLAlchemyError
from tqdm import tqdm

from experiments import report
from experiments.models import MODELS
from experiments.train import RUNS, complete, run
from zth_helpers import settings

RETRIES = 2
warnings.filterwarnings("ignore", category=ExperimentalWarning)  # heartbeats and retries, since 2021
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


class Surplus(Exception):
    """Two workers took the last waiting trial at once: this one was not asked for."""


def suggest(trial: Any, model: str) -> dict[str, Any]:
    """The space that is searched: one draw for each setting that the model has."""
    has = MODELS[model][1]
    rows = "block" not in has
    values = {
        "lr": trial.suggest_float("lr", 1e-3, 0.03, log=True),
        "weight_decay": trial.suggest_float("weight_decay", 1e-3, 0.5, log=True),
        "hidden": trial.suggest_categorical("hidden", [48, 64, 96, 128]),
        "batch": trial.suggest_categorical("batch", [512, 1024, 2048] if rows else [32, 128, 512]),
    }
    if "layers" in has:
        low, high = (1, 2) if model == "gru" else (3, 5)
        values["layers"] = trial.suggest_int("layers", low, high)
        values["dropout"] = trial.suggest_float("dropout", 0.0, 0.4)
    if "embedding" in has:
        values["embedding"] = trial.suggest_categorical("embedding", [10, 24, 48])
    return values | {"optimizer": "adamw", "schedule": "cycle"}


def objective(trial: Trial, model: str, fixed: dict[str, Any], out: Path, device: str) -> float:
    """The dev loss of one run. Raises TrialPruned for a run that diverges or falls behind the others."""
    config = complete(model=model, **suggest(trial, model), **fixed)
    check = iter(range(1, 10**6))

    def tell(step: int, dev: float) -> None:
        trial.report(dev, next(check))  # by the number of the check: runs by the clock differ in their steps
        if trial.should_prune():
            raise optuna.TrialPruned

    line = run(config, out, device, tell)
    trial.set_user_attr("run", line["name"])
    trial.set_user_attr("train", line["train"])
    trial.set_user_attr("verdict", line["verdict"])
    if line["state"] == "diverged" or line["dev"] is None:
        raise optuna.TrialPruned
    return line["dev"]


def open_study(name: str, url: str, heartbeat: int = 10) -> optuna.Study:
    """The study of that name in a database, made if it is not there; url as SQLAlchemy writes it.

    The sampler has no seed: with one, a process that joins later, here or on another machine, would draw the
    values that have been tried already. Raises ValueError for a database that cannot be opened.
    """
    file = url.startswith("sqlite")
    options = {"connect_args": {"timeout": 60, "isolation_level": None}} if file else {"pool_pre_ping": True}
    try:
        storage = RDBStorage(
            url,
            engine_kwargs=options,
            heartbeat_interval=heartbeat,
            grace_period=3 * heartbeat,
            heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(max_retry=RETRIES),
        )
    except (SQLAlchemyError, ImportError) as error:
        why = str(getattr(error, "orig", error)).splitlines()[0]
        raise ValueError(
            f"the database cannot be opened, {why}; is it postgresql://user@host/name?"
        ) from error
    if file:  # SQLite locks no row that it reads: two processes could both see a trial waiting, and take it
        event.listen(
            storage.engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE")
        )
    sampler = optuna.samplers.TPESampler(multivariate=True, constant_liar=True)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=8, n_warmup_steps=3)
    return optuna.create_study(
        study_name=name, storage=storage, sampler=sampler, pruner=pruner, load_if_exists=True
    )


def ask_for(study: optuna.Study, trials: int) -> None:
    """Queues as many trials as are missing, so that whoever works on the study takes one at a time."""
    states = [trial.state for trial in study.get_trials(deepcopy=False)]
    counted = sum(state in (*FINISHED, TrialState.RUNNING, TrialState.WAITING) for state in states)
    for _ in range(trials - counted):
        study.enqueue_trial({}, user_attrs={"asked": True})


def work(study: optuna.Study, objective: Any, heartbeat: float = 10) -> None:
    """Takes queued trials until all are finished, those included that a dead process has left behind."""

    taken: list[int] = []

    def queued(trial: Trial) -> float:
        taken.append(trial._trial_id)
        if not trial.user_attrs.get("asked"):
            raise Surplus
        try:
            return objective(trial)
        except optuna.TrialPruned:
            raise
        except Exception as error:
            trial.set_user_attr("error", f"{type(error).__name__}: {error}")
            raise

    def again(study: optuna.Study, trial: FrozenTrial) -> None:
        if trial.state == TrialState.FAIL and trial.user_attrs.get("asked"):
            RetryHeartbeatStaleTrialCallback(max_retry=RETRIES)(study, trial)

    waited_for = set()
    while True:
        fail_stale_trials(study)
        trials = study.get_trials(deepcopy=False, states=(TrialState.WAITING, TrialState.RUNNING))
        if any(trial.state == TrialState.WAITING for trial in trials):
            taken.clear()
            try:
                study.optimize(queued, n_trials=1, catch=(Exception,), callbacks=[again])
            except ValueError:
                # While this laptop slept, another process may have called the trial stale and ended it.
                if not taken or not study._storage.get_trial(taken[-1]).state.is_finished():
                    raise
        elif trials:
            # A process that dies between taking a trial and its first heartbeat leaves one that Optuna
            # never calls stale. One heartbeat in its name, and its time runs out as any other's.
            for trial in trials:
                if trial.number not in waited_for:
                    waited_for.add(trial.number)
                    study._storage.record_heartbeat(trial._trial_id)
            time.sleep(heartbeat)
        else:
            return


def _process(name: str, url: str, model: str, fixed: dict, out: Path, device: str) -> None:
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    settings.be_quiet()  # the parent shows one bar for all
    work(open_study(name, url), lambda trial: objective(trial, model, fixed, out, device))


def best_so_far(study: optuna.Study) -> str:
    values = [t.value for t in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))]
    return f"best {min(values):.4f}" if values else "no result yet"


def sweep(
    name: str, url: str, trials: int, processes: int, model: str, fixed: dict, out: Path, device: str
) -> optuna.Study:
    """Runs until the study has as many finished trials; Ctrl-C stops it, and what was running is tried
    again.
    """
    study = open_study(name, url)
    ask_for(study, trials)
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=_process, args=(name, url, model, fixed, out, device))
        for _ in range(processes)
    ]
    heard = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is for the parent alone
    for worker in workers:
        worker.start()
    signal.signal(signal.SIGINT, heard)
    bar = tqdm(total=trials, desc=name, unit="trial", disable=settings.quiet())
    try:
        while any(worker.is_alive() for worker in workers):
            finished = len(study.get_trials(deepcopy=False, states=FINISHED))
            bar.set_postfix_str(best_so_far(study), refresh=False)
            bar.update(finished - bar.n)
            time.sleep(0.5)
        bar.update(len(study.get_trials(deepcopy=False, states=FINISHED)) - bar.n)
    except KeyboardInterrupt:
        print("\nstopped: the same command goes on", file=sys.stderr)
    finally:
        bar.close()
        for worker in workers:
            worker.terminate()
            worker.join()
    return study


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.sweep",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--name", default="sweep")
    add("--model", default="gru", choices=MODELS)
    add("--trials", type=int, default=30, help="finished trials in all, those of earlier calls included: 30")
    add("--processes", type=int, default=2)
    add("--steps", type=int, default=600, help="of each trial: 600")
    add("--seconds", type=float, help="of processor time for each trial, instead of steps")
    add("--storage", help="a database, as postgresql://user@host/name; by default a file, runs/NAME/study.db")
    add("--out", type=Path, default=RUNS)
    add("--device")
    options = parser.parse_args()
    if options.trials < 1 or options.processes < 1:
        parser.error("--trials and --processes are whole numbers of 1 or more")
    if options.name in ("", "..") or Path(options.name).name != options.name:
        parser.error("--name is the name of one folder; where it lies, --out says")
    fixed = {"seconds": options.seconds, "steps": options.steps}
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # `kill` ends the workers, too
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    folder = options.out / options.name
    url = options.storage or f"sqlite:///{folder / 'study.db'}"
    try:
        complete(model=options.model, **fixed)
        where = (options.model, fixed, folder, settings.device(options.device))
        folder.mkdir(parents=True, exist_ok=True)
        study = sweep(options.name, url, options.trials, options.processes, *where)
    except (ValueError, OSError) as error:
        print(f"✗ {error}", file=sys.stderr)
        return 1
    if not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        errors = [t.user_attrs["error"] for t in study.get_trials(deepcopy=False) if "error" in t.user_attrs]
        print(
            f"✗ no trial has finished; {errors[-1] if errors else 'the same command goes on'}",
            file=sys.stderr,
        )
        return 1
    print(report.table_of(study))
    picture = folder / "sweep.png"
    picture.write_bytes(report.what_mattered(study).png())
    print(f"the picture of what mattered: {picture}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
