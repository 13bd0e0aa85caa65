"""The functions of lesson 05, taken out of the notebook itself, against autograd and finite differences."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tools.lesson import definitions


@pytest.fixture(scope="module")
def nb() -> dict:
    """The functions that lesson 05 defines at top level, by name; none of its cells is run."""
    return definitions("05_backprop_ninja", n_embd=10, block_size=3, vocab_size=27)


@pytest.fixture(scope="module")
def beyond() -> dict:
    """The same of its sequel."""
    return definitions("beyond/05_backprop_ninja", seed=5)


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(shape, generator=g, dtype=dtype)


def same(mine: torch.Tensor, true: torch.Tensor) -> None:
    """Equal shapes, and values up to the rounding of float64."""
    torch.testing.assert_close(mine, true, rtol=1e-10, atol=1e-13)


def by_hand(forward, backward):
    """An autograd function whose backward is ours: gradcheck then compares it with finite differences."""

    class ByHand(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *inputs):
            ctx.save_for_backward(*inputs)
            return forward(*inputs)

        @staticmethod
        def backward(ctx, dy):
            grads = backward(dy, *ctx.saved_tensors)
            return grads if isinstance(grads, tuple) else (grads,)

    return ByHand.apply


def gradcheck(forward, backward, *inputs) -> bool:
    return torch.autograd.gradcheck(by_hand(forward, backward), [x.requires_grad_() for x in inputs])


# --- cmp ---------------------------------------------------------------------------------------------


def with_grad(grad: torch.Tensor) -> torch.Tensor:
    t = torch.zeros_like(grad, requires_grad=True)
    t.grad = grad
    return t


def test_cmp_accepts_the_right_answer_and_rounding(nb, capsys):
    grad = normal(4, 5, dtype=torch.float32)
    assert nb["cmp"]("a", grad.clone(), with_grad(grad))
    assert nb["cmp"]("b", grad * (1 + 1e-6), with_grad(grad))
    expected = "a | shape: True | approximate: True | maxdiff: < 1e-07"
    assert capsys.readouterr().out.splitlines()[0].split() == expected.split()


@pytest.mark.parametrize("dtype, wrong", [(torch.float32, 1e-4), (torch.float64, 1e-8)])
def test_cmp_refuses_a_wrong_value(nb, capsys, dtype, wrong):
    grad = normal(4, 5, dtype=dtype)
    mine = grad.clone()
    mine[2, 3] += wrong
    assert not nb["cmp"]("wrong", mine, with_grad(grad))
    assert "shape: True  | approximate: False" in capsys.readouterr().out
    assert not nb["cmp"]("nan", grad * float("nan"), with_grad(grad))


@pytest.mark.parametrize("shape", [(5,), (1, 1, 5), (5, 1), (4, 5), (3,)])
def test_cmp_refuses_a_wrong_shape_even_with_the_right_values(nb, capsys, shape):
    assert not nb["cmp"]("shape", torch.ones(shape), with_grad(torch.ones(1, 5)))
    assert "shape: False" in capsys.readouterr().out


def test_cmp_says_what_to_do_when_no_gradient_was_kept(nb, capsys):
    assert not nb["cmp"]("h", torch.ones(3), torch.ones(3))
    assert "call retain_grad()" in capsys.readouterr().out


# --- the formulas of exercises 2 and 3 --------------------------------------------------------------------


@pytest.mark.parametrize("n, k", [(1, 2), (5, 27), (32, 3)])
def test_logits_gradient(nb, n, k):
    Y = torch.arange(n) % k

    def forward(z):
        return F.cross_entropy(z, Y)

    assert gradcheck(forward, lambda dy, z: dy * nb["cross_entropy_backward"](z, Y), normal(n, k))


def batch_norm(x, gain, eps=1e-5):
    """With the unbiased variance, as the lecture has it; torch's own layer takes the biased one."""
    return gain * (x - x.mean(0)) / (x.var(0) + eps).sqrt()


@pytest.mark.parametrize("n, c", [(2, 3), (7, 5), (33, 1)])
def test_batch_norm_gradient(nb, n, c):
    gain = normal(1, c, seed=1)

    def backward(dy, x):
        r = (x.var(0, keepdim=True) + 1e-5) ** -0.5
        return nb["batchnorm_backward"](dy, gain, (x - x.mean(0, keepdim=True)) * r, r)

    assert gradcheck(lambda x: batch_norm(x, gain), backward, normal(n, c))


# --- exercise 4 -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 7, 32])
def test_the_seven_gradients(nb, n):
    """Against autograd on a network written differently, in float64; the letters repeat within the batch."""
    g = torch.Generator().manual_seed(0)
    P = [p.double().requires_grad_() for p in nb["init"](20, g)]
    X, Y = torch.randint(0, 5, (n, 3), generator=g), torch.randint(0, 27, (n,), generator=g)
    C, W1, b1, W2, b2, bngain, bnbias = P
    hidden = torch.tanh(batch_norm(F.embedding(X, C).flatten(1) @ W1 + b1, bngain) + bnbias)
    true = torch.autograd.grad(F.cross_entropy(hidden @ W2 + b2, Y), P)
    mine = nb["backward"](P, X, Y, *nb["forward"](P, X))
    assert len(mine) == len(true) == 7
    for a, b in zip(mine, true):
        same(a, b)


