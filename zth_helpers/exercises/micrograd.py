"""Exercises of lecture 1: slopes by hand and by nudging, and what an engine needs."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from typing import Any

import torch

from zth_helpers.exercises.checks import call, expect, kind, require
from zth_helpers.exercises.draws import dice
from zth_helpers.exercises.exercise import Wrong, exercise


class _Number:
    """What the judges pass where a `Value` is asked for: data, grad, and the children."""

    def __init__(self, data: float = 0.0, grad: float = 0.0, _prev: tuple = ()):
        self.data, self.grad, self._prev = data, grad, _prev


def f(a: Any, b: Any, c: Any) -> Any:
    """The lecture's function for exercise 1, on floats or tensors."""
    sin = torch.sin if isinstance(b, torch.Tensor) else math.sin
    return -(a**3) + sin(3 * b) - 1.0 / c + b**2.5 - a**0.5


def _points(seed: int, n: int = 5) -> list[tuple[float, float, float]]:
    """Random points where f is smooth: a and b positive, c away from 0."""
    rng = dice(seed)
    draw = lambda: rng.uniform(0.5, 4.0)  # noqa: E731
    return [(draw(), draw(), draw()) for _ in range(n)]


@exercise(
    "The gradient by hand",
    official=True,
    hints=(
        "Take f apart: five terms, and each contains only one of a, b, c.",
        "The derivative of x**n is n * x**(n - 1); of sin(3b) it is cos(3b) times the inner derivative.",
        "-1/c is -(c**-1), so its derivative is +c**-2. Terms in b: 3 cos(3b) and 2.5 b**1.5.",
    ),
    level=1,
    minutes=10,
)
def gradient_by_hand(gradient: Any) -> str:
    """Lecture 1, exercise 1a: the gradient of f(a, b, c) = -a^3 + sin(3b) - 1/c + b^2.5 - a^0.5."""
    for a, b, c in [(2.0, 3.0, 4.0), *_points(1)]:
        x = torch.tensor([a, b, c], dtype=torch.float64, requires_grad=True)
        f(*x).backward()
        da, db, dc = x.grad.tolist()
        got = call(gradient, a, b, c)
        mistakes = {
            "the derivative of sin(3b) has an inner factor 3 (chain rule)": [
                da,
                db - 2 * math.cos(3 * b),
                dc,
            ],
            "the derivative of sin is +cos": [da, db - 6 * math.cos(3 * b), dc],
            "the exponent sinks by one: b**2.5 has the derivative 2.5 * b**1.5": [
                da,
                db + 2.5 * (b**2.5 - b**1.5),
                dc,
            ],
            "the factor of b**1.5 is the old exponent, 2.5": [da, db - b**1.5, dc],
            "the sign of dc: the derivative of -1/c is +1/c²": [da, db, -dc],
            "the sign of da: both of its terms are negative": [-da, db, dc],
            "a**0.5 has the derivative 0.5 * a**-0.5": [-3 * a**2 - 0.5 * a**0.5, db, dc],
            "these are the terms of f, not their slopes": [
                -(a**3) - a**0.5,
                math.sin(3 * b) + b**2.5,
                -1 / c,
            ],
        }
        expect(f"gradient at ({a:.3g}, {b:.3g}, {c:.3g})", got, [da, db, dc], mistakes, rtol=1e-5)
    return "equal to the true slopes at (2, 3, 4) and at five random points"


def _nudged(g, x: tuple, i: int, h: float) -> float:
    return g(*(v + h * (j == i) for j, v in enumerate(x)))


def _judge_difference(answer, want, mistakes) -> None:
    """Calls answer(g, point, h), with nudges so large that the kinds of differences differ clearly."""

    def cubic(a, b):
        return a**3 * b - 2 * b**2

    for g, n in ((f, 3), (cubic, 2)):
        for x in (p[:n] for p in _points(n, 3)):
            for h in (0.1, 0.01):
                named = {what: [wrong(g, x, i, h) for i in range(n)] for what, wrong in mistakes.items()}
                got = call(answer, g, x, h)
                require(not callable(got), "the answer is a function: return the slopes themselves")
                expect(f"slopes with h = {h}", got, [want(g, x, i, h) for i in range(n)], named, rtol=1e-5)


def _forward(g, x, i, h):
    return (_nudged(g, x, i, h) - g(*x)) / h


def _backward(g, x, i, h):
    return (g(*x) - _nudged(g, x, i, -h)) / h


def _symmetric(g, x, i, h):
    return (_nudged(g, x, i, h) - _nudged(g, x, i, -h)) / (2 * h)


