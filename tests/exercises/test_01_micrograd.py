"""Lecture 1's exercises: right answers pass, each typical mistake is called by its name."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
import torch

from tests.exercises.answers import answers, checks, exercises_of, rejected, right, stubs
from zth_helpers.exercises import micrograd as ex
from zth_helpers.exercises.micrograd import f

NAMES = sorted(exercises_of(ex))


def test_the_master_checks_every_exercise():
    assert sorted(checks("micrograd")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_right_and_not_tried(name):
    exercise = exercises_of(ex)[name]
    assert exercise.check(*right("micrograd", name))
    assert exercise.check(*stubs("micrograd", name)).state == "not tried yet"
    assert exercise.hints and exercise.__doc__


def gradient(a, b, c, da=None, db=None, dc=None):
    true = (-3 * a**2 - 0.5 / a**0.5, 3 * math.cos(3 * b) + 2.5 * b**1.5, 1 / c**2)
    return [t if wrong is None else wrong for t, wrong in zip(true, (da, db, dc))]


def central(a, b, c, h=1e-6):
    return tuple((f(*p) - f(*q)) / (2 * h) for p, q in (
        ((a + h, b, c), (a - h, b, c)), ((a, b + h, c), (a, b - h, c)), ((a, b, c + h), (a, b, c - h))
    ))  # fmt: skip


def rise(g, x, i, up, down):
    return g(*x[:i], x[i] + up, *x[i + 1 :]) - g(*x[:i], x[i] - down, *x[i + 1 :])


def difference(up, down, over):
    """A learner's nudge: up·h to the right, down·h to the left, divided by over·h."""
    return lambda g, x, h: [rise(g, x, i, up * h, down * h) / (over * h) for i in range(len(x))]


def all_inputs(g, x, h):
    return [(g(*(v + h for v in x)) - g(*x)) / h] * len(x)


def float32(a, b, c):
    return np.array(gradient(a, b, c), dtype=np.float32)


def more_right_ways():
    return [
        ("gradient_by_hand", (central,)),
        ("gradient_by_hand", (gradient,)),
        ("gradient_by_hand", (float32,)),
        ("gradient_by_hand", (lambda a, b, c: [np.float64(x) for x in gradient(a, b, c)],)),
        ("gradient_by_hand", (lambda a, b, c: torch.tensor(gradient(a, b, c)),)),
        ("forward_difference", (difference(1, 0, 1),)),
        ("forward_difference", (lambda g, x, h: np.array(difference(1, 0, 1)(g, x, h)),)),
        ("symmetric_difference", (difference(1, 1, 2),)),
        ("symmetric_difference", (lambda g, x, h: tuple(difference(1, 1, 2)(g, x, h)),)),
        ("product_backward", (product(lambda a, b, g: (b * g, a * g)),)),
        ("product_backward", (product(lambda a, b, g: (np.float64(b) * g, np.float64(a) * g)),)),
        ("topological_order", (kahn,)),
        ("topological_order", (lambda root: tuple(kahn(root)),)),
        ("softmax_nll", stable()),
    ]


@pytest.mark.parametrize("i", range(14))
def test_more_right_ways(i):
    name, given = more_right_ways()[i]
    verdict = exercises_of(ex)[name].check(*given)
    assert verdict, str(verdict)


WRONG_GRADIENTS = {
    "inner factor 3": lambda a, b, c: gradient(a, b, c, db=math.cos(3 * b) + 2.5 * b**1.5),
    "the derivative of sin is"
    " +cos": lambda a, b, c: gradient(a, b, c, db=-3 * math.cos(3 * b) + 2.5 * b**1.5),
    "the exponent sinks by one": lambda a, b, c: gradient(a, b, c, db=3 * math.cos(3 * b) + 2.5 * b**2.5),
    "the factor of b**1.5": lambda a, b, c: gradient(a, b, c, db=3 * math.cos(3 * b) + 1.5 * b**1.5),
    "the sign of dc": lambda a, b, c: gradient(a, b, c, dc=-1 / c**2),
    "the sign of da": lambda a, b, c: gradient(a, b, c, da=3 * a**2 + 0.5 / a**0.5),
    "a**0.5 has the derivative": lambda a, b, c: gradient(a, b, c, da=-3 * a**2 - 0.5 * a**0.5),
    "these are the terms of f": lambda a, b, c: [
        -(a**3) - a**0.5, math.sin(3 * b) + b**2.5, -1 / c
    ],
    "largest difference at [1]": lambda a, b, c: gradient(a, b, c, db=0.0),
    "expected 3 values, got 2": lambda a, b, c: gradient(a, b, c)[:2],
    "got None": lambda a, b, c: print(end=""),
    "your code raised TypeError": lambda a, b: (a, b, a),
}  # fmt: skip


