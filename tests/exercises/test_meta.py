"""Every argument of every exercise counts: an answer that has a number of its own in its place is refused."""

from __future__ import annotations

import functools

import pytest
import torch

from tests.exercises.answers import right
from tests.exercises.test_all import EXERCISES, EXPENSIVE, equal, exercise

SCALAR = bool | int | float
USUAL = {float: (0.1, 1e-5, 0.99, 0.01, 0.001), int: (27, 32, 3, 1, 8), bool: (True, False)}


class Recorder:
    """A right answer that keeps what it is called with."""

    def __init__(self, answer):
        self.answer, self.calls = answer, []

    def __call__(self, *inputs):
        self.calls.append(inputs)
        return self.answer(*inputs)


@functools.cache
def calls(topic: str, name: str) -> tuple[list[tuple], ...]:
    """For each answer of an exercise the inputs of all calls that its judge makes."""
    recorders = [
        Recorder(answer) if not isinstance(answer, type) else answer for answer in right(topic, name)
    ]
    assert exercise(topic, name).check(*recorders)
    return tuple(r.calls if isinstance(r, Recorder) else [] for r in recorders)


def places(topic: str, name: str, kind) -> list[tuple[int, int]]:
    """(answer, argument) of every argument of this kind."""
    return [
        (i, place)
        for i, made in enumerate(calls(topic, name))
        for place in range(len(made[0]) if made else 0)
        if isinstance(made[0][place], kind)
    ]


@pytest.mark.parametrize(("topic", "name"), EXERCISES)
def test_every_scalar_argument_is_varied(topic, name):
    for i, place in places(topic, name, SCALAR):
        seen = {inputs[place] for inputs in calls(topic, name)[i]}
        assert len(seen) >= 2, f"argument {place + 1} is always {seen}"


@pytest.mark.parametrize(("topic", "name"), [e for e in EXERCISES if e[1] not in EXPENSIVE])
def test_a_hard_coded_scalar_is_refused(topic, name):
    answers = right(topic, name)
    for i, place in places(topic, name, SCALAR):
        seen = list(dict.fromkeys(inputs[place] for inputs in calls(topic, name)[i]))
        for value in dict.fromkeys([*seen, *USUAL[type(seen[0])]]):
            matters = []

            def hard_coded(*inputs, i=i, place=place, value=value, matters=matters):
                got = answers[i](*inputs[:place], value, *inputs[place + 1 :])
                if not matters and inputs[place] != value:
                    matters[:] = [True] * (not equal_parts(got, answers[i](*inputs)))
                return got

            verdict = exercise(topic, name).check(*answers[:i], hard_coded, *answers[i + 1 :])
            what = f"argument {place + 1} hard-coded as {value}"
            assert verdict.state == "wrong" or not matters, f"{what}: {verdict}"


def equal_parts(a, b) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(equal_parts(a[key], b[key]) for key in a)
    return equal(a, b)


@pytest.mark.parametrize(("topic", "name"), EXERCISES)
def test_every_size_is_varied(topic, name):
    """No axis of a tensor has always the same length (but 1): a batch of 32, 27 letters are no constants."""
    for i, place in places(topic, name, torch.Tensor):
        shapes = [tuple(inputs[place].shape) for inputs in calls(topic, name)[i]]
        for axis in range(1, max(map(len, shapes)) + 1):  # counted from the last
            sizes = [shape[-axis] for shape in shapes if len(shape) >= axis]
            assert len(set(sizes)) >= 2 or len(sizes) == 1 or set(sizes) == {1}, (
                f"argument {place + 1}, axis -{axis}: always {sizes[0]}"
            )


def test_the_scalars_are_found():
    found = {
        "batchnorm_forward": {(0, 5), (0, 6), (0, 7)},
        "fold_batchnorm": {(0, 6)},
        "layernorm_forward": {(0, 3)},
        "dead_neurons": {(0, 1)},
    }
    for name, there in found.items():
        assert set(places("batchnorm", name, SCALAR)) == there
    assert places("backprop_ninja", "layernorm_backward", SCALAR) == [(0, 3)]
