"""The checks of lecture 5's exercises: right ways accepted, every named mistake told by its name."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tests.exercises import answers as tools
from zth_helpers.exercises import backprop_ninja as ex

BESSEL = "n for n - 1"
PARTS = {  # the order of the gradients that come as a tuple
    "whole_backward": "C W1 b1 W2 b2 bngain bnbias".split(),
    "layernorm_backward": ["x", "gamma", "beta"],
    "gated_backward": ["x", "A", "B"],
    "attention_backward": ["Q", "K", "V"],
}


def master(name: str):
    return tools.right("backprop_ninja", name)[0]


def spoiled(name: str, part: str | None, change):
    """The master's answer with one gradient replaced by change(d, *inputs); d holds the right ones."""

    def answer(*inputs):
        got = master(name)(*inputs)
        if part is None:
            return change(got, *inputs)
        d = dict(zip(PARTS[name], got)) if name in PARTS else dict(got)
        d[part] = change(d, *inputs)
        return tuple(d.values()) if name in PARTS else d

    return answer


def lost(dC, X, rows):
    """What the natural-looking `dC[X] += rows` gives."""
    dC = torch.zeros_like(dC)
    dC[X] += rows
    return dC


def onehot(logits, Y):
    return F.one_hot(Y, logits.shape[1])


def columns(hprebn_pieces, mean=True, var=True, bessel=True, gain=True, inv=True, n=None):
    """Batch norm's backward with parts left out."""
    g, bngain, raw, bnvar_inv = hprebn_pieces
    n = n or len(g)
    d = g - mean * g.sum(0) / n - var * (1 / (n - 1) if bessel else 1 / n) * raw * (g * raw).sum(0)
    return d * (bngain if gain else 1) * (bnvar_inv if inv else 1)


def layernorm_dx(dy, x, gamma, eps, pull=False, correction=0, mean=True, var=True):
    r = (x.var(-1, keepdim=True, correction=0) + eps) ** -0.5
    xhat, d = (x - x.mean(-1, keepdim=True)) * r, x.shape[-1]
    g = dy if pull else gamma * dy
    share = xhat * (g * xhat).sum(-1, keepdim=True) / (d - correction)
    dx = r * (g - mean * g.mean(-1, keepdim=True) - var * share)
    return gamma * dx if pull else dx


def gate(x, A, B):
    return torch.tanh(x @ A), torch.sigmoid(x @ B)


def scores(dO, Q, K, V):
    A = torch.softmax(Q @ K.mT / Q.shape[-1] ** 0.5, -1)
    return A, dO @ V.mT, Q.shape[-1] ** -0.5


def square(d, fits, value):
    """The value where the shapes allow the mistake, the right gradient where they do not."""
    return value() if fits else d


