"""Exercises of lecture 5: every gradient by hand. The truth is autograd's, in float64, on fresh inputs.

The incoming gradients are random, so that nothing cancels by luck, and the batch sizes differ, so that no
hard-coded 32 passes. The learner's code runs with autograd switched off.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import _C, Tensor
from torch.autograd import forward_ad
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from zth_helpers.exercises.checks import call, expect, kind, parts_of, require
from zth_helpers.exercises.draws import normal, seeded
from zth_helpers.exercises.exercise import Wrong, exercise

Named = Mapping[str, Tensor]
EPS = 1e-5
SUM_ROWS = "it was broadcast over the rows, so sum them, and keep the axis: keepdim=True"


def _gradients(out: Tensor, incoming: Tensor | None = None, **atoms: Tensor) -> dict[str, Tensor]:
    """Autograd's gradients of the atoms, in the order of the keywords."""
    arrived = out if incoming is None else (out * incoming).sum()  # given apart, torch would import sympy
    return dict(zip(atoms, torch.autograd.grad(arrived, list(atoms.values()))))


class _NoAutograd(TorchFunctionMode):
    """While active, refuses to compute with a tensor that autograd or torch.func follows."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        for x in tree_leaves((args, kwargs)):
            if isinstance(x, Tensor) and (x.requires_grad or _C._functorch.is_gradtrackingtensor(x)):
                raise Wrong("autograd is switched off here: write the gradient yourself")
        require(forward_ad._current_level < 0, "autograd is switched off here: write the gradient yourself")
        return func(*args, **(kwargs or {}))


def _by_hand(answer: Callable, *inputs: object) -> object:
    """The learner's result, computed without autograd, whatever they switch on again."""
    given = [x.detach() if isinstance(x, Tensor) else x for x in inputs]
    try:
        with torch.inference_mode(), _NoAutograd():
            return call(answer, *given)
    except Wrong as wrong:
        if "does not require grad" in str(wrong):
            raise Wrong("autograd is switched off here: write the gradient yourself") from None
        raise


def _judge(where: str, got: object, true: Named, mistakes: Mapping[str, Named]) -> None:
    """Compares gradient by gradient, in order; the answer is a dict, or for one gradient a tensor."""
    if len(true) > 1 and got is not None:
        require(isinstance(got, dict), f"expected a dict of {len(true)} gradients, got {kind(got)}")
    for i, (name, want) in enumerate(true.items()):
        value = got
        if isinstance(got, dict):  # "dlogprobs" is as good a name for its gradient as "logprobs"
            key = name if name in got else f"d{name}"
            done = ", ".join(list(true)[:i]) or "none"
            missing = f"the gradient of {name} is missing from your dict (right so far: {done})"
            require(key in got, missing)
            value = got[key]
        expect(f"d{name}, {where}", value, want, mistakes.get(name), rtol=1e-4, atol=1e-7)


def _judge_tuple(where: str, got: object, true: Named, mistakes: Mapping[str, Named]) -> None:
    """As `judge`, for answers that come as a tuple or list in the order of `true`."""
    names = ", ".join("d" + name for name in true)
    _judge(where, dict(zip(true, parts_of(f"the gradients {names}", got, len(true)))), true, mistakes)