def _left_nudged(g, x, i, h):
    """As _forward, but the inputs before i have kept their nudges."""
    y = tuple(v + h * (j < i) for j, v in enumerate(x))
    return _forward(g, y, i, h)


def _half_way(g, x, i, h):
    return _symmetric(g, x, i, h / 2)


def _all_at_once(g, x, i, h):
    return (g(*(v + h for v in x)) - g(*x)) / h


@exercise(
    "The gradient by nudging",
    official=True,
    hints=(
        "Nudge one input by h, leave the others, and see how much g changes per h.",
        "g(*x) calls g with the numbers of x. A nudged copy: x[:i] + (x[i] + h,) + x[i + 1:].",
    ),
    level=1,
    minutes=10,
)
def forward_difference(slopes: Any) -> str:
    """Lecture 1, exercise 1b: the forward difference, for any function and any number of inputs."""
    _judge_difference(
        slopes,
        _forward,
        {
            "that is the rise; divide by h": lambda g, x, i, h: _forward(g, x, i, h) * h,
            "that nudges all inputs at once; nudge one at a time": _all_at_once,
            "an input stays nudged while the next one is: put it back first": _left_nudged,
            "that is the backward difference: nudge by +h": _backward,
            "the sign is turned round: nudged minus unnudged": lambda *a: -_forward(*a),
            "that is the symmetric difference, which comes next": _symmetric,
        },
    )
    return "equal to (g(x + h) − g(x)) / h in every input, for functions of two and of three"


@exercise(
    "A better nudge",
    official=True,
    hints=(
        "Go the same distance to both sides of x.",
        "The two points are 2h apart.",
    ),
    level=1,
    minutes=5,
)
def symmetric_difference(slopes: Any) -> str:
    """Lecture 1, exercise 1c: the symmetric difference, whose error shrinks with h² instead of h."""
    _judge_difference(
        slopes,
        _symmetric,
        {
            "that goes h/2 to each side: go h to the right and h to the left": _half_way,
            "the two points are 2h apart, not h": lambda *a: 2 * _symmetric(*a),
            "that is the forward difference: go to both sides": _forward,
            "that is the backward difference: go to both sides": _backward,
            "the sign is turned round: right side minus left side": lambda *a: -_symmetric(*a),
        },
    )
    x, h = (2.0, 3.0, 4.0), 1e-3
    true = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    f(*true).backward()
    errors = [max(abs(d(f, x, i, h) - true.grad[i].item()) for i in range(3)) for d in (_forward, _symmetric)]
    return f"right; at (2, 3, 4) with h = 0.001 it is {errors[0] / errors[1]:,.0f} times closer than forward"


@exercise(
    "Backward through a product",
    hints=(
        "The slope of a·b in a is b. Multiply it with what arrives at the product: out.grad.",
        "A value may be used elsewhere too, and a may be the same object as b: shares add up.",
        "a.grad += b.data * out.grad, and the same for b.",
    ),
    level=2,
    minutes=10,
)
def product_backward(backward: Any) -> str:
    """Section 7 of the notebook: pass out.grad on to the children of out = a * b."""
    require(callable(backward), f"expected a function, got {kind(backward)}")
    for seed in range(3):
        rng = dice(seed)
        da, db, g, ga, gb = (rng.uniform(-3, 3) for _ in range(5))

        def after(same: bool, before=(ga, gb), da=da, db=db, g=g):
            a = _Number(da, before[0])
            b = a if same else _Number(db, before[1])
            returned = call(lambda: backward(a, b, _Number(a.data * b.data, g)), returns=False)
            require(returned is None, "nothing is returned: change a.grad and b.grad")
            return [a.grad, b.grad]

        mistakes = {
            "you forgot to multiply with what arrives, out.grad": [ga + db, gb + da],
            "two things: multiply with what arrives, out.grad, and add with `+=`": [db, da],
            "`=` forgets what a and b have received elsewhere: add with `+=`": [db * g, da * g],
            "the slope in a is b's data, and the other way round": [ga + da * g, gb + db * g],
            "the gradients are unchanged": [ga, gb],
        }
        expect("a.grad, b.grad", after(same=False), [ga + db * g, gb + da * g], mistakes)
        twice = {"for a·a both shares must arrive: add with `+=`": [da * g] * 2}
        expect("a.grad of a·a", after(same=True, before=(0.0, 0.0)), [2 * da * g] * 2, twice)
    return "shares arrive, add up, and a·a gets both"


