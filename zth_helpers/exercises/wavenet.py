"""Exercises of lecture 6: convolutions that are trees, causality, residuals, torch.nn, and a loss to beat."""

from __future__ import annotations

import math
import random
from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from zth_helpers.exercises.checks import call, expect, kind, named, parts_of, require
from zth_helpers.exercises.draws import normal, seeded
from zth_helpers.exercises.exercise import exercise
from zth_helpers.exercises.made_up_names import shipped
from zth_helpers.layers import BatchNorm1d, Embedding, FlattenConsecutive, Linear, Sequential, Tanh
from zth_helpers.names import Vocabulary, context_windows, split_words

# On the held names a count table over three letters, 0.1 added to each count, reaches 2.3118.
TARGET = 2.31


class _CountTanh(TorchFunctionMode):
    """Counts how many numbers went through a tanh."""

    numbers = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if getattr(func, "__name__", "") in ("tanh", "tanh_"):
            self.numbers += out.numel()
        return out


def _dilated(C, levels, W_out, ids, dilations=None, swap=False, bias=1.0, f=torch.tanh):
    """The tree over every window of ids, each node once; with parts that can be got wrong."""
    x = C[ids]
    for i, (W, b) in enumerate(levels):
        d = 2**i if dilations is None else dilations[i]
        both = [x[:-d], x[d:]]
        x = f(torch.cat(both[::-1] if swap else both, 1) @ W + bias * b)
    return x @ W_out