@exercise(
    "Softmax and the loss, atom by atom",
    official=True,
    hints=(
        "Incoming times local, from the right: of each row of logprobs only one entry goes into the loss, and"
        " the mean divides by n.",
        "counts_sum_inv (n, 1) was broadcast over the columns: sum over them, keepdim=True. counts is used"
        " twice, in probs and in counts_sum, so two gradients add.",
        "dprobs = dlogprobs / probs; dcounts_sum = -dcounts_sum_inv * counts_sum**-2;"
        " dcounts = dprobs * counts_sum_inv + dcounts_sum; dnorm_logits = dcounts * counts.",
    ),
    level=3,
    minutes=30,
)
def softmax_atoms(backward: Any) -> str:
    """Lecture 5, exercise 1, chunk A: six gradients from the loss back to norm_logits."""
    for n, K in ((32, 27), (7, 5), (1, 4)):
        rand = normal(n)
        Y = torch.randint(0, K, (n,), generator=seeded(n))
        norm_logits = rand(n, K).requires_grad_()
        counts = norm_logits.exp()
        counts_sum = counts.sum(1, keepdim=True)
        counts_sum_inv = counts_sum**-1
        probs = counts * counts_sum_inv
        logprobs = probs.log()
        loss = -logprobs[range(n), Y].mean()
        d = _gradients(loss, logprobs=logprobs, probs=probs, counts_sum_inv=counts_sum_inv,
                      counts_sum=counts_sum, counts=counts, norm_logits=norm_logits)  # fmt: skip
        got = _by_hand(backward, Y, probs, counts_sum_inv, counts_sum, counts)
        each = d["probs"] * counts  # what arrives at counts_sum_inv, not yet summed
        mistakes = {
            "logprobs": {
                "the loss is a mean: divide by n": d["logprobs"] * n,
                "a hard-coded 32: divide by n, the length of Y": d["logprobs"] * n / 32,
                "the sign: the loss is *minus* the mean": -d["logprobs"],
                "only the right letter's entry goes into the loss, the others get 0": torch.full(
                    (n, K), -1 / n
                ),
            },
            "probs": {
                "the derivative of log p is 1/p: divide by probs": d["logprobs"] * probs,
                "that is the local derivative: multiply with what comes in": 1 / probs,
            },
            "counts_sum_inv": {
                "the sum has lost its axis: keepdim=True": each.sum(1),
                "it was broadcast over the columns: sum over them": each,
                "that sums the rows; it was broadcast over the columns": each.sum(0, keepdim=True),
            },
            "counts_sum": {
                "the sign: the derivative of 1/s is -1/s²": -d["counts_sum"],
                "the derivative of 1/s is -1/s², not -1/s": d["counts_sum"] * counts_sum,
            },
            "counts": {
                "counts is used twice: the share through counts_sum is lost (`=` for `+=`)": d["probs"]
                * counts_sum_inv,
                "counts is used twice: the share through probs is lost": d["counts_sum"].expand(n, K),
            },
            "norm_logits": {
                "exp is its own derivative: multiply with counts": d["counts"],
                "the derivative of exp(x) is exp(x), not x": d["counts"] * norm_logits,
            },
        }
        _judge(f"batch of {n}", got, d, mistakes)
    return "six of 26 gradients, for batches of 32, 7 and 1"


@exercise(
    "The branch through the max",
    official=True,
    hints=(
        "norm_logits = logits - logit_maxes: logits goes in with slope 1, the maximum with slope -1,"
        " broadcast over the row.",
        "The maximum is one of the logits. What arrives at it belongs to that one entry of the row: use"
        " F.one_hot(logits.argmax(1), K).",
    ),
    level=3,
    minutes=15,
)
def max_branch(backward: Any) -> str:
    """Lecture 5, exercise 1: logit_maxes and logits, with an incoming gradient that does not cancel."""
    for n, K in ((32, 27), (7, 5), (1, 4)):
        rand = normal(n + 1)
        logits, incoming = rand(n, K).requires_grad_(), rand(n, K)
        logit_maxes = logits.max(1, keepdim=True).values
        d = _gradients(logits - logit_maxes, incoming, logit_maxes=logit_maxes, logits=logits)
        got = _by_hand(backward, incoming, logits)
        dmax = d["logit_maxes"]
        winner = F.one_hot(logits.argmax(1), K)
        mistakes = {
            "logit_maxes": {
                "the sign: the maximum is *subtracted*": -dmax,
                "the sum has lost its axis: keepdim=True": dmax[:, 0],
                "it was broadcast over the columns: sum over them": -incoming,
                "it is 0 only behind a softmax, where the incoming rows sum to 0": torch.zeros(n, 1),
            },
            "logits": {
                "the share through the maximum is lost: logits is used twice (`=` for `+=`)": incoming,
                "only the share through the maximum: logits is used twice": winner * dmax,
                "what arrives at the maximum belongs to one entry of the row, not to all": incoming + dmax,
            },
        }
        _judge(f"batch of {n}", got, d, mistakes)
    return "two more gradients; here a forgotten branch cannot hide behind rounding"