@exercise(
    "Topological order without recursion",
    hints=(
        "Keep your own stack (a list) of what is still to do, instead of Python's stack of calls.",
        "Each node is seen twice: first to put its children on the stack, then, when they are done, itself.",
        "Push (node, False); when popped, push (node, True) and all (child, False); when (node, True) is"
        " popped, append the node.",
    ),
    level=3,
    minutes=20,
    slow="with 100,000 nodes every step must be quick: a list as `visited` is searched from its start"
    " each time (use a set), and list.pop(0), list.insert(0, …) and `list + list` move all of their entries",
)
def topological_order(order: Any) -> str:
    """Section 8 of the notebook: every node once, children before parents, at any depth."""
    require(callable(order), f"expected a function, got {kind(order)}: pass it without calling it")
    for seed in range(4):
        rng = dice(seed)
        nodes = [_Number(i % 7) for i in range(3)]  # equal numbers in different nodes
        for i in range(3, 30):
            nodes.append(_Number(i % 7, _prev=tuple(rng.choices(nodes, k=2))))
        root = nodes[-1]
        below, stack = {}, [root]
        while stack:
            node = stack.pop()
            if id(node) not in below:
                below[id(node)] = node
                stack.extend(node._prev)
        _judge_order(call(lambda root=root: order(root)), below, root)
    chain = [_Number()]
    for _ in range(100_000):
        chain.append(_Number(_prev=(chain[-1], chain[-1])))
    depth = len(chain) - 1
    limit = _depth_now() + 900
    sys.setrecursionlimit(limit)  # the check puts it back
    try:
        found = call(lambda: order(chain[-1]))
    except Wrong as wrong:
        if "RecursionError" in str(wrong):
            deep = f"right for small graphs, but a chain of {depth:,} nodes breaks Python's recursion"
            raise Wrong(deep) from None
        raise
    raised = "that is recursion with a raised limit: keep a stack of your own, a list, instead of Python's"
    require(sys.getrecursionlimit() == limit, raised)
    all_there = isinstance(found, list | tuple) and len(found) == len(chain)
    in_order = all_there and all(a is b for a, b in zip(found, chain))
    require(in_order, f"a chain of {depth:,} nodes, each used twice, does not come out in order")
    return "children before parents, each node once, and 100,000 deep"


def _depth_now() -> int:
    frame, depth = sys._getframe(), 0
    while frame.f_back:
        frame, depth = frame.f_back, depth + 1
    return depth


def _judge_order(found: Any, below: dict[int, _Number], root: _Number) -> None:
    require(isinstance(found, list | tuple), f"expected a list of nodes, got {kind(found)}")
    require(all(isinstance(node, _Number) for node in found), "the list must hold the nodes themselves")
    seen = [id(node) for node in found]
    require(len(set(seen)) == len(seen), "a node comes up more than once: remember which were visited")
    missing = set(below) - set(seen)
    require(root in found, "the root itself is missing")
    values = {node.data for node in found}
    equal = "two nodes may hold the same number: remember the nodes themselves, not their .data"
    require(not missing or len(values) < len(found), equal)
    require(not missing, f"{len(missing)} of {len(below)} nodes are missing: follow every child in _prev")
    require(len(seen) == len(below), "there are nodes in the list that are not below the root")
    place = {node: i for i, node in enumerate(seen)}
    if any(place[id(child)] > place[id(node)] for node in found for child in node._prev):
        turned = all(place[id(child)] > place[id(node)] for node in found for child in node._prev)
        raise Wrong(
            "that is the order from the root down: turn it round"
            if turned
            else "a node comes before one of its children: append it after all of them"
        )