def test_init_is_seeded_and_has_the_lectures_sizes(nb):
    sizes = {}
    for hidden in (64, 200):
        a, b = (nb["init"](hidden, torch.Generator().manual_seed(1)) for _ in range(2))
        assert all(torch.equal(p, q) for p, q in zip(a, b))
        assert all((p != 0).all() for p in a)
        sizes[hidden] = sum(p.numel() for p in a)
    assert sizes == {64: 4137, 200: 12297}


def test_bessel(nb):
    for n in (2, 8, 32):
        biased, unbiased = nb["bessel"](n)
        assert biased == pytest.approx((n - 1) / n, abs=0.02) and unbiased == pytest.approx(1, abs=0.02)


# --- the sequel -------------------------------------------------------------------


@pytest.mark.parametrize("n, k, eps", [(1, 2, 0.0), (5, 27, 0.1), (9, 4, 0.5)])
def test_label_smoothing(beyond, n, k, eps):
    Y, z = torch.arange(n) % k, normal(n, k)
    same(beyond["smoothed_loss"](z, Y, eps), F.cross_entropy(z, Y, label_smoothing=eps))

    def oracle(z):
        return F.cross_entropy(z, Y, label_smoothing=eps)

    assert gradcheck(oracle, lambda dy, z: dy * beyond["smoothed_loss_backward"](z, Y, eps), z)


@pytest.mark.parametrize("shape", [(1, 3), (4, 5), (2, 3, 6)])
def test_layernorm(beyond, shape):
    d = shape[-1]
    x, gamma, beta = normal(*shape), normal(d, seed=1), normal(d, seed=2)

    def oracle(x, gamma, beta):
        return F.layer_norm(x, (d,), gamma, beta)

    same(beyond["layernorm"](x, gamma, beta), oracle(x, gamma, beta))
    assert gradcheck(
        oracle, lambda dy, x, gamma, _: beyond["layernorm_backward"](dy, x, gamma), x, gamma, beta
    )


@pytest.mark.parametrize("n, d, k", [(1, 1, 1), (5, 4, 3), (2, 3, 6)])
def test_gated(beyond, n, d, k):
    inputs = normal(n, d), normal(d, k, seed=1), normal(d, k, seed=2)

    def oracle(x, A, B):
        return (x @ A).tanh() * (x @ B).sigmoid()

    same(beyond["gated"](*inputs), oracle(*inputs))
    assert gradcheck(oracle, beyond["gated_backward"], *inputs)


@pytest.mark.parametrize("batch, T, U, d", [((), 1, 2, 3), ((), 5, 5, 4), ((2,), 3, 6, 2), ((2, 2), 2, 3, 5)])
def test_attention(beyond, batch, T, U, d):
    Q, K, V = normal(*batch, T, d), normal(*batch, U, d, seed=1), normal(*batch, U, d, seed=2)
    oracle = F.scaled_dot_product_attention
    same(beyond["attention"](Q, K, V)[0], oracle(Q, K, V))
    assert gradcheck(oracle, lambda dO, *QKV: beyond["attention_backward"](dO, *QKV)[:3], Q, K, V)


@pytest.mark.parametrize("T, U, d", [(1, 2, 3), (5, 4, 2)])
def test_attention_scores(beyond, T, U, d):
    Q, K, V = (normal(*shape).requires_grad_() for shape in [(T, d), (U, d), (U, d)])
    out, scores = beyond["attention"](Q, K, V)
    same(scores, Q @ K.T / d**0.5)
    scores.retain_grad()
    dO = normal(T, d, seed=3)
    out.backward(dO)
    same(beyond["attention_backward"](dO, Q, K, V)[3], scores.grad)


@pytest.mark.parametrize("T, d", [(1, 2), (5, 4)])
def test_masked_attention(beyond, T, d):
    Q, K, V = normal(T, d), normal(T, d, seed=1), normal(T, d, seed=2)
    mask = torch.ones(T, T).tril().bool()

    def oracle(Q, K, V):
        return F.scaled_dot_product_attention(Q, K, V, attn_mask=mask)

    same(beyond["attention"](Q, K, V, mask)[0], oracle(Q, K, V))
    assert gradcheck(oracle, lambda dO, *QKV: beyond["attention_backward"](dO, *QKV, mask)[:3], Q, K, V)


def test_numerical_gradient(beyond):
    x = normal(3, 4)
    same_enough = beyond["numerical_gradient"](lambda x: (x**3).sum(), x, 1e-4)
    torch.testing.assert_close(same_enough, 3 * x**2, rtol=1e-6, atol=1e-7)