@exercise(
    "A linear layer and tanh",
    official=True,
    hints=(
        "logits = h @ W2 + b2. Only one product of the right shapes gives dh, and only one gives dW2.",
        "dh = dlogits @ W2.T, dW2 = h.T @ dlogits, and b2 was broadcast over the rows.",
        "The derivative of tanh, written with its output h, is 1 - h**2.",
    ),
    level=2,
    minutes=15,
)
def linear_tanh(backward: Any) -> str:
    """Lecture 5, exercise 1, chunks B and C: h, W2, b2 and hpreact from dlogits."""
    for n, width, K in (
        (32, 8, 5),
        (7, 6, 6),
        (1, 3, 4),
    ):  # a square W2: a missing .T fits it
        rand = normal(n + 2)
        hpreact, W2, b2 = (rand(*s).requires_grad_() for s in ((n, width), (width, K), (K,)))
        dlogits = rand(n, K)
        h = torch.tanh(hpreact)
        d = _gradients(h @ W2 + b2, dlogits, h=h, W2=W2, b2=b2, hpreact=hpreact)
        got = _by_hand(backward, dlogits, h, W2)
        mistakes = {
            "h": {"W2 must be transposed": dlogits @ W2} if width == K else {},
            "W2": {"that is the transpose: h.T @ dlogits": d["W2"].T},
            "b2": {
                "b2 has shape (K,): no keepdim here": d["b2"][None],
                "a broadcast is summed on the way back, not averaged": dlogits.mean(0),
                "it was broadcast over the rows: sum them": dlogits,
            },
            "hpreact": {
                "the derivative of tanh is 1 - h², not 1 - h": d["h"] * (1 - h),
                "h *is* the tanh: 1 - h**2, without another tanh": d["h"] * (1 - h.tanh() ** 2),
                "that is the local derivative: multiply with what comes in": 1 - h**2,
                "a tanh lies between hpreact and h: multiply with its derivative": d["h"],
            },
        }
        _judge(f"batch of {n}", got, d, mistakes)
    return "four more gradients, for batches of 32, 7 and 1, and a square W2"


@exercise(
    "Batch norm, atom by atom",
    official=True,
    hints=(
        "Everything with a 1 as its first axis was broadcast over the rows: its gradient is a column sum with"
        " keepdim=True.",
        "bnvar_inv = (bnvar + 1e-5)**-0.5 has the slope -0.5 * (bnvar + 1e-5)**-1.5; bnvar is the sum of"
        " bndiff2 divided by n - 1.",
        "Two uses each: bndiff (in bnraw and, squared, in bndiff2) and hprebn (in bndiff and, as 1/n, in the"
        " mean).",
    ),
    level=4,
    minutes=45,
)
def batchnorm_atoms(backward: Any) -> str:
    """Lecture 5, exercise 1, chunk D: nine gradients from dhpreact back to hprebn."""
    for n, width in ((32, 6), (7, 4), (2, 3)):
        rand = normal(n + 3)
        scale = torch.logspace(-2, 0.5, width, dtype=torch.float64)  # small columns: there eps counts
        hprebn = (rand(n, width) * scale + 1).requires_grad_()
        bngain, bnbias, dhpreact = 1 + 0.3 * rand(1, width), rand(1, width), rand(n, width)
        bngain, bnbias = bngain.requires_grad_(), bnbias.requires_grad_()
        bnmeani = hprebn.mean(0, keepdim=True)
        bndiff = hprebn - bnmeani
        bndiff2 = bndiff**2
        bnvar = bndiff2.sum(0, keepdim=True) / (n - 1)
        bnvar_inv = (bnvar + EPS) ** -0.5
        bnraw = bndiff * bnvar_inv
        d = _gradients(bngain * bnraw + bnbias, dhpreact, bngain=bngain, bnbias=bnbias, bnraw=bnraw,
                      bnvar_inv=bnvar_inv, bnvar=bnvar, bndiff2=bndiff2, bndiff=bndiff, bnmeani=bnmeani,
                      hprebn=hprebn)  # fmt: skip
        got = _by_hand(backward, dhpreact, bngain, bnraw, bnvar_inv, bnvar, bndiff)
        mistakes = {name: {SUM_ROWS: d[name][0]} for name in ("bngain", "bnbias", "bnvar_inv", "bnmeani")}
        mistakes["bngain"]["bnbias and bngain are mixed up: bngain multiplies bnraw"] = d["bnbias"]
        mistakes["bnraw"] = {"it is multiplied with bngain": dhpreact}
        mistakes["bnvar"] = {
            "eps is inside: (bnvar + 1e-5)**-1.5": d["bnvar_inv"] * -0.5 * bnvar**-1.5,
            "the sign: the exponent is -0.5": -d["bnvar"],
            "the exponent sinks by one, to -1.5": d["bnvar_inv"] * -0.5 * bnvar_inv,
        }
        mistakes["bndiff2"] = {
            "n for n - 1: Bessel's correction": d["bndiff2"] * (n - 1) / n,
            "the sum was divided by n - 1": d["bndiff2"] * (n - 1),
            "a sum forward is a broadcast backward: copy it to all rows": d["bndiff2"][:1],
            "a hard-coded 31: divide by n - 1": d["bndiff2"] * (n - 1) / 31,
        }
        mistakes["bndiff"] = {
            "bndiff is used twice: the share through bndiff2 is lost (`=` for `+=`)": d["bnraw"] * bnvar_inv,
            "bndiff is used twice: the share through bnraw is lost": d["bndiff2"] * 2 * bndiff,
            "the derivative of x² is 2x: the 2 is missing": d["bnraw"] * bnvar_inv + d["bndiff2"] * bndiff,
        }
        mistakes["bnmeani"]["the sign: the mean is *subtracted*"] = -d["bnmeani"]
        mistakes["hprebn"] = {
            "hprebn is used twice: the share through the mean is lost (`=` for `+=`)": d["bndiff"],
            "missing /n: each row is 1/n of the mean": d["bndiff"] + d["bnmeani"],
            "a hard-coded 32: divide by n": d["bndiff"] + d["bnmeani"] / 32,
        }
        _judge(f"batch of {n}", got, d, mistakes)
    return "nine more gradients, for batches of 32, 7 and 2"


