"""What Monitor keeps of a tensor, against numpy and torch; and the code for a GPU, run on the CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from zth_helpers.monitor import on_device, statistics
from zth_helpers.monitor.statistics import BINS, Statistics, summarise, usual_axis


@pytest.mark.parametrize("shape", [(32, 100), (7,), (3, 4, 5), (2, 3, 4, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_summary_equals_torch(shape, dtype):
    a, b = (torch.randn(shape, generator=torch.Generator().manual_seed(s)).to(dtype) for s in (0, 1))
    numbers, counts = summarise([a, None, b, torch.empty(0, 3)])
    assert np.isnan(numbers[[1, 3]]).all() and not counts[[1, 3]].any()
    for i, t in ((0, a.float()), (2, b.float())):
        mean, std, _, _, nonfinite, lo, hi = numbers[i]
        np.testing.assert_allclose(
            [mean, std, lo, hi], [t.mean(), t.std(), t.min(), t.max()], rtol=1e-5, atol=1e-7
        )
        assert nonfinite == 0 and counts[i].sum() == t.numel()
        oracle = torch.histogram(t.flatten(), BINS, range=(t.min().item(), t.max().item())).hist
        assert np.abs(np.cumsum(counts[i]) - np.cumsum(oracle.numpy())).max() <= 1  # a value on a border


@pytest.mark.parametrize(
    "kind, flat", [("Tanh", lambda t: t.abs() > 0.97), ("Sigmoid", lambda t: (t - 0.5).abs() > 0.485)]
)
def test_saturated_share_equals_the_lectures(kind, flat):
    t = getattr(torch, kind.lower())(3 * torch.randn(32, 50, generator=torch.Generator().manual_seed(0)))
    t[:, :3] = 1.0  # three units that are flat for every example
    numbers, _ = summarise([t, t, torch.zeros(3, 3)], [kind, "Linear", "Embedding"])
    assert numbers[0, 2] == pytest.approx(flat(t).float().mean().item(), rel=1e-6)
    assert numbers[0, 3] == pytest.approx(3 / 50)
    assert np.isnan(numbers[1:, 2:4]).all()  # no such thing for a linear layer


@pytest.mark.parametrize(
    "shape, dead", [((8, 10), (slice(None), 4)), ((8, 10, 3, 3), (slice(None), 4)), ((8, 5, 10), (..., 4))]
)
def test_dead_share_of_relu_counts_units_that_no_example_lights(shape, dead):
    t = torch.rand(shape, generator=torch.Generator().manual_seed(0)) + 0.1
    t[0] = 0  # one dark example kills no unit
    t[dead] = 0
    assert summarise([t], ["ReLU"])[0][0, 2] == pytest.approx(1 / 10)


def test_nonfinite_huge_and_tiny_values_are_counted_apart_or_scaled():
    t = torch.tensor([1.0, torch.nan, 3.0, torch.inf, -torch.inf, 2.0])
    huge, tiny = 1e30 * torch.tensor([1.0, 2.0, 4.0]), 1e-30 * torch.tensor([1.0, 2.0, 4.0])
    numbers, counts = summarise([t, t.flip(0), torch.full((6,), torch.nan), huge, tiny, torch.ones(3)])
    for i in (0, 1):
        np.testing.assert_allclose(numbers[i], [2, 1, np.nan, np.nan, 3, 1, 3], rtol=1e-6)
    assert numbers[2, 4] == 6 and np.isnan(numbers[2, 0])
    assert counts.sum(1).tolist() == [3, 3, 0, 3, 3, 3]
    for i, size in ((3, 1e30), (4, 1e-30)):
        np.testing.assert_allclose(numbers[i, [0, 1]], [7 / 3 * size, 1.5275252 * size], rtol=1e-5)
    assert numbers[5, [0, 1]].tolist() == [1, 0]


def test_one_element_has_no_std_and_no_warning():
    with np.errstate(all="raise"):
        numbers, counts = summarise([torch.tensor([2.0])])
    assert numbers[0, 0] == 2 and np.isnan(numbers[0, 1]) and counts.sum() == 1


def test_where_units_usually_are():
    assert [usual_axis(axes) for axes in range(6)] == [0, 0, 1, 2, 1, 1]


def test_usual_values_are_reduced_together(monkeypatch):
    """Each of them one by one, in double, would cost many times as much; only what needs it is."""
    slow = []
    real = statistics._carefully
    monkeypatch.setattr(statistics, "_carefully", lambda t, *rest: slow.append(t) or real(t, *rest))
    unit = torch.linspace(-0.5, 0.5, 12)
    usual = [unit, torch.full((12,), 3.0), torch.zeros(12), 1.1e-12 * unit, 0.9e15 * unit]
    numbers, counts = summarise(usual)
    assert slow == [] and (counts.sum(1) == 12).all()
    np.testing.assert_allclose(numbers[:, 1], [t.double().std() for t in usual], rtol=1e-5)
    unusual = [0.9e-12 * unit, 1.1e15 * unit, torch.cat([unit[:11], torch.tensor([torch.nan])])]
    numbers, counts = summarise(unusual)
    assert len(slow) == 3
    np.testing.assert_allclose(numbers[:2, 1], [t.double().std() for t in unusual[:2]], rtol=1e-5)
    assert counts[:2].tolist() == [summarise([unit])[1][0].tolist()] * 2 and counts[2].sum() == 11
    assert not summarise(unusual, histograms=False)[1].any()


def test_large_tensors_are_reduced_one_at_a_time(monkeypatch):
    """Side by side they would take twice the memory; small ones are cheaper side by side."""
    blocks: list[int] = []
    real = statistics._as_block
    monkeypatch.setattr(statistics, "_as_block", lambda alike: blocks.append(len(alike)) or real(alike))
    summarise([torch.rand(2**10, 2**10), torch.rand(2**10, 2**10)])
    summarise([torch.rand(2**20 + 1), torch.rand(2**20 + 1)])
    assert blocks == [2, 1, 1]


@pytest.mark.parametrize("values", [[0.0, 1.0], [-3.0, 5.0, 5.0], [2.0, 2.0], [-1.0, -0.49, 0.03, 0.5, 1.0]])
def test_histograms_of_few_values(values):
    t = torch.tensor(values)
    numbers, counts = summarise([t])
    lo, hi = min(values), max(values)
    expected = np.zeros(BINS, int)
    for v in values:
        expected[min(BINS - 1, int((v - lo) / ((hi - lo) or 1) * BINS))] += 1
    assert counts[0].tolist() == expected.tolist() and numbers[0, 1] == pytest.approx(t.std().item())
    shown = Statistics(("lo", "hi"), numbers[None, :, -2:], counts[None])
    assert shown.edges.shape == (1, 1, BINS + 1)
    np.testing.assert_allclose(shown.edges[0, 0], np.linspace(lo, hi, BINS + 1), atol=1e-6)


def test_units_lie_on_the_axis_that_is_given():
    t = torch.ones(4, 5, 6)
    t[:, 2] = 0  # one of five on axis 1
    t[:, :, 3:5] = 0  # two of six on axis 2
    t[1] = 0  # one of four on axis 0
    found = summarise([t] * 4, ["ReLU"] * 4, [0, 1, 2, None])[0][:, statistics.DEAD]
    np.testing.assert_allclose(found, [1 / 4, 1 / 5, 2 / 6, 2 / 6], rtol=1e-6)
    vector = summarise([torch.zeros(5), torch.tensor(0.0)], ["ReLU", "ReLU"])[0]
    assert np.isnan(vector[:, [statistics.SATURATED, statistics.DEAD]]).all()  # no examples, no dead units


def test_statistics_do_not_change_what_they_look_at():
    ts = [torch.randn(3, 4), torch.randn(3, 4), torch.randn(5), torch.tensor([1.0, torch.nan])]
    before = [t.clone() for t in ts]
    summarise(ts, extra=[lambda values: values.fill(0) or 0.0])
    for t, b in zip(ts, before):
        assert torch.equal(t.nan_to_num(9), b.nan_to_num(9))


def test_an_extra_statistic_gets_flat_float32_values():
    got = []
    ts = [torch.arange(6.0).view(2, 3).double(), torch.ones(2, 2).bfloat16(), None]
    numbers, _ = summarise(ts, extra=[lambda v: got.append((v.dtype, v.shape)) or v.max(), np.sum])
    assert got == [(np.float32, (6,)), (np.float32, (4,))] and numbers.shape == (3, 9)
    np.testing.assert_array_equal(numbers[:, 7:], [[5, 15], [1, 4], [np.nan, np.nan]])


@pytest.mark.parametrize("piece", [7, 64, 2**22])
def test_what_a_gpu_does_piece_by_piece(piece, monkeypatch):
    """On the CPU; against numpy."""
    monkeypatch.setattr(on_device, "PIECE", piece)
    block = torch.stack(
        [torch.randn(100), 5 + 0.1 * torch.randn(100), torch.zeros(100), torch.full((100,), torch.nan)]
    )
    moments, usual = on_device.moments(block)
    assert usual.tolist() == [True, True, True, False]
    for row, (lo, hi, mean, square) in zip(block[:3].double().numpy(), moments.T):
        assert [lo, hi] == [row.min(), row.max()] and mean == pytest.approx(row.mean(), abs=1e-6)
        assert square == pytest.approx(((row - row.mean()) ** 2).sum(), rel=1e-4)
    for values, is_usual in ((1.1e-12, True), (0.9e-12, False), (0.9e15, True), (1.1e15, False)):
        row = torch.tensor([[0.0, values]])
        assert on_device.moments(row)[1].tolist() == [is_usual]
    rows = block[:2]
    lo, spread = rows.amin(1).numpy(), (rows.amax(1) - rows.amin(1)).numpy()
    counts = on_device.counts(rows, lo, (10 - 1e-4) / spread, 10)
    expected = [np.histogram(row, 10)[0] for row in rows.numpy()]
    assert counts.shape == (2, 10) and np.abs(np.cumsum(counts, 1) - np.cumsum(expected, 1)).max() <= 1


ODD = {
    "normal": torch.randn(32, 20),
    "transposed": torch.randn(20, 32).T,
    "constant": torch.full((32, 20), 3.0),
    "with nan and inf": torch.tensor([[1.0, torch.nan], [torch.inf, -2.0]]),
    "all nan": torch.full((3, 2), torch.nan),
    "huge": torch.randn(8, 8) * 1e30,
    "tiny": torch.randn(8, 8) * 1e-30,
    "half": torch.randn(32, 20).bfloat16(),
    "double": torch.randn(32, 20).double(),
    "one value": torch.tensor(2.0),
    "images": torch.randn(4, 3, 5, 5),
    "large": torch.randn(40, 30_000),
}


def test_what_is_reduced_on_a_gpu_is_what_is_reduced_here(monkeypatch):
    """The code for a GPU, run on the CPU, for tensors of every kind; some share a shape, and so a block."""
    usual = [torch.linspace(-1, 2, t.numel()).reshape(t.shape).to(t.dtype) for t in ODD.values()]
    tensors = [t for odd, u in zip(ODD.values(), usual) for t in (odd, odd * 0.5, u)]
    tensors += [None, torch.zeros(0)]
    kinds = (["Tanh", "ReLU", "Sigmoid", "", "ReLU"] * len(tensors))[: len(tensors)]
    expected, counted = statistics.summarise(tensors, kinds)
    real = statistics._as_block
    monkeypatch.setattr(statistics, "_as_block", lambda alike: torch.as_tensor(real(alike)))
    numbers, counts = statistics.summarise(tensors, kinds)
    np.testing.assert_allclose(numbers, expected, rtol=2e-5, atol=1e-6)
    assert (counts.sum(1) == counted.sum(1)).all()
    assert np.abs(counts - counted).sum() <= 1e-3 * counted.sum()  # a value at a border may change its bin
    assert not statistics.summarise(tensors, kinds, histograms=False)[1].any()
