"""The checks of lecture 4's exercises: right ways accepted, every named mistake told by its name."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.exercises import answers as tools
from zth_helpers.exercises import batchnorm as ex


def master(name: str):
    return tools.right("batchnorm", name)[0]


def zeros_end(loss=None, names=("b2",)):
    """The master's answer to E01 with another loss(Y, V, right one) or other names."""

    def answer(X, Y, V):
        right = master("all_zeros")(X, Y, V)[1]
        return names, loss(Y, V, right) if loss else right

    return answer


def naive_entropy(Y, V, _):
    p = torch.bincount(Y, minlength=V) / len(Y)
    return -(p * p.log()).sum()


def shorter_entropy(Y, V, _):
    """Without minlength, so that the last letter is left out, but not one in the middle."""
    return naive_entropy(Y, 0, None)


def smoothed(Y, V, _):
    N = torch.bincount(Y, minlength=V)
    return -(N / N.sum() * ((N + 1) / (N + 1).sum()).log()).sum().item()


def refold(W=None, b=None):
    """The master's fold with one half replaced by W(W, b, gamma, beta, mean, var, eps) or b(…)."""

    def answer(*pieces):
        right = master("fold_batchnorm")(*pieces)
        return (W(*pieces) if W else right[0]), (b(*pieces) if b else right[1])

    return answer


def scaled(gamma, var, eps):
    return gamma / (var + eps).sqrt()


def right_norm(x, gamma, beta, mean, var, training, momentum, eps):
    if training:
        now, spread = x.flatten(0, -2).mean(0), x.flatten(0, -2).var(0)
        new = (1 - momentum) * mean + momentum * now, (1 - momentum) * var + momentum * spread
        return gamma * (x - now) / (spread + eps).sqrt() + beta, *new
    return gamma * (x - mean) / (var + eps).sqrt() + beta, mean, var


def norm(train=None, infer=None, part=0):
    """The right batch norm, one of its three results replaced in one of the modes."""

    def answer(x, gamma, beta, mean, var, training, momentum, eps):
        got = list(right_norm(x, gamma, beta, mean, var, training, momentum, eps))
        change = train if training else infer
        if change:
            got[part] = change(x, gamma, beta, mean, var, eps)
        return got

    return answer


def over_axes(*axes):
    """Batch norm over the wrong axes, where there are more than two."""

    def change(x, g, b, m, v, e):
        if x.ndim == 2:
            return g * (x - x.mean(0)) / (x.var(0) + e).sqrt() + b
        return g * (x - x.mean(axes, keepdim=True)) / (x.var(axes, keepdim=True) + e).sqrt() + b

    return norm(change)


def batch(x, g, b, eps, correction=1):
    var = x.var(0, correction=correction) if len(x) > 1 else torch.full_like(x[0], torch.nan)
    return g * (x - x.mean(0)) / (var + eps).sqrt() + b


def rows(x, g, b, e, correction=0, inside=True):
    v = x.var(-1, keepdim=True, correction=correction)
    return g * (x - x.mean(-1, keepdim=True)) / ((v + e).sqrt() if inside else v + e) + b


def rows_outside(x, g, b, e):
    return g * (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True, correction=0) + e) + b