softmax, maximum, linear, norm, embed, whole = (
    "softmax_atoms",
    "max_branch",
    "linear_tanh",
    "batchnorm_atoms",
    "embedding_atoms",
    "whole_backward",
)
# exercise, which gradient, wrong value from (d, *inputs), what the learner must be told
WRONG = [
    (softmax, "logprobs", lambda d, Y, *_: d["logprobs"] * len(Y), "divide by n"),
    (softmax, "logprobs", lambda d, Y, *_: d["logprobs"] * len(Y) / 32, "hard-coded 32"),
    (softmax, "logprobs", lambda d, *_: -d["logprobs"], "the sign"),
    (softmax, "logprobs", lambda d, Y, p, *_: torch.full_like(p, -1 / len(Y)),
     "only the right letter's entry"),
    (softmax, "probs", lambda d, Y, p, *_: d["logprobs"] * p, "derivative of log p is 1/p"),
    (softmax, "probs", lambda d, Y, p, *_: 1 / p, "multiply with what comes in"),
    (softmax, "counts_sum_inv", lambda d, Y, p, i, s, c: (d["probs"] * c).sum(1), "keepdim=True"),
    (softmax, "counts_sum_inv", lambda d, Y, p, i, s, c: d["probs"] * c, "sum over them"),
    (softmax, "counts_sum_inv", lambda d, Y, p, i, s, c: (d["probs"] * c).sum(0, keepdim=True),
     "sums the rows"),
    (softmax, "counts_sum", lambda d, *_: -d["counts_sum"], "the sign: the derivative of 1/s"),
    (softmax, "counts_sum", lambda d, Y, p, i, s, c: -d["counts_sum_inv"] / s, "-1/s², not -1/s"),
    (softmax, "counts", lambda d, Y, p, i, s, c: d["probs"] * i, "counts_sum is lost (`=` for `+=`)"),
    (softmax, "counts", lambda d, Y, p, i, s, c: d["counts_sum"].expand_as(c), "share through probs is lost"),
    (softmax, "norm_logits", lambda d, *_: d["counts"], "exp is its own derivative"),
    (softmax, "norm_logits", lambda d, Y, p, i, s, c: d["counts"] * c.log(), "is exp(x), not x"),
    (softmax, "counts", lambda d, *_: d["counts"] * 1.01, "dcounts, batch of 32: the shape is right"),
    (softmax, "probs", lambda d, *_: None, "dprobs, batch of 32: got None"),
    (maximum, "logit_maxes", lambda d, *_: -d["logit_maxes"], "the maximum is *subtracted*"),
    (maximum, "logit_maxes", lambda d, *_: d["logit_maxes"][:, 0], "keepdim=True"),
    (maximum, "logit_maxes", lambda d, g, z: -g, "sum over them"),
    (maximum, "logit_maxes", lambda d, *_: torch.zeros_like(d["logit_maxes"]), "only behind a softmax"),
    (maximum, "logits", lambda d, g, z: g, "share through the maximum is lost"),
    (maximum, "logits", lambda d, g, z: d["logits"] - g, "only the share through the maximum"),
    (maximum, "logits", lambda d, g, z: g + d["logit_maxes"], "belongs to one entry of the row"),
    (maximum, "logits", lambda d, g, z: d["logits"] * 2, "largest difference"),
    (maximum, "logits", lambda d, g, z: d["logits"].T, "is it transposed?"),
    (linear, "h", lambda d, g, h, W: square(d["h"], W.shape[0] == W.shape[1], lambda: g @ W),
     "must be transposed"),
    (linear, "W2", lambda d, *_: d["W2"].T, "that is the transpose"),
    (linear, "b2", lambda d, *_: d["b2"][None], "no keepdim here"),
    (linear, "b2", lambda d, g, *_: g.mean(0), "summed on the way back, not averaged"),
    (linear, "b2", lambda d, g, *_: g, "over the rows: sum them"),
    (linear, "hpreact", lambda d, g, h, W: d["h"] * (1 - h), "1 - h², not 1 - h"),
    (linear, "hpreact", lambda d, g, h, W: d["h"] * (1 - h.tanh() ** 2), "h *is* the tanh"),
    (linear, "hpreact", lambda d, g, h, W: 1 - h**2, "that is the local derivative"),
    (linear, "hpreact", lambda d, *_: d["h"], "a tanh lies between"),
    (linear, "hpreact", lambda d, *_: d["hpreact"] + 1, "largest difference"),
    (linear, "W2", lambda d, *_: d["W2"].tolist(), "got list"),
    (norm, "bngain", lambda d, *_: d["bngain"][0], "keep the axis: keepdim=True"),
    (norm, "bngain", lambda d, *_: d["bnbias"], "bnbias and bngain are mixed up"),
    (norm, "bnbias", lambda d, *_: d["bnbias"][0], "keep the axis: keepdim=True"),
    (norm, "bnraw", lambda d, g, *_: g, "it is multiplied with bngain"),
    (norm, "bnvar_inv", lambda d, *_: d["bnvar_inv"][0], "keep the axis: keepdim=True"),
    (norm, "bnvar", lambda d, g, a, r, i, v, b: d["bnvar_inv"] * -0.5 * v**-1.5, "eps is inside"),
    (norm, "bnvar", lambda d, *_: -d["bnvar"], "the exponent is -0.5"),
    (norm, "bnvar", lambda d, g, a, r, i, v, b: d["bnvar_inv"] * -0.5 * i, "sinks by one, to -1.5"),
    (norm, "bndiff2", lambda d, g, *_: d["bndiff2"] * (len(g) - 1) / len(g), BESSEL),
    (norm, "bndiff2", lambda d, g, *_: d["bndiff2"] * (len(g) - 1), "divided by n - 1"),
    (norm, "bndiff2", lambda d, *_: d["bndiff2"][:1], "copy it to all rows"),
    (norm, "bndiff2", lambda d, g, *_: d["bndiff2"] * (len(g) - 1) / 31, "hard-coded 31"),
    (norm, "bndiff", lambda d, g, a, r, i, v, b: d["bnraw"] * i, "through bndiff2 is lost"),
    (norm, "bndiff", lambda d, g, a, r, i, v, b: d["bndiff2"] * 2 * b, "through bnraw is lost"),
    (norm, "bndiff", lambda d, g, a, r, i, v, b: d["bndiff"] - d["bndiff2"] * b, "the 2 is missing"),
    (norm, "bnmeani", lambda d, *_: d["bnmeani"][0], "keep the axis: keepdim=True"),
    (norm, "bnmeani", lambda d, *_: -d["bnmeani"], "the mean is *subtracted*"),
    (norm, "hprebn", lambda d, *_: d["bndiff"], "share through the mean is lost"),
    (norm, "hprebn", lambda d, *_: d["bndiff"] + d["bnmeani"], "missing /n"),
    (norm, "hprebn", lambda d, *_: d["bndiff"] + d["bnmeani"] / 32, "hard-coded 32"),
    (norm, "hprebn", lambda d, *_: d["hprebn"] / 0, "nan or inf"),
    (norm, "bnraw", lambda d, *_: d["bnraw"].sum(), "shape ()"),
    (embed, "embcat", lambda d, g, e, W, C, X: square(d["embcat"], W.shape[0] == W.shape[1], lambda: g @ W),
     "must be transposed"),
    (embed, "W1", lambda d, *_: d["W1"].T, "that is the transpose"),
    (embed, "b1", lambda d, *_: d["b1"][None], "no keepdim here"),
    (embed, "b1", lambda d, g, *_: g.mean(0), "not averaged"),
    (embed, "emb", lambda d, *_: d["embcat"], "view them in the shape of emb"),
    (embed, "C", lambda d, g, e, W, C, X: lost(C, X, d["emb"]), "repeated letters are lost"),
    (embed, "C", lambda d, g, e, W, C, X: d["C"] / X.flatten().bincount(minlength=9).clamp(min=1)[:, None],
     "the sum, not the mean"),
    (embed, "C", lambda d, g, e, W, C, X: d["emb"], "expected (9, 4)"),
    (embed, "C", lambda d, *_: d["C"] * 0, "largest difference"),
    ("cross_entropy_backward", None, lambda d, z, Y: d * len(Y), "divide by n"),
    ("cross_entropy_backward", None, lambda d, z, Y: d * len(Y) / 32, "hard-coded 32"),
    ("cross_entropy_backward", None, lambda d, z, Y: d / z.shape[1], "not by the number of all entries"),
    ("cross_entropy_backward", None, lambda d, z, Y: z.softmax(1), "those are the probabilities"),
    ("cross_entropy_backward", None, lambda d, z, Y: z.softmax(1) / len(Y), "take 1 off at the right letter"),
    ("cross_entropy_backward", None, lambda d, z, Y: -d, "not the other way round"),
    ("cross_entropy_backward", None, lambda d, z, Y: (z.softmax(0) - onehot(z, Y)) / len(Y),
     "along each row"),
    ("cross_entropy_backward", None, lambda d, z, Y: (z.log_softmax(1) - onehot(z, Y)) / len(Y),
     "not its logarithm"),
    ("cross_entropy_backward", None,
     lambda d, z, Y: (z.exp() / z.exp().sum(1, keepdim=True) - onehot(z, Y)) / len(Y),
     "logits in the thousands: 11 of 45 values are nan"),
    ("cross_entropy_backward", None,
     lambda d, z, Y: z.softmax(1) * (1 - z.softmax(1)) / len(Y), "the slope of a probability"),
    ("cross_entropy_backward", None, lambda d, z, Y: F.cross_entropy(z, Y), "shape ()"),
    ("batchnorm_backward", None, lambda d, *p: columns(p, bessel=False), BESSEL),
    ("batchnorm_backward", None, lambda d, *p: columns(p, mean=False), "through the mean is missing"),
    ("batchnorm_backward", None, lambda d, *p: columns(p, var=False), "through the variance is missing"),
    ("batchnorm_backward", None, lambda d, *p: columns(p, var=False, mean=False), "two shares are missing"),
    ("batchnorm_backward", None, lambda d, *p: columns(p, mean=len(p[0])), "missing /n"),
    ("batchnorm_backward", None, lambda d, *p: columns(p, gain=False), "bngain is forgotten"),
    ("batchnorm_backward", None, lambda d, *p: columns(p, inv=False), "bnvar_inv is forgotten"),
    ("batchnorm_backward", None, lambda d, *p: columns(p, n=32), "hard-coded 32"),
    ("batchnorm_backward", None, lambda d, *p: d * len(p[0]), "divide by n at the end"),
    ("batchnorm_backward", None, lambda d, *p: d + 1e-2, "largest difference"),
    ("batchnorm_backward", None, lambda d, *p: d.sum(0), "expected (32, 6)"),
    *[(whole, name, lambda d, P, X, Y, *_, name=name: d[name] * len(Y), "divide by n")
      for name in PARTS[whole] if name != "b1"],
    (whole, "W1", lambda d, *_: d["W1"].T, "dW1, batch of 32: that is the transpose"),
    (whole, "W2", lambda d, *_: d["W2"].T, "dW2, batch of 32: that is the transpose"),
    (whole, "bngain", lambda d, *_: d["bngain"][0], "keepdim=True"),
    (whole, "bnbias", lambda d, *_: d["bnbias"][0], "keepdim=True"),
    (whole, "b1", lambda d, *_: d["b1"][None], "no keepdim here"),
    (whole, "b2", lambda d, *_: d["b2"][None], "no keepdim here"),
    (whole, "b1", lambda d, P, X, Y, z, kept: d["bnbias"][0], "db1, batch of 32: the shape is right"),
    (whole, "C", lambda d, *_: d["W2"], "dC, batch of 32: shape (12, 9), expected (9, 3)"),
    ("label_smoothing_backward", None, lambda d, z, Y, e: d * len(Y), "divide by n"),
    ("label_smoothing_backward", None, lambda d, z, Y, e: d * len(Y) / 32, "hard-coded 32"),
    ("label_smoothing_backward", None, lambda d, z, Y, e: (z.softmax(1) - onehot(z, Y)) / len(Y),
     "without smoothing"),
    ("label_smoothing_backward", None,
     lambda d, z, Y, e: (z.softmax(1) - (1 - e) * (h := onehot(z, Y))
                         - e / (z.shape[1] - 1) * (1 - h)) / len(Y),
     "the right one included"),
    ("label_smoothing_backward", None, lambda d, z, Y, e: d + (e / z.shape[1] - e) / len(Y),
     "share is eps / K"),
    ("label_smoothing_backward", None, lambda d, z, Y, e: d - e * onehot(z, Y) / len(Y), "gives eps away"),
    ("label_smoothing_backward", None, lambda d, z, Y, e: d + e / z.shape[1] / len(Y), "eps / K are missing"),
    ("label_smoothing_backward", None, lambda d, z, Y, e: -d, "minus the target"),
    ("label_smoothing_backward", None, lambda d, z, Y, e: d.abs(), "largest difference"),
    ("label_smoothing_backward", None, lambda d, z, Y, e: d[0], "expected (32, 27)"),
    ("layernorm_backward", "x", lambda d, *a: layernorm_dx(*a, pull=True), "cannot be pulled out"),
    ("layernorm_backward", "x", lambda d, dy, x, g, e: layernorm_dx(dy, x, 1, e), "gamma is forgotten"),
    ("layernorm_backward", "x", lambda d, *a: layernorm_dx(*a, correction=1), "no n/(n-1)"),
    ("layernorm_backward", "x", lambda d, *a: layernorm_dx(*a, mean=False), "through the mean is missing"),
    ("layernorm_backward", "x", lambda d, *a: layernorm_dx(*a, var=False), "through the variance is missing"),
    ("layernorm_backward", "x", lambda d, *a: layernorm_dx(*a, var=False, mean=False),
     "two shares are missing"),
    ("layernorm_backward", "gamma", lambda d, *_: d["beta"], "that is dbeta"),
    ("layernorm_backward", "gamma", lambda d, *_: d["gamma"][None], "no keepdim"),
    ("layernorm_backward", "gamma", lambda d, dy, x, *_: (dy * x).flatten(0, -2).sum(0), "not with x"),
    ("layernorm_backward", "gamma",
     lambda d, dy, x, g, eps: (dy * F.layer_norm(x, x.shape[-1:], eps=eps)).sum(0),
     "every axis but the last"),
    ("layernorm_backward", "beta", lambda d, dy, *_: dy.sum(0), "every axis but the last"),
    ("layernorm_backward", "beta", lambda d, *_: d["beta"][None], "no keepdim"),
    ("layernorm_backward", "x", lambda d, *_: d["x"].round(decimals=1), "largest difference"),
    ("layernorm_backward", "beta", lambda d, *_: 0.0, "expected a tensor of shape (8,)"),
    ("gated_backward", "x", lambda d, dy, x, A, B: (dy * (s := gate(x, A, B))[1] * (1 - s[0] ** 2)) @ A.T,
     "through the gate is lost"),
    ("gated_backward", "x", lambda d, dy, x, A, B: (dy * (t := gate(x, A, B))[0] * t[1] * (1 - t[1])) @ B.T,
     "through the tanh is lost"),
    ("gated_backward", "x", lambda d, dy, x, A, B:
     (dy * (u := gate(x, A, B))[1] * (1 - u[0] ** 2)) @ A.T + (dy * u[0] * u[1]) @ B.T,
     "sigmoid is s (1 - s)"),
    ("gated_backward", "x", lambda d, dy, x, A, B:
     (dy * (1 - (u := gate(x, A, B))[0] ** 2)) @ A.T + (dy * u[1] * (1 - u[1])) @ B.T, "the product rule"),
    ("gated_backward", "x", lambda d, dy, x, A, B: square(d["x"], A.shape[0] == A.shape[1], lambda:
     (dy * (u := gate(x, A, B))[1] * (1 - u[0] ** 2)) @ A + (dy * u[0] * u[1] * (1 - u[1])) @ B),
     "A and B must be transposed"),
    ("gated_backward", "A", lambda d, *_: d["A"].T, "that is the transpose"),
    ("gated_backward", "A", lambda d, dy, x, A, B: x.T @ (dy * (1 - gate(x, A, B)[0] ** 2)), "the sigmoid"),
    ("gated_backward", "A", lambda d, *_: d["B"], "mixed up"),
    ("gated_backward", "B", lambda d, *_: d["B"].T, "that is the transpose"),
    ("gated_backward", "B", lambda d, dy, x, A, B: x.T @ (dy * (s := gate(x, A, B)[1]) * (1 - s)),
     "the tanh"),
    ("gated_backward", "B", lambda d, dy, x, A, B: x.T @ (dy * gate(x, A, B)[0] * gate(x, A, B)[1]),
     "sigmoid is s (1 - s)"),
    ("gated_backward", "B", lambda d, *_: d["B"] * 0, "largest difference"),
    ("gated_backward", "x", lambda d, *_: d["x"].sum(0), "expected (5, 4)"),
    ("attention_backward", "Q", lambda d, dO, Q, *_: d["Q"] * Q.shape[-1] ** 0.5, "1/√d of the scores"),
    ("attention_backward", "Q", lambda d, dO, Q, *_: d["Q"] / Q.shape[-1] ** 0.5, "by √d, not by d"),
    ("attention_backward", "Q", lambda d, *a: (s := scores(*a))[0] * s[1] @ a[2] * s[2],
     "the sum is missing"),
    ("attention_backward", "Q",
     lambda d, *a: ((s := scores(*a))[0] * (1 - s[0]) * s[1]) @ a[2] * s[2],
     "by its own score alone; all entries of a row depend on each other"),
    ("attention_backward", "Q", lambda d, *a: (s := scores(*a))[1] @ a[2] * s[2], "softmax is missing"),
    ("attention_backward", "Q", lambda d, *_: d["K"], "keys and queries are mixed up"),
    ("attention_backward", "K", lambda d, dO, Q, *_: d["K"] * Q.shape[-1] ** 0.5, "1/√d of the scores"),
    ("attention_backward", "K", lambda d, dO, Q, K, V: square(d["K"], len(K) == len(Q), lambda:
     (A := scores(dO, Q, K, V))[0] * (A[1] - (A[1] * A[0]).sum(-1, keepdim=True)) @ Q * A[2]),
     "dS must be transposed"),
    ("attention_backward", "V", lambda d, *a: scores(*a)[0] @ a[0], "A must be transposed"),
    ("attention_backward", "V", lambda d, *_: d["V"] * torch.nan, "nan"),
    ("attention_backward", "K", lambda d, *_: d["K"] + 0.1, "largest difference"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "part", "change", "message"), WRONG)
