"""experiments.sweep: no trial is lost or counted twice, whoever dies; and what a learner sees of it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from experiments import record, report, sweep, train
from experiments.data import Data
from experiments.models import MODELS
from tests import free_port
from tools.lesson import ROOT
from zth_helpers import load_names

ENVIRONMENT = os.environ | {"ZTH_QUIET": "1", "ZTH_NAMES": "shipped", "ZTH_DEVICE": "cpu"}
# A worker whose trials take a moment, say when they are through, and fail once for a reason of their own.
WORKER = """
import os, sys, time
from experiments.sweep import open_study, work
url, log = sys.argv[1:3]
def objective(trial):
    x = trial.suggest_float("x", -1, 1)
    if trial.number == 5:
        raise RuntimeError("this one fails")
    with open(log, "a") as file:
        file.write(f"began {trial.number} {os.getpid()}\\n")
    time.sleep(0.5)
    with open(log, "a") as file:
        file.write(f"ended {trial.number} {os.getpid()}\\n")
    return x * x
work(open_study("four", url, heartbeat=2), objective, heartbeat=0.5)
"""


def lines(log: Path) -> list[list[str]]:
    return [line.split() for line in log.read_text().splitlines()] if log.exists() else []


def kill_in_the_middle_of_a_trial(victim: subprocess.Popen, log: Path) -> None:
    """Stopped first and looked at then, so that it cannot come to the end of its trial in between."""
    while True:
        assert victim.poll() is None
        victim.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, victim.pid, os.WSTOPPED)
        mine = [line for line in lines(log) if line[2] == str(victim.pid)]
        if mine and mine[-1][0] == "began":
            return victim.send_signal(signal.SIGKILL)
        victim.send_signal(signal.SIGCONT)
        time.sleep(0.1)


def four_workers_one_killed(url: str, tmp_path: Path, trials: int = 24) -> None:
    study = sweep.open_study("four", url, heartbeat=2)
    sweep.ask_for(study, trials)
    log = tmp_path / "log"
    run = [sys.executable, "-c", WORKER, url, str(log)]
    workers = [subprocess.Popen(run, cwd=ROOT, env=ENVIRONMENT) for _ in range(4)]
    kill_in_the_middle_of_a_trial(workers[0], log)
    assert [worker.wait(timeout=240) for worker in workers[1:]] == [0, 0, 0]
    everything = study.get_trials(deepcopy=False)
    found = [trial for trial in everything if "asked" in trial.user_attrs]  # the others are surplus
    states = Counter(trial.state.name for trial in found)
    assert states == {"COMPLETE": trials, "FAIL": 2}, states
    assert all(trial.state == TrialState.FAIL for trial in everything if trial not in found)
    ended = Counter(line[1] for line in lines(log) if line[0] == "ended")
    assert ended == {str(t.number): 1 for t in found if t.state == TrialState.COMPLETE}
    done = [trial.params["x"] for trial in found if trial.state == TrialState.COMPLETE]
    for lost in (trial for trial in found if trial.state == TrialState.FAIL):
        assert done.count(lost.params["x"]) == 1  # the same values, tried again
    assert sweep.ask_for(study, trials) is None and len(study.get_trials()) == len(everything)


@pytest.mark.sweep
def test_four_workers_on_a_file(tmp_path):
    four_workers_one_killed(f"sqlite:///{tmp_path / 'study.db'}", tmp_path)


@pytest.fixture
def postgres(tmp_path):
    """A server of its own on a free port, as Debian's postgresql brings it; it refuses to run as root."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        assert os.environ.get("ZTH_POSTGRES") != "required", "apt install postgresql"
        pytest.skip("no PostgreSQL on this machine (on Debian: apt install postgresql)")
    folder = Path("/tmp") / f"zth-postgres-{os.getpid()}"  # tmp_path is closed to other users
    folder.mkdir()
    root = os.geteuid() == 0
    as_user = ["runuser", "-u", "postgres", "--"] if root else []
    if root:
        shutil.chown(folder, "postgres")
    port = free_port()
    data = folder / "data"
    subprocess.run(
        [*as_user, found[-1], "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8"],
        check=True,
        capture_output=True,
        cwd="/",
    )
    control = [*as_user, found[-1].with_name("pg_ctl"), "-D", data, "-w"]
    options = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder}"
    subprocess.run(
        [*control, "-l", folder / "log", "-o", options, "start"], check=True, cwd="/", capture_output=True
    )
    yield f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres"
    subprocess.run([*control, "-m", "immediate", "stop"], cwd="/", capture_output=True)
    shutil.rmtree(folder)