@pytest.mark.parametrize("message", WRONG_GRADIENTS)
def test_wrong_gradients(message):
    rejected(ex.gradient_by_hand.check(WRONG_GRADIENTS[message]), message)


def test_the_lectures_point_alone_is_not_enough():
    lecture = (-12.353553390593273, 10.25699027111255, 0.0625)
    rejected(ex.gradient_by_hand.check(lambda a, b, c: lecture), "largest difference")


def left_nudged(g, x, h):
    x, slopes = list(x), []
    for i in range(len(x)):
        before = g(*x)
        x[i] += h
        slopes.append((g(*x) - before) / h)
    return slopes


WRONG_FORWARD = {
    "stays nudged while the next one is": left_nudged,
    "divide by h": (
        lambda g, x, h: [rise(g, x, i, h, 0) for i in range(len(x))]
    ),
    "nudges all inputs at once": all_inputs,
    "backward difference": difference(0, 1, 1),
    "turned round": difference(1, 0, -1),
    "symmetric difference, which comes next": difference(1, 1, 2),
    "largest difference": difference(1, 0, 2),
    "expected 3 values, got 1": lambda g, x, h: difference(1, 0, 1)(g, x, h)[:1],
    "return the slopes themselves": lambda g, x, h: lambda y: difference(1, 0, 1)(g, y, h),
}  # fmt: skip
WRONG_SYMMETRIC = {
    "h/2 to each side": difference(0.5, 0.5, 1),
    "2h apart, not h": difference(1, 1, 1),
    "forward difference: go to both sides": difference(1, 0, 1),
    "backward difference: go to both sides": difference(0, 1, 1),
    "turned round": difference(1, 1, -2),
    "largest difference": difference(1, 2, 3),
    "nan or inf": lambda g, x, h: [math.nan] * len(x),
}


@pytest.mark.parametrize("message", WRONG_FORWARD)
def test_wrong_forward_differences(message):
    rejected(ex.forward_difference.check(WRONG_FORWARD[message]), message)


@pytest.mark.parametrize("message", WRONG_SYMMETRIC)
def test_wrong_symmetric_differences(message):
    rejected(ex.symmetric_difference.check(WRONG_SYMMETRIC[message]), message)


def product(shares, add=True):
    def backward(a, b, out):
        da, db = shares(a.data, b.data, out.grad)
        a.grad = da + add * a.grad
        b.grad = db + add * b.grad

    return backward


def returns(a, b, out):
    product(lambda a, b, g: (b * g, a * g))(a, b, out)
    return a.grad, b.grad


def saved_first(a, b, out):
    """Reads both gradients before it writes either: a·a gets one share instead of two."""
    ga, gb = a.grad, b.grad
    a.grad, b.grad = ga + b.data * out.grad, gb + a.data * out.grad


WRONG_PRODUCT = {
    "multiply with what arrives": product(lambda a, b, g: (b, a)),
    "two things": product(lambda a, b, g: (b, a), add=False),
    "`=` forgets": product(lambda a, b, g: (b * g, a * g), add=False),
    "the other way round": product(lambda a, b, g: (a * g, b * g)),
    "the gradients are unchanged": lambda a, b, out: None,
    "nothing is returned": returns,
    "for a·a both shares": saved_first,
    "largest difference": product(lambda a, b, g: (b * g + 1, a * g)),
}


@pytest.mark.parametrize("message", WRONG_PRODUCT)
def test_wrong_products(message):
    rejected(ex.product_backward.check(WRONG_PRODUCT[message]), message)