WRONG = [
    ("all_zeros", zeros_end(lambda Y, V, r: math.log(V)), "where the loss *starts*"),
    ("all_zeros", zeros_end(lambda Y, V, r: r / math.log(2)), "the entropy in bits"),
    ("all_zeros", zeros_end(lambda Y, V, r: math.log(len(Y.unique()))), "do not occur equally often"),
    ("all_zeros", zeros_end(lambda Y, V, r: -r), "a loss is positive"),
    ("all_zeros", zeros_end(lambda Y, V, r: r * len(Y)), "not their sum"),
    ("all_zeros", zeros_end(smoothed), "nothing here is smoothed"),
    ("all_zeros", zeros_end(lambda Y, V, r: 0.0), "but not to 0"),
    ("all_zeros", zeros_end(naive_entropy), "0 · log 0"),
    ("all_zeros", zeros_end(shorter_entropy), "0 · log 0"),
    ("all_zeros", zeros_end(lambda Y, V, r: r + 0.01), "expected 2."),
    ("all_zeros", zeros_end(names=["W2", "b2"]), "h = tanh(0) = 0"),
    ("all_zeros", zeros_end(names=["C", "b2"]), "W2 stays 0"),
    ("all_zeros", zeros_end(names=["C", "W1", "b1", "W2", "b2"]), "W2 stays 0"),
    ("all_zeros", zeros_end(names=[]), "one does learn"),
    ("all_zeros", zeros_end(names=["bias"]), "is no parameter"),
    ("all_zeros", zeros_end(names=5), "expected names"),
    ("all_zeros", lambda X, Y, V: "b2", "expected 2 things"),
    ("all_zeros", lambda X, Y, V: None, "got None"),
    ("fold_batchnorm", refold(W=lambda W, b, g, be, m, v, e: W * g / v.sqrt()), "without eps"),
    ("fold_batchnorm", refold(W=lambda W, b, g, be, m, v, e: W * g / (v + e)), "square root of the running"),
    ("fold_batchnorm", refold(W=lambda W, b, g, be, m, v, e: W * g / (v.sqrt() + e)), "eps stands"
        " inside of the root"),
    ("fold_batchnorm", refold(W=lambda W, b, g, be, m, v, e: W / (v + e).sqrt()), "gamma is forgotten"),
    ("fold_batchnorm", refold(W=lambda W, *_: W), "W is unchanged"),
    ("fold_batchnorm", refold(W=lambda W, b, g, be, m, v, e: W * g * (v + e).sqrt()), "instead of divided"),
    ("fold_batchnorm",
     refold(W=lambda W, b, g, be, m, v, e: W * (s[:, None] if len(s := scaled(g, v, e)) == len(W) else s)),
     "scales the rows"),
    ("fold_batchnorm", refold(b=lambda W, b, g, be, m, v, e: be - m * scaled(g, v, e)), "b is forgotten"),
    ("fold_batchnorm", refold(b=lambda W, b, g, be, m, v, e: be + b * scaled(g, v, e)),
     "running mean is forgotten"),
    ("fold_batchnorm", refold(b=lambda W, b, g, be, m, v, e: be + b - m), "is scaled like W"),
    ("fold_batchnorm", refold(b=lambda W, b, g, be, m, v, e: (b - m) * scaled(g, v, e)), "beta is forgotten"),
    ("fold_batchnorm", refold(b=lambda W, b, g, be, m, v, e: (b - m + be) * scaled(g, v, e)), "added last"),
    ("fold_batchnorm", refold(b=lambda W, b, g, be, m, v, e: be + (b + m) * scaled(g, v, e)),
     "subtracted, not added"),
    ("fold_batchnorm", refold(b=lambda W, b, g, be, m, v, e: be + (b - m) * g / v.sqrt()), "without eps"),
    ("fold_batchnorm", refold(b=lambda W, b, *_: b), "that is the old b"),
    ("fold_batchnorm", refold(b=lambda W, b, *_: b * 0), "largest difference"),
    ("fold_batchnorm", refold(W=lambda W, b, *_: W.T), "is it transposed?"),
    ("fold_batchnorm", lambda W, *_: W, "expected 2 things"),
    ("fold_batchnorm", lambda W, *_: None, "got None"),
    ("batchnorm_forward", norm(lambda x, g, b, m, v, e: batch(x, g, b, e, correction=0)),
     "n for n - 1: x.var(0)"),
    ("batchnorm_forward", norm(lambda x, g, b, m, v, e: batch(x, g, b, 0)), "eps is missing"),
    ("batchnorm_forward", norm(lambda x, g, b, m, v, e: g * (x - x.mean(0)) / (x.std(0) + e) + b),
     "eps stands inside of the root"),
    ("batchnorm_forward", norm(lambda x, g, b, m, v, e: g * (x - x.mean(0)) / (x.var(0) + e) + b),
     "not by the variance"),
    ("batchnorm_forward", norm(lambda x, g, b, m, v, e: batch(x, 1, b, e)), "gamma is forgotten"),
    ("batchnorm_forward", norm(lambda x, g, b, m, v, e: batch(x, g, 0, e)), "beta is forgotten"),
    ("batchnorm_forward", norm(lambda x, g, b, m, v, e: g * x / (x.var(0) + e).sqrt() + b),
     "mean is not subtracted"),
    ("batchnorm_forward", norm(lambda x, g, b, m, v, e: g * (x - m) / (v + e).sqrt() + b),
     "not the running ones"),
    ("batchnorm_forward", norm(lambda x, g, b, m, v, e: rows(x, g, b, e)), "that would be LayerNorm"),
    ("batchnorm_forward", over_axes(0), "the mean over one axis is too little"),
    ("batchnorm_forward", over_axes(0, -1), "batch norm over the wrong axes (0, -1)"),
    ("batchnorm_forward", over_axes(-2), "batch norm over the wrong axes (-2,)"),
    ("batchnorm_forward", norm(infer=lambda x, g, b, m, v, e: g * (x - m) / (v.sqrt() + e) + b),
     "sqrt(running_var + eps)"),
    ("batchnorm_forward", norm(lambda x, *_: x), "largest difference"),
    ("batchnorm_forward", norm(lambda x, g, b, m, v, e: m, part=1), "running mean has not moved"),
    ("batchnorm_forward", norm(lambda x, g, b, m, v, e: 0.1 * m + 0.9 * x.mean(0), part=1),
     "not of the old one"),
    ("batchnorm_forward", norm(lambda x, g, b, m, v, e: x.mean(0), part=1), "the mean of this batch alone"),
    ("batchnorm_forward", norm(lambda x, g, b, m, v, e: 0.1 * x.mean(0), part=1), "only the new share"),
    ("batchnorm_forward", norm(lambda x, g, b, m, v, e: m + 0.1 * x.mean(0), part=1), "must shrink"),
    ("batchnorm_forward", norm(lambda x, g, b, m, v, e: v, part=2), "running variance has not moved"),
    ("batchnorm_forward", norm(lambda x, g, b, m, v, e: 0.1 * v + 0.9 * x.var(0), part=2),
     "not of the old one"),
    ("batchnorm_forward", norm(lambda x, g, b, m, v, e: x.var(0), part=2),
     "the variance of this batch alone"),
    ("batchnorm_forward", norm(lambda x, g, b, m, v, e: 0.1 * x.var(0), part=2), "only the new share"),
    ("batchnorm_forward", norm(lambda x, g, b, m, v, e: v + 0.1 * x.var(0), part=2), "must shrink"),
    ("batchnorm_forward", norm(lambda x, g, b, m, v, e: 0.9 * v + 0.1 * x.var(0, correction=0), part=2),
     "the unbiased variance is stored"),
    ("batchnorm_forward", norm(lambda x, g, b, m, v, e: 0.9 * v + 0.1 * x.std(0), part=2),
     "keep the variance"),
    ("batchnorm_forward", norm(infer=lambda x, g, b, m, v, e: batch(x, g, b, e)), "sampling in train mode"),
    ("batchnorm_forward", norm(infer=lambda x, g, b, m, v, e: batch(x, g, b, e) if len(x) == 1
                               else g * (x - m) / (v + e).sqrt() + b), "x of shape (1, 5): sampling in"
                                   " train mode"),
    ("batchnorm_forward", norm(infer=lambda x, g, b, m, v, e: g * (x - m) / v.sqrt() + b), "eps is missing"),
    ("batchnorm_forward", norm(infer=lambda x, g, b, m, v, e: g * (x - m) / (v + e) + b),
     "square root of the running"),
    ("batchnorm_forward", norm(infer=lambda x, g, b, m, v, e: 0.9 * m + 0.1 * x.mean(0), part=1),
     "only in training"),
    ("batchnorm_forward", norm(infer=lambda x, g, b, m, v, e: x.var(0), part=2), "largest difference"),
    ("batchnorm_forward", lambda x, *_: x, "expected 3 things"),
    ("batchnorm_forward", lambda x, *_: None, "got None"),
    ("gain_of", lambda f, z: f(z).square().mean().sqrt(), "root mean square itself"),
    ("gain_of", lambda f, z: 1 / f(z).square().mean(), "the square root is missing"),
    ("gain_of", lambda f, z: f(z).square().mean(), "that is the mean square itself"),
    ("gain_of", lambda f, z: 1 / f(z).std(), "1/std subtracts the mean"),
    ("gain_of", lambda f, z: z.std() / f(z).std(), "not the ratio of the stds"),
    ("gain_of", lambda f, z: 1 / f(z).abs().mean(), "not the mean of the absolute values"),
    ("gain_of", lambda f, z: f(z).square().sum() ** -0.5, "divided by their number"),
    ("gain_of", lambda f, z: 5 / 3 if f is torch.tanh else f(z).square().mean() ** -0.5,
     "5/3 is the convention"),
    ("gain_of", lambda f, z: f(z**2).mean() ** -0.5, "not f of the square"),
    ("gain_of", lambda f, z: 2**0.5, "expected 1.4"),
    ("gain_of", lambda f, z: f(z), "expected one number"),
    ("layernorm_forward", lambda x, g, b, e: batch(x, g, b, e, correction=0), "that is batch norm"),
    ("layernorm_forward", lambda x, g, b, e: rows(x, g, b, e, correction=1), "divide by d, correction=0"),
    ("layernorm_forward", lambda x, g, b, e: rows(x, g, b, 0), "eps is missing"),
    ("layernorm_forward", lambda x, g, b, e: rows(x, g, b, e, inside=False), "not by the variance"),
    ("layernorm_forward", lambda x, g, b, e: g * (x - x.mean()) / (x.var(correction=0) + e).sqrt() + b,
     "one for all"),
    ("layernorm_forward", lambda x, g, b, e: rows_outside(x, g, b, e), "eps stands inside of the root"),
    ("layernorm_forward", lambda x, g, b, e: rows(x, 1, b, e), "gamma is forgotten"),
    ("layernorm_forward", lambda x, g, b, e: rows(x, g, 0, e), "beta is forgotten"),
    ("layernorm_forward", lambda x, g, b, e: x, "largest difference"),
    ("layernorm_forward", lambda x, g, b, e: rows(x, g, b, e).sum(0), "expected (6, 5)"),
    ("dead_neurons", lambda h, t: (h.abs() > t).any(0).nonzero().flatten(), "for *some* example"),
    ("dead_neurons", lambda h, t: ((h.abs() > t).float().mean(0) > 0.5).nonzero().flatten(),
     "for most examples"),
    ("dead_neurons", lambda h, t: (h.abs().mean(0) > t).nonzero().flatten(), "the average may be above"),
    ("dead_neurons", lambda h, t: (h.abs() > 0.99).all(0).nonzero().flatten(), "that is the answer for 0.99"),
    ("dead_neurons", lambda h, t: (h > t).all(0).nonzero().flatten(), "flat at -1 too"),
    ("dead_neurons", lambda h, t: (h.abs() <= t).any(0).nonzero().flatten(), "turned round"),
    ("dead_neurons", lambda h, t: (h.mean(0).abs() > t).nonzero().flatten(), "jumps between -1 and 1"),
    ("dead_neurons", lambda h, t: (h.abs() >= t).all(0).nonzero().flatten(), "at the threshold is not above"),
    ("dead_neurons", lambda h, t: (h.abs() > t).all(1).nonzero().flatten(), "those are examples (rows)"),
    ("dead_neurons", lambda h, t: (h.abs() > t).all(0), "that is a mask"),
    ("dead_neurons", lambda h, t: (h.abs() > t).all(0).nonzero(), "did you forget .flatten()?"),
    ("dead_neurons", lambda h, t: master("dead_neurons")(h, t).flip(0), "in rising order"),
    ("dead_neurons", lambda h, t: (h.abs() > t).all(0).sum(), "one axis of indices"),
    ("dead_neurons", lambda h, t: (h.abs() > t).all(0).nonzero(as_tuple=True), "take [0]"),
    ("dead_neurons", lambda h, t: [0, 1], "you found 1, and 1 that are not dead"),
    ("dead_neurons", lambda h, t: [], "of 3 dead neurons you found 0"),
    ("dead_neurons", lambda h, t: [0.5], "whole numbers"),
    ("dead_neurons", lambda h, t: [h, h], "whole numbers"),
    ("dead_neurons", lambda h, t: 3, "got int"),
    ("dead_neurons", lambda h, t: None, "got None"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "answer", "message"), WRONG)
