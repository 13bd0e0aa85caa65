"""Lesson 1's engine and its sequel's, taken out of the notebooks, against torch and finite differences."""

from __future__ import annotations

import gc
import math
import random
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.lesson import definitions
from zth_helpers import moons

SIZES = [2, 16, 16, 1]
lesson = definitions("01_micrograd", alpha=1e-4)
beyond = definitions("beyond/01_micrograd", seed=1337, sizes=SIZES)
Value, Node = lesson["Value"], beyond["Node"]

UNARY = {
    "tanh": (lambda x: x.tanh(), torch.tanh),
    "exp": (lambda x: x.exp(), torch.exp),
    "relu": (lambda x: x.relu(), torch.relu),
    "neg": (lambda x: -x, torch.neg),
} | {f"**{k}": ((lambda x, k=k: x**k),) * 2 for k in (-2, -1, -0.5, 0, 0.5, 1, 2, 3, 1.5)}
BINARY = {
    "+": lambda x, y: x + y,
    "-": lambda x, y: x - y,
    "*": lambda x, y: x * y,
    "/": lambda x, y: x / y,
}
number = st.floats(-4, 4).map(lambda x: round(x, 3))


# A program: leaves, then steps that each take values by number (modulo how many there are so far); a plain
# number stands in for the left or right value where `plain` says so.
def programs(operations, most=20):
    plain = st.sampled_from([None, None, None, "left", "right"])
    step = st.tuples(
        st.sampled_from(operations), st.integers(0, most + 3), st.integers(0, most + 3), plain, number
    )
    leaves = st.lists(number, min_size=1, max_size=4)
    return st.tuples(leaves, st.lists(step, min_size=1, max_size=most))


def run(values: list, steps: list, which: int) -> list:
    """All values of a program; which: 0 for Value, 1 for torch or complex numbers."""
    for op, i, j, plain, constant in steps:
        x, y = values[i % len(values)], values[j % len(values)]
        if op in UNARY:
            values.append(UNARY[op][which](x))
        else:
            left, right = constant if plain == "left" else x, constant if plain == "right" else y
            values.append(BINARY[op](left, right))
    return values


def tame(leaves: list[float], steps: list) -> list:
    """The steps that have a finite result of moderate size and no infinite slope."""
    values, kept = [Value(x) for x in leaves], []
    for instruction in steps:
        try:
            result = run([*values], [instruction], 0)[-1]
        except (ValueError, ZeroDivisionError, OverflowError):
            continue
        base = values[instruction[1] % len(values)].data
        divisor = values[instruction[2] % len(values)].data if instruction[3] != "right" else instruction[4]
        steep = instruction[0].startswith("**") and abs(base) < 1e-2
        steep |= instruction[0] == "/" and abs(divisor) < 1e-2
        if not steep and abs(result.data) < 1e4:
            values.append(result)
            kept.append(instruction)
    return kept


@settings(max_examples=2000, deadline=None)
@given(programs([*UNARY, *BINARY]))
def test_value_equals_torch_on_random_graphs(case):
    leaves, steps = case
    steps = tame(leaves, steps)
    ours = run([Value(x) for x in leaves], steps, 0)
    theirs = run([torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in leaves], steps, 1)
    ours[-1].backward()
    theirs[-1].backward()
    assert [v.data for v in ours] == pytest.approx([t.item() for t in theirs], rel=1e-9, abs=1e-9)
    size = max(abs(v.grad) for v in ours)  # what cancels in a sum leaves rounding of its own size
    expected = [0.0 if t.grad is None else t.grad.item() for t in theirs[: len(leaves)]]
    assert [v.grad for v in ours[: len(leaves)]] == pytest.approx(
        expected, rel=1e-8, abs=1e-11 * size + 1e-300
    )


@settings(max_examples=200, deadline=None)
@given(programs([*(op for op in UNARY if op != "relu"), *BINARY], most=10))
def test_value_equals_finite_differences(case):
    leaves, steps = case
    steps = tame(leaves, steps)
    values = run([Value(x) for x in leaves], steps, 0)
    values[-1].backward()
    if max(abs(v.grad) for v in values) > 1e3 or max(abs(v.data) for v in values) > 1e3:
        return  # too steep for a difference to say much
    for i, value in enumerate(values[: len(leaves)]):
        results = []
        for h in (1e-5, -1e-5):
            nudged = [x + h * (k == i) for k, x in enumerate(leaves)]
            try:
                results.append(run([Value(x) for x in nudged], steps, 0)[-1].data)
            except (ValueError, ZeroDivisionError):
                return  # the nudge left the domain
        scale = max(abs(v.grad) for v in values) + max(abs(v.data) for v in values)
        assert value.grad == pytest.approx((results[0] - results[1]) / 2e-5, rel=1e-3, abs=1e-4 * scale)


