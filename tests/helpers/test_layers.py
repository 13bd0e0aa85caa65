"""The layers against torch.nn, and the classes of notebook 04 against the package's."""

from pathlib import Path

import nbformat
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from zth_helpers import layers as L

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "04_batchnorm.ipynb"
CLASSES = ("Linear", "BatchNorm1d", "Tanh")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def backward_equal(ours, theirs, pairs, atol=1e-10):
    """Sends one random gradient back through both results and compares the gradients of each pair."""
    torch.testing.assert_close(ours, theirs, atol=atol, rtol=0)
    sent = torch.randn(ours.shape, generator=seeded(9), dtype=ours.dtype)
    left = torch.autograd.grad(ours, [a for a, _ in pairs], sent)
    right = torch.autograd.grad(theirs, [b for _, b in pairs], sent)
    for a, b in zip(left, right):
        torch.testing.assert_close(a, b if a.shape == b.shape else b.T, atol=atol, rtol=0)


def normal(*shape, seed=1):
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


# -- Linear, Tanh, Embedding ---------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(32, 30), (4, 5, 30), (2, 3, 4, 30), (1, 30), (0, 30)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_is_torchs(shape, bias):
    ours, theirs = L.Linear(30, 7, bias=bias, generator=seeded()), nn.Linear(30, 7, bias=bias).double()
    ours.weight = ours.weight.double().requires_grad_()
    theirs.weight.data = ours.weight.detach().T.contiguous()
    pairs = [(ours.weight, theirs.weight)]
    if bias:
        ours.bias = normal(7).requires_grad_()
        theirs.bias.data = ours.bias.detach().clone()
        pairs.append((ours.bias, theirs.bias))
    x = normal(*shape).requires_grad_()
    backward_equal(ours(x), theirs(x), [*pairs, (x, x)])
    assert ours.out.shape == (*shape[:-1], 7)
    assert [id(p) for p in ours.parameters()] == [id(a) for a, _ in pairs]


def test_linear_starts_with_the_scale_of_its_fan_in_and_no_bias():
    layer = L.Linear(400, 500, generator=seeded())
    assert layer.weight.std().item() == pytest.approx(400**-0.5, rel=0.01)
    assert layer.weight.mean().abs() < 1e-3 and not layer.bias.any()


def test_linear_draws_from_the_generator_it_is_given():
    first, again = L.Linear(5, 6, generator=seeded(3)), L.Linear(5, 6, generator=seeded(3))
    assert first.weight.equal(again.weight)
    assert first.weight.equal(torch.randn((5, 6), generator=seeded(3)) / 5**0.5)


def test_tanh_is_torchs():
    x = normal(4, 5, 6).requires_grad_()
    layer = L.Tanh()
    backward_equal(layer(x), nn.Tanh()(x), [(x, x)])
    assert layer.parameters() == [] and layer.out is not None


def test_embedding_is_torchs_and_adds_the_gradients_of_repeated_rows():
    ours, theirs = L.Embedding(27, 10, generator=seeded()), nn.Embedding(27, 10).double()
    ours.weight = ours.weight.double().requires_grad_()
    theirs.weight.data = ours.weight.detach().clone()
    ix = torch.randint(0, 27, (32, 8), generator=seeded(2))
    backward_equal(ours(ix), theirs(ix), [(ours.weight, theirs.weight)])
    assert ours.out.shape == (32, 8, 10)


# -- BatchNorm1d ---------------------------------------------------------------------------------------------


def normed_like_ours(x, theirs: nn.BatchNorm1d, values: int):
    """torch normalises with the biased variance: the same once its eps and gain make up for it."""
    bessel = (values - 1) / values
    eps, theirs.eps = theirs.eps, theirs.eps * bessel  # (biased + eps·(n-1)/n) = (unbiased + eps)·(n-1)/n
    gain = theirs.weight * bessel**0.5
    channels_second = x.movedim(-1, 1)
    out = F.batch_norm(channels_second, None, None, gain, theirs.bias, training=True, eps=theirs.eps)
    theirs.eps = eps
    return out.movedim(1, -1)