def test_a_wrong_gradient_is_told_what_is_wrong(name, part, change, message):
    tools.rejected(getattr(ex, name).check(spoiled(name, part, change)), message)


def named() -> set[str]:
    """Every explanation that the judges hold, read where they pass it on."""
    seen: set[str] = set()
    original = ex.expect

    def watching(what, got, want, mistakes=None, **rest):
        seen.update(f"{what.split(',')[0]}: {explanation}" for explanation in mistakes or {})
        original(what, got, want, mistakes, **rest)

    ex.expect = watching
    try:
        for name in tools.exercises_of(ex):
            assert getattr(ex, name).check(master(name)), name
    finally:
        ex.expect = original
    return seen


def test_every_named_mistake_has_a_test():
    told = set()
    for name, part, change, _ in WRONG:
        message = getattr(ex, name).check(spoiled(name, part, change)).message
        where, _, explanation = message.partition(": ")
        told.add(f"{where.split(',')[0]}: {explanation}")
    missing = named() - told
    # b1's true gradient is 0, before a batch norm: n times it is the same; in C a lost row is tested below
    assert (
        missing
        == {
            "db1: the loss is a mean: divide by n",
            "dC: repeated letters are lost: indexed += writes each row once; use index_add_",
        }
        - told
    ), missing


