"""The parts of Monitor one by one: which tensors it reads, the loss, its tables, plain layers, parameters."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zth_helpers.layers import Linear, Tanh
from zth_helpers.monitor.columns import Columns, tensors, why_unreadable
from zth_helpers.monitor.loss import classes, number
from zth_helpers.monitor.parameters import ParameterWatch
from zth_helpers.monitor.plain_layers import PlainWatch, parameters_of
from zth_helpers.monitor.table import Rows

# -- which tensors are read -------------------------------------------------------------------------------


class Sharded(Tensor):
    """A tensor that answers torch's operators itself, as DTensor does."""

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return function(*args, **(kwargs or {}))


class Named(Tensor):
    """A tensor of a class of its own that is none the less an ordinary one."""


def quantised() -> Tensor:
    return torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: torch.ones(3), None),
        (lambda: torch.ones(3, dtype=torch.float64), None),
        (lambda: torch.ones(3, dtype=torch.bfloat16), None),
        (lambda: torch.ones(3, dtype=torch.float16), None),
        (lambda: nn.Parameter(torch.ones(3)), None),
        (lambda: torch.ones(3).as_subclass(Named), None),
        (lambda: torch.ones(3).to(torch.float8_e4m3fn), None),
        (lambda: torch.ones(3, dtype=torch.int64), ""),
        (lambda: torch.ones(3, dtype=torch.bool), ""),
        (lambda: torch.ones(3, dtype=torch.complex64), "complex numbers"),
        (lambda: torch.ones(3, 3).to_sparse(), "a sparse_coo tensor"),
        (lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]), "a nested tensor"),
        (quantised, "a quantised tensor"),
        (lambda: torch.ones(3, device="meta"), "a tensor on the meta device"),
        (lambda: torch.ones(3).as_subclass(Sharded), "a Sharded"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_which_tensors_are_read(make, why):
    assert why_unreadable(make()) == why


def test_a_tensor_inside_of_vmap_is_not_read():
    seen = []
    torch.func.vmap(lambda x: seen.append(why_unreadable(x)) or x)(torch.ones(2, 3))
    torch.func.vmap(lambda x: seen.append(why_unreadable(x.int())) or x)(torch.ones(2, 3))
    assert seen == ["a tensor inside of vmap, grad or jvp"] * 2


def test_the_tensors_in_an_output_in_their_order():
    @dataclass
    class Output:
        b: Tensor
        a: Any = None

    t = [torch.full((2,), float(i)) for i in range(6)]
    output = {"x": (t[0], [t[1], None, 3]), "y": Output(t[2], {"z": t[3]}), "n": torch.arange(3), "w": t[4]}
    assert [float(found[0]) for found in tensors(output)] == [0, 1, 2, 3, 4]
    assert tensors(t[5]) == [t[5]] and tensors(Output) == tensors(None) == tensors("text") == []


def test_names_and_order_of_columns():
    columns = Columns()
    assert columns.named("a", 1, 1) == ["a"] and columns.named("a", 2, 1) == ["a#2"]
    assert columns.named("a", 1, 2) == ["a[0]", "a[1]"] and columns.named("a", 3, 2) == ["a#3[0]", "a#3[1]"]
    columns.kinds = dict(a="Linear", b="Tanh", c="Linear", d="Block")
    columns.passing_on.add("d")
    columns.add({"c": "c", "c#2": "c", "a": "a"}, in_order_of_listing=False)
    assert list(columns.items()) == [("c", "c"), ("c#2", "c"), ("a", "a"), ("b", "b")]
    columns.add({"a#2": "a", "c": "c"}, in_order_of_listing=False)  # what comes later is put at the end
    assert list(columns) == ["c", "c#2", "a", "b", "a#2"]
    listed = Columns()
    listed.kinds = columns.kinds
    listed.add({"c": "c", "a": "a"}, in_order_of_listing=True)
    assert list(listed) == ["a", "b", "c", "d"]


def test_which_activations_belong_to_the_output():
    columns = Columns()
    kinds = dict(a="Linear", b="Tanh", c="Linear", d="Dropout", e="Sigmoid")
    columns.kinds = kinds
    columns.add({name: name for name in kinds}, in_order_of_listing=True)
    assert columns.behind_the_last(list(kinds), [""]) == ["d", "e"]
    assert columns.behind_the_last(["b", "d"], [""]) == []  # nothing computes: nothing is behind it
    assert columns.behind_the_last(list(kinds), ["a", "b", "c", "d"]) == []
    assert columns.behind_the_last(["a", "b", "c"], [""]) == []
    assert columns.behind_the_last([], [""]) == []


# -- the loss ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [2.5, np.float32(2.5), torch.tensor(2.5), torch.tensor([[2.5]]), True + 1.5])
def test_a_loss_is_one_number(loss):
    assert number(loss) == 2.5 and isinstance(number(loss), float)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (torch.zeros(2), r"the loss has shape \(2,\): give one number, for example loss.mean\(\)"),
        (torch.zeros(0), r"the loss has shape \(0,\)"),
        (None, "the loss is a NoneType: give a number or a tensor of one"),
        ("low", "the loss is a str"),
        ([1.0], "the loss is a list"),
    ],
)
def test_what_is_no_loss_is_refused(loss, message):
    with pytest.raises(ValueError, match=message):
        number(loss)