def below(root):
    """All nodes below root, each once, in the order in which they are met."""
    found, todo = {root: None}, [root]
    while todo:
        for child in todo.pop()._prev:
            if child not in found:
                found[child] = None
                todo.append(child)
    return list(found)


def kahn(root):
    """Another right way: take away nodes that no remaining one needs, then turn the list round."""
    waiting = dict.fromkeys(below(root), 0)
    for node in waiting:
        for child in node._prev:
            waiting[child] += 1
    order, free = [], [root]
    while free:
        node = free.pop()
        order.append(node)
        for child in node._prev:
            waiting[child] -= 1
            if not waiting[child]:
                free.append(child)
    return order[::-1]


def recursive(root):
    order, visited = [], set()

    def build(node):
        if node not in visited:
            visited.add(node)
            for child in node._prev:
                build(child)
            order.append(node)

    build(root)
    return order


def shallow(root):
    """Right, but gives up at a depth of 1,000."""
    order = kahn(root)
    return order if len(order) < 1000 else order[:1000]


def by_value(root):
    """Remembers the numbers of the nodes instead of the nodes."""
    order, visited, todo = [], set(), [(root, False)]
    while todo:
        node, done = todo.pop()
        if done:
            order.append(node)
        elif node.data not in visited:
            visited.add(node.data)
            todo += [(node, True), *((child, False) for child in node._prev)]
    return order


def deeper(root):
    sys.setrecursionlimit(1_000_000)
    return recursive(root)


def list_as_visited(root):
    order, visited, todo = [], [], [(root, False)]
    while todo:
        node, done = todo.pop()
        if done:
            order.append(node)
        elif node not in visited:
            visited.append(node)
            todo += [(node, True), *((child, False) for child in node._prev)]
    return order


WRONG_ORDER = {
    "two nodes may hold the same number": by_value,
    "recursion with a raised limit": deeper,
    "breaks Python's recursion": recursive,
    "from the root down": lambda root: kahn(root)[::-1],
    "before one of its children": lambda root: sorted(kahn(root), key=lambda node: node.data % 7),
    "more than once": lambda root: [kahn(root)[0], *kahn(root)],
    "the root itself is missing": lambda root: kahn(root)[:-1],
    "nodes are missing": lambda root: kahn(root)[1:],
    "not below the root": lambda root: [type(root)(-1.0), *kahn(root)],
    "expected a list": lambda root: iter(kahn(root)),
    "the nodes themselves": lambda root: [node.data for node in kahn(root)],
    "a chain of 100,000 nodes": shallow,
    "got None": lambda root: None,
}


@pytest.mark.parametrize("message", WRONG_ORDER)
def test_wrong_orders(message):
    rejected(ex.topological_order.check(WRONG_ORDER[message]), message)


def stable():
    """Another right way: log-sum-exp with the largest logit taken out, as one operation of a new class."""
    Value = answers("micrograd")["Value"]

    def loss(logits, label):
        top = max(x.data for x in logits)
        exps = [math.exp(x.data - top) for x in logits]
        out = Value(math.log(sum(exps)) + top - logits[label].data, tuple(logits))

        def backward():
            for i, (x, e) in enumerate(zip(logits, exps)):
                x.grad += (e / sum(exps) - (i == label)) * out.grad

        out._backward = backward
        return out

    return Value, loss


def loss_like(data=None, grad=None):
    """A loss with one thing wrong: its number, or what it passes on. p: the probabilities."""
    Value, _ = stable()

    def loss(logits, label):
        exps = [math.exp(x.data) for x in logits]
        p = [e / sum(exps) for e in exps]
        out = Value(-math.log(p[label]) if data is None else data(p, label, logits), tuple(logits))

        def backward():
            for i, x in enumerate(logits):
                x.grad += (p[i] - (i == label)) * out.grad if grad is None else grad(p, i, label)

        out._backward = backward
        return out

    return Value, loss