@exercise(
    "Softmax and negative log-likelihood",
    official=True,
    hints=(
        "exp and log are like tanh in the lecture: compute the data, then say how the gradient passes back.",
        "d exp(x)/dx = exp(x), which you have already; d log(x)/dx = 1/x. Both add to self.grad with +=.",
        "a / b is a * b**-1. The loss is -(exp of the label's logit / sum of all exps).log().",
    ),
    level=3,
    minutes=30,
)
def softmax_nll(Value: Any, loss: Any) -> str:
    """Lecture 1, exercise 2: extend Value until softmax + NLL runs, and get torch's gradients."""
    require(isinstance(Value, type), f"the first answer is the class Value, got {kind(Value)}")
    for name in ("exp", "log"):
        require(callable(getattr(Value, name, None)), f"Value has no {name}: Value.{name} = {name}")
    _judge_operations(Value)
    for logits, label in [([0.0, 3.0, -2.0, 1.0], 3), ([1.5, -0.5, 0.25], 0), ([0.1, 0.2], 1)]:
        x = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
        truth = torch.nn.functional.cross_entropy(x[None], torch.tensor([label]))
        truth.backward()
        p = x.detach().softmax(0)
        values = call(lambda logits=logits: [Value(v) for v in logits])
        out = call(lambda values=values, label=label: loss(values, label))
        require(hasattr(out, "data") and hasattr(out, "grad"), f"expected a Value, got {kind(out)}")
        mistakes = {
            "that is the probability of the label: its log is missing": p[label].item(),
            "the sign: a loss is the *negative* log-likelihood": -truth.item(),
            "the negative probability: its log is missing": -p[label].item(),
            "that is minus the logit: divide by the sum of all exps": -logits[label],
            "the mean over all classes: only the label's probability counts": -p.log().mean().item(),
            "the log of base 10 or 2: use the natural one, math.log": truth.item() / math.log(2),
        }
        expect(f"loss of {logits} with label {label}", out.data, truth.item(), mistakes, rtol=1e-6)
        call(lambda out=out: _backward_from(out), returns=False)
        grads = [v.grad for v in values]
        mistakes = {
            "nothing arrives at the logits: each operation needs its _backward": [0.0] * len(logits),
            "those are the probabilities: at the label it is p − 1": p,
            "the sign is turned round": -x.grad,
        }
        expect(f"gradients of {logits}", grads, x.grad.tolist(), mistakes, rtol=1e-5)
    return "loss 2.1755 for the lecture's logits, and torch's gradients for all three cases"


def _backward_from(out: Any) -> None:
    """out.backward(), in an order of our own: exercise 5, which it may use, need not be solved."""
    if not (hasattr(out, "_prev") and hasattr(out, "_backward")):
        return out.backward()
    order, seen, todo = [], set(), [(out, False)]
    while todo:
        node, done = todo.pop()
        children = node._prev if isinstance(node._prev, Iterable) else ()
        if done:
            order.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            todo += [(node, True), *((child, False) for child in children)]
    out.grad = 1.0
    for node in reversed(order):
        node._backward()


def _judge_operations(Value: Any) -> None:
    """exp and log of a node that is no leaf and that is used twice, with a gradient other than 1 arriving."""
    for name, math_of, torch_of in (("exp", math.exp, torch.exp), ("log", math.log, torch.log)):
        rng = dice(len(name))
        for _ in range(2):
            numbers = [rng.uniform(0.5, 1.5) for _ in range(3)]
            x = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in numbers]
            inner = x[0] * x[1] + x[0]
            result = torch_of(inner)
            (result * inner * x[2] + inner).backward(retain_graph=True)

            def run(name=name, numbers=numbers):
                a, b, c = map(Value, numbers)
                node = a * b + a
                made = getattr(node, name)()
                if not hasattr(made, "data"):
                    return a, b, c, made
                _backward_from(made * node * c + node)
                return a, b, c, made

            *leaves, made = call(run)
            require(hasattr(made, "data"), f"{name} of a Value: expected a Value, got {kind(made)}")
            value = inner.item()
            mistakes = {
                f"that is the {'logarithm' if name == 'exp' else 'exponential'}": math.log(value)
                if name == "exp"
                else math.exp(value),
                "use the natural logarithm, math.log": math.log10(value),
                f"that is the number itself: {name} has to act on self.data": value,
            }
            expect(f"the data of Value({value:.4f}).{name}()", made.data, math_of(value), mistakes, rtol=1e-6)
            want = [v.grad.item() for v in x]
            (through,) = torch.autograd.grad(result, inner)
            up = (inner * x[2]).item()  # what arrives at the result
            direct = (result * x[2] + 1).item()  # what arrives at inner past it

            def leaf_grads(at_inner: float, x=x, want=want) -> list[float]:
                return [at_inner * (x[1].item() + 1), at_inner * x[0].item(), want[2]]

            wrong_slope = up / result.item() if name == "log" else up * value
            right_slope = {
                "log": "the derivative of log(x) is 1/x: divide by self.data, not by out.data",
                "exp": "the derivative of exp(x) is exp(x), which is out.data, not self.data",
            }
            arriving = {
                f"nothing passes through {name}: give it a _backward, and self among its children": direct,
                f"`=` in {name} forgets what its input got elsewhere: add with `+=`": through.item() * up,
                f"{name} forgets to multiply with what arrives, out.grad": direct + through.item(),
                f"the slope of {name} is missing": direct + up,
                right_slope[name]: direct + wrong_slope,
            }
            grads = {why: leaf_grads(at_inner) for why, at_inner in arriving.items()}
            where = f"gradients through {name}, at a node that is used twice"
            expect(where, [leaf.grad for leaf in leaves], want, grads, rtol=1e-5)