def logits(*shape: int) -> Tensor:
    return torch.randn(shape, requires_grad=True)


@pytest.mark.skipif(not hasattr(logits(1).sum().grad_fn, "_input_metadata"), reason="an older torch")
def test_classes_are_those_of_a_mean_cross_entropy():
    y = torch.tensor([1, 2, 0])
    assert classes(F.cross_entropy(logits(3, 7), y)) == 7
    assert classes(F.cross_entropy(logits(7), y[0])) == 7  # a single example
    assert classes(F.cross_entropy(logits(3, 7, 2, 2), torch.zeros(3, 2, 2).long())) == 7
    assert classes(F.nll_loss(logits(3, 7).log_softmax(1), y)) == 7
    for other in (
        F.cross_entropy(logits(3, 7), y, reduction="sum"),
        F.cross_entropy(logits(3, 7), y, reduction="none")[0],
        F.cross_entropy(logits(3, 7), y) * 1.0,
        F.mse_loss(logits(3, 7), torch.zeros(3, 7)),
        F.cross_entropy(torch.randn(3, 7), y),
        2.5,
    ):
        assert classes(other) is None


# -- tables -----------------------------------------------------------------------------------------------


def rows_of(capacity: int, memory: int = 10**9, interval: int = 1) -> Rows:
    return Rows(capacity, memory, interval, value=np.zeros(2, np.float32), count=np.zeros(2, np.int32))


def test_the_size_of_a_table():
    one_row = 2 * 4 + 2 * 4 + 8  # value, count and step
    for capacity, memory, rows in (
        (9, 10**9, 8),
        (8, 10**9, 8),
        (1, 10**9, 2),
        (100, 7 * one_row, 6),
        (100, 0, 2),
    ):
        table = rows_of(capacity, memory)
        assert table.capacity == rows and table.nbytes == rows * one_row and len(table) == 0


def test_a_table_keeps_every_second_row_when_it_is_full():
    table = rows_of(4, interval=5)
    for step in range(0, 20, 5):
        table.append(step, value=step, count=step + 1)
    assert table["step"].tolist() == [0, 5, 10, 15] and table.interval == 5
    table.append(20, value=20, count=21)
    assert table["step"].tolist() == [0, 10, 20] and table.interval == 10 and len(table) == 3
    assert table["value"].tolist() == [[0, 0], [10, 10], [20, 20]] and table["count"][:, 0].tolist() == [
        1,
        11,
        21,
    ]