@exercise(
    "The first layer and the embedding",
    official=True,
    hints=(
        "embcat @ W1 + b1 is a linear layer like the second; emb is embcat in another shape, so its gradient"
        " is a view.",
        "Row k of C was used wherever X is k: all those gradients add up. `dC[X] += demb` keeps only one of"
        " each.",
        "dC = torch.zeros_like(C).index_add_(0, X.view(-1), demb.view(-1, C.shape[1]))",
    ),
    level=3,
    minutes=20,
)
def embedding_atoms(backward: Any) -> str:
    """Lecture 5, exercise 1, chunks E and F: embcat, W1, b1, emb and C from dhprebn."""
    cases = ((32, 3, 4, 8, 9), (7, 2, 3, 6, 5), (1, 3, 2, 4, 27))  # the second W1 is square
    for n, block, dim, width, V in cases:
        rand = normal(n + 4)
        C, W1, b1 = (rand(*s).requires_grad_() for s in ((V, dim), (block * dim, width), (width,)))
        X = torch.randint(0, V, (n, block), generator=seeded(n))
        X[0, :2] = 0  # a repeated letter, as in the context of a first letter
        emb = C[X]
        embcat, dhprebn = emb.view(n, -1), rand(n, width)
        d = _gradients(embcat @ W1 + b1, dhprebn, embcat=embcat, W1=W1, b1=b1, emb=emb, C=C)
        got = _by_hand(backward, dhprebn, embcat, W1, C, X)
        lost = torch.zeros_like(C.detach())
        lost[X] += d["emb"]
        mean = d["C"] / torch.bincount(X.flatten(), minlength=V).clamp(min=1)[:, None]
        mistakes = {
            "embcat": {"W1 must be transposed": dhprebn @ W1} if block * dim == width else {},
            "W1": {"that is the transpose: embcat.T @ dhprebn": d["W1"].T},
            "b1": {
                "b1 has one axis: no keepdim here": d["b1"][None],
                "a broadcast is summed on the way back, not averaged": dhprebn.mean(0),
            },
            "emb": {"the numbers are right; view them in the shape of emb, (n, block, dim)": d["embcat"]},
            "C": {
                "repeated letters are lost: indexed += writes each row once; use index_add_": lost,
                "a row that is used several times gets the sum, not the mean": mean,
            },
        }
        _judge(f"batch of {n}", got, d, mistakes)
    return "the last five of 26 gradients, with letters that repeat"