@pytest.mark.sweep
def test_four_workers_on_postgresql(postgres, tmp_path):
    four_workers_one_killed(postgres, tmp_path)


@pytest.mark.timeout(60)
def test_a_process_that_dies_before_its_first_heartbeat_loses_no_trial(tmp_path):
    """Between taking a trial and its first heartbeat lies the sampler's work: it is killed there."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    study = sweep.open_study("early", url, heartbeat=1)
    sweep.ask_for(study, 2)
    take_and_die = (
        "import os, signal, sys; from experiments.sweep import open_study;"
        "open_study('early', sys.argv[1], heartbeat=1).ask(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    died = subprocess.run([sys.executable, "-c", take_and_die, url], cwd=ROOT, env=ENVIRONMENT)
    assert died.returncode == -signal.SIGKILL
    assert Counter(t.state.name for t in study.trials) == {"RUNNING": 1, "WAITING": 1}
    sweep.work(study, lambda trial: trial.suggest_float("x", -1, 1) ** 2, heartbeat=0.2)
    assert Counter(t.state.name for t in study.trials) == {"FAIL": 1, "COMPLETE": 2}


def test_who_comes_too_late_for_the_last_trial_does_not_run_one_more(tmp_path, monkeypatch):
    study = sweep.open_study("late", f"sqlite:///{tmp_path / 'study.db'}")
    sweep.ask_for(study, 1)
    optimize, ran = study.optimize, []

    def another_is_faster(*args, **more):
        taken = study.ask()
        optimize(*args, **more)
        study.tell(taken, 1.0)

    monkeypatch.setattr(study, "optimize", another_is_faster)
    sweep.work(study, lambda trial: ran.append(trial) or 0.0, heartbeat=0.1)
    assert not ran and [t.state.name for t in study.trials] == ["COMPLETE", "FAIL"]
    assert sweep.ask_for(study, 1) is None and len(study.trials) == 2


def test_two_processes_never_take_the_same_trial(tmp_path):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    sweep.ask_for(sweep.open_study("race", url), 100)
    take_all = (
        "import sys; from experiments.sweep import open_study; study = open_study('race', sys.argv[1])\n"
        "while (taken := study._pop_waiting_trial_id()) is not None: print(taken)"
    )
    run = [sys.executable, "-c", take_all, url]
    both = [subprocess.Popen(run, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE) for _ in range(2)]
    taken = [number for process in both for number in process.communicate()[0].split()]
    assert sorted(map(int, taken)) == list(range(1, 101))


def test_a_trial_that_another_process_has_ended_does_not_stop_the_work(tmp_path):
    """A laptop sleeps, its heartbeat stops, and another machine tries its trial again."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    study = sweep.open_study("slept", url, heartbeat=1)
    sweep.ask_for(study, 2)

    def objective(trial):
        if trial.number == 0:
            other = sweep.open_study("slept", url, heartbeat=1)
            other.tell(trial.number, state=TrialState.FAIL)
            optuna.storages.RetryHeartbeatStaleTrialCallback()(other, other.trials[0])
        return trial.suggest_float("x", -1, 1) ** 2

    sweep.work(study, objective, heartbeat=0.1)
    assert [trial.state.name for trial in study.trials] == ["FAIL", "COMPLETE", "COMPLETE"]