@pytest.mark.parametrize("name", ["ClosureValue", "Value", "Node"])
@settings(max_examples=200, deadline=None)
@given(programs(["+", "*", "relu"]))
def test_the_sequels_engines_equal_the_lessons(name, case):
    """In the operations that they have, on the same random graphs."""
    leaves, steps = case
    steps = tame(leaves, steps)
    Number = beyond[name]
    values, nodes = run([Value(x) for x in leaves], steps, 0), run([Number(x) for x in leaves], steps, 0)
    values[-1].backward()
    nodes[-1].backward()
    assert not Node.tape
    assert [n.data for n in nodes] == [v.data for v in values]
    for i in range(len(leaves)):
        if nodes[i] is not nodes[-1]:  # relu of a living leaf is the leaf
            assert nodes[i].grad == pytest.approx(values[i].grad, rel=1e-12, abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(programs([*UNARY, *BINARY]))
def test_topological_order(case):
    leaves, steps = case
    root = run([Value(x) for x in leaves], tame(leaves, steps), 0)[-1]
    order = lesson["topological_order"](root)
    place = {node: i for i, node in enumerate(order)}
    assert len(place) == len(order) and order[-1] is root
    assert all(place[child] < place[node] for node in order for child in node._prev)


def test_a_value_used_twice_gets_both_gradients():
    a = Value(3.0)
    (a + a).backward()
    assert a.grad == 2
    a = Value(3.0)
    (a * a).backward()
    assert a.grad == 6
    a, b = Value(-2.0), Value(3.0)
    ((a * b) * (a + b)).backward()
    assert (a.grad, b.grad) == (-3, -8)


def test_children_are_a_tuple_and_keep_order():
    a, b = Value(1.0), Value(2.0)
    assert (a + b)._prev == (a, b) and (a + a)._prev == (a, a)


def test_backward_twice_doubles_as_in_torch():
    a, t = Value(2.0), torch.tensor(2.0, requires_grad=True)
    for x in (a, t):
        y = (x * x) ** 2
        for _ in range(2):
            y.backward(**({"retain_graph": True} if x is t else {}))
    assert a.grad == t.grad.item() == 64


def test_two_losses_that_share_a_graph():
    a, t = Value(1.5), torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    for x in (a, t):
        shared = x * x
        first, second = shared * 3, shared.tanh()
        first.backward(**({"retain_graph": True} if x is t else {}))
        second.backward()
    assert a.grad == pytest.approx(t.grad.item(), rel=1e-12)


@pytest.mark.parametrize("Number", [Value, beyond["Value"], Node])
def test_backward_on_a_leaf_adds_up_as_in_torch(Number):
    leaf, t = Number(2.0), torch.tensor(2.0, requires_grad=True)
    for x in (leaf, leaf, t, t):
        x.backward()
    assert leaf.grad == t.grad.item() == 2


def test_independent_losses_on_one_tape():
    """With keep_tape as in torch; without it the second loss says what to do, and changes nothing."""
    a, b = Node(2.0), Node(3.0)
    first, second = a * a, b * 5
    first.backward(keep_tape=True)
    second.backward()
    assert (a.grad, b.grad) == (4, 5) and not Node.tape
    first, second = a * a, b * 5
    second.backward()
    with pytest.raises(RuntimeError, match="keep_tape=True"):
        first.backward()
    assert (a.grad, b.grad) == (4, 10)


def test_two_losses_that_share_nodes_of_a_kept_tape():
    a = Node(1.5)
    shared = a * a
    first, second = shared * 3, shared * shared
    first.backward(keep_tape=True)
    second.backward(keep_tape=True)
    second.backward()
    assert a.grad == pytest.approx(6 * 1.5 + 2 * 4 * 1.5**3)


@pytest.mark.parametrize("Number", [Value, Node, beyond["Value"]])
def test_a_chain_of_100_000_operations(Number):
    leaf = end = Number(1.0)
    for _ in range(50_000):
        end = (end + 0.5) * 1.00001
    end.backward()
    assert leaf.grad == pytest.approx(1.00001**50_000, rel=1e-9)
    del end  # freeing it must not recurse either


def test_no_circles_are_left_for_the_garbage_collector():
    a = Value(2.0)
    inner = a * 3
    seen = weakref.ref(inner)
    y = ((inner + 1).tanh() - 0.5).exp() / 2
    y.backward()
    gc.disable()
    try:
        del inner, y
        assert seen() is None
    finally:
        gc.enable()


def test_tanh_does_not_overflow():
    for x in (-1e6, -355.0, 355.0, 1e6):
        v = Value(x)
        y = v.tanh()
        y.backward()
        assert (y.data, v.grad) == (math.copysign(1, x), 0.0)
    with pytest.raises(OverflowError):
        Value(710.0).exp()


@pytest.mark.parametrize(
    "x, k", [(0.0, 0), (0.0, 0.5), (0.0, 1), (0.0, 1.5), (0.0, 2), (-2.0, 3), (-2.0, -1)]
)
@pytest.mark.parametrize("kind", [int, float])
def test_pow_at_its_edges_equals_torch(x, k, kind):
    k = kind(k) if k == int(k) else k
    v, t = Value(x), torch.tensor(x, dtype=torch.float64, requires_grad=True)
    y, z = v**k, t**k
    y.backward()
    z.backward()
    assert (y.data, v.grad) == (z.item(), t.grad.item())


def test_pow_refuses_what_has_no_real_value():
    with pytest.raises(ValueError, match=r"-8\.0 \*\* 0\.5 is not a real number"):
        Value(-8.0) ** 0.5
    for divide in (lambda: Value(0.0) ** -1, lambda: 1 / Value(0.0), lambda: Value(1.0) / Value(0.0)):
        with pytest.raises(ZeroDivisionError, match="negative power"):
            divide()
    with pytest.raises(TypeError):
        Value(2.0) ** Value(3.0)


def test_pow_takes_numpys_numbers():
    for k in (np.int64(2), np.float32(2), np.float64(2)):
        v = Value(3.0)
        y = v**k
        y.backward()
        assert (y.data, v.grad) == (9, 6)


def test_relu_keeps_a_nan():
    t = torch.tensor(math.nan, requires_grad=True)
    torch.relu(t).backward()
    for Number in (Value, beyond["Value"], Node):
        v = Number(math.nan)
        y = v.relu() * 1.0
        y.backward()
        assert math.isnan(y.data) and v.grad == t.grad.item() == 1


def torch_moons(numbers, X, y):
    """The moons loss in matrices, and the gradient of each parameter in the model's order."""
    layers, rest = [], torch.tensor(numbers, dtype=torch.float64)
    for nin, nout in zip(SIZES, SIZES[1:]):
        layer, rest = rest[: nout * (nin + 1)].view(nout, nin + 1), rest[nout * (nin + 1) :]
        layers.append(layer.clone().requires_grad_())
    h = torch.tensor(X, dtype=torch.float64)
    for i, layer in enumerate(layers):
        h = h @ layer[:, :-1].T + layer[:, -1]
        h = torch.relu(h) if i < len(layers) - 1 else h
    margin = torch.relu(1 - torch.tensor(y) * h[:, 0]).mean()
    loss = margin + 1e-4 * sum((layer**2).sum() for layer in layers)
    loss.backward()
    return loss.item(), torch.cat([layer.grad.flatten() for layer in layers]).numpy(), h[:, 0].detach()


def moons_model():
    random.seed(1337)
    return lesson["MLP"](2, SIZES[1:], kind=lesson["ReluNeuron"], last=lesson["LinearNeuron"])


def test_moons_network_equals_torch_in_all_engines():
    X, y = moons.make_moons(100, 0.1, 1337)
    model = moons_model()
    numbers = [p.data for p in model.parameters()]
    expected_loss, expected, scores = torch_moons(numbers, X, y)
    assert len(expected) == 337
    assert expected_loss == pytest.approx(0.8958, abs=5e-5)  # the lecture's first loss
    np.testing.assert_allclose(moons.scores(numbers, SIZES, X), scores, rtol=1e-12)
    runs = [(model, *lesson["moons_loss"](model, X, y))]
    for name, how in (
        ("ClosureValue", "single_steps"),
        ("Value", "single_steps"),
        ("Node", "single_steps"),
        ("Node", "dot"),
    ):
        Number = beyond[name]
        net = beyond["Net"](Number, beyond[how])
        assert [p.data for p in net.parameters()] == numbers
        inputs = [[Number(x) for x in row] for row in X.tolist()]
        runs.append((net, *beyond["moons_loss"](net, inputs, y.tolist())))
        if name == "Node":
            if how == "dot":  # one node for each of the 33 sums a point, and the loss
                assert 3300 < len(Node.tape) < 4400
            runs[-1][1].backward()
    for net, loss, accuracy in runs:
        if not isinstance(loss, Node):
            loss.backward()
        assert (loss.data, accuracy) == (pytest.approx(expected_loss, rel=1e-12), 0.5)
        grads = [p.grad for p in net.parameters()]
        np.testing.assert_allclose(grads, expected, rtol=1e-9, atol=1e-13)


def test_moons_are_two_arcs():
    """Without noise every point lies on its half circle; the counts and the seed's order are fixed."""
    X, y = moons.make_moons(60, 0.0, 3)
    centre = np.where(y[:, None] == -1, [0, 0], [1, 0.5])
    np.testing.assert_allclose(((X - centre) ** 2).sum(1), 1)
    assert (X[y == -1, 1] >= -1e-12).all() and (X[y == 1, 1] <= 0.5 + 1e-12).all() and y.sum() == 0
    again, _ = moons.make_moons(60, 0.0, 3)
    assert (again == X).all() and not (moons.make_moons(60, 0.0, 4)[0] == X).all()
    assert len(moons.make_moons(7, 0.1, 0)[0]) == 6
    with pytest.raises(ValueError, match="has 9 parameters, got 8"):
        moons.scores([0.0] * 8, [2, 2, 1], X)


@pytest.mark.parametrize("name", ["Value1", "Value2"])
def test_the_drafts_compute_and_keep_their_children(name):
    Draft = lesson[name]
    a, b = Draft(2.0), Draft(-3.0)
    y = (a * b + a).tanh()
    assert y.data == math.tanh(-4.0) and [v.data for v in y._prev] == [-4.0] and (a + a)._prev == (a, a)


def test_the_second_draft_overwrites_as_the_lecture_does():
    a, b = lesson["Value2"](-2.0), lesson["Value2"](3.0)
    lesson["backward"]((a * b) * (a + b))
    assert (a.grad, b.grad) == (3.0, -2.0)  # and should be -3, -8
    neuron = lesson["neuron"](lesson["Value2"])
    lesson["backward"](neuron[-1])
    assert [v.grad for v in neuron[:5]] == pytest.approx([-1.5, 0.5, 1.0, 0.0, 0.5])


def test_tanh_as_an_operation_of_torch():
    n = torch.linspace(-3, 3, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lesson["Tanh"].apply, (n,))
    big = torch.tensor([-400.0, 400.0], dtype=torch.float64)
    assert lesson["Tanh"].apply(big).tolist() == [-1, 1]


def test_the_networks_that_forget_are_the_lessons():
    """The sequel's sixty networks are those of section 15 in fewer nodes."""
    random.seed(5)
    net, losses = lesson["MLP"](3, [4, 4, 1]), []
    data = definitions("01_micrograd", xs=beyond_data()[0], ys=beyond_data()[1])
    losses = data["train"](net, 8, 0.05)
    ours = definitions("beyond/01_micrograd", xs=beyond_data()[0], ys=beyond_data()[1])["losses_of"]
    assert ours(5, True, 0.05, steps=8) == pytest.approx(losses, rel=1e-9)


def beyond_data():
    return [[2.0, 3.0, -1.0], [3.0, -1.0, 0.5], [0.5, 1.0, 1.0], [1.0, 1.0, -1.0]], [1.0, -1.0, -1.0, 1.0]


def test_dead_relu_passes_nothing_back():
    for Number in (Value, Node):
        for x, slope in ((-1.0, 0.0), (0.0, 0.0), (2.0, 3.0)):
            v = Number(x)
            (v.relu() * 3).backward()
            assert v.grad == slope


def test_a_layer_of_one_neuron_inside_of_a_network():
    random.seed(1)
    net = lesson["MLP"](2, [1, 3, 1])
    first, second, last = ([(n.w, n.b) for n in layer.neurons] for layer in net.layers)
    by_hand = [2.0, -1.0]
    for neurons in (first, second, last):
        by_hand = [math.tanh(sum(w.data * x for w, x in zip(ws, by_hand)) + b.data) for ws, b in neurons]
    assert net([2.0, -1.0]).data == pytest.approx(by_hand[0])