@exercise(
    "Softmax and loss in one expression",
    official=True,
    hints=(
        "Differentiate -log(exp(z_y) / sum of exp(z)) by z_j on paper; treat j = y and j ≠ y apart.",
        "It is p_j for a wrong letter and p_j - 1 for the right one. And the loss is a mean.",
        "(F.softmax(logits, 1) - F.one_hot(Y, logits.shape[1])) / len(Y)",
    ),
    level=3,
    minutes=20,
)
def cross_entropy_backward(backward: Any) -> str:
    """Lecture 5, exercise 2: dlogits of the mean cross-entropy, at small logits and at huge ones."""
    for n, K, size in ((32, 27, 1), (7, 27, 1), (5, 9, 1000), (1, 4, 1)):
        Y = torch.randint(0, K, (n,), generator=seeded(n))
        logits = (normal(n + 5)(n, K) * size).requires_grad_()
        d = _gradients(F.cross_entropy(logits, Y), logits=logits)
        p, hot, true = logits.softmax(1), F.one_hot(Y, K), d["logits"]
        mistakes = {
            "the loss is a mean: divide by n": true * n,
            "a hard-coded 32: divide by n, the length of Y": true * n / 32,
            "divide by n only, not by the number of all entries": true / K,
            "those are the probabilities: take 1 off at the right letter": p,
            "take 1 off at the right letter": p / n,
            "the sign: softmax minus one-hot, not the other way round": -true,
            "softmax runs along each row: dim 1": (logits.softmax(0) - hot) / n,
            "p (1 - p) is the slope of a probability, not of the loss": p * (1 - p) / n,
            "softmax, not its logarithm": (logits.log_softmax(1) - hot) / n,
        }
        where = f"batch of {n}" + (", logits in the thousands" if size > 1 else "")
        _judge(where, _by_hand(backward, logits, Y), d, {"logits": mistakes})
    return "equal to autograd for batches of 32, 7, 5 and 1; logits in the thousands do not overflow"


@exercise(
    "Batch norm in one expression",
    official=True,
    hints=(
        "On paper, one column at a time: the gradient reaches x_i directly, through the variance, and through"
        " the mean. Three terms.",
        "The share through the mean is minus the average of what comes in; the share through the variance is"
        " along bnraw, with a factor 1/(n - 1).",
        "bngain * bnvar_inv / n * (n * dhpreact - dhpreact.sum(0) - n / (n - 1) * bnraw * (...).sum(0)): what"
        " is summed in the last bracket?",
    ),
    level=5,
    minutes=45,
)
def batchnorm_backward(backward: Any) -> str:
    """Lecture 5, exercise 3: dhprebn from dhpreact, with the unbiased variance."""
    for n, width in ((32, 6), (7, 4), (2, 3)):
        rand = normal(n + 6)
        x = (rand(n, width) * torch.logspace(-1, 0.5, width, dtype=torch.float64)).requires_grad_()
        gain, g = 1 + 0.3 * rand(1, width), rand(n, width)
        inv = (x.var(0, keepdim=True) + EPS) ** -0.5
        raw = (x - x.mean(0, keepdim=True)) * inv
        d = _gradients(gain * raw, g, hprebn=x)

        def formula(g=g, gain=gain, inv=inv, raw=raw, n=n, mean=1.0, var=1.0, bessel=None):
            bessel = n / (n - 1) if bessel is None else bessel
            return gain * inv * (g - mean * g.sum(0) / n - var * bessel / n * raw * (g * raw).sum(0))

        mistakes = {
            "n for n - 1: the factor n/(n-1) of the unbiased variance is missing": formula(bessel=1.0),
            "the share through the mean is missing": formula(mean=0.0),
            "the share through the variance is missing": formula(var=0.0),
            "mean and variance depend on x too: two shares are missing": formula(mean=0.0, var=0.0),
            "missing /n in the share through the mean": formula(mean=n),
            "bngain is forgotten": formula(gain=torch.ones_like(gain)),
            "bnvar_inv is forgotten": formula(inv=torch.ones_like(inv)),
            "a hard-coded 32: n is the length of the batch": formula(mean=n / 32, bessel=n / 31),
            "n times too large: divide by n at the end": formula() * n,
        }
        got = _by_hand(backward, g, gain, raw, inv)
        _judge(f"batch of {n}", got, d, {"hprebn": mistakes})
    return "equal to autograd for batches of 32, 7 and 2"


