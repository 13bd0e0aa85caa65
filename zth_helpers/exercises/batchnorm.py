"""Exercises of lecture 4: what zeros do, the gain, dead neurons, and batch norm forward, inside and out."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from zth_helpers.exercises.checks import call, expect, finite, parts_of, require
from zth_helpers.exercises.draws import entropy, normal
from zth_helpers.exercises.exercise import exercise
from zth_helpers.exercises.made_up_names import shipped
from zth_helpers.names import Vocabulary, context_windows, split_words

EPS = 1e-5
NAMES = ("C", "W1", "b1", "W2", "b2")


def _trained(X: Tensor, Y: Tensor, V: int, steps: int = 3) -> set[str]:
    """The parameters of the all-zero network that have moved after a few real steps."""
    shapes = ((V, 2), (X.shape[1] * 2, 4), (4,), (4, V), (V,))
    C, W1, b1, W2, b2 = parameters = [torch.zeros(shape, requires_grad=True) for shape in shapes]
    for _ in range(steps):
        h = torch.tanh(C[X].view(len(X), -1) @ W1 + b1)
        loss = F.cross_entropy(h @ W2 + b2, Y)
        for p, grad in zip(parameters, torch.autograd.grad(loss, parameters)):
            p.data -= 0.1 * grad
    return {name for name, p in zip(NAMES, parameters) if p.detach().any()}


@exercise(
    "All zeros: what trains?",
    official=True,
    hints=(
        "Set everything to zero, do a few steps, print which gradients are not zero. What is h? What is"
        " logits @ anything, if W2 is zero?",
        "Only what is added last can learn: the output bias. So the net says the same about every context.",
        "The best constant answer is the share of each letter in Y; its loss is the entropy of those shares.",
    ),
)
def all_zeros(from_zeros: Any) -> str:
    """Lecture 4, E01: which parameters learn when all start at zero, and where the loss ends."""
    for V, N in ((27, 500), (5, 40)):
        g = torch.Generator().manual_seed(V)
        X = torch.randint(0, V, (N, 3), generator=g)
        Y = (torch.rand(N, generator=g) ** 2 * (V - 1)).long()  # uneven, and the last letter never occurs
        counts = torch.bincount(Y, minlength=V).tolist()
        got = call(from_zeros, X, Y, V)
        names, loss = parts_of("the names of the parameters that learn and the loss in the end", got, 2)
        ok = isinstance(names, str | tuple | list | set) and all(isinstance(name, str) for name in names)
        require(ok, f"expected names out of {', '.join(NAMES)}, such as ['C', 'W1']")
        names, true = {names} if isinstance(names, str) else set(names), _trained(X, Y, V)
        require(names <= set(NAMES), f"{names - set(NAMES)} is no parameter: they are {', '.join(NAMES)}")
        if names != true:
            require(
                "b2" in names, "one does learn: b2's gradient is the column sum of dlogits, which is not 0"
            )
            behind = "what arrives at h is dlogits @ W2.T, and W2 stays 0: so C, W1 and b1 get no gradient"
            require(not names & {"C", "W1", "b1"}, behind)
            require("W2" not in names, "W2's gradient is h.T @ dlogits, and h = tanh(0) = 0: W2 never moves")
        want, seen = entropy(counts), [c for c in counts if c]
        smoothed = torch.tensor([c + 1.0 for c in counts])
        smoothed_nll = -(torch.tensor(counts) * (smoothed / smoothed.sum()).log()).sum().item() / N
        if isinstance(loss, float | Tensor) and torch.as_tensor(loss).isnan().any():
            require(False, "the loss is nan: 0 · log 0, from a letter that never occurs; it contributes 0")
        mistakes = {
            "that is log V, where the loss *starts*; b2 learns from there": math.log(V),
            "that is the entropy in bits: take the natural logarithm": want / math.log(2),
            "the letters do not occur equally often": math.log(len(seen)),
            "the sign: a loss is positive": -want,
            "the mean over the examples, not their sum": want * N,
            "that counts each letter once more; nothing here is smoothed": smoothed_nll,
            "b2 does learn something: the loss falls, but not to 0": 0.0,
        }
        expect(f"the loss in the end, {V} letters", finite("the loss in the end", loss), want, mistakes, 1e-3)
    letters = Counter("".join(word + "." for word in split_words(shipped())[0]))
    return f"only b2; for the names of the training set the loss ends at {entropy(letters.values()):.4f}"


def _folding(rand, fan_in: int, width: int) -> tuple[Tensor, ...]:
    """W, b, gamma, beta, running mean and variance; one variance so small that eps counts."""
    var = rand(width) ** 2 + 0.1
    var[0] = 1e-5
    return rand(fan_in, width), rand(width), 1 + 0.5 * rand(width), rand(width), rand(width), var


@exercise(
    "Fold batch norm into the linear layer",
    official=True,
    hints=(
        "In evaluation mode batch norm only multiplies each column by a number and adds another. Which?",
        "The factor is gamma / sqrt(running_var + eps). It goes into the columns of W.",
        "b' = beta + (b - running_mean) * gamma / sqrt(running_var + eps)",
    ),
)
def fold_batchnorm(fold: Any) -> str:
    """Lecture 4, E02: W' and b' of the one layer that does what Linear and BatchNorm1d did at inference."""
    for fan_in, width in ((5, 4), (6, 6)):  # in a square W scaled rows would fit too
        W, b, gamma, beta, mean, var = pieces = _folding(normal(fan_in), fan_in, width)
        scale = gamma * (var + EPS) ** -0.5
        mistakes_W = {
            "the fold is without eps: sqrt(running_var + eps)": W * gamma * var**-0.5,
            "the square root of the running variance is missing": W * gamma / (var + EPS),
            "eps goes inside the root": W * gamma / (var.sqrt() + EPS),
            "gamma is forgotten": W * (var + EPS) ** -0.5,
            "W is unchanged: its columns are scaled": W,
            "multiplied instead of divided by the standard deviation": W * gamma * (var + EPS) ** 0.5,
            **(
                {"that scales the rows of W; a neuron is a column": W * scale[:, None]}
                if fan_in == width
                else {}
            ),
        }
        mistakes_b = {
            "b is forgotten: it goes through the norm too, (b - running_mean)": beta - mean * scale,
            "the running mean is forgotten: (b - running_mean)": beta + b * scale,
            "(b - running_mean) is scaled like W": beta + b - mean,
            "beta is forgotten": (b - mean) * scale,
            "beta is added last, without the scale": (b - mean + beta) * scale,
            "the running mean is subtracted, not added": beta + (b + mean) * scale,
            "the fold is without eps: sqrt(running_var + eps)": beta + (b - mean) * gamma * var**-0.5,
            "that is the old b": b,
        }
        new_W, new_b = parts_of("the new W and the new b", call(fold, *pieces, EPS), 2)
        expect(f"W' for {fan_in} inputs and {width} neurons", new_W, W * scale, mistakes_W, 1e-6, 1e-9)
        expect(f"b' for {width} neurons", new_b, beta + (b - mean) * scale, mistakes_b, 1e-6, 1e-9)
    return _judge_on_dev(fold)


def _judge_on_dev(fold) -> str:
    """The whole network on all of dev: logits with batch norm in evaluation mode, and folded away."""
    words = shipped()
    X, _ = context_windows(split_words(words)[1], Vocabulary(words), block_size=3)
    rand, V = normal(7), len(Vocabulary(words))
    C, W2 = rand(V, 10), rand(100, V)
    embcat = C[X].view(len(X), -1)
    W, b, gamma, beta, *_ = _folding(rand, 30, 100)
    x = embcat @ W + b
    mean, var = x.mean(0), x.var(0)  # statistics that fit the data, as calibration gives them
    after = torch.tanh(F.batch_norm(x, mean, var, gamma, beta, training=False, eps=EPS)) @ W2
    W_, b_ = call(fold, W, b, gamma, beta, mean, var, EPS)
    folded = torch.tanh(embcat @ W_.double() + b_.double()) @ W2
    expect("the logits on dev", folded, after, rtol=1e-5)
    return f"W' and b' are right, and the logits of all {len(X):,} dev examples are equal"


@exercise(
    "Batch norm, forward",
    hints=(
        "Two cases. In training: statistics of the columns of x, and the running ones move towards them. At"
        " inference: the running ones, which stay.",
        "momentum is the share of the *new* value: (1 - momentum) * old + momentum * new.",
        "y = gamma * (x - mean) / torch.sqrt(var + eps) + beta, with var = x.var(0), which divides by n - 1.",
    ),
)
def batchnorm_forward(batchnorm: Any) -> str:
    """Lesson 04, *PyTorch-ifying the code*: output and new running statistics, both modes."""
    momentum = 0.1
    for n, width in ((32, 5), (4, 4)):
        rand = normal(n)
        x = rand(n, width) * torch.logspace(-2, 0.5, width, dtype=torch.float64) + 1
        gamma, beta, mean, var = 1 + 0.5 * rand(width), rand(width), rand(width), rand(width) ** 2 + 0.5
        m, v, biased = x.mean(0), x.var(0), x.var(0, correction=0)

        def y(m=m, v=v, x=x, gamma=gamma, beta=beta):
            return gamma * (x - m) / (v + EPS).sqrt() + beta

        rows = F.layer_norm(x, (width,), gamma, beta, EPS)
        got = _triple(batchnorm, x, gamma, beta, mean, var, True, momentum, EPS)
        where = f"in training, batch of {n}"
        mistakes = {
            "n for n - 1: x.var(0) is the unbiased variance, as in the lecture": y(v=biased),
            "eps is missing: sqrt(var + eps)": gamma * (x - m) / v.sqrt() + beta,
            "eps goes inside the root": gamma * (x - m) / (v.sqrt() + EPS) + beta,
            "divide by the standard deviation, not by the variance": gamma * (x - m) / (v + EPS) + beta,
            "gamma is forgotten": y(gamma=1.0),
            "beta is forgotten": y(beta=0.0),
            "the mean is not subtracted": y(m=0.0),
            "in training the batch's own statistics count, not the running ones": y(mean, var),
            "those are the statistics of the rows: that would be LayerNorm": rows,
        }
        expect(f"y {where}", got[0], y(), mistakes, 1e-6, 1e-8)
        for name, old, new in (("mean", mean, m), ("variance", var, v)):
            mistakes = {
                f"the running {name} has not moved": old,
                "momentum is the share of the new value, not of the old one": momentum * old
                + (1 - momentum) * new,
                f"that is the {name} of this batch alone: average it into the running one": new,
                "only the new share; (1 - momentum) times the old one is missing": momentum * new,
                "the old value must shrink by 1 - momentum": old + momentum * new,
            }
            if name == "variance":
                mistakes["n for n - 1: the unbiased variance is stored"] = old * 0.9 + 0.1 * biased
                mistakes["that averages the standard deviation: keep the variance"] = (
                    old * 0.9 + 0.1 * v.sqrt()
                )
            want = (1 - momentum) * old + momentum * new
            expect(f"running {name} {where}", got[1 if name == "mean" else 2], want, mistakes, 1e-6, 1e-8)
        for size in (n, 1):
            got = _triple(batchnorm, x[:size], gamma, beta, mean, var, False, momentum, EPS)
            where = f"at inference, batch of {size}"
            mistakes = {
                "sampling in train mode: with training=False the running statistics count": y()
                if size == n
                else torch.full((1, width), torch.nan),
                "eps is missing: sqrt(var + eps)": (gamma * (x - mean) / var.sqrt() + beta)[:size],
                "divide by the standard deviation: the square root of the running variance": (
                    gamma * (x - mean) / (var + EPS) + beta
                )[:size],
            }
            expect(f"y {where}", got[0], y(mean, var)[:size], mistakes, 1e-6, 1e-9)
            moved = {"with training=False the running statistics stay as they are": None}
            for name, new, old, batch in (("mean", got[1], mean, m), ("variance", got[2], var, v)):
                moved = {"it moves only in training": (1 - momentum) * old + momentum * batch}
                expect(f"running {name} {where}", new, old, moved, 1e-6, 1e-9)
    return "both modes, with batches of 32, 4 and, at inference, 1"


def _triple(batchnorm, *inputs) -> tuple:
    return tuple(parts_of("y, running_mean and running_var", call(batchnorm, *inputs), 3))


@exercise(
    "The gain of any function",
    hints=(
        "What the next layer's variance depends on is the mean *square* of f(z), not its variance.",
        "The gain must bring the root of that mean square back to 1.",
        "f(z).square().mean() ** -0.5",
    ),
)
def gain_of(gain: Any) -> str:
    """Lesson 04, *Kaiming init*: 1/√E[f(z)²], measured on a sample of standard normal z."""
    functions = {
        "relu": torch.relu,
        "tanh": torch.tanh,
        "sigmoid": torch.sigmoid,
        "x": lambda z: z,
        "a leaky relu": lambda z: F.leaky_relu(z, 0.1),
        "sin 2x": lambda z: (2 * z).sin(),
    }
    for i, (name, f) in enumerate(functions.items()):
        z = normal(i)(*((20_000,), (300, 40))[i % 2])
        y, want = f(z), f(z).square().mean() ** -0.5
        mistakes = {
            "that is the root mean square itself: the gain is 1 over it": 1 / want,
            "the square root is missing": want**2,
            "that is the mean square itself: the gain is 1 over its root": want**-2,
            "1/std subtracts the mean of f(z), but the next layer sees f(z) as it is": 1 / y.std(),
            "the mean *square*, not the mean of the absolute values": 1 / y.abs().mean(),
            "the sum of squares must be divided by their number": y.square().sum() ** -0.5,
            "5/3 is the convention for tanh; here the gain is measured": 5 / 3,
            "E[z²] comes first: the square of f(z), not f of the square": f(z**2).mean() ** -0.5,
        }
        number = finite(f"the gain of {name}", call(gain, f, z))
        expect(f"the gain of {name}", number, want.item(), mistakes, 1e-3)
    tanh = torch.tanh(normal(0)(200_000)).square().mean() ** -0.5
    return f"six functions; tanh has {tanh:.2f}, where the convention says 5/3"


@exercise(
    "LayerNorm, forward",
    hints=(
        "Batch norm turned by 90 degrees: statistics over the last axis, of each example on its own.",
        "x.mean(-1, keepdim=True) and x.var(-1, keepdim=True, correction=0): LayerNorm divides by d.",
    ),
)
def layernorm_forward(layernorm: Any) -> str:
    """Sequel 04, *Layer norm*: each example normalised by its own mean and biased variance."""
    for shape in ((6, 5), (4, 4), (2, 3, 8), (1, 5)):
        rand = normal(sum(shape))
        x, size = rand(*shape) * 0.05 + 1, shape[-1]  # small values: eps counts
        gamma, beta = 1 + 0.5 * rand(size), rand(size)
        m, v = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, correction=0)
        batch_axis = (x - x.mean(0)) / (x.var(0, correction=0) + EPS).sqrt() * gamma + beta
        unbiased = x.var(-1, keepdim=True)
        everything = (x - x.mean()) / (x.var(correction=0) + EPS).sqrt() * gamma + beta
        mistakes = {
            "that is batch norm: the statistics run over the last axis": batch_axis,
            "LayerNorm uses the biased variance: divide by d, correction=0": gamma
            * (x - m)
            / (unbiased + EPS).sqrt()
            + beta,
            "eps is missing: sqrt(var + eps)": gamma * (x - m) / v.sqrt() + beta,
            "divide by the standard deviation, not by the variance": gamma * (x - m) / (v + EPS) + beta,
            "each example has its own mean and variance; that is one for all": everything,
            "gamma is forgotten": (x - m) / (v + EPS).sqrt() + beta,
            "beta is forgotten": (x - m) / (v + EPS).sqrt() * gamma,
        }
        want = F.layer_norm(x, (size,), gamma, beta, EPS)
        expect(f"y for x of shape {shape}", call(layernorm, x, gamma, beta, EPS), want, mistakes, 1e-6, 1e-8)
    return "equal to torch's, for two axes and three, and for a batch of one"


@exercise(
    "Find the dead neurons",
    hints=(
        "A neuron (column) is dead when it is saturated for *every* example: not for most, not for one.",
        "(h.abs() > threshold).all(0) is a mask; nonzero().flatten() turns it into indices.",
    ),
)
def dead_neurons(dead: Any) -> str:
    """Sequel 04, *Dead neurons, tracked*: the columns that are saturated for all examples."""
    for n, width, threshold in ((50, 12, 0.99), (8, 8, 0.97), (30, 5, 0.99)):
        h = (torch.tanh(normal(n)(n, width) * 1.5) * 0.96).float()
        if width > 5:  # the last case has none
            h[:, 1], h[:, 3], h[:, 4] = 0.999, -0.999, 0.999
            h[::2, 4] = -0.999  # sometimes on one side, sometimes on the other: dead all the same
            h[:, 6] = 0.995
            h[n // 2, 6] = 0.2  # one example still reaches it
            h[3] = h[3].sign()  # one example saturates all
        flat = h.abs() > threshold
        want = flat.all(0).nonzero().flatten().tolist()
        got = call(dead, h, threshold)
        ok = isinstance(got, list | tuple) or (isinstance(got, Tensor) and got.ndim <= 2)
        require(ok, f"expected the indices of the dead neurons, got {type(got).__name__}")
        mask = isinstance(got, Tensor) and got.dtype == torch.bool
        require(not mask, "that is a mask: its .nonzero().flatten() are the indices")
        column = isinstance(got, Tensor) and got.ndim != 1
        require(not column, "expected one axis of indices: did you forget .flatten()?")
        ids = [i.item() if isinstance(i, Tensor) and i.numel() == 1 else i for i in got]
        require(all(isinstance(i, int) for i in ids), "indices are whole numbers")
        mistakes = {
            "saturated for *some* example is not dead: all examples must be": flat.any(0),
            "saturated for most examples is not dead: one may still reach it": flat.float().mean(0) > 0.5,
            "tanh is flat at -1 too: take the absolute value": (h > threshold).all(0),
            "those are examples (rows); a neuron is a column": flat.all(1),
            "turned round: those are the neurons that live": ~flat.all(0),
            "a neuron that jumps between -1 and 1 is dead too": (h.mean(0).abs() > threshold),
        }
        if ids != want:
            for explanation, value in mistakes.items():
                require(ids != value.nonzero().flatten().tolist(), explanation)
            require(sorted(ids) != want, "the right ones: return them in rising order")
            require(False, f"of {len(want)} dead neurons you found {len(set(ids) & set(want))}, and "
                           f"{len(set(ids) - set(want))} that are not dead")  # fmt: skip
    return "all dead ones, on either side of tanh, and none that is still reached"