@pytest.mark.parametrize("shape", [(32, 5), (2, 5), (8, 4, 5), (1, 2, 5)])
@pytest.mark.parametrize("eps", [1e-5, 0.1])
def test_batchnorm_in_training_is_torchs_but_for_bessels_correction(shape, eps):
    ours, theirs = L.BatchNorm1d(5, eps=eps), nn.BatchNorm1d(5, eps=eps).double()
    ours.gamma, ours.beta = normal(5, seed=2).requires_grad_(), normal(5, seed=3).requires_grad_()
    theirs.weight.data, theirs.bias.data = ours.gamma.detach().clone(), ours.beta.detach().clone()
    x = (3 * normal(*shape) + 7).requires_grad_()
    values = x[..., 0].numel()
    pairs = [(ours.gamma, theirs.weight), (ours.beta, theirs.bias), (x, x)]
    backward_equal(ours(x), normed_like_ours(x, theirs, values), pairs, atol=1e-9)
    assert [id(p) for p in ours.parameters()] == [id(ours.gamma), id(ours.beta)]
    assert not ours.running_mean.requires_grad and not ours.running_var.requires_grad  # no graph is kept


@pytest.mark.parametrize("shape", [(32, 5), (8, 4, 5)])
@pytest.mark.parametrize("momentum", [0.1, 0.001, 1.0])
def test_running_statistics_and_evaluation_are_torchs(shape, momentum):
    ours, theirs = L.BatchNorm1d(5, momentum=momentum), nn.BatchNorm1d(5, momentum=momentum).double()
    for seed in range(20):
        x = 2 * normal(*shape, seed=seed) - 1
        ours(x)
        theirs(x.movedim(-1, 1))
    torch.testing.assert_close(ours.running_mean.double(), theirs.running_mean, atol=1e-6, rtol=0)
    torch.testing.assert_close(ours.running_var.double(), theirs.running_var, atol=1e-6, rtol=0)
    ours.training = False
    theirs.eval()
    frozen = ours.running_mean.clone()
    x = normal(*shape, seed=99)
    torch.testing.assert_close(ours(x), theirs(x.movedim(-1, 1)).movedim(1, -1), atol=1e-6, rtol=0)
    assert ours.running_mean.equal(frozen)
    assert ours(x[:1]).equal(ours(x)[:1])  # nobody's company matters any more


def test_three_axes_are_normalised_together():
    out = L.BatchNorm1d(5)(3 * normal(8, 4, 5) + 2)
    assert out.mean((0, 1)).abs().max() < 1e-9
    assert (out.var((0, 1)) - 1).abs().max() < 1e-4


def test_a_constant_channel_gives_zeros_not_nan():
    x = normal(16, 3)
    x[:, 1] = 4
    out = L.BatchNorm1d(3)(x)
    assert out.isfinite().all() and not out[:, 1].any()


@pytest.mark.parametrize("shape", [(1, 3), (1, 1, 3), (0, 3)])
def test_one_value_per_channel_is_refused_and_leaves_the_running_statistics_alone(shape):
    layer = L.BatchNorm1d(3)
    layer(normal(8, 3))
    mean, var = layer.running_mean.clone(), layer.running_var.clone()
    with pytest.raises(ValueError, match=r"at least 2 values per channel.*training = False"):
        layer(torch.zeros(shape))
    assert layer.running_mean.equal(mean) and layer.running_var.equal(var)
    layer.training = False
    assert layer(torch.zeros(shape)).shape == shape


# -- FlattenConsecutive, Sequential --------------------------------------------------------------------------


@pytest.mark.parametrize("n, shape", [(2, (4, 4, 20)), (4, (4, 2, 40)), (8, (4, 80)), (1, (4, 8, 10))])
def test_flatten_consecutive_concatenates_neighbours(n, shape):
    x = normal(4, 8, 10)
    out = L.FlattenConsecutive(n)(x)
    assert out.shape == shape
    expected = torch.cat([x[:, i::n] for i in range(n)], dim=-1)  # the lecture's own first way
    assert out.equal(expected.squeeze(1) if n == 8 else expected)


def test_flatten_consecutive_keeps_a_batch_of_one():
    assert L.FlattenConsecutive(2)(normal(1, 8, 10)).shape == (1, 4, 20)
    assert L.FlattenConsecutive(8)(normal(1, 8, 10)).shape == (1, 80)