def test_the_second_row_of_a_step_takes_the_place_of_the_first():
    table = rows_of(4)
    for step, value in ((0, 1), (0, 2), (1, 3), (1, 4), (3, 5), (4, 6)):
        table.append(step, value=value, count=0)
    assert table["step"].tolist() == [0, 1, 3, 4] and table["value"][:, 0].tolist() == [2, 4, 5, 6]
    table.append(4, value=7, count=0)  # when it is full, too
    assert table["step"].tolist() == [0, 1, 3, 4] and table["value"][-1].tolist() == [7, 7]
    assert table.interval == 1


def test_more_columns_have_nan_or_no_counts_in_old_rows():
    table = rows_of(4)
    table.append(0, value=1, count=2)
    table.widen(1, 2, "value", "count")
    table.append(1, value=3, count=4)
    np.testing.assert_array_equal(table["value"], [[1, 1, np.nan, np.nan], [3, 3, 3, 3]])
    assert table["count"].tolist() == [[2, 2, 0, 0], [4, 4, 4, 4]] and table["step"].tolist() == [0, 1]
    copied = pickle.loads(pickle.dumps(table))
    assert len(copied) == copied.capacity == 2 and copied.interval == 1
    np.testing.assert_array_equal(copied["value"], table["value"])
    empty = pickle.loads(pickle.dumps(rows_of(4)))
    assert len(empty) == 0 and empty.capacity == 2 and empty["value"].shape == (0, 2)


# -- plain layers -----------------------------------------------------------------------------------------


def test_the_parameters_of_a_plain_layer_have_their_attributes_names():
    layer = Linear(2, 3)
    assert list(parameters_of("0 Linear", layer)) == ["0 Linear weight", "0 Linear bias"]

    class Scaled:
        def __init__(self):
            self.gain, self.scales = torch.ones(1), [torch.ones(1), torch.ones(2)]

        def parameters(self):
            return [self.scales[0], self.gain, self.scales[1]]

    assert list(parameters_of("S", Scaled())) == ["S 0", "S gain", "S 2"]
    assert parameters_of("1 Tanh", object.__new__(type("Bare", (), {}))) == {}


def test_a_plain_layer_is_taken_once_for_each_call():
    columns = Columns()
    watch, layer, other = PlainWatch(columns), Linear(2, 2), Tanh()
    assert watch.add("0", layer) and watch.add("1", other) and not watch.add("2", layer)
    assert columns.kinds == {"0": "Linear", "1": "Tanh"} and watch.without_out() == "0"
    layer.weight.requires_grad = True
    layer(torch.ones(3, 2))
    assert watch.without_out() is None
    assert [name for name, _ in watch.taken()] == ["0"]
    assert [name for name, _ in watch.taken()] == ["0"]  # looking changes nothing
    watch.retain()
    out = layer.out
    assert out.retains_grad
    layer(torch.zeros(3, 2))  # after retain, the call that was retained counts
    [(_, [seen])] = taken = watch.taken()
    assert seen is out
    watch.forget(taken)
    layer.out = out
    assert watch.taken() == []  # it has been taken already
    with torch.no_grad():
        out.add_(1)  # overwritten: a new call
    assert [name for name, _ in watch.taken()] == ["0"]
    layer.out = (out, torch.ones(2))  # two where there was one
    watch.forget([("0", [out])])
    assert [name for name, _ in watch.taken()] == ["0"]


# -- parameters -------------------------------------------------------------------------------------------


def watch_of(*parameters: Tensor, method: str = "norm") -> tuple[ParameterWatch, dict[str, str]]:
    skipped: dict[str, str] = {}
    names = {id(p): name for p, name in zip(parameters, "abcdef")}
    return ParameterWatch(parameters, names, method, skipped.setdefault), skipped


def test_what_is_known_of_parameters():
    a, b, c = torch.ones(2, 3, requires_grad=True), torch.ones(2), torch.ones(1, dtype=torch.bfloat16)
    watch = ParameterWatch([a, b, c], {id(b): "bias"}, "norm", lambda *_: None)
    assert watch.names == ["parameter 0", "bias", "parameter 2"]
    assert watch.shapes == [(2, 3), (2,), (1,)] and watch.dtypes == ["float32", "float32", "bfloat16"]
    assert watch.trainable.tolist() == [True, False, False]
    b.requires_grad = True
    assert watch.gradients() == [None, None, None] and watch.trainable.tolist() == [True, True, False]


