"""Lecture 2's exercises: right answers pass, each typical mistake is called by its name."""

from __future__ import annotations

import math
import random

import pytest
import torch
import torch.nn.functional as F

from tests.exercises.answers import answers, checks, exercises_of, rejected, right, stubs
from zth_helpers import name_lists, names
from zth_helpers.exercises import bigram as ex

NAMES = sorted(exercises_of(ex))


def test_the_master_checks_every_exercise():
    assert sorted(checks("bigram")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_right_and_not_tried(name):
    exercise = exercises_of(ex)[name]
    assert exercise.check(*right("bigram", name))
    assert exercise.check(*stubs("bigram", name)).state == "not tried yet"
    assert exercise.hints and exercise.__doc__


def examples(words, stoi, k, front=None, back=1):
    """X (N, k), Y (N,) by slicing strings; `front` dots before a word and `back` behind it."""
    padded = ["." * (k if front is None else front) + word + "." * back for word in words]
    rows = [[stoi[c] for c in word[i : i + k + 1]] for word in padded for i in range(len(word) - k)]
    return torch.tensor([row[:k] for row in rows]), torch.tensor([row[k] for row in rows])


def table(words, stoi, k, extra=1.0, **how):
    N = torch.zeros((len(stoi),) * (k + 1), dtype=torch.float64)
    X, Y = examples(words, stoi, k, **how)
    return N.index_put_((*X.unbind(1), Y), torch.ones(len(Y), dtype=N.dtype), accumulate=True) + extra


def share(N):
    return N / N.sum(-1, keepdim=True)


# Other right answers ---------------------------------------------------------------------------------------


def draw_by_loop(p, u):
    cdf = (p.cumsum(0) / p.cumsum(0)[-1]).double()
    return (u[:, None] >= cdf).sum(1)


def table_net(rate, one_hot=False, random=True):
    """A table of logits, one row for each context, trained as in the lecture: 300 full-batch steps."""

    def net(words, stoi):
        V, g = len(stoi), torch.Generator().manual_seed(2147483647)
        X, Y = examples(words, stoi, 2)
        rows = X[:, 0] * V + X[:, 1]
        W = (torch.randn((V * V, V), generator=g) * random).requires_grad_()
        xenc = F.one_hot(rows, V * V).float() if one_hot else None
        for _ in range(300):
            loss = F.cross_entropy(xenc @ W if one_hot else W[rows], Y)
            (grad,) = torch.autograd.grad(loss, W)
            W.data -= rate * grad
        return W.softmax(1).view(V, V, V)

    return net


def two_hot_net(rate, steps=300):
    """The lecture's way: two one-hot vectors side by side, so two rows of weights add up to the logits."""

    def net(words, stoi):
        V, g = len(stoi), torch.Generator().manual_seed(2147483647)
        X, Y = examples(words, stoi, 2)
        W = torch.randn((2 * V, V), generator=g, requires_grad=True)
        xenc = F.one_hot(X, V).float().flatten(1)
        for _ in range(steps):
            (grad,) = torch.autograd.grad(F.cross_entropy(xenc @ W, Y), W)
            W.data -= rate * grad
        return (W[:V, None] + W[V:]).softmax(2)

    return net


def split_by_sample(words):
    """random.shuffle and a shuffle of indices are the same."""
    ix = list(range(len(words)))
    random.Random(42).shuffle(ix)
    n = len(words)
    cut = lambda a, b: [words[i] for i in ix[a:b]]  # noqa: E731
    return [cut(0, int(0.8 * n)), cut(int(0.8 * n), int(0.9 * n)), cut(int(0.9 * n), n)]


def losses_by_net(train, dev, test, stoi, k):
    """F.cross_entropy of the log-counts."""
    logits = table(train, stoi, k).log()
    return torch.tensor([
        F.cross_entropy(logits[(*X.unbind(1),)], Y)
        for X, Y in (examples(words, stoi, k) for words in (train, dev, test))
    ])  # fmt: skip


def tune_by_loop(strengths, fit, loss, train, dev, test):
    best, lowest = None, math.inf
    for k in strengths:
        found = loss(fit(train, k), dev)
        loss(fit(train, k), train)  # a look at train is fine
        if found < lowest:
            best, lowest = k, found
    return [best, loss(fit(train, best), test)]


def by_logsumexp(logits, y):
    return (logits.logsumexp(1) - logits[torch.arange(len(y)), y]).mean()


def by_shift(logits, y):
    z = logits - logits.max(1, keepdim=True).values
    return (z.exp().sum(1).log() - z.gather(1, y[:, None])[:, 0]).mean()


RIGHT = {
    "normalise_rows": [lambda N: (N.float().T / N.sum(1)).T, lambda N: N / N.sum(1)[:, None]],
    "inverse_cdf": [draw_by_loop],
    "trigram_examples": [lambda words, stoi: examples(words, stoi, 2)],
    "trigram_model": [
        *[table_net(rate) for rate in (5, 10, 20, 50)],
        table_net(10, one_hot=True),
        table_net(50, random=False),
        *[two_hot_net(rate) for rate in (0.5, 1, 5, 10, 50)],
        two_hot_net(10, steps=100),
        lambda words, stoi: share(table(words, stoi, 2, 0.1)).float(),
    ],
    "split": [split_by_sample],
    "held_out_losses": [losses_by_net],
    "tune_smoothing": [tune_by_loop],
    "index_rows": [lambda W, x: W.index_select(0, x), lambda W, x: F.embedding(x, W)],
    "stable_cross_entropy": [by_logsumexp, by_shift, lambda z, y: F.nll_loss(z.log_softmax(1), y)],
    "invent": [lambda: ["How long is the longest name?", "Fifteen letters, and only two are."]],
}


@pytest.mark.parametrize(("name", "i"), [(name, i) for name in RIGHT for i in range(len(RIGHT[name]))])
def test_other_right_ways(name, i):
    assert exercises_of(ex)[name].check(RIGHT[name][i])


def test_every_exercise_has_another_right_way():
    assert sorted(RIGHT) == NAMES


# Wrong answers: (exercise, what the message must say) -> answer ---------------------------------------------


def single_pad(words, stoi):
    return examples(words, stoi, 2, front=1)


def aliased(words, stoi):
    """The context is one list for all rows of a word."""
    X, Y = [], []
    for word in words:
        context = [0, 0]
        for ch in word + ".":
            X.append(context)
            Y.append(stoi[ch])
            context.pop(0)
            context.append(stoi[ch])
    return torch.tensor(X), torch.tensor(Y)


def no_reset(words, stoi):
    return examples([".".join(words)], stoi, 2)


def holds_the_answer(words, stoi):
    X, Y = examples(words, stoi, 2)
    return torch.stack([X[:, 1], Y], 1), Y


def wrong_examples(change):
    return lambda words, stoi: change(*examples(words, stoi, 2))


def per_part(fit_on, extra=1.0, mean=torch.mean, k_of=lambda k: k, front=None):
    """Losses with one thing wrong: fit_on(train, dev, test) gives the words each part is judged by."""

    def losses(train, dev, test, stoi, k):
        out = []
        for i, words in enumerate((train, dev, test)):
            P = share(table(fit_on(train, dev, test)[i], stoi, k_of(k), extra, front=front))
            X, Y = examples(words, stoi, k_of(k), front=front)
            out.append(mean(-P[(*X.unbind(1), Y)].log()).item())
        return out

    return losses


def on_train(train, dev, test):
    return train, train, train


def by_word(train, dev, test, stoi, k):
    P = share(table(train, stoi, k))

    def loss(word):
        X, Y = examples([word], stoi, k)
        return -P[(*X.unbind(1), Y)].log().mean().item()

    return [sum(map(loss, words)) / len(words) for words in (train, dev, test)]


def test_once(choose, refit=False, final="test"):
    """tune with another rule of choice; final: whose loss is returned."""

    def tune(strengths, fit, loss, train, dev, test):
        parts = {"train": train, "dev": dev, "test": test}
        best = choose(strengths, lambda part: lambda k: loss(fit(train, k), parts[part]))
        model = fit(train + dev if refit else train, best)
        found = loss(model, test)
        return best, found if final == "test" else loss(model, parts[final])

    return tune


test_once.__test__ = False


def index_of_best(strengths, loss):
    return min(strengths, key=loss("dev"))


def always_tests(strengths, fit, loss, train, dev, test):
    """Looks at every test loss, although it chooses on dev."""
    found = {k: (loss(fit(train, k), dev), loss(fit(train, k), test)) for k in strengths}
    best = min(found, key=found.get)
    return best, found[best][1]


def fits_all(strengths, fit, loss, train, dev, test):
    return min((loss(fit(train + dev + test, k), dev), k) for k in strengths)[::-1]


def returns_place(strengths, fit, loss, train, dev, test):
    best = min(strengths, key=lambda k: loss(fit(train, k), dev))
    return strengths.index(best), loss(fit(train, best), test)


def returns_dev(strengths, fit, loss, train, dev, test):
    best = min(strengths, key=lambda k: loss(fit(train, k), dev))
    return loss(fit(train, best), dev), loss(fit(train, best), test)


def never_tests(strengths, fit, loss, train, dev, test):
    best = min(strengths, key=lambda k: loss(fit(train, k), dev))
    return best, loss(fit(train, best), dev)


def another_is_tested(strengths, fit, loss, train, dev, test):
    best = min(strengths, key=lambda k: loss(fit(train, k), dev))
    return best, loss(fit(train, next(k for k in strengths if k != best)), test)


def shuffled_cut(words, a=0.8, b=0.9, seed=42, number=int):
    copy = list(words)
    random.Random(seed).shuffle(copy)
    a, b = number(a * len(words)), number(b * len(words))
    return copy[:a], copy[a:b], copy[b:]


def in_place(words):
    random.Random(42).shuffle(words)
    return words[: int(0.8 * len(words))], words[int(0.8 * len(words)) :], []


def unsafe(logits, y):
    p = logits.exp() / logits.exp().sum(1, keepdim=True)
    return -p[torch.arange(len(y)), y].log().mean()


def with_p(change):
    def loss(logits, y):
        return change(logits.softmax(1), logits, torch.arange(len(y)), y)

    return loss


def one_hot(W, x):
    return F.one_hot(x, len(W)).float() @ W


WRONG = {
    ("normalise_rows", "keepdim=True is missing"): lambda N: N / N.sum(1),
    ("normalise_rows", "these are the columns"): lambda N: N / N.sum(0),
    ("normalise_rows", "sum of the whole table"): lambda N: N / N.sum(),
    ("normalise_rows", "softmax is for logits"): lambda N: N.float().softmax(1),
    ("normalise_rows", "not by its largest count"): lambda N: N / N.max(1, keepdim=True).values,
    ("normalise_rows", "nothing is divided yet"): lambda N: N.float(),
    ("normalise_rows", "not `//`"): lambda N: (N // N.sum(1, keepdim=True)).float(),
    ("normalise_rows", "largest difference"): lambda N: (N + 1) / (N + 1).sum(1, keepdim=True),
    ("normalise_rows", "expected a tensor"): lambda N: (N / N.sum(1, keepdim=True)).tolist(),
    ("normalise_rows", "changed its argument 1"): lambda N: N.copy_(N) / N.add_(1).sum(1, keepdim=True),
    ("inverse_cdf", "divide the cumulative sum"): lambda p, u: torch.searchsorted(
        p.cumsum(0).double(), u, right=True
    ),
    ("inverse_cdf", "outcome of weight 0"): lambda p, u: torch.searchsorted(
        (p.cumsum(0) / p.cumsum(0)[-1]).double(), u
    ),
    ("inverse_cdf", "most probable outcome"): lambda p, u: p.argmax().expand(len(u)),
    ("inverse_cdf", "one too many"): lambda p, u: draw_by_loop(p, u) + 1,
    ("inverse_cdf", "one too few"): lambda p, u: draw_by_loop(p, u) - 1,
    ("inverse_cdf", "the values are not"): lambda p, u: torch.multinomial(p, len(u), True),
    ("inverse_cdf", "shape ()"): lambda p, u: draw_by_loop(p, u)[0],
    ("inverse_cdf", "dtype torch.float32"): lambda p, u: draw_by_loop(p, u).float(),
    ("trigram_examples", "single padding"): single_pad,
    ("trigram_examples", "no dots in front"): lambda w, s: examples(w, s, 2, front=0),
    ("trigram_examples", "the end is missing"): lambda w, s: examples(w, s, 2, back=0),
    ("trigram_examples", "a name ends once"): lambda w, s: examples(w, s, 2, back=2),
    ("trigram_examples", "run into one another"): no_reset,
    ("trigram_examples", "turned round"): wrong_examples(lambda X, Y: (X.flip(1), Y)),
    ("trigram_examples", "must not hold the letter"): holds_the_answer,
    ("trigram_examples", "the letter before"): wrong_examples(lambda X, Y: (X, X[:, 1])),
    ("trigram_examples", "expected 2 things, X and Y"): wrong_examples(lambda X, Y: X),
    ("trigram_examples", "X: shape"): lambda w, s: examples(w, s, 1),
    ("trigram_examples", "Y: the shape is right"): wrong_examples(lambda X, Y: (X, Y.flip(0))),
    ("trigram_model", "these are counts"): lambda w, s: table(w, s, 2),
    ("trigram_model", "bigram model"): lambda w, s: share(table(w, s, 1)).expand(len(s), -1, -1),
    ("trigram_model", "keepdim=True is missing"): lambda w, s: table(w, s, 2) / table(w, s, 2).sum(2),
    ("trigram_model", "sum of the whole table"): lambda w, s: table(w, s, 2) / table(w, s, 2).sum(),
    ("trigram_model", "single-pad trigrams"): lambda w, s: share(table(w, s, 2, front=1)),
    ("trigram_model", "letters of the context are swapped"): lambda w, s: share(
        table(w, s, 2)
    ).transpose(0, 1),
    ("trigram_model", "axes are turned round"): lambda w, s: share(table(w, s, 2)).permute(2, 1, 0),
    ("trigram_model", "does each name start with two dots?"): lambda w, s: share(
        table(w, s, 2, 0.1, front=1)
    ),
    ("trigram_model", "P hardly uses the older letter"): lambda w, s: share(
        table(w, s, 1, 0.1)
    ).expand(len(s), -1, -1),
    ("trigram_model", "P hardly uses the newer letter"): lambda w, s: share(
        table(w, s, 2, 0.1).sum(1, keepdim=True).expand(-1, len(s), -1)
    ),
    ("trigram_model", "the letters of the context are swapped: P[older"): lambda w, s: share(
        table(w, s, 2, 0.5)
    ).transpose(0, 1),
    ("trigram_model", "a uniform guess costs"): lambda w, s: torch.full((len(s),) * 3, 1 / len(s)),
    ("trigram_model", "is the dot behind each name missing?"): lambda w, s: share(
        table(w, s, 2, 0.1, back=0)
    ),
    ("trigram_model", "your code raised IndexError"): lambda w, s: torch.ones(27, 27)[len(s) + 5],
    ("trigram_examples", "one and the same list"): aliased,
    ("inverse_cdf", "outcomes go from 0 to 26"): lambda p, u: torch.searchsorted(
        (p / p.sum()).cumsum(0).double(), u, right=True
    ),
    ("trigram_model", "0/0"): lambda w, s: share(table([*w, "ab"] if "a" in s else w, s, 2, 0) * (
        torch.arange(len(s)) != 1
    )[:, None, None]),
    ("trigram_model", "cannot be negative"): lambda w, s: table(w, s, 2).log() - 9,
    ("trigram_model", "sums to"): lambda w, s: 1.5 * share(table(w, s, 2)),
    ("trigram_model", "expected (27, 27, 27)"): lambda w, s: share(table(w, s, 1)),
    ("split", "not shuffled"): lambda w: (w[: int(0.8 * len(w))], w[int(0.8 * len(w)) : int(0.9 * len(w))],
                                          w[int(0.9 * len(w)) :]),
    ("split", "dev and test are swapped"): lambda w: [shuffled_cut(w)[i] for i in (0, 2, 1)],
    ("split", "changed its argument 1 in place"): in_place,
    ("split", "some are in two parts"): lambda w: (shuffled_cut(w)[0], *shuffled_cut(w)[:2]),
    ("split", "are in no part"): lambda w: [part[1:] for part in shuffled_cut(w)],
    ("split", "comes twice in the list counts twice"): lambda w: shuffled_cut(list(dict.fromkeys(w))),
    ("split", "the sizes are"): lambda w: shuffled_cut(w, number=math.ceil),
    ("split", "the order is not"): lambda w: shuffled_cut(w, seed=1337),
    ("split", "the order is not that"): lambda w: shuffled_cut(sorted(w)),
    ("split", "expected a list of words"): lambda w: [len(part) for part in shuffled_cut(w)],
    ("split", "expected 3 things"): lambda w: shuffled_cut(w)[:2],
    ("held_out_losses", "each part was fitted on itself"): per_part(lambda *parts: parts),
    ("held_out_losses", "fitted on all words"): per_part(lambda a, b, c: (a + b + c,) * 3),
    ("held_out_losses", "fitted on dev"): per_part(lambda a, b, c: (b, b, b)),
    ("held_out_losses", "the +1 is missing"): per_part(on_train, extra=0.0),
    ("held_out_losses", "these are sums"): per_part(on_train, mean=torch.sum),
    ("held_out_losses", "over characters, not over words"): by_word,
    ("held_out_losses", "bits"): per_part(on_train, mean=lambda x: x.mean() / math.log(2)),
    ("held_out_losses", "the sign"): per_part(on_train, mean=lambda x: -x.mean()),
    ("held_out_losses", "single-pad trigrams"): per_part(on_train, front=1),
    ("held_out_losses", "dev and test are swapped"): lambda a, b, c, *rest: losses_by_net(a, c, b, *rest),
    ("held_out_losses", "with 2 letters"): per_part(on_train, k_of=lambda k: 1),
    ("held_out_losses", "largest difference"): per_part(on_train, extra=0.5),
    ("tune_smoothing", "best on train"): test_once(lambda ks, loss: min(ks, key=loss("train"))),
    ("tune_smoothing", "best on test"): test_once(lambda ks, loss: min(ks, key=loss("test"))),
    ("tune_smoothing", "highest dev loss"): test_once(lambda ks, loss: max(ks, key=loss("dev"))),
    ("tune_smoothing", "its place in the list"): returns_place,
    ("tune_smoothing", "that is the dev loss: return the strength"): returns_dev,
    ("tune_smoothing", "never asked for test"): never_tests,
    ("tune_smoothing", "times: once, at the very end"): always_tests,
    ("tune_smoothing", "that is the dev loss"): test_once(index_of_best, final="dev"),
    ("tune_smoothing", "that is the train loss"): test_once(index_of_best, final="train"),
    ("tune_smoothing", "do not fit again on train + dev"): test_once(index_of_best, refit=True),
    ("tune_smoothing", "neither train, dev nor test"): lambda ks, fit, loss, train, *_: fit(train[1:], ks[0]),
    ("tune_smoothing", "fit got"): fits_all,
    ("tune_smoothing", "but the best is"): another_is_tested,
    ("tune_smoothing", "got 0.5"): lambda ks, fit, *rest: (0.5, 2.0),
    ("tune_smoothing", "fit on train only"): lambda ks, fit, loss, train, dev, test: fit(dev, ks[0]),
    ("tune_smoothing", "not one of the strengths"): lambda ks, fit, loss, train, dev, test: fit(train, -1),
    ("index_rows", "the columns of W"): lambda W, x: W[:, x.clamp(max=W.shape[1] - 1)].T,
    ("index_rows", "as big as the one-hot vectors"): one_hot,
    ("index_rows", "no gradient can reach W"): lambda W, x: W.detach()[x],
    ("index_rows", "no gradient can reach W:"): lambda W, x: torch.nn.Parameter(W.data[x]),
    ("index_rows", "got list"): lambda W, x: W[x].tolist(),
    ("index_rows", "largest difference"): lambda W, x: W[x] + 1,
    ("index_rows", "the gradient of W"): lambda W, x: 2 * W[x] - W[x].detach(),
    ("stable_cross_entropy", "that is the sum"): lambda z, y: F.cross_entropy(z, y, reduction="sum"),
    ("stable_cross_entropy", "the sign"): with_p(lambda p, z, i, y: p[i, y].log().mean()),
    ("stable_cross_entropy", "softmax was taken twice"): with_p(lambda p, z, i, y: F.cross_entropy(p, y)),
    ("stable_cross_entropy", "not over the examples"): with_p(
        lambda p, z, i, y: -z.log_softmax(0)[i, y].mean()
    ),
    ("stable_cross_entropy", "over all entries"): with_p(lambda p, z, i, y: -p.log().mean()),
    ("stable_cross_entropy", "its log is missing"): with_p(lambda p, z, i, y: p[i, y].mean()),
    ("stable_cross_entropy", "the log of the mean"): with_p(lambda p, z, i, y: -p[i, y].mean().log()),
    ("stable_cross_entropy", "a small number added"): with_p(
        lambda p, z, i, y: -(p[i, y] + 1e-9).log().mean()
    ),
    ("stable_cross_entropy", "exp overflows"): unsafe,
    ("stable_cross_entropy", "or a log meets 0"): with_p(lambda p, z, i, y: -p[i, y].log().mean()),
    ("stable_cross_entropy", "no gradient reaches"): lambda z, y: F.cross_entropy(z.detach(), y),
    ("stable_cross_entropy", "the gradient of the logits"): lambda z, y: (
        2 * F.cross_entropy(z, y) - F.cross_entropy(z, y).detach()
    ),
    ("stable_cross_entropy", "shape (4,), expected ()"): lambda z, y: F.cross_entropy(z, y, reduction="none"),
    ("invent", "the question is empty"): lambda: ("", ""),
    ("invent", "the finding is empty"): lambda: ("What is the longest name?", "  "),
    ("invent", "the finding is very short"): lambda: ("What is the longest name?", "yes"),
    ("invent", "question mark"): lambda: ("I looked for the longest name.", "It has fifteen letters."),
    ("invent", "repeats the question"): lambda: ("What is the longest name?",) * 2,
    ("invent", "expected text, got int"): lambda: ("What is the longest name?", 3),
    ("invent", "expected 2 things"): lambda: "What is the longest name?",
}  # fmt: skip


@pytest.mark.parametrize(("name", "message"), WRONG)
def test_a_wrong_answer_is_told_what_is_wrong(name, message):
    rejected(exercises_of(ex)[name].check(WRONG[name, message]), message)


def test_the_masters_finding_is_true():
    """Backwards a bigram model is exactly as good."""
    words = name_lists.load_names("shipped")[:2000]
    stoi = names.Vocabulary(words).stoi
    P, Q = (share(table(w, stoi, 1, 0.0)) for w in (words, [word[::-1] for word in words]))
    a, b = (
        -p[(*X.unbind(1), Y)].log().mean()
        for p, (X, Y) in ((P, examples(words, stoi, 1)), (Q, examples([w[::-1] for w in words], stoi, 1)))
    )
    assert math.isclose(a, b, rel_tol=1e-12)


def test_the_masters_trigram_is_the_packages():
    words = ["ada", "bo"]
    stoi = names.Vocabulary(words).stoi
    X, Y = answers("bigram")["trigram_examples"](words, stoi)
    X_package, Y_package = names.context_windows(words, names.Vocabulary(words), 2)
    assert torch.equal(X, X_package) and torch.equal(Y, Y_package)


def bank():
    """For the report: the right ways beside the master's, and the wrong ones with what they must be told."""
    packed = lambda answer: answer if isinstance(answer, tuple) else (answer,)  # noqa: E731
    right_ways = [(name, packed(answer)) for name, answers in RIGHT.items() for answer in answers]
    return right_ways, [(name, message, packed(answer)) for (name, message), answer in WRONG.items()]
