"""Whatever an answer does, a check says so within its time, and the kernel is as it was."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch

from tests.exercises.answers import ROOT, TOPICS, checks, right
from tests.exercises.test_all import EXERCISES, EXPENSIVE, exercise
from tests.exercises.test_exercise import row_means
from zth_helpers.exercises import leash
from zth_helpers.exercises.draws import other_inputs


def endless(x):
    while True:
        pass


def swallows(x):
    while True:
        try:
            len([x])
        except Exception:
            pass


def swallows_everything(x):
    while True:
        try:
            sum(range(1000))
        except:  # noqa: E722
            pass


def sleeps(x):
    time.sleep(60)


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(leash, "SECONDS", 0.6)


@pytest.mark.parametrize("answer", [endless, swallows, swallows_everything, sleeps])
def test_what_does_not_end_is_stopped(short, answer):
    verdict = row_means.check(answer)
    assert verdict.state == "wrong" and "too slow: stopped after" in verdict.message
    assert f"it was in {answer.__name__}, line" in verdict.message
    assert row_means.check(lambda x: x.mean(1))  # and the next check is as ever


def test_it_is_stopped_in_another_thread_too(short):
    found = []
    thread = threading.Thread(target=lambda: found.append(row_means.check(endless)))
    thread.start()
    thread.join(30)
    assert found and "too slow" in found[0].message


def test_leaving_python_is_an_answer_like_another():
    for leave in (sys.exit, exit, quit):
        verdict = row_means.check(lambda x, leave=leave: leave())
        assert verdict.state == "wrong" and "leave with `return`" in verdict.message

    def other(x):
        raise GeneratorExit

    assert "your code raised GeneratorExit" in row_means.check(other).message


def test_a_keyboard_interrupt_is_the_learners():
    def interrupted(x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        row_means.check(interrupted)


def test_a_flood_of_prints_is_cut(capsys):
    def chatty(x):
        for _ in range(10_000):
            print("a line of fifty characters, more or less, in all")
            print("and on stderr", file=sys.stderr)
        return x.mean(1)

    verdict = row_means.check(chatty)
    out, err = capsys.readouterr()
    assert verdict and len(out) <= leash.PRINTED and err == ""
    assert "the rest is not shown" in verdict.message
    row_means.check(lambda x: print("seen") or x.mean(1))
    assert "seen" in capsys.readouterr().out


def test_what_it_changes_for_all_is_put_back_and_told():
    def careless(x):
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        torch.manual_seed(1)
        random.seed(1)
        np.random.seed(1)
        return x.mean(1)

    torch.manual_seed(5)
    random.seed(5)
    np.random.seed(5)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    verdict = row_means.check(careless)
    assert verdict, str(verdict)
    for told in (
        "default dtype",
        "switches gradients",
        "torch.manual_seed",
        "Python's global random",
    ):
        assert told in verdict.message
    assert torch.get_default_dtype() == torch.float32 and torch.is_grad_enabled()
    after = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    assert torch.equal(before[0], after[0]) and before[1:] == after[1:]
    assert "Note" not in row_means.check(lambda x: x.mean(1)).message


QUICK = [e for e in EXERCISES if e[1] not in EXPENSIVE]


@pytest.mark.parametrize(("topic", "name"), QUICK)
def test_the_settings_of_the_kernel_do_not_matter(topic, name):
    """Other default dtype, no gradients, inference mode, another device: our own solutions stay right."""
    answers = right(topic, name)
    try:
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        verdict = exercise(topic, name).check(*answers)
        assert verdict, str(verdict)
        assert torch.get_default_dtype() == torch.float64 and not torch.is_grad_enabled()
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_grad_enabled(True)
    with torch.inference_mode():
        assert exercise(topic, name).check(*answers)
    with torch.device("meta"):
        assert exercise(topic, name).check(*answers)


@pytest.mark.parametrize("key", [1, 2, 31])
@pytest.mark.parametrize(("topic", "name"), QUICK)
def test_our_solutions_are_right_for_other_inputs_too(topic, name, key):
    """The hidden tests of a class draw other inputs: no exercise hangs on a lucky seed."""
    with other_inputs(key):
        verdict = exercise(topic, name).check(*right(topic, name))
    assert verdict, str(verdict)


FIRST = """
import sys
from tests.exercises.answers import right
from tests.exercises.test_all import EXERCISES, EXPENSIVE, exercise
wrong = exercise("bigram", "normalise_rows").check(lambda N: N / (N.sum(1, keepdim=True) + 1))
assert "largest difference" in str(wrong)
for topic, name in EXERCISES:
    if name not in EXPENSIVE:
        assert exercise(topic, name).check(*right(topic, name)), name
        assert "sympy" not in sys.modules, name
"""


def test_a_check_imports_no_sympy():
    """It takes half a second, and torch imports it on many an occasion; the first verdict should not wait."""
    done = subprocess.run([sys.executable, "-c", FIRST], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_right_verdict_names_the_next_exercise():
    for topic in TOPICS:
        names = list(checks(topic))
        for name, following in zip(names, names[1:]):
            assert exercise(topic, name).next().name == following
        assert exercise(topic, names[-1]).next() is None
    verdict = exercise("mlp", "uniform_loss").check(*right("mlp", "uniform_loss"))
    assert verdict.message.endswith("Next: A calm start (ex.calm_start)")