@pytest.mark.sweep
def test_make_sweep(tmp_path):
    """The command that a learner gives, stopped in the middle and given again."""
    more = ["--model", "mlp", "--steps", "60", "--processes", "2", "--out", str(tmp_path), "--trials", "12"]
    run = [sys.executable, "-m", "experiments.sweep", *more]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    first = subprocess.Popen(run, cwd=ROOT, env=ENVIRONMENT, start_new_session=True, **pipes)
    url = f"sqlite:///{tmp_path / 'sweep' / 'study.db'}"
    while len(list(tmp_path.glob("sweep/*/result.json"))) < 2:
        assert first.poll() is None
        time.sleep(0.1)
    os.killpg(first.pid, signal.SIGINT)  # as a terminal does: to all of its processes
    assert "Traceback" not in first.communicate(timeout=60)[1]
    then = subprocess.run(run, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)
    assert then.returncode == 0, then.stderr
    study = optuna.load_study(study_name="sweep", storage=url)
    states = Counter(trial.state for trial in study.trials)
    assert states[TrialState.COMPLETE] + states[TrialState.PRUNED] == 12
    assert not states[TrialState.WAITING] and not states[TrialState.RUNNING]
    finished = [str(t.params) for t in study.trials if t.state in sweep.FINISHED]
    assert len(set(finished)) == 12  # who comes back draws new values
    head, best, *_ = then.stdout.splitlines()
    assert head.split()[:2] == ["trial", "dev"] and float(best.split()[1]) == pytest.approx(
        study.best_value, abs=1e-3
    )
    assert (tmp_path / "sweep" / "sweep.png").stat().st_size > 10_000
    line = json.loads((tmp_path / "sweep" / study.best_trial.user_attrs["run"] / "result.json").read_text())
    assert line["dev"] == study.best_value
    assert train.load(tmp_path / "sweep" / line["name"])


@pytest.mark.parametrize("model", MODELS)
def test_what_is_suggested_is_what_the_model_has(model):
    study = optuna.create_study()
    config = train.complete(model=model, **sweep.suggest(study.ask(), model))
    assert config["optimizer"] == "adamw"


def test_a_bad_trial_is_given_up(tmp_path):
    """One that is worse than all others at each check does not run to its end."""
    study = sweep.open_study("bad", f"sqlite:///{tmp_path / 's.db'}")
    for _ in range(8):
        trial = study.ask()
        for check in range(1, 11):
            trial.report(2.0, check)
        study.tell(trial, 2.0)

    def objective(trial):
        trial.suggest_float = lambda name, low, high, log=False: low  # the slowest learner of all
        return sweep.objective(trial, "mlp", {"steps": 200}, tmp_path, "cpu")

    study.optimize(objective, n_trials=1)
    last = study.trials[-1]
    assert last.state == TrialState.PRUNED and 3 <= len(last.intermediate_values) < 10


def test_a_record_of_a_trial_holds_both_seeds(tmp_path):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    fixed = {"steps": 40, "checks": 2}
    study.optimize(lambda trial: sweep.objective(trial, "mlp", fixed, tmp_path, "cpu"), n_trials=1)
    [trial] = study.trials
    line = record.line_of(trial, tmp_path, another_seed=43)
    assert line["state"] == "complete" and line["hidden"] == trial.params["hidden"]
    assert line["dev"] == pytest.approx(trial.value, abs=1e-5) == line["curve"][-1]
    by_seed = {run["config"]["seed"]: run for run in map(json.loads, (tmp_path / "runs.jsonl").open())}
    assert line["again"]["dev"] == pytest.approx(by_seed[43]["dev"], abs=1e-5) != line["dev"]
    assert by_seed[43]["config"] | {"seed": 42} == by_seed[42]["config"]
    net, config = train.load(tmp_path / by_seed[42]["name"])
    assert line["test"] == pytest.approx(train.split_loss(net, *Data(load_names(), config).test), abs=1e-5)
    assert "again" not in record.line_of(trial, tmp_path)


def test_the_table_and_the_picture_tell_what_mattered():
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    study.optimize(
        lambda t: t.suggest_float("lr", 0, 1) + 0.01 * t.suggest_float("dropout", 0, 1), n_trials=40
    )
    ranked = report.importances(study)
    assert next(iter(ranked)) == "lr" and ranked["lr"] > 0.8
    first = report.table_of(study).splitlines()[1].split()
    assert int(first[0]) == study.best_trial.number
    said = str(report.what_mattered(study))
    assert "40 completed trials" in said and "dev loss against lr" in said and "best so far" in said