def test_the_whole_pass_with_repeated_letters_lost():
    def answer(P, X, Y, logits, kept):
        d = master("whole_backward")(P, X, Y, logits, kept)
        _, inv, raw, h = kept
        dh = (1 - h**2) * (((logits.softmax(1) - onehot(logits, Y)) / len(Y)) @ P[3].T)
        demb = columns((dh, P[5], raw, inv)) @ P[1].T
        return [lost(P[0], X, demb.view(*X.shape, -1)), *d[1:]]

    tools.rejected(ex.whole_backward.check(answer), "repeated letters are lost")


@pytest.mark.parametrize("name", tools.exercises_of(ex))
def test_right_and_not_tried(name):
    assert getattr(ex, name).check(master(name)), str(getattr(ex, name).check(master(name)))
    assert getattr(ex, name).check(*tools.stubs("backprop_ninja", name)).state == "not tried yet"
    assert getattr(ex, name).check(...).state == "not tried yet"


def other_right_ways():
    """(exercise, answer) beside the master's own."""

    def scattered(Y, probs, inv, total, counts):
        d = {"dlogprobs": -F.one_hot(Y, probs.shape[1]).to(probs) / len(Y)}
        d["dprobs"] = d["dlogprobs"] * counts.reciprocal() * total
        d["dcounts_sum_inv"] = torch.einsum("nk,nk->n", d["dprobs"], counts)[:, None]
        d["dcounts_sum"] = -d["dcounts_sum_inv"] * inv * inv
        d["dcounts"] = torch.addcmul(d["dcounts_sum"].expand_as(probs), d["dprobs"], inv)
        d["dnorm_logits"] = probs / len(Y) + d["dlogprobs"]  # what it comes to
        return d

    def sums(dlogits, h, W2):
        dh = torch.einsum("nk,wk->nw", dlogits, W2)
        dW2 = torch.einsum("nw,nk->wk", h, dlogits)
        b2 = torch.ones(len(h)).to(h) @ dlogits
        return {"dh": dh, "dW2": dW2, "db2": b2, "dhpreact": dh - dh * h * h}

    def numpy_atoms(*inputs):
        return {name: d.numpy() for name, d in master("batchnorm_atoms")(*inputs).items()}

    def in_pieces(P, X, Y, logits, kept):
        C, W1, _, W2, _, bngain, _ = P
        embcat, inv, raw, h = kept
        z = logits.softmax(1)
        z[torch.arange(len(Y)), Y] -= 1
        z = z / len(Y)
        g = z @ W2.T * (1 - h * h)
        gb = g * bngain
        dx = inv * (gb - gb.mean(0) - raw * (gb * raw).sum(0) / (len(Y) - 1))
        hot = F.one_hot(X.flatten(), len(C)).to(C)
        dC = hot.T @ (dx @ W1.T).view(-1, C.shape[1])
        return (dC, embcat.T @ dx, dx.sum(0), h.T @ z, z.sum(0), (g * raw).sum(0)[None], g.sum(0)[None])

    def by_rows(dy, x, gamma, eps):
        rows, d, flat = [], x.shape[-1], dy.reshape(-1, x.shape[-1])
        xhat = F.layer_norm(x, (d,), eps=eps).reshape(-1, d)
        for row, up, hat in zip(x.reshape(-1, d), flat, xhat):
            r = (row.var(correction=0) + eps).rsqrt()
            jacobian = r * (torch.eye(d).to(x) - 1 / d - torch.outer(hat, hat) / d)
            rows.append((gamma * up) @ jacobian)
        return torch.stack(rows).view_as(x), (flat * xhat).sum(0), flat.sum(0)

    def product_rule(dy, x, A, B):
        t, s = torch.tanh(x @ A), torch.sigmoid(x @ B)
        both = torch.cat([dy * s * (1 - t * t), dy * t * (s - s * s)], 1)
        dAB = x.T @ both
        return both @ torch.cat([A, B], 1).T, dAB[:, : A.shape[1]], dAB[:, A.shape[1] :]

    def loop(dhprebn, embcat, W1, C, X):
        d = master("embedding_atoms")(dhprebn, embcat, W1, C, X)
        d["C"] = torch.zeros_like(C)
        for row, vectors in zip(X, d["emb"]):
            for letter, vector in zip(row, vectors):
                d["C"][letter] += vector
        return d

    def onehots(dhprebn, embcat, W1, C, X):
        d = master("embedding_atoms")(dhprebn, embcat, W1, C, X)
        hot = F.one_hot(X, len(C)).to(C.dtype).flatten(0, 1)
        return d | {"C": hot.T @ d["emb"].flatten(0, 1)}

    def in_place(logits, Y):
        d = logits.softmax(1)
        d[range(len(Y)), Y] -= 1
        return d / len(Y)

    def float32(logits, Y):
        return in_place(logits.float(), Y)

    def long_way(dhpreact, bngain, bnraw, bnvar_inv):
        bnvar = bnvar_inv**-2 - 1e-5
        atoms = master("batchnorm_atoms")
        return atoms(dhpreact, bngain, bnraw, bnvar_inv, bnvar, bnraw / bnvar_inv)["hprebn"]

    def zeros_and_scatter(dnorm, logits):
        dmax = -dnorm.sum(1, keepdim=True)
        return {
            "logits": dnorm.scatter_add(1, logits.max(1, keepdim=True).indices, dmax),
            "logit_maxes": dmax,
        }

    def mixed(logits, Y, eps):
        uniform = (logits.softmax(1) - 1 / logits.shape[1]) / len(Y)
        return (1 - eps) * in_place(logits, Y) + eps * uniform

    def einsum(dO, Q, K, V):
        A = torch.softmax(torch.einsum("...td,...ud->...tu", Q, K) / Q.shape[-1] ** 0.5, -1)
        dA = torch.einsum("...td,...ud->...tu", dO, V)
        dS = (A * dA - A * torch.einsum("...tu,...tu->...t", A, dA)[..., None]) / Q.shape[-1] ** 0.5
        return [dS @ K, torch.einsum("...tu,...td->...ud", dS, Q), torch.einsum("...tu,...td->...ud", A, dO)]

    return [
        (ex.softmax_atoms, scattered),
        (ex.linear_tanh, sums),
        (ex.batchnorm_atoms, numpy_atoms),
        (ex.whole_backward, in_pieces),
        (ex.layernorm_backward, by_rows),
        (ex.gated_backward, product_rule),
        (ex.embedding_atoms, loop),
        (ex.embedding_atoms, onehots),
        (ex.cross_entropy_backward, in_place),
        (ex.cross_entropy_backward, float32),
        (ex.batchnorm_backward, long_way),
        (ex.max_branch, zeros_and_scatter),
        (ex.label_smoothing_backward, mixed),
        (ex.attention_backward, einsum),
    ]