def engine(name, forward, slope, add=True):
    """The master's Value with another exp or log: forward(x) and slope(x, out, what arrives)."""
    Value, loss = right("micrograd", "softmax_nll")

    def operation(self):
        out = Changed(forward(self.data), (self,))

        def backward():
            self.grad = slope(self.data, out.data, out.grad) + (self.grad if add else 0.0)

        out._backward = backward
        return out

    class Changed(Value):
        def __add__(self, other):
            return as_changed(Value.__add__(self, other))

        def __mul__(self, other):
            return as_changed(Value.__mul__(self, other))

        def __pow__(self, k):
            return as_changed(Value.__pow__(self, k))

    def as_changed(out):
        out.__class__ = Changed
        return out

    def then(method):
        return lambda self: as_changed(method(self))

    for other in ("exp", "log"):
        setattr(Changed, other, then(getattr(Value, other)))
    setattr(Changed, name, operation)
    return Changed, loss


class NoLog:
    """An engine without log and exp."""


WRONG_OPERATIONS = {
    "add with `+=`": engine("exp", math.exp, lambda x, y, g: y * g, add=False),
    "`=` in log": engine("log", math.log, lambda x, y, g: g / x, add=False),
    "exp forgets to multiply with what arrives": engine("exp", math.exp, lambda x, y, g: y),
    "log forgets to multiply with what arrives": engine("log", math.log, lambda x, y, g: 1 / x),
    "out.data, not self.data": engine("exp", math.exp, lambda x, y, g: x * g),
    "divide by self.data, not by out.data": engine("log", math.log, lambda x, y, g: g / y),
    "the slope of exp is missing": engine("exp", math.exp, lambda x, y, g: g),
    "nothing passes through log": engine("log", math.log, lambda x, y, g: 0.0),
    "use the natural logarithm": engine("log", math.log10, lambda x, y, g: g / x),
    "that is the number itself": engine("exp", lambda x: x, lambda x, y, g: g),
    "that is the logarithm": engine("exp", math.log, lambda x, y, g: g / x),
    "Value has no exp": (NoLog, right("micrograd", "softmax_nll")[1]),
    "the first answer is the class Value": right("micrograd", "softmax_nll")[::-1],
}


@pytest.mark.parametrize("message", WRONG_OPERATIONS)
def test_wrong_operations(message):
    rejected(ex.softmax_nll.check(*WRONG_OPERATIONS[message]), message)


WRONG_LOSSES = {
    "its log is missing": loss_like(lambda p, y, x: p[y]),
    "the *negative* log-likelihood": loss_like(lambda p, y, x: math.log(p[y])),
    "the negative probability": loss_like(lambda p, y, x: -p[y]),
    "that is minus the logit": loss_like(lambda p, y, x: -x[y].data),
    "the mean over all classes": loss_like(lambda p, y, x: -sum(map(math.log, p)) / len(p)),
    "nothing arrives at the logits": loss_like(grad=lambda p, i, y: 0.0),
    "at the label it is p − 1": loss_like(grad=lambda p, i, y: p[i]),
    "the sign is turned round": loss_like(grad=lambda p, i, y: (i == y) - p[i]),
    "largest difference": loss_like(grad=lambda p, i, y: 2 * (p[i] - (i == y))),
    "got 1, expected": loss_like(lambda p, y, x: 1.0 if len(p) < 4 else -math.log(p[y])),
    "expected a Value": (loss_like()[0], lambda logits, label: 2.1755),
    "got None": (loss_like()[0], lambda logits, label: None),
}


@pytest.mark.parametrize("message", WRONG_LOSSES)
def test_wrong_losses(message):
    rejected(ex.softmax_nll.check(*WRONG_LOSSES[message]), message)


def bank():
    """For the report: the right ways beside the master's, and the wrong ones with what they must be told."""
    tables = {
        "gradient_by_hand": WRONG_GRADIENTS,
        "forward_difference": WRONG_FORWARD,
        "symmetric_difference": WRONG_SYMMETRIC,
        "product_backward": WRONG_PRODUCT,
        "topological_order": WRONG_ORDER,
        "softmax_nll": WRONG_OPERATIONS | WRONG_LOSSES,
    }
    wrong = [
        (name, m, a if isinstance(a, tuple) else (a,)) for name, t in tables.items() for m, a in t.items()
    ]
    return more_right_ways(), wrong
