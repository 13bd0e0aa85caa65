"""Lecture 3's exercises: right answers pass, each typical mistake is called by its name."""

from __future__ import annotations

import math
from collections import Counter, defaultdict

import pytest
import torch
import torch.nn.functional as F

from tests.exercises.answers import checks, exercises_of, rejected, right, stubs
from zth_helpers import name_lists, names
from zth_helpers.exercises import mlp as ex

NAMES = sorted(exercises_of(ex))


def test_the_master_checks_every_exercise():
    assert sorted(checks("mlp")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_right_and_not_tried(name):
    exercise = exercises_of(ex)[name]
    assert exercise.check(*right("mlp", name))
    assert exercise.check(*stubs("mlp", name)).state == "not tried yet"
    assert exercise.hints and exercise.__doc__


# Other right answers ---------------------------------------------------------------------------------------


def windows(words, stoi, k, pad=None):
    """X (N, 2k), Y (N,) by slicing strings; `pad` dots on both sides of a word."""
    padded = ["." * (k if pad is None else pad) + word + "." * (k if pad is None else pad) for word in words]
    rows = [[stoi[c] for c in w[i : i + 2 * k + 1]] for w in padded for i in range(len(w) - 2 * k)]
    table = torch.tensor(rows).reshape(-1, 2 * k + 1)
    return torch.cat([table[:, :k], table[:, k + 1 :]], 1), table[:, k]


def unfolded(words, stoi, k):
    """The same with a tensor's own windows."""
    X, Y = [], []
    for word in words:
        rows = F.pad(torch.tensor([stoi[c] for c in word]), (k, k)).unfold(0, 2 * k + 1, 1)
        X.append(torch.cat([rows[:, :k], rows[:, k + 1 :]], 1))
        Y.append(rows[:, k])
    return torch.cat(X).numpy(), torch.cat(Y).numpy()


def looking_back(words, stoi, k):
    """The lesson's own."""
    X, Y = [], []
    for word in words:
        context = [0] * k
        for letter in word + ".":
            X.append(context)
            Y.append(stoi[letter])
            context = context[1:] + [stoi[letter]]
    return torch.tensor(X), torch.tensor(Y)


def aliased(words, stoi, k):
    """One list for all rows of a word."""
    X, Y = [], []
    for word in words:
        text = [0] * k + [stoi[c] for c in word] + [0] * k
        context = text[:k] + text[k + 1 : 2 * k + 1]
        for i in range(len(word)):
            context[:] = text[i : i + k] + text[i + k + 1 : i + 2 * k + 1]
            X.append(context)
            Y.append(text[i + k])
    return torch.tensor(X), torch.tensor(Y)


def init(V, n_embd, n_hidden, k, g, C=1.0, W1=1.0, W2=0.01, b=0.0):
    """The lecture's parameters, scaled."""
    return [
        C * torch.randn((V, n_embd), generator=g),
        W1 * torch.randn((k * n_embd, n_hidden), generator=g),
        b * torch.randn(n_hidden, generator=g),
        W2 * torch.randn((n_hidden, V), generator=g),
        b * torch.randn(V, generator=g),
    ]


def make_W0(k, n_embd, V):
    return torch.zeros(k * n_embd, V)


def direct(X, C, W0, W1, b1, W2, b2):
    """All at once: the paper's formula with one stacked matrix."""
    x = torch.cat([C[X[:, i]] for i in range(X.shape[1])], 1)
    return torch.cat([x, torch.tanh(x @ W1 + b1)], 1) @ torch.cat([W0, W2]) + b2


def floor_of_groups(X, Y):
    """Group the answers by context; each group costs its size times the entropy of its answers."""
    groups = defaultdict(list)
    for x, y in zip(X.tolist(), Y.tolist()):
        groups[tuple(x)].append(y)
    return torch.tensor(sum(len(ys) * entropy(ys) for ys in groups.values()) / len(Y))


def entropy(values):
    n = Counter(values)
    return -sum(m / n.total() * math.log(m / n.total()) for m in n.values())


def interpolated_counts(words, stoi, k=4, trust=4.0):
    """No net at all: counts of 0 to 4 letters, each leaning on the next shorter one."""
    V = len(stoi)
    X, Y = names.context_windows(words, names.Vocabulary(words), k)
    P = torch.full((V,), 1 / V)
    for n in range(k + 1):
        N = torch.zeros((V,) * (n + 1))
        context = X[:, k - n :].unbind(1) if n else ()
        N.index_put_((*context, Y), torch.tensor(1.0), accumulate=True)
        distinct = (N > 0).sum(-1, keepdim=True) + 1e-9
        P = (N + distinct * P) / (N.sum(-1, keepdim=True) + distinct)
    return k, lambda X: P[tuple(X.unbind(1))].log()


RIGHT = {
    "context_windows": [(windows,), (unfolded,)],
    "uniform_loss": [(math.log,), (lambda V: torch.tensor(float(V)).log(),),
                     (lambda V: F.cross_entropy(torch.zeros(1, V), torch.tensor([0])),)],
    "calm_start": [(init,), (lambda *a: init(*a, W1=0.2, b=0.01),)],
    "direct_connections": [(make_W0, direct)],
    "exact_floor": [(floor_of_groups,)],
    "beat_the_lecture": [(interpolated_counts,)],
}  # fmt: skip


@pytest.mark.parametrize(("name", "i"), [(name, i) for name in RIGHT for i in range(len(RIGHT[name]))])
def test_other_right_ways(name, i):
    assert exercises_of(ex)[name].check(*RIGHT[name][i])


def test_every_exercise_has_another_right_way():
    assert sorted(RIGHT) == NAMES


# Wrong answers: (exercise, what the message must say) -> answers --------------------------------------------


def change(f):
    return lambda words, stoi, k: f(*windows(words, stoi, k), k)


def no_reset(words, stoi, k):
    return windows([".".join(words)], stoi, k)


def parameters(**new):
    """The good start with some parameters replaced by f(p)."""
    order = ("C", "W1", "b1", "W2", "b2")

    def answer(*arguments):
        return [new.get(name, lambda p: p)(p) for name, p in zip(order, init(*arguments))]

    return answer


def unseeded(V, n_embd, n_hidden, k, g):
    return init(V, n_embd, n_hidden, k, torch.Generator().manual_seed(torch.randint(0, 2**31, ()).item()))


def one_seed(V, n_embd, n_hidden, k, g):
    return init(V, n_embd, n_hidden, k, torch.Generator().manual_seed(1))


def logits(f):
    """x: the embeddings side by side; h: the hidden layer."""

    def answer(X, C, W0, W1, b1, W2, b2):
        x = C[X].flatten(1)
        return f(x, W0, W1, b1, torch.tanh(x @ W1 + b1), W2, b2)

    return answer


def mixed_up(X, C, W0, W1, b1, W2, b2):
    x = C[X].transpose(0, 1).reshape(len(X), -1)
    return x @ W0 + torch.tanh(x @ W1 + b1) @ W2 + b2


def pairs(X, Y):
    return [(*x, y) for x, y in zip(X.tolist(), Y.tolist())]


def by_pair(X, Y, over):
    """The costs of the different pairs, averaged over something other than the examples."""
    of_pair, of_context = Counter(pairs(X, Y)), Counter(map(tuple, X.tolist()))
    cost = {p: math.log(of_context[p[:-1]] / m) for p, m in of_pair.items()}
    if over == "pairs":
        return sum(cost.values()) / len(cost)
    each = [sum(cost[p] * of_pair[p] for p in cost if p[:-1] == x) / m for x, m in of_context.items()]
    return sum(each) / len(each)


def true_floor(X, Y):
    return floor_of_groups(X, Y).item()


def model(f, k=3):
    """A train_model whose logits are f(counts of 3 letters (V, V, V, V), X)."""

    def train_model(words, stoi):
        X, Y = names.context_windows(words, names.Vocabulary(words), 3)
        N = torch.zeros((len(stoi),) * 4)
        N.index_put_((*X.unbind(1), Y), torch.tensor(1.0), accumulate=True)
        return k, lambda X: f(N, X)

    return train_model


def smoothed(N, X, extra=0.1):
    P = (N + extra)[tuple(X.unbind(1))]
    return P / P.sum(1, keepdim=True)


def reads_the_next_row(N, X):
    """The last letter of the row below is the answer, as long as nobody shuffles the rows."""
    answer = torch.cat([X[1:, -1], X[:1, -1]])
    return 20.0 * F.one_hot(answer, len(N))


def of_the_plain_list(words, stoi):
    """Trained on a list that lies around, not on the words given."""
    loaded = [word for word in name_lists.load_names("shipped") if not set("qx") & set(word)]
    return model(lambda N, X: smoothed(N, X).log())(loaded, stoi)


def coupled(N, X):
    z = smoothed(N, X).log()
    return z - z.mean(0)


def lecture_network(words, stoi, steps=2_000):
    """The lecture's network, trained for too short a time."""
    V, g = len(stoi), torch.Generator().manual_seed(1)
    X, Y = names.context_windows(words, names.Vocabulary(words), 3)
    C, W1, b1, W2, b2 = p = [p.requires_grad_() for p in init(V, 10, 200, 3, g, W2=1.0, b=1.0)]

    def logits(X):
        return torch.tanh(C[X].view(len(X), -1) @ W1 + b1) @ W2 + b2

    for _ in range(steps):
        ix = torch.randint(0, len(X), (32,), generator=g)
        grads = torch.autograd.grad(F.cross_entropy(logits(X[ix]), Y[ix]), p)
        for parameter, grad in zip(p, grads):
            parameter.data -= 0.1 * grad
    return 3, logits


WRONG = {
    ("context_windows", "which only look back"): looking_back,
    ("context_windows", "only the letters before are there"): lambda w, s, k: (
        windows(w, s, k)[0][:, :k], windows(w, s, k)[1],
    ),
    ("context_windows", "only the letters behind are there"): lambda w, s, k: (
        windows(w, s, k)[0][:, k:], windows(w, s, k)[1],
    ),
    ("context_windows", "the next one first"): change(lambda X, Y, k: (
        torch.cat([X[:, :k], X[:, k:].flip(1)], 1), Y,
    )),
    ("context_windows", "the oldest first"): change(lambda X, Y, k: (
        torch.cat([X[:, :k].flip(1), X[:, k:]], 1), Y,
    )),
    ("context_windows", "the two sides are swapped"): change(lambda X, Y, k: (X.roll(k, 1), Y)),
    ("context_windows", "must not hold the letter that it is to predict"): change(lambda X, Y, k: (
        torch.cat([X[:, :k], Y[:, None], X[:, k:]], 1), Y,
    )),
    ("context_windows", "begins one later"): change(lambda X, Y, k: (
        torch.cat([X[:, :k], Y[:, None], X[:, k:-1]], 1), Y,
    )),
    ("context_windows", "dots stand on each side of a word, not"
        " one"): lambda w, s, k: windows(w, s, k, pad=1),
    ("context_windows", "there are no dots around the words"): lambda w, s, k: windows(w, s, k, pad=0),
    ("context_windows", "the dot behind a word is not predicted"): lambda w, s, k: windows(
        [word + "." for word in w], s, k
    ),
    ("context_windows", "run into one another"): no_reset,
    ("context_windows", "one and the same list"): aliased,
    ("context_windows", "X: shape"): lambda w, s, k: windows(w, s, k + 1),
    ("context_windows", "dtype torch.float32"): change(lambda X, Y, k: (X.float(), Y)),
    ("context_windows", "got list"): change(lambda X, Y, k: (X.tolist(), Y.tolist())),
    ("context_windows", "Y: the shape is right"): change(lambda X, Y, k: (X, Y.flip(0))),
    ("uniform_loss", "that is the probability"): lambda V: 1 / V,
    ("uniform_loss", "the sign"): lambda V: math.log(1 / V),
    ("uniform_loss", "bits"): math.log2,
    ("uniform_loss", "to base 10"): math.log10,
    ("uniform_loss", "the number of characters"): lambda V: V,
    ("uniform_loss", "V has it already"): lambda V: math.log(V + 1),
    ("uniform_loss", "got 3.29584, expected 1.38629"): lambda V: 3.2958369,
    ("uniform_loss", "expected a number"): lambda V: "log V",
    ("calm_start", "W2 is all zeros"): parameters(W2=torch.zeros_like),
    ("calm_start", "W2 is all zeros, so no gradient"): lambda *a: [torch.zeros_like(p) for p in init(*a)],
    ("calm_start", "the logits are too large"): lambda *a: init(*a, W2=1.0, b=1.0),
    ("calm_start", "tanh is saturated"): lambda *a: init(*a, W1=1000.0),
    ("calm_start", "W1 (or C, or b1) is too large"): lambda *a: init(*a, C=100.0),
    ("calm_start", "gets through to W1 and C"): parameters(b1=lambda p: p + 50),
    ("calm_start", "the first loss is"): parameters(b2=lambda p: p + 3 * (torch.arange(len(p)) % 2)),
    ("calm_start", "W2 is filled with one number"): parameters(W2=lambda p: 0 * p + 0.01),
    ("calm_start", "W1 is filled with one number"): parameters(W1=lambda p: 0 * p + 0.01),
    ("calm_start", "C is filled with one number"): parameters(C=torch.ones_like),
    ("calm_start", "C gets no gradient"): parameters(W1=torch.zeros_like),
    ("calm_start", "W1 gets no gradient"): parameters(C=torch.zeros_like, b1=lambda p: p + 0.1),
    ("calm_start", "stay copies of one another"): parameters(
        W1=lambda p: p[:, :1].expand_as(p) / 9, W2=lambda p: p[:1].expand_as(p) / 9
    ),
    ("calm_start", "the same seed gave other weights"): unseeded,
    ("calm_start", "another seed gave the same C"): one_seed,
    ("calm_start", "W1: shape (200, 30), expected (30, 200)"): parameters(W1=lambda p: p.T),
    ("calm_start", "b2 holds nan"): parameters(b2=lambda p: p / 0),
    ("calm_start", "b1: expected a tensor"): parameters(b1=torch.Tensor.tolist),
    ("calm_start", "expected 5 things"): lambda *a: init(*a)[:4],
    ("direct_connections", "block_size * n_embd rows"): (lambda k, d, V: torch.zeros(d, V), direct),
    ("direct_connections", "V columns"): (lambda k, d, V: torch.zeros(k * d, d), direct),
    ("direct_connections", "must start at zero"): (lambda k, d, V: torch.randn(k * d, V), direct),
    ("direct_connections", "is it transposed?"): (lambda k, d, V: torch.zeros(V, k * d), direct),
    ("direct_connections", "W0 is not used"): (
        make_W0, logits(lambda x, W0, W1, b1, h, W2, b2: h @ W2 + b2),
    ),
    ("direct_connections", "the hidden layer is missing"): (
        make_W0, logits(lambda x, W0, W1, b1, h, W2, b2: (x @ W0 + b2) if W0.any() else h @ W2 + b2),
    ),
    ("direct_connections", "goes past the tanh"): (
        make_W0, logits(lambda x, W0, W1, b1, h, W2, b2: torch.tanh(x @ W0) + h @ W2 + b2),
    ),
    ("direct_connections", "the sign of the direct part"): (
        make_W0, logits(lambda x, W0, W1, b1, h, W2, b2: h @ W2 + b2 - x @ W0),
    ),
    ("direct_connections", "b2 is added twice"): (
        make_W0, logits(lambda x, W0, W1, b1, h, W2, b2: (x @ W0 + b2) * W0.any() + h @ W2 + b2),
    ),
    ("direct_connections", "b2 is missing"): (
        make_W0, logits(lambda x, W0, W1, b1, h, W2, b2: x @ W0 + h @ W2),
    ),
    ("direct_connections", "the tanh is missing"): (
        make_W0, logits(lambda x, W0, W1, b1, h, W2, b2: x @ W0 + (x @ W1 + b1) @ W2 + b2),
    ),
    ("direct_connections", "letters of different examples are mixed"): (make_W0, mixed_up),
    ("direct_connections", "no gradient reaches W0"): (
        make_W0, logits(lambda x, W0, W1, b1, h, W2, b2: x @ W0.detach() + h @ W2 + b2),
    ),
    ("direct_connections", "logits at W0 = 0: the shape is right"): (
        make_W0, logits(lambda x, W0, W1, b1, h, W2, b2: x @ W0 + h @ W2 + b2 + 1),
    ),
    ("direct_connections", "gradient of C"): (
        make_W0, logits(lambda x, W0, W1, b1, h, W2, b2: x.detach() @ W0 + h @ W2 + b2),
    ),
    ("exact_floor", "that is the sum"): lambda X, Y: len(Y) * true_floor(X, Y),
    ("exact_floor", "bits"): lambda X, Y: true_floor(X, Y) / math.log(2),
    ("exact_floor", "the sign"): lambda X, Y: -true_floor(X, Y),
    ("exact_floor", "the entropy of Y alone"): lambda X, Y: entropy(Y.tolist()),
    ("exact_floor", "context and answer together"): lambda X, Y: entropy(pairs(X, Y)),
    ("exact_floor", "the entropy of the contexts"): lambda X, Y: entropy(map(tuple, X.tolist())),
    ("exact_floor", "only the last letter"): lambda X, Y: true_floor(X[:, -1:], Y),
    ("exact_floor", "over examples, not over contexts"): lambda X, Y: by_pair(X, Y, "contexts"),
    ("exact_floor", "not over different pairs"): lambda X, Y: by_pair(X, Y, "pairs"),
    ("exact_floor", "floors can be above zero"): lambda X, Y: 0.0,
    ("exact_floor", "the floor of 32 examples: got"): lambda X, Y: true_floor(X, Y) + 0.01,
    ("exact_floor", "expected a number or a tensor"): lambda X, Y: {"floor": true_floor(X, Y)},
    ("beat_the_lecture", "beat those too"): model(lambda N, X: smoothed(N, X).log()),
    ("beat_the_lecture", "dev loss 2.56"): model(
        lambda N, X: (N.sum((0, 1)) + 0.1)[X[:, -1]].log().log_softmax(1)
    ),
    ("beat_the_lecture", "these are probabilities"): model(smoothed),
    ("beat_the_lecture", "nan or inf"): model(lambda N, X: smoothed(N, X, 0.0).log()),
    ("beat_the_lecture", "with the other rows of its batch"): model(coupled),
    ("beat_the_lecture", "change with the other rows"): model(reads_the_next_row),
    ("beat_the_lecture", "dev loss 3.2189"): model(lambda N, X: torch.zeros(len(X), len(N))),
    ("beat_the_lecture", "much worse than a uniform guess"): model(
        lambda N, X: 50.0 * F.one_hot(X[:, 0], len(N))
    ),
    ("beat_the_lecture", "dev loss"): of_the_plain_list,
    ("beat_the_lecture", "the lecture's network (20,000 steps)"): lecture_network,
    ("beat_the_lecture", "expected ("): model(lambda N, X: torch.zeros(len(X), 27)),
    ("beat_the_lecture", "block_size, an int"): model(lambda N, X: smoothed(N, X), k="3"),
    ("beat_the_lecture", "a function of X"): lambda words, stoi: (3, torch.zeros(5)),
    ("beat_the_lecture", "got tuple of 1"): lambda words, stoi: (3,),
    ("beat_the_lecture", "changed its argument 1"): lambda words, stoi: (words.clear(), 3),
}  # fmt: skip


@pytest.mark.parametrize(("name", "message"), WRONG)
def test_a_wrong_answer_is_told_what_is_wrong(name, message):
    answer = WRONG[name, message]
    rejected(exercises_of(ex)[name].check(*(answer if isinstance(answer, tuple) else (answer,))), message)


def bank():
    """For the report: the right ways beside the master's, and the wrong ones with what they must be told."""
    packed = lambda answer: answer if isinstance(answer, tuple) else (answer,)  # noqa: E731
    right_ways = [(name, packed(answer)) for name, answers in RIGHT.items() for answer in answers]
    return right_ways, [(name, message, packed(answer)) for (name, message), answer in WRONG.items()]