@pytest.mark.parametrize("i", range(len(other_right_ways())))
def test_other_right_ways(i):
    exercise, answer = other_right_ways()[i]
    verdict = exercise.check(answer)
    assert verdict, f"{answer}: {verdict}"


def test_a_dict_may_be_filled_one_by_one():
    def first_two(*inputs):
        d = master("softmax_atoms")(*inputs)
        return {"logprobs": d["logprobs"], "probs": d["probs"]}

    message = "counts_sum_inv is missing from your dict (right so far: logprobs, probs)"
    tools.rejected(ex.softmax_atoms.check(first_two), message)
    tools.rejected(ex.softmax_atoms.check(lambda *_: {}), "right so far: none")
    tools.rejected(
        ex.softmax_atoms.check(lambda *_: torch.zeros(3)), "expected a dict of 6 gradients, got Tensor"
    )
    tools.rejected(ex.softmax_atoms.check(lambda *_: None), "got None: is a `return` missing?")
    tools.rejected(
        ex.gated_backward.check(lambda *_: torch.zeros(5, 4)), "expected 3 things, the gradients dx, dA, dB"
    )
    tools.rejected(ex.gated_backward.check(lambda *_: (1, 2)), "got tuple of 2")


def switched_on(logits, Y):
    z = logits.clone().requires_grad_()
    with torch.enable_grad():
        F.cross_entropy(z, Y).backward()
    return z.grad