def _by_windows(C, levels, W_out, ids):
    """The same by definition: the tree of the lecture over each window on its own."""
    rows = []
    for window in ids.unfold(0, 2 ** len(levels), 1):
        x = C[window]
        for W, b in levels:
            x = torch.tanh(x.view(len(x) // 2, -1) @ W + b)
        rows.append(x[0] @ W_out)
    return torch.stack(rows)


@exercise(
    "Convolution = tree",
    hints=(
        "On the first level join each letter with its left neighbour: x[:-1] beside x[1:]. What is two apart"
        " on the second level, was joined on the first.",
        "The distance doubles from level to level: 1, 2, 4. Each level is d places shorter.",
        "x = torch.tanh(torch.cat([x[:-d], x[d:]], 1) @ W + b), then d = 2 * d",
    ),
    level=3,
    minutes=25,
)
def conv_is_tree(conv: Any) -> str:
    """Sequel 06, *A convolution is the tree*: all windows of a text, each node computed once."""
    for seed, (depth, T, width, V) in enumerate(((3, 40, 6, 9), (2, 9, 4, 5), (4, 50, 5, 27))):
        rand = normal(seed)
        dim = 3 + seed
        sizes = [dim] + [width] * depth
        C, W_out = rand(V, dim), rand(width, V)
        levels = [(rand(2 * c, k) / c**0.5, rand(k)) for c, k in zip(sizes, sizes[1:])]
        ids = torch.randint(0, V, (T,), generator=seeded(seed))
        with _CountTanh() as count:
            got = call(conv, C, levels, W_out, ids)
        want = _by_windows(C, levels, W_out, ids)
        args = C, levels, W_out, ids
        up = [2**i for i in range(depth)]
        mistakes = {
            "the distances are turned round: 1 first, then 2, 4, …": _dilated(*args, dilations=up[::-1]),
            "the distance must double from level to level; here it stays 1": _dilated(
                *args, dilations=[1] * depth
            ),
            "the left neighbour comes first: [x[:-d], x[d:]]": _dilated(*args, swap=True),
            "the biases are forgotten": _dilated(*args, bias=0.0),
            "tanh is forgotten": _dilated(*args, f=lambda x: x),
            "the last window is missing": want[:-1],
            "the first window is missing": want[1:],
            "that is the last window alone": want[-1:],
            "windows overlap: one starts at each letter": want[:: 2**depth],
        }
        expect(f"logits of {T} letters, {depth} levels", got, want, mistakes, 1e-6, 1e-8)
        nodes, most = count.numbers // width, depth * T
        again = f"the logits are right, but {nodes} nodes were computed, for {len(want)} windows one by one;"
        require(nodes <= most, f"{again} {depth} nodes for each letter are enough")
    return "equal to the tree over each window on its own, and no node computed twice"


@exercise(
    "A causal convolution",
    hints=(
        "Shift x by d places to the right: d rows of zeros come in at the start, the last d fall off.",
        "F.pad(x, (0, 0, d, 0))[:, : x.shape[1]] is that shifted x: its place t holds what stood at t - d.",
        "torch.cat([past, x], 2) @ W + b",
    ),
    level=2,
    minutes=15,
)
def causal_convolution(convolve: Any) -> str:
    """Sequel 06, *Gates, residuals and skips*: y[t] from x[t - d] and x[t], of the same length."""
    for B, T, c, k, d in ((2, 10, 3, 4, 1), (3, 12, 2, 2, 4), (1, 3, 2, 3, 4)):
        rand = normal(T + d)
        x, W, b = rand(B, T, c), rand(2 * c, k), rand(k)

        def joined(past, first=True, x=x, W=W, b=b):
            return torch.cat([past, x] if first else [x, past], 2) @ W + b

        def shift(x, d):
            return F.pad(x, (0, 0, d, 0))[:, : x.shape[1]]

        past, what = shift(x, d), f"y for {T} places at distance {d}"
        want = joined(past)
        leaks = {
            "that joins x[t] with x[t + d], which is the future: pad in front, not behind": joined(
                shift(x.flip(1), d).flip(1)
            ),
            "roll brings the end of the row round to its start, where it is the future": joined(x.roll(d, 1)),
        }
        mistakes = {
            "the past comes first: torch.cat([past, x], 2)": joined(past, first=False),
            "the bias is forgotten": want - b,
            "the length is kept: zeros stand before the start": want[:, d:],
            "d is the distance: this one joins direct neighbours": joined(shift(x, 1)),
            "only the past is used: x itself belongs to it": past @ W[:c] + b,
            "only x is used: the past is missing": x @ W[c:] + b,
            "before the start stand zeros, not copies of the first place": joined(
                torch.cat([x[:, :1]] * min(d, T) + [x[:, :-d]], 1)
            ),
        }
        got = call(convolve, x, W, b, d)
        if isinstance(got, Tensor) and got.shape == want.shape and not named(what, got, leaks | mistakes):
            changed = x.clone()
            changed[:, T // 2] += 1
            felt = (call(convolve, changed, W, b, d) != got).any(2).any(0).nonzero().flatten().tolist()
            seen = f"y at place {min(felt, default=0)} changes with x at place {T // 2}: it sees the future"
            require(min(felt, default=T) >= T // 2, seen)
        expect(what, got, want, leaks | mistakes, 1e-6, 1e-9)
    return "right at three distances, one longer than the row; no place sees what comes after it"


def _suspects(V: int) -> dict[str, tuple[bool, str, object]]:
    """Small nets ids (B, T) -> logits (B, T, V): is it causal, what it does, the function."""
    E = normal(V)(V, 5)

    def place(ids):
        return E[ids]

    def back(ids):
        return E[ids] + 2 * F.pad(E[ids], (0, 0, 3, 0))[:, : ids.shape[1]]

    def so_far(ids):
        return E[ids].cumsum(1)

    def ahead(ids):
        return E[ids] + F.pad(E[ids], (0, 0, 0, 1))[:, 1:]

    def far_ahead(ids):
        return E[ids] + F.pad(E[ids], (0, 0, 0, 6))[:, 6:]

    def round_the_end(ids):
        return E[ids] + E[ids].roll(1, 1)

    def normalised(ids):
        return (E[ids] - E[ids].mean((0, 1))) / E[ids].std((0, 1))

    def only_one(ids):
        x = so_far(ids)
        x[:, 2] = x[:, 2] + E[ids[:, 5]]
        return x

    def early(ids):
        x = so_far(ids)
        x[:, 0] = x[:, 0] + E[ids[:, 1]]
        return x

    def late(ids):
        x = so_far(ids)
        x[:, -2] = x[:, -2] + E[ids[:, -1]]
        return x

    def faint(ids):  # too weak to change which letter is the likeliest
        x = 50 * F.one_hot(ids, V).double()
        x[:, :-1] += 0.01 * x[:, 1:]
        return x

    return {
        "place by place": (True, "each place sees itself, and itself alone", place),
        "a dilated convolution": (True, "each place sees itself and the one 3 to its left", back),
        "a running sum": (True, "each place sees all places up to its own", so_far),
        "a shifted convolution": (False, "each place sees its right neighbour", ahead),
        "a far-sighted one": (False, "each place sees the one 6 to its right", far_ahead),
        "one with roll": (False, "the first place sees the last, and only that looks ahead", round_the_end),
        "batch norm in training": (False, "the mean over the row holds what comes later", normalised),
        "a faint leak": (False, "each place sees a little of its right neighbour: compare the logits", faint),
        "one small leak": (False, "place 2 sees place 5; everything else is causal", only_one),
        "a leak at the start": (False, "the first place sees the second; everything else is causal", early),
        "a leak at the end": (False, "the last place but one sees the last one", late),
    }


@exercise(
    "Is it causal?",
    hints=(
        "Change the letter at one place, run the net again, compare the logits of the places *before* it.",
        "A leak may sit anywhere: try every place. The place itself and those after it may change.",
        "Change ids[:, t] to (ids[:, t] + 1) % V on a copy; net(ids)[:, :t] and net(changed)[:, :t] must be"
        " equal, for every t.",
    ),
    level=2,
    minutes=15,
)
def is_causal(test: Any) -> str:
    """Sequel 06, *Gates, residuals and skips*: a change in the future leaves the earlier logits alone."""
    for V, B, T in ((9, 2, 12), (5, 3, 9)):
        ids = torch.randint(0, V, (B, T), generator=seeded(V))
        suspects = _suspects(V)
        verdicts = {}
        for name, (_, _, net) in suspects.items():
            verdict = call(test, net, ids, V)
            one = isinstance(verdict, bool) or (isinstance(verdict, Tensor) and verdict.dtype == torch.bool)
            require(one, f"expected True or False, got {kind(verdict)}")
            require(not isinstance(verdict, Tensor) or verdict.numel() == 1, "expected one True or False")
            verdicts[name] = bool(verdict)
        truth = {name: causal for name, (causal, _, _) in suspects.items()}
        hint = "" if verdicts[name] else ": compare only the places *before* the change"
        require(len(set(verdicts.values())) > 1, f"that says {verdicts[name]} of every net{hint}")
        turned = all(verdicts[name] != truth[name] for name in truth)
        require(not turned, "turned round: True means that nothing before the change has moved")
        for name, causal in truth.items():
            what = f"you call {name} {'not ' * causal}causal, but {suspects[name][1]}"
            hint = ": compare only the places *before* the change" if causal else ""
            require(verdicts[name] == causal, what + hint)
    return "three causal nets and eight that leak, each told apart, with two alphabets"


@exercise(
    "The gated block, residual and skip",
    hints=(
        "z is a product of two halves: tanh says what, sigmoid says how much. Both see past and x.",
        "What goes on to the next block is x plus something; what goes to the output is only z, through W_s.",
        "z = torch.tanh(both @ Wf) * torch.sigmoid(both @ Wg); return x + z @ Wr, z @ Ws",
    ),
    level=2,
    minutes=10,
)
def gated_block(block: Any) -> str:
    """Sequel 06, *Gates, residuals and skips*: with W_r = 0 the block must return its input, bit for bit."""
    for B, T, c in ((2, 7, 3), (1, 4, 5)):
        rand = normal(T)
        x, past, Wf, Wg, Wr, Ws = (
            rand(*s) for s in ((B, T, c), (B, T, c), (2 * c, c), (2 * c, c), (c, c), (c, c))
        )
        both = torch.cat([past, x], 2)
        value, gate = torch.tanh(both @ Wf), torch.sigmoid(both @ Wg)
        z, turned = value * gate, torch.tanh(both @ Wg) * torch.sigmoid(both @ Wf)
        swapped = torch.cat([x, past], 2)
        other = torch.tanh(swapped @ Wf) * torch.sigmoid(swapped @ Wg)
        what = "the next block's x and the skip, two tensors"
        out, skip = parts_of(what, call(block, x, past, Wf, Wg, Wr, Ws), 2)
        mistakes = {
            "the residual is missing: add what comes out of W_r to x": z @ Wr,
            "z goes through W_r before it is added": x + z,
            "the product of the two halves, not their sum": x + (value + gate) @ Wr,
            "the gate is missing: tanh(…) * sigmoid(…)": x + value @ Wr,
            "the gate is a sigmoid: between 0, closed, and 1, open": x + value * torch.tanh(both @ Wg) @ Wr,
            "filter and gate are mixed up: tanh with Wf, sigmoid with Wg": x + turned @ Wr,
            "the past comes first: torch.cat([past, x], 2)": x + other @ Wr,
            "the residual goes round with x, not with the past": past + z @ Wr,
            "W_r and W_s are mixed up": x + z @ Ws,
        }
        expect(f"x for the next block, {T} places", out, x + z @ Wr, mistakes, 1e-6, 1e-9)
        mistakes = {
            "x does not belong into the skip": x + z @ Ws,
            "the skip has its own weights, W_s": z @ Wr,
            "z goes through W_s": z,
            "that is x for the next block once more": x + z @ Wr,
            "the skip is taken from z, before the residual": (x + z @ Wr) @ Ws,
        }
        expect(f"the skip, {T} places", skip, z @ Ws, mistakes, 1e-6, 1e-9)
        same = parts_of(what, call(block, x, past, Wf, Wg, 0 * Wr, Ws), 2)[0]
        unchanged = isinstance(same, Tensor) and torch.equal(same, x.to(same.dtype))
        require(unchanged, "with W_r = 0 the block must return its input, bit for bit")
    return "right; and with W_r = 0 it returns its input, bit for bit"


def _tree(seed: int, vocab: int, embedding: int, hidden: int, levels: int) -> Sequential:
    """A tree like the notebook's in evaluation mode; gains, biases and running statistics are random."""
    g = seeded(seed)
    layers: list[Any] = [Embedding(vocab, embedding, generator=g)]
    width = embedding
    for _ in range(levels):
        norm = BatchNorm1d(hidden)
        norm.gamma, norm.beta, norm.running_mean = (torch.randn(hidden, generator=g) for _ in range(3))
        norm.running_var = torch.rand(hidden, generator=g) + 0.2
        layers += [FlattenConsecutive(2), Linear(2 * width, hidden, bias=False, generator=g), norm, Tanh()]
        width = hidden
    layers.append(Linear(hidden, vocab, generator=g))
    layers[-1].bias = torch.randn(vocab, generator=g)
    return Sequential(layers).eval()


def _spoiled(net: Sequential, change) -> Sequential:
    """A copy of the net with change(layer) applied to each of its layers."""
    net = deepcopy(net)
    for layer in net.layers:
        change(layer)
    return net


def _no_statistics(layer):
    if isinstance(layer, BatchNorm1d):
        layer.running_mean, layer.running_var = torch.zeros_like(layer.beta), torch.ones_like(layer.beta)


def _no_affine(layer):
    if isinstance(layer, BatchNorm1d):
        layer.gamma, layer.beta = torch.ones_like(layer.beta), torch.zeros_like(layer.beta)


def _transposed(layer):
    if isinstance(layer, Linear) and layer.weight.shape[0] == layer.weight.shape[1]:
        layer.weight = layer.weight.T


def _no_bias(layer):
    if isinstance(layer, Linear) and layer.bias is not None:
        layer.bias = torch.zeros_like(layer.bias)


class _OfTheBatch(BatchNorm1d):
    """As torch's in training: the batch's own mean and biased variance."""

    def __call__(self, x):
        axes = tuple(range(x.ndim - 1))
        var = x.var(axes, correction=0)
        return self.gamma * (x - x.mean(axes)) / torch.sqrt(var + self.eps) + self.beta


def _batch_statistics(layer):
    if isinstance(layer, BatchNorm1d):
        layer.__class__ = _OfTheBatch


@exercise(
    "The tree in torch.nn",
    hints=(
        "A module with nn.Embedding, then for each level nn.Linear(…, bias=False), nn.BatchNorm1d and tanh,"
        " then nn.Linear. Joining neighbours is a view.",
        "nn.Linear keeps (out, in): copy our weight transposed. nn.BatchNorm1d wants (N, C) or (N, C, L):"
        " view (N, L, C) as (N·L, C) before it, and back.",
        "Copy all four of a batch norm: weight from gamma, bias from beta, running_mean, running_var. With"
        " torch.no_grad(): a.copy_(b).",
    ),
    level=4,
    minutes=40,
)
def torch_port(port: Any) -> str:
    """Sequel 06, *In torch.nn*: an nn.Module with copied weights and the same logits in evaluation mode."""
    for seed, (vocab, embedding, hidden, levels) in enumerate(((6, 3, 6, 3), (27, 4, 10, 3), (9, 2, 5, 2))):
        net = _tree(seed, vocab, embedding, hidden, levels)
        X = torch.randint(0, vocab, (20, 2**levels), generator=seeded(seed))
        want, kept = net(X), deepcopy(net)
        module = call(port, net)
        require(isinstance(module, nn.Module), f"expected an nn.Module, got {kind(module)}")
        module.eval()
        mine, theirs = (sum(p.numel() for p in m.parameters()) for m in (net, module))
        require(theirs > 0, "it has no parameters of its own: build it from the layers of torch.nn")
        with torch.no_grad():
            got = call(module, X)
        mistakes = {
            "the running mean and variance were not copied": _spoiled(kept, _no_statistics)(X),
            "gamma and beta of the batch norms were not copied": _spoiled(kept, _no_affine)(X),
            "nn.Linear keeps its weight as (out, in): copy ours transposed": _spoiled(kept, _transposed)(X),
            "the bias of the last layer was not copied": _spoiled(kept, _no_bias)(X),
            "with eval() on, it still normalises with the batch's statistics": _spoiled(
                kept, _batch_statistics
            )(X),
        }
        expect(f"logits of 20 windows of {2**levels} letters", got, want, mistakes, 1e-4, 1e-5)
        require(theirs == mine, f"the logits agree, but it has {theirs:,} parameters where ours has {mine:,}")
        require(
            torch.equal(net(X), want), "the net that you were given has changed: copy from it, not into it"
        )
        tables = [m.weight for m in module.modules() if isinstance(m, nn.Embedding)]
        fixed = [p for p in module.parameters() if not p.requires_grad]
        given = {p.data_ptr() for p in tables if not p.requires_grad}  # as Embedding.from_pretrained makes it
        trainable = all(any(p is table for table in tables) for p in fixed)
        require(trainable, "its parameters cannot be trained: requires_grad is False")
        with torch.no_grad():
            for p in net.parameters():
                p.mul_(1 if p.data_ptr() in given else 2)
            for layer in net.layers:
                if isinstance(layer, BatchNorm1d):
                    layer.running_mean.mul_(2)
            require(torch.allclose(call(module, X), got), "the weights are shared with our net: copy them")
    return "the same logits for three trees, the same number of parameters, and its own copies of them"


def relabelled() -> tuple[Tensor, ...]:
    """X, Y of train, dev and held names of the course's list, eight letters each, the letters exchanged."""
    words = shipped()
    vocab = Vocabulary(words)
    letters = list(range(1, len(vocab)))
    random.Random(6).shuffle(letters)  # whatever was trained elsewhere knows another alphabet
    new = torch.tensor([0, *letters])
    return tuple(new[t] for part in split_words(words) for t in context_windows(part, vocab, block_size=8))


@exercise(
    "Beat the loss",
    hints=(
        "Eight letters through an embedding into one wide hidden layer will do it; so will the tree. Larger"
        " batches (512 and more) with AdamW learn much more in the same time than batches of 32 with SGD.",
        "torch.optim.lr_scheduler.OneCycleLR with a peak of 0.01 and a few hundred steps of 1,024. Watch"
        " Xdev, Ydev: too many steps, and the net learns the training names by heart.",
        "Return a function of X, after net.eval(), so that neither dropout nor batch norm disturb it.",
    ),
    level=3,
    minutes=45,
    slow="train for fewer steps, or a smaller net: ours takes 400 steps with batches of 1,024",
)
def beat_the_loss(train_model: Any) -> str:
    """Any net, any recipe: beat the count table over three letters on names that the judge holds back."""
    Xtr, Ytr, Xdev, Ydev, X, Y = relabelled()
    torch.manual_seed(42)
    logits = call(train_model, Xtr, Ytr, Xdev, Ydev)
    ok = callable(logits)
    require(ok, f"expected a function from X (N, 8) to logits (N, 27), got {kind(logits)}")
    with torch.no_grad():
        parts = []
        for x in X.split(4_000):
            part = call(logits, x)
            require(isinstance(part, Tensor), f"logits: expected a tensor, got {kind(part)}")
            shape = (len(x), 27)
            require(part.shape == shape, f"logits: shape {tuple(part.shape)}, expected {shape}")
            parts.append(part.double())
        alone = call(logits, X[:50])
    out = torch.cat(parts)
    require(not out.isnan().any(), f"{int(out.isnan().any(1).sum())} of {len(out)} held examples give nan")
    company = isinstance(alone, Tensor) and torch.allclose(alone.double(), out[:50], atol=1e-3)
    require(company, "the logits depend on who else is in the batch: switch to evaluation mode, net.eval()")
    loss = F.cross_entropy(out, Y).item()
    about = f"the loss on held names is {loss:.4f}, the target {TARGET}"
    require(loss < TARGET or abs(loss - math.log(27)) > 1e-3, f"{about}; log 27 means that it knows nothing")
    hint = ": are those probabilities? Return logits" if (out >= 0).all() and (out <= 1).all() else ""
    require(loss < TARGET, about + hint)
    return f"{loss:.2f} on names that no one has trained on; the target was {TARGET}"


def tournament(seed: int, V: int, T: int, n: int) -> tuple[Tensor, Tensor]:
    """X (n, T), the players' letters, and Y (n,), the winner's; who beats whom is drawn from the seed.

    Neighbours meet, the winners meet, and so on: T is a power of two.
    """
    g = seeded(seed)
    beats = torch.triu(torch.randint(0, 2, (V, V), generator=g).bool(), 1)
    beats |= torch.tril(~beats.T, -1)
    X = torch.randint(0, V, (n, T), generator=g)
    x = X
    while x.shape[1] > 1:
        a, b = x[:, ::2], x[:, 1::2]
        x = torch.where(beats[a, b], a, b)
    return X, x[:, 0]


def _trained(net: nn.Module, X: Tensor, Y: Tensor, steps: int = 500) -> float:
    """The share of right winners in the games held back, after the same training for every net."""
    held = len(X) // 5
    optimizer = torch.optim.AdamW(net.parameters(), 0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, total_steps=steps)
    g = seeded(1)
    net.train()
    for _ in range(steps):
        ix = torch.randint(held, len(X), (256,), generator=g)
        loss = F.cross_entropy(net(X[ix]), Y[ix])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    net.eval()
    with torch.no_grad():
        return (net(X[:held]).argmax(1) == Y[:held]).double().mean().item()


@exercise(
    "The tree must pay",
    hints=(
        "One hidden layer has to learn all pairs of letters at all distances. What does a match need to know,"
        " and who plays it in the second round?",
        "A vector for each letter, then as many levels as rounds: two neighbours side by side through one"
        " Linear and a tanh give the vector of the winner; the same Linear for all matches of a round.",
        "x = torch.tanh(linear(x.view(len(x), x.shape[1] // 2, -1))) for each level, then x[:, 0] through the"
        " last Linear. With 16 numbers a vector it stays below the budget. (Or nn.Conv1d with dilation 1, 2,"
        " 4, …, and the last place.)",
    ),
    level=4,
    minutes=40,
    slow="the judge takes 500 steps with 256 games each: is the net much larger than it may be, or a"
    " Python loop over the games in it?",
)
def knockout(make_net: Any) -> str:
    """Lecture 6's reason to exist: with equal parameters and steps, a net with the right structure wins."""
    told = []
    for V, T, budget in ((5, 4, 1700), (6, 8, 2200)):
        X, Y = tournament(V, V, T, 15_000)
        torch.manual_seed(42)
        net = call(make_net, V, T, budget)
        require(isinstance(net, nn.Module), f"expected an nn.Module, got {kind(net)}")
        size = sum(p.numel() for p in net.parameters())
        require(0 < size <= budget, f"it has {size:,} parameters; for {T} players {budget:,} are allowed")
        with torch.no_grad():
            out = call(net, X[:4])
        right = isinstance(out, Tensor) and out.shape == (4, V)
        got = f"shape {tuple(out.shape)}" if isinstance(out, Tensor) else kind(out)
        require(right, f"logits of 4 games with {T} players: expected a tensor ({4}, {V}), got {got}")
        require(all(p.requires_grad for p in net.parameters()), "all parameters must be trainable")
        share = call(lambda net=net, X=X, Y=Y: _trained(net, X, Y))
        torch.manual_seed(42)
        width = (budget - 4 * V - V) // (4 * T + 1 + V)
        rival = nn.Sequential(
            nn.Embedding(V, 4), nn.Flatten(), nn.Linear(4 * T, width), nn.Tanh(), nn.Linear(width, V)
        )
        flat = _trained(rival, X, Y)
        told.append(f"{T} players: {share:.1%} ({size:,} parameters), a flat layer {flat:.1%}")
        require(
            share >= 0.97,
            f"with {T} players your net names the winner in {share:.1%} of the games held back, the"
            f" flat hidden layer, as large and trained as long, in {flat:.1%}; 97% are asked for",
        )
    return "; ".join(told)