def test_gradients_that_can_be_read():
    a, b, c, d = (torch.ones(2, 2, requires_grad=True) for _ in range(4))
    a.grad, c.grad = torch.full((2, 2), 2.0), torch.eye(2).to_sparse()
    not_a_leaf = d * 2
    gone = torch.ones(2, requires_grad=True)
    complex_ = torch.ones(2, dtype=torch.complex64, requires_grad=True)
    complex_.grad = torch.full((2,), 1j)
    watch, skipped = watch_of(gone, a, b, c, not_a_leaf, complex_)
    del gone
    first, *found = watch.gradients()
    assert first is None and found[0] is a.grad and found[1] is None and torch.equal(found[2], torch.eye(2))
    assert found[3] is None and found[4] is complex_.grad and skipped == {}
    sharded = torch.ones(2).as_subclass(Sharded).requires_grad_()
    sharded.grad = torch.ones(2).as_subclass(Sharded)
    watch, skipped = watch_of(sharded, a)
    assert watch.gradients() == [None, a.grad] and skipped == {"a": "a Sharded"}


@pytest.mark.parametrize("method", ["norm", "std"])
@pytest.mark.parametrize(
    "dtypes", [[torch.float32] * 3, [torch.bfloat16] * 3, [torch.float32, torch.float64, torch.bfloat16]]
)
def test_ratios_are_those_of_torch(method, dtypes):
    ps = [torch.randn(3, 4).to(d).requires_grad_() for d in dtypes]
    for p in ps[:2]:
        p.grad = torch.randn(3, 4).to(p.dtype)
    watch, _ = watch_of(*ps, method=method)
    size = (lambda t: t.double().norm()) if method == "norm" else (lambda t: t.double().std())
    expected = [float(size(p.grad) / size(p.detach())) for p in ps[:2]] + [np.nan]
    data, update = watch.ratios(watch.gradients(), 0.25)
    np.testing.assert_allclose(data, expected, rtol=1e-5)
    np.testing.assert_allclose(update, 0.25 * np.array(expected), rtol=1e-5)
    assert np.isnan(watch.ratios(watch.gradients(), None)[1]).all()
    optimizer = torch.optim.SGD(ps, 0.5)
    handles = watch.attach([optimizer])
    assert watch.ratios(watch.gradients(), 0.25)[1] is None  # no update has come
    before = [p.detach().clone() for p in ps]
    optimizer.step()
    true = [float(size(p.detach() - b) / size(p.detach())) for p, b in zip(ps[:2], before)]
    np.testing.assert_allclose(watch.ratios(watch.gradients(), 0.25)[1][:2], true, rtol=1e-4)
    assert watch.stepped == [1] and watch.rate == 0.5 and watch.rates == [0.5]
    watch.wants_update, watch.before = False, None
    optimizer.step()
    assert watch.before is None and watch.stepped == [2]  # it counts, and copies nothing
    handles[0].remove()


def test_fingerprints_change_with_any_bit():
    ps = [
        torch.zeros(3),
        torch.zeros(3),
        torch.zeros(2, dtype=torch.float64),
        torch.zeros(2).bfloat16(),
        torch.zeros(0),
        torch.zeros(2).to(torch.float8_e4m3fn),
    ]
    watch, _ = watch_of(*ps)
    first = watch.fingerprints()
    for i in range(4):
        ps[i][-1] = ps[i][-1].nextafter(torch.ones_like(ps[i][-1])) if i < 3 else 1e-30
        now = watch.fingerprints()
        assert (now != first).tolist() == [j == i for j in range(6)]
        first = now
    assert watch.fingerprints().tolist() == first.tolist() and first[4:].tolist() == [0, 0]