def inference_mode_left(logits, Y):
    with torch.inference_mode(False), torch.enable_grad():
        z = logits.clone().requires_grad_()
        F.cross_entropy(z, Y).backward()
        return z.grad


def forward_mode(logits, Y):
    columns = []
    for direction in torch.eye(logits.numel()):
        _, d = torch.func.jvp(
            lambda z: F.cross_entropy(z, Y), (logits,), (direction.view(logits.shape).to(logits),)
        )
        columns.append(d)
    return torch.stack(columns).view(logits.shape)


AUTOGRAD = [
    switched_on,
    inference_mode_left,
    forward_mode,
    lambda logits, Y: torch.func.grad(lambda z: F.cross_entropy(z, Y))(logits),
    lambda logits, Y: torch.func.jacrev(lambda z: F.cross_entropy(z, Y))(logits),
    lambda logits, Y: torch.func.vjp(lambda z: F.cross_entropy(z, Y), logits)[1](torch.ones(()).to(logits))[
        0
    ],
    lambda logits, Y: torch.autograd.functional.jacobian(lambda z: F.cross_entropy(z, Y), logits),
]


@pytest.mark.parametrize("cheat", AUTOGRAD)
def test_autograd_is_off(cheat):
    tools.rejected(ex.cross_entropy_backward.check(cheat), "autograd is switched off here")


def test_a_gradient_may_be_named_with_a_d():
    def with_d(*inputs):
        return {f"d{name}": d for name, d in master("softmax_atoms")(*inputs).items()}

    assert ex.softmax_atoms.check(with_d)


def test_inputs_may_not_be_changed():
    def answer(logits, Y):
        logits -= logits.max(1, keepdim=True).values
        return master("cross_entropy_backward")(logits, Y)

    tools.rejected(ex.cross_entropy_backward.check(answer), "changed its argument 1 in place")


def bank():
    """For the report: the right ways beside the master's, and the wrong ones with what they must be told."""
    wrong = [(name, message, (spoiled(name, part, change),)) for name, part, change, message in WRONG]
    wrong += [("cross_entropy_backward", "autograd is switched off here", (cheat,)) for cheat in AUTOGRAD]
    return [(exercise.name, (answer,)) for exercise, answer in other_right_ways()], wrong