def test_flatten_consecutive_refuses_a_length_that_does_not_divide():
    with pytest.raises(ValueError, match=r"FlattenConsecutive\(3\).*length of 8"):
        L.FlattenConsecutive(3)(normal(4, 8, 10))


def test_sequential_runs_in_order_lists_parameters_and_switches_every_norm():
    inner = L.Sequential([L.Linear(6, 6, bias=False, generator=seeded()), L.BatchNorm1d(6)])
    outer = L.Sequential([inner, L.Tanh(), L.BatchNorm1d(6), L.Linear(6, 2, generator=seeded(1))])
    x = torch.randn((8, 6), generator=seeded(2))
    by_hand = x
    for layer in (*inner.layers, *outer.layers[1:]):
        by_hand = layer(by_hand)
    assert outer(x).equal(by_hand) and outer.out.equal(by_hand)
    assert [tuple(p.shape) for p in outer.parameters()] == [(6, 6), (6,), (6,), (6,), (6,), (6, 2), (2,)]
    norms = [inner.layers[1], outer.layers[2]]
    assert outer.eval() is outer and [n.training for n in norms] == [False, False]
    assert outer(x[:1]).shape == (1, 2)
    assert outer.train() is outer and [n.training for n in norms] == [True, True]


# -- the lecture's network, and notebook 04's own classes ----------------------------------------------------


def from_notebook() -> dict:
    """The classes as notebook 04 builds them, cell by cell."""
    namespace = {"torch": torch, "F": F}
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        if cell.cell_type == "code" and cell.source.startswith(tuple(f"class {name}" for name in CLASSES)):
            exec(cell.source, namespace)
    return namespace


def six_layers(kit: dict, batchnorm: bool):
    g = seeded(2147483647)
    C, layers, fan_in = torch.randn((27, 10), generator=g), [], 30
    for fan_out in (100, 100, 100, 100, 100, 27):
        layers.append(kit["Linear"](fan_in, fan_out, bias=not batchnorm, generator=g))
        layers += [kit["BatchNorm1d"](fan_out)] * batchnorm + [kit["Tanh"]()] * (fan_out == 100)
        fan_in = fan_out
    return g, C, layers, [C, *(p.requires_grad_() for layer in layers for p in layer.parameters())]


@pytest.mark.parametrize("batchnorm, count", [(True, 47_024), (False, 46_497)])
def test_the_lectures_network_has_the_lectures_number_of_parameters(batchnorm, count):
    *_, parameters = six_layers(vars(L), batchnorm)
    assert sum(p.nelement() for p in parameters) == count


def trained(kit: dict, batchnorm: bool):
    """Outputs, gradients, weights and running statistics after 20 steps; logits in evaluation."""
    g, C, layers, parameters = six_layers(kit, batchnorm)
    for _ in range(20):
        X, Y = torch.randint(0, 27, (32, 3), generator=g), torch.randint(0, 27, (32,), generator=g)
        x = C[X].view(32, -1)
        for layer in layers:
            x = layer(x)
        grads = torch.autograd.grad(F.cross_entropy(x, Y), parameters[1:])
        for p, grad in zip(parameters[1:], grads):
            p.data -= 0.1 * grad
    seen = [layer.out for layer in layers] + [*grads] + parameters
    norms = [layer for layer in layers if isinstance(layer, kit["BatchNorm1d"])]
    seen += [t for n in norms for t in (n.running_mean, n.running_var)]
    for n in norms:
        n.training = False
    x = C[X].view(32, -1)
    for layer in layers:
        x = layer(x)
    return [t.detach() for t in [*seen, x]]


@pytest.mark.parametrize("batchnorm", [True, False])
def test_the_classes_of_notebook_04_do_what_the_packages_do(batchnorm):
    for ours, theirs in zip(trained(from_notebook(), batchnorm), trained(vars(L), batchnorm), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)


def test_the_classes_of_notebook_04_have_the_same_defaults_and_refuse_the_same_batch():
    kit = from_notebook()
    assert set(CLASSES) <= set(kit)
    for name in ("eps", "momentum", "training"):
        assert getattr(kit["BatchNorm1d"](4), name) == getattr(L.BatchNorm1d(4), name)
    with pytest.raises(ValueError, match="at least 2"):
        kit["BatchNorm1d"](4)(torch.zeros(1, 4))
    assert kit["Linear"](3, 4, bias=False).bias is None