def _forward(P: list[Tensor], X: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The network of exercise 4 as its notebook gives it: logits (n, K) and what backward needs again."""
    C, W1, b1, W2, b2, bngain, bnbias = P
    embcat = C[X].view(len(X), -1)
    hprebn = embcat @ W1 + b1
    bnvar_inv = (hprebn.var(0, keepdim=True) + EPS) ** -0.5
    bnraw = (hprebn - hprebn.mean(0, keepdim=True)) * bnvar_inv
    h = torch.tanh(bngain * bnraw + bnbias)
    return h @ W2 + b2, (embcat, bnvar_inv, bnraw, h)


@exercise(
    "The whole backward pass",
    official=True,
    hints=(
        "Put your answers together, from the right: dlogits in one expression, the linear layer and tanh,"
        " batch norm in one expression, the first linear layer, the embedding.",
        "bngain and bnbias are (1, width): keepdim=True. b1 and b2 have one axis. The order is C, W1, b1, W2,"
        " b2, bngain, bnbias.",
    ),
    level=3,
    minutes=20,
)
def whole_backward(backward: Any) -> str:
    """Lecture 5, exercise 4: the seven gradients of the network's loss, without autograd."""
    names = "C W1 b1 W2 b2 bngain bnbias".split()
    for n, width, V, block, dim in ((32, 12, 9, 3, 3), (7, 9, 6, 2, 4)):
        rand = normal(n + 7)
        shapes = ((V, dim), (block * dim, width), (width,), (width, V), (V,), (1, width), (1, width))
        P = [(rand(*shape) * 0.5 + 0.1).requires_grad_() for shape in shapes]
        g = seeded(n)
        X, Y = torch.randint(0, V, (n, block), generator=g), torch.randint(0, V, (n,), generator=g)
        logits, kept = _forward(P, X)
        d = _gradients(F.cross_entropy(logits, Y), **dict(zip(names, P)), embcat=kept[0])
        demb = d.pop("embcat")
        lost = torch.zeros_like(P[0].detach())
        lost[X] += demb.view(n, block, dim)
        mistakes = {name: {"the loss is a mean: divide by n": d[name] * n} for name in names}
        for name in ("W1", "W2"):
            mistakes[name]["that is the transpose"] = d[name].T
        for name in ("bngain", "bnbias"):
            mistakes[name][SUM_ROWS] = d[name][0]
        for name in ("b1", "b2"):
            mistakes[name]["it has one axis: no keepdim here"] = d[name][None]
        mistakes["C"]["repeated letters are lost: indexed += writes each row once; use index_add_"] = lost
        copies = [p.detach() for p in P], X, Y, logits, tuple(t.detach() for t in kept)
        _judge_tuple(f"batch of {n}", _by_hand(backward, *copies), d, mistakes)
    return "all seven gradients, for two networks and batches of 32 and 7"


@exercise(
    "Label smoothing",
    hints=(
        "The target row sums to 1, just as a one-hot row does. Nothing else was used in the derivation of"
        " exercise 6.",
        "Softmax minus the target, divided by n. The target is (1 - eps) * onehot + eps / K.",
    ),
    level=2,
    minutes=10,
)
def label_smoothing_backward(backward: Any) -> str:
    """Composite practice 1: the gradient of softmax + NLL with smoothed targets."""
    for n, K, eps in ((32, 27, 0.1), (6, 5, 0.3), (1, 4, 0.2)):
        Y = torch.randint(0, K, (n,), generator=seeded(n))
        logits = normal(n + 8)(n, K).requires_grad_()
        d = _gradients(F.cross_entropy(logits, Y, label_smoothing=eps), logits=logits)
        p, hot, true = logits.softmax(1), F.one_hot(Y, K), d["logits"]
        mistakes = {
            "the loss is a mean: divide by n": true * n,
            "a hard-coded 32: divide by n": true * n / 32,
            "that is the gradient without smoothing": (p - hot) / n,
            "eps is shared among all K letters, the right one included: eps / K": (
                p - (1 - eps) * hot - eps / (K - 1) * (1 - hot)
            )
            / n,
            "each letter's share is eps / K": (p - (1 - eps) * hot - eps) / n,
            "the right letter gives eps away: (1 - eps) * onehot": (p - hot - eps / K) / n,
            "the shares eps / K are missing": (p - (1 - eps) * hot) / n,
            "the sign: softmax minus the target": -true,
        }
        _judge(f"batch of {n}", _by_hand(backward, logits, Y, eps), d, {"logits": mistakes})
    return "equal to autograd through F.cross_entropy(…, label_smoothing=eps)"


@exercise(
    "LayerNorm backward",
    hints=(
        "It is batch norm turned on its side: rows take the place of columns, and the variance is the biased"
        " one, so n/(n-1) becomes 1.",
        "gamma varies along the axis that is summed, so it cannot be pulled out: it stays with dy.",
        "With g = gamma * dy: dx = r * (g - g.mean(-1, keepdim=True) - xhat * (g * xhat).mean(-1,"
        " keepdim=True)).",
    ),
    level=4,
    minutes=30,
)
def layernorm_backward(backward: Any) -> str:
    """Composite practice 2: dx, dgamma, dbeta of LayerNorm, for two axes and for three."""
    for shape, eps in (((5, 8), 1e-5), ((3, 4, 6), 1e-1), ((2, 5), 1e-3)):
        rand = normal(sum(shape))
        x, gamma, beta = rand(*shape).requires_grad_(), rand(shape[-1]), rand(shape[-1])
        gamma, beta = gamma.requires_grad_(), beta.requires_grad_()
        dy, size = rand(*shape), shape[-1]
        d = _gradients(F.layer_norm(x, (size,), gamma, beta, eps), dy, x=x, gamma=gamma, beta=beta)
        got = _by_hand(backward, dy, x, gamma, eps)
        r = (x.var(-1, keepdim=True, correction=0) + eps) ** -0.5
        xhat = (x - x.mean(-1, keepdim=True)) * r

        def dx(g, bessel=1.0, r=r, xhat=xhat, mean=1.0, var=1.0):
            part = xhat * (g * xhat).mean(-1, keepdim=True)
            return r * (g - mean * g.mean(-1, keepdim=True) - var * bessel * part)

        mistakes = {
            "x": {
                "gamma varies along the summed axis, so it cannot be pulled out of the sums": gamma * dx(dy),
                "gamma is forgotten": dx(dy),
                "LayerNorm's variance is the biased one: no n/(n-1)": dx(gamma * dy, size / (size - 1)),
                "the share through the mean is missing": dx(gamma * dy, mean=0.0),
                "the share through the variance is missing": dx(gamma * dy, var=0.0),
                "mean and variance depend on x too: two shares are missing": gamma * dy * r,
            },
            "gamma": {
                "that is dbeta: gamma multiplies the normalised x": d["beta"],
                "sum over every axis but the last": (dy * xhat).sum(0),
                "gamma has shape (d,): no keepdim": d["gamma"][None],
                "multiply dy with the normalised x, not with x": (dy * x).flatten(0, -2).sum(0),
            },
            "beta": {
                "sum over every axis but the last": dy.sum(0),
                "beta has shape (d,): no keepdim": d["beta"][None],
            },
        }
        _judge_tuple(f"x of shape {shape}", got, d, mistakes)
    return "dx, dgamma and dbeta, for x of two axes and of three"


@exercise(
    "A gated product",
    hints=(
        "y = t * s with t = tanh(x A), s = sigmoid(x B). First dt and ds, then through tanh and sigmoid.",
        "The derivative of tanh is 1 - t**2, of sigmoid s * (1 - s). Then two linear layers.",
        "x is used twice: dx = da @ A.T + db @ B.T.",
    ),
    level=3,
    minutes=20,
)
def gated_backward(backward: Any) -> str:
    """Composite practice 3: dx, dA, dB of tanh(x A) · sigmoid(x B), the unit of the WaveNet."""
    for n, size, k in ((5, 4, 4), (32, 6, 3), (1, 2, 5)):
        rand = normal(n + 9)
        x, A, B = (rand(*s).requires_grad_() for s in ((n, size), (size, k), (size, k)))
        dy = rand(n, k)
        t, s = torch.tanh(x @ A), torch.sigmoid(x @ B)
        d = _gradients(t * s, dy, x=x, A=A, B=B)
        got = _by_hand(backward, dy, x, A, B)
        da, db = dy * s * (1 - t**2), dy * t * s * (1 - s)
        mistakes = {
            "x": {
                "x is used twice: the share through the gate is lost (`=` for `+=`)": da @ A.T,
                "x is used twice: the share through the tanh is lost (`=` for `+=`)": db @ B.T,
                "the derivative of sigmoid is s (1 - s)": da @ A.T + (dy * t * s) @ B.T,
                "by the product rule each half is multiplied with the other one": (dy * (1 - t**2)) @ A.T
                + (dy * s * (1 - s)) @ B.T,
                **({"A and B must be transposed": da @ A + db @ B} if size == k else {}),
            },
            "A": {
                "that is the transpose: x.T @ …": d["A"].T,
                "multiply with the other half, the sigmoid": x.T @ (dy * (1 - t**2)),
                "A and B are mixed up": d["B"],
            },
            "B": {
                "that is the transpose: x.T @ …": d["B"].T,
                "multiply with the other half, the tanh": x.T @ (dy * s * (1 - s)),
                "the derivative of sigmoid is s (1 - s)": x.T @ (dy * t * s),
            },
        }
        _judge_tuple(f"batch of {n}", got, d, mistakes)
    return "dx, dA and dB, for batches of 5, 32 and 1"


@exercise(
    "Scaled dot-product attention",
    hints=(
        "O = A V and S = Q Kᵀ / √d are matrix products: their gradients are those of a linear layer.",
        "Through each row of the softmax: dS_k = A_k (dA_k - Σ_j dA_j A_j), so its rows sum to 0.",
        "dV = A.mT @ dO; dA = dO @ V.mT; dQ = dS @ K / √d; dK = dS.mT @ Q / √d.",
    ),
    level=4,
    minutes=30,
)
def attention_backward(backward: Any) -> str:
    """Composite practice 4: dQ, dK, dV of softmax(Q Kᵀ / √d) V, single and in a batch."""
    for batch, T, U, size in (((), 5, 5, 4), ((2,), 4, 6, 3), ((32,), 3, 3, 3)):
        rand = normal(T + U + size)
        Q, K, V = (rand(*batch, length, size).requires_grad_() for length in (T, U, U))
        dO, scale = rand(*batch, T, size), size**-0.5
        A = torch.softmax(Q @ K.mT * scale, -1)
        d = _gradients(A @ V, dO, Q=Q, K=K, V=V)
        got = _by_hand(backward, dO, Q, K, V)
        dA = dO @ V.mT
        dS = A * (dA - (dA * A).sum(-1, keepdim=True))
        mistakes = {
            "Q": {
                "the 1/√d of the scores is forgotten on the way back": d["Q"] / scale,
                "divide by √d, not by d": d["Q"] * scale,
                "A (1 - A) is the slope of an entry by its own score alone; all entries of a row depend on"
                " each other: dS = A (dA - the row's sum of dA A)": (A * (1 - A) * dA) @ K * scale,
                "in a softmax all entries of a row depend on each other: the sum is missing": (A * dA)
                @ K
                * scale,
                "the softmax is missing on the way back": dA @ K * scale,
                **({"keys and queries are mixed up": d["K"]} if T == U else {}),
            },
            "K": {
                "the 1/√d of the scores is forgotten on the way back": d["K"] / scale,
                **({"dS must be transposed for K": dS @ Q * scale} if T == U else {}),
            },
            "V": {"A must be transposed": A @ dO} if T == U else {},
        }
        _judge_tuple(f"{T} queries, {U} keys", got, d, mistakes)
    return "dQ, dK and dV, also for more keys than queries and in batches"
