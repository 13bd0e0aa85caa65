"""No judge fails: whatever form a result comes in, the verdict is right or wrong, never"
" "could not be judged"."""

from __future__ import annotations

import inspect

import pytest
import torch

from tests.exercises.answers import right
from tests.exercises.test_all import EXERCISES, EXPENSIVE, Spoilt, each_number, exercise


def tensors(change):
    """A spoil that changes every tensor of a result."""
    return lambda result, inputs: each_number(
        result, lambda x: change(x) if isinstance(x, torch.Tensor) else x
    )


def first_of(result, inputs):
    return result[0] if isinstance(result, tuple | list) and result else result


one_axis_more = tensors(lambda x: x[None])
OF_TENSORS = {
    "float32": tensors(lambda x: x.float() if x.is_floating_point() else x),
    "float16": tensors(lambda x: x.half() if x.is_floating_point() else x),
    "whole numbers": tensors(lambda x: x.nan_to_num().clamp(-9, 9).long()),
    "truths": tensors(lambda x: x > 0),
    "complex": tensors(lambda x: x + 0j),
    "numpy": tensors(lambda x: x.detach().numpy()),
    "lists": tensors(lambda x: x.tolist()),
    "flat": tensors(lambda x: x.flatten()),
    "the first row": tensors(lambda x: x[:1] if x.ndim else x),
    "nothing in it": tensors(lambda x: x.flatten()[:0]),
    "turned": tensors(lambda x: x.mT if x.ndim > 1 else x),
    "inf": tensors(lambda x: x / 0),
    "sparse": tensors(lambda x: x.to_sparse() if x.ndim else x),
}
OF_ALL = {
    "in a list": lambda result, inputs: [result],
    "twice": lambda result, inputs: (result, result),
    "a text": lambda result, inputs: "text",
    "a huge number": lambda result, inputs: 10**400,
    "a function": lambda result, inputs: lambda *_: 1,
    "the first part": first_of,
    "a dict of lists": lambda result, inputs: {"a": [result]},
    "names": lambda result, inputs: ["a", None, 3],
}
TRIED = [e for e in EXERCISES if e[1] not in EXPENSIVE]


@pytest.mark.parametrize(("topic", "name"), TRIED)
def test_a_judge_never_fails(topic, name):
    answers, failed = right(topic, name), []

    def tried(i, what, spoil):
        spoilt = Spoilt(answers[i], spoil)
        verdict = exercise(topic, name).check(*answers[:i], spoilt, *answers[i + 1 :])
        if verdict.state not in ("right", "wrong"):
            failed.append(f"{what}: {verdict.message.splitlines()[-1][:300]}")
        return spoilt.happened

    for i, answer in enumerate(answers):
        if inspect.isclass(answer):
            continue
        has_tensors = tried(i, "one axis more", one_axis_more)
        for what, spoil in ((OF_TENSORS | OF_ALL) if has_tensors else OF_ALL).items():
            tried(i, what, spoil)
    assert failed == []