def test_a_wrong_answer_is_told_what_is_wrong(name, answer, message):
    tools.rejected(getattr(ex, name).check(answer), message)


def test_every_named_mistake_has_a_test():
    told = {(name, getattr(ex, name).check(answer).message.partition(": ")[2]) for name, answer, _ in WRONG}
    assert tools.named_mistakes(ex, "batchnorm") - told == set()


@pytest.mark.parametrize("name", tools.exercises_of(ex))
def test_right_and_not_tried(name):
    verdict = getattr(ex, name).check(master(name))
    assert verdict, str(verdict)
    assert getattr(ex, name).check(*tools.stubs("batchnorm", name)).state == "not tried yet"


def other_right_ways():
    """(exercise, answer) beside the master's own."""

    def by_training(X, Y, V):
        b2 = torch.zeros(V, requires_grad=True)
        for _ in range(1500):
            (grad,) = torch.autograd.grad(F.cross_entropy(b2.expand(len(Y), V), Y), b2)
            b2.data -= 3 * grad
        return {"b2"}, F.cross_entropy(b2.expand(len(Y), V), Y)

    def from_two_points(W, b, gamma, beta, mean, var, eps):
        def through(x):
            return gamma * (x @ W + b - mean) / torch.sqrt(var + eps) + beta

        zero = through(torch.zeros(1, len(W), dtype=W.dtype))
        return through(torch.eye(len(W), dtype=W.dtype)) - zero, zero[0]

    def torchs(x, gamma, beta, mean, var, training, momentum, eps):
        if not training:
            rows = F.batch_norm(x.flatten(0, -2), mean, var, gamma, beta, eps=eps)
            return rows.view(x.shape), mean, var
        new, shape, x = (mean.clone(), var.clone()), x.shape, x.flatten(0, -2)
        n = len(x)
        y = F.batch_norm(x, *new, gamma, None, True, momentum, eps * (n - 1) / n)
        return (y * ((n - 1) / n) ** 0.5 + beta).view(shape), *new

    def masked(h, threshold):
        return [i for i, column in enumerate(h.T) if all(abs(v) > threshold for v in column.tolist())]

    return [
        (ex.all_zeros, by_training),
        (ex.fold_batchnorm, from_two_points),
        (ex.batchnorm_forward, torchs),
        (ex.gain_of, lambda f, z: 1 / math.sqrt((f(z) ** 2).mean().item())),
        (ex.gain_of, lambda f, z: (z.square().mean() / f(z).square().mean()).sqrt()),
        (ex.gain_of, lambda f, z: (f(z) ** 2).mean().numpy() ** np.float32(-0.5)),
        (ex.layernorm_forward, lambda x, g, b, e: F.layer_norm(x, x.shape[-1:], g, b, e)),
        (ex.layernorm_forward, lambda x, g, b, e: rows(x, g, b, e)),
        (ex.dead_neurons, masked),
    ]


@pytest.mark.parametrize("i", range(len(other_right_ways())))
def test_other_right_ways(i):
    exercise, answer = other_right_ways()[i]
    verdict = exercise.check(answer)
    assert verdict, f"{answer}: {verdict}"


def test_the_lectures_number():
    """On the lecture's list E01 ends at 2.8226 (course reference); the closed form is the judge's own."""
    counts = [1.0, 1.0, 2.0]
    assert math.isclose(ex.entropy([*counts, 0.0]), 1.5 * math.log(2), rel_tol=1e-12)


def bank():
    """For the report: the right ways beside the master's, and the wrong ones with what they must be told."""
    wrong = [(name, message, (answer,)) for name, answer, message in WRONG]
    return [(exercise.name, (answer,)) for exercise, answer in other_right_ways()], wrong
