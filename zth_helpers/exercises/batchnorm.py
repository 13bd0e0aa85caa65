"""Exercises of lecture 4: what zeros do, the gain, dead neurons, and batch norm forward, inside and out."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from zth_helpers.exercises.checks import call, expect, finite, kind, parts_of, require
from zth_helpers.exercises.draws import entropy, normal, seeded
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
    level=3,
    minutes=20,
)
def all_zeros(from_zeros: Any) -> str:
    """Lecture 4, E01: which parameters learn when all start at zero, and where the loss ends."""
    for V, N, block in ((27, 500, 3), (5, 40, 2)):
        g = seeded(V)
        X = torch.randint(0, V, (N, block), generator=g)
        Y = (torch.rand(N, generator=g) ** 2 * (V - 1)).long()  # uneven, and the last letter never occurs,
        Y[Y == V // 2] = 0  # nor one in the middle
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
    level=2,
    minutes=15,
)
def fold_batchnorm(fold: Any) -> str:
    """Lecture 4, E02: W' and b' of the one layer that does what Linear and BatchNorm1d did at inference."""
    for fan_in, width, eps in ((5, 4, 1e-5), (6, 6, 1e-3)):  # in a square W scaled rows would fit too
        W, b, gamma, beta, mean, var = pieces = _folding(normal(fan_in), fan_in, width)
        scale = gamma * (var + eps) ** -0.5
        mistakes_W = {
            "the fold is without eps: sqrt(running_var + eps)": W * gamma * var**-0.5,
            "the square root of the running variance is missing": W * gamma / (var + eps),
            "eps stands inside of the root, sqrt(running_var + eps)": W * gamma / (var.sqrt() + eps),
            "gamma is forgotten": W * (var + eps) ** -0.5,
            "W is unchanged: its columns are scaled": W,
            "multiplied instead of divided by the standard deviation": W * gamma * (var + eps) ** 0.5,
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
        new_W, new_b = parts_of("the new W and the new b", call(fold, *pieces, eps), 2)
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
        "A column is everything that stands at the same place of the last axis: the mean runs over all other"
        " axes, however many there are. x.flatten(0, -2) makes two axes of them.",
        "momentum is the share of the *new* value: (1 - momentum) * old + momentum * new. And y ="
        " gamma * (x -"
        " mean) / torch.sqrt(var + eps) + beta.",
    ),
    level=3,
    minutes=20,
)
def batchnorm_forward(batchnorm: Any) -> str:
    """Lesson 04, *PyTorch-ifying the code*, for any number of axes: output and new statistics, both modes."""
    cases = (((32, 5), 0.1, 1e-5), ((4, 4), 0.3, 1e-3), ((6, 7, 3), 0.05, 1e-4), ((2, 3, 4, 2), 0.1, 1e-5))
    for shape, momentum, eps in cases:
        *n, width = shape
        rand = normal(n[0])
        x = rand(*shape) * torch.logspace(-2, 0.5, width, dtype=torch.float64) + 1
        x = x + rand(*shape[1:-1], width)  # other means at other positions
        gamma, beta, mean, var = 1 + 0.5 * rand(width), rand(width), rand(width), rand(width) ** 2 + 0.5
        columns = x.flatten(0, -2)
        m, v, biased = columns.mean(0), columns.var(0), columns.var(0, correction=0)

        def y(m=m, v=v, x=x, gamma=gamma, beta=beta, eps=eps):
            return gamma * (x - m) / (v + eps).sqrt() + beta

        rows = F.layer_norm(x, (width,), gamma, beta, eps)
        got = _triple(batchnorm, x, gamma, beta, mean, var, True, momentum, eps)
        where = f"in training, x of shape {shape}"
        mistakes = {
            "n for n - 1: x.var(0) is the unbiased variance, as in the lecture": y(v=biased),
            "eps is missing: sqrt(var + eps)": gamma * (x - m) / v.sqrt() + beta,
            "eps stands inside of the root: sqrt(var + eps)": gamma * (x - m) / (v.sqrt() + eps) + beta,
            "divide by the standard deviation, not by the variance": gamma * (x - m) / (v + eps) + beta,
            "gamma is forgotten": y(gamma=1.0),
            "beta is forgotten": y(beta=0.0),
            "the mean is not subtracted": y(m=0.0),
            "in training the batch's own statistics count, not the running ones": y(mean, var),
            "those are the statistics of the rows: that would be LayerNorm": rows,
            "the mean over one axis is too little: it runs over all axes but the last": y(
                x.mean(0), x.var(0)
            ),
        }
        for axes in ((0, -1), (-2,)) if len(shape) > 2 else ():
            over = x.mean(axes, keepdim=True), x.var(axes, keepdim=True)
            mistakes[f"batch norm over the wrong axes {axes}: it runs over all but the last"] = y(*over)
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
                kept = (1 - momentum) * old
                mistakes["n for n - 1: the unbiased variance is stored"] = kept + momentum * biased
                mistakes["that averages the standard deviation: keep the variance"] = (
                    kept + momentum * v.sqrt()
                )
            want = (1 - momentum) * old + momentum * new
            expect(f"running {name} {where}", got[1 if name == "mean" else 2], want, mistakes, 1e-6, 1e-8)
        for size in (n[0], 1):
            got = _triple(batchnorm, x[:size], gamma, beta, mean, var, False, momentum, eps)
            where = f"at inference, x of shape {(size, *shape[1:])}"
            mistakes = {
                "sampling in train mode: with training=False the running statistics count": y()
                if size == n[0]
                else torch.full((1, width), torch.nan),
                "eps is missing: sqrt(var + eps)": (gamma * (x - mean) / var.sqrt() + beta)[:size],
                "divide by the standard deviation: the square root of the running variance": (
                    gamma * (x - mean) / (var + eps) + beta
                )[:size],
                "eps stands inside of the root: sqrt(running_var + eps)": (
                    gamma * (x - mean) / (var.sqrt() + eps) + beta
                )[:size],
            }
            expect(f"y {where}", got[0], y(mean, var)[:size], mistakes, 1e-6, 1e-9)
            moved = {"with training=False the running statistics stay as they are": None}
            for name, new, old, batch in (("mean", got[1], mean, m), ("variance", got[2], var, v)):
                moved = {"it moves only in training": (1 - momentum) * old + momentum * batch}
                expect(f"running {name} {where}", new, old, moved, 1e-6, 1e-9)
    return "both modes, for x of two, three and four axes and, at inference, a batch of one"


def _triple(batchnorm, *inputs) -> tuple:
    return tuple(parts_of("y, running_mean and running_var", call(batchnorm, *inputs), 3))


@exercise(
    "The gain of any function",
    hints=(
        "What the next layer's variance depends on is the mean *square* of f(z), not its variance.",
        "The gain must bring the root of that mean square back to 1.",
        "f(z).square().mean() ** -0.5",
    ),
    level=2,
    minutes=10,
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
        z = normal(i)(*((20_000,), (300, 40), (25 + i, 16, 30))[i % 3])
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
        mistakes[
            "the next layer sees the mean square of f(z), its mean included: not the ratio of the stds"
        ] = z.std() / y.std()
        number = finite(f"the gain of {name}", call(gain, f, z))
        if math.isclose(number, (z.square().mean() / y.square().mean()).sqrt().item(), rel_tol=1e-3):
            continue  # against the sample's own mean square: as right, and less noisy
        expect(f"the gain of {name}", number, want.item(), mistakes, 1e-3)
    tanh = torch.tanh(normal(0)(200_000)).square().mean() ** -0.5
    return f"six functions; tanh has {tanh:.2f}, where the convention says 5/3"


@exercise(
    "LayerNorm, forward",
    hints=(
        "Batch norm turned by 90 degrees: statistics over the last axis, of each example on its own.",
        "x.mean(-1, keepdim=True) and x.var(-1, keepdim=True, correction=0): LayerNorm divides by d.",
    ),
    level=2,
    minutes=10,
)
def layernorm_forward(layernorm: Any) -> str:
    """Sequel 04, *Layer norm*: each example normalised by its own mean and biased variance."""
    for shape, eps in (((6, 5), 1e-5), ((4, 4), 1e-3), ((2, 3, 8), 1e-4), ((1, 5), 1e-5)):
        rand = normal(sum(shape))
        x, size = rand(*shape) * 0.05 + 1, shape[-1]  # small values: eps counts
        gamma, beta = 1 + 0.5 * rand(size), rand(size)
        m, v = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, correction=0)
        batch_axis = (x - x.mean(0)) / (x.var(0, correction=0) + eps).sqrt() * gamma + beta
        unbiased = x.var(-1, keepdim=True)
        everything = (x - x.mean()) / (x.var(correction=0) + eps).sqrt() * gamma + beta
        mistakes = {
            "that is batch norm: the statistics run over the last axis": batch_axis,
            "LayerNorm uses the biased variance: divide by d, correction=0": gamma
            * (x - m)
            / (unbiased + eps).sqrt()
            + beta,
            "eps is missing: sqrt(var + eps)": gamma * (x - m) / v.sqrt() + beta,
            "eps stands inside of the root: sqrt(var + eps)": gamma * (x - m) / (v.sqrt() + eps) + beta,
            "divide by the standard deviation, not by the variance": gamma * (x - m) / (v + eps) + beta,
            "each example has its own mean and variance; that is one for all": everything,
            "gamma is forgotten": (x - m) / (v + eps).sqrt() + beta,
            "beta is forgotten": (x - m) / (v + eps).sqrt() * gamma,
        }
        want = F.layer_norm(x, (size,), gamma, beta, eps)
        expect(f"y for x of shape {shape}", call(layernorm, x, gamma, beta, eps), want, mistakes, 1e-6, 1e-8)
    return "equal to torch's, for two axes and three, and for a batch of one"


@exercise(
    "Find the dead neurons",
    hints=(
        "A neuron (column) is dead when it is saturated for *every* example: not for most, not for one.",
        "(h.abs() > threshold).all(0) is a mask; nonzero().flatten() turns it into indices.",
    ),
    level=1,
    minutes=5,
)
def dead_neurons(dead: Any) -> str:
    """Sequel 04, *Dead neurons, tracked*: the columns that are saturated for all examples."""
    cases = (50, 12, 0.99), (8, 8, 0.97), (40, 10, 0.9), (20, 9, 0.6), (30, 5, 0.99), (9, 8, 0.875)
    for n, width, threshold in cases:
        h = (torch.tanh(normal(n)(n, width) * 1.5) * 0.96).float()
        if width > 5:  # the last case has none
            h[:, 1], h[:, 3], h[:, 4] = 0.999, -0.999, 0.999
            h[::2, 4] = -0.999  # sometimes on one side, sometimes on the other: dead all the same
            h[:, 5] = 0.935  # dead or not: that depends on the threshold
            h[:, 2] = 0.875  # which is a threshold, too, and not above it
            h[:, 6] = 0.999
            h[n // 2, 6] = 0.2  # one example still reaches it
            h[:, 7] = 1
            h[n // 2, 7] = threshold - 0.03  # just so, and the average is above the threshold
            h[3] = h[3].sign()  # one example saturates all
        flat = h.abs() > threshold
        want = flat.all(0).nonzero().flatten().tolist()
        usual = (h.abs() > 0.99).all(0).nonzero().flatten().tolist()
        got = call(dead, h, threshold)
        alone = isinstance(got, tuple) and len(got) == 1 and isinstance(got[0], Tensor)
        require(not alone, "that is a tuple with one tensor in it, as nonzero(as_tuple=True) gives; take [0]")
        ok = isinstance(got, list | tuple) or (isinstance(got, Tensor) and got.ndim <= 2)
        require(ok, f"expected the indices of the dead neurons, got {kind(got)}")
        mask = isinstance(got, Tensor) and got.dtype == torch.bool
        require(not mask, "that is a mask: its .nonzero().flatten() are the indices")
        column = isinstance(got, Tensor) and got.ndim != 1
        require(not column, "expected one axis of indices: did you forget .flatten()?")
        ids = [i.item() if isinstance(i, Tensor) and i.numel() == 1 else i for i in got]
        require(all(isinstance(i, int) for i in ids), "indices are whole numbers")
        mistakes = {
            "saturated for *some* example is not dead: all examples must be": flat.any(0),
            "saturated for most examples is not dead: one may still reach it": flat.float().mean(0) > 0.5,
            "the average may be above the threshold while one example is not: all must be": (
                h.abs().mean(0) > threshold
            ),
            "tanh is flat at -1 too: take the absolute value": (h > threshold).all(0),
            "those are examples (rows); a neuron is a column": flat.all(1),
            "turned round: those are the neurons that live": ~flat.all(0),
            "a value at the threshold is not above it: >, not >=": (h.abs() >= threshold).all(0),
            "a neuron that jumps between -1 and 1 is dead too": (h.mean(0).abs() > threshold),
        }
        if ids != want:
            require(
                ids != usual, f"the threshold here is {threshold}, an argument: that is the answer for 0.99"
            )
            for explanation, value in mistakes.items():
                require(ids != value.nonzero().flatten().tolist(), explanation)
            require(sorted(ids) != want, "the right ones: return them in rising order")
            require(False, f"of {len(want)} dead neurons you found {len(set(ids) & set(want))}, and "
                           f"{len(set(ids) - set(want))} that are not dead")  # fmt: skip
    return "all dead ones, on either side of tanh, and none that is still reached"
