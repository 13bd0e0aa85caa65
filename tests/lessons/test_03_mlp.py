"""The functions of notebook 03, taken out of the notebook file itself, against independent oracles."""

from __future__ import annotations

import math
from collections import Counter, defaultdict

import pytest
import torch
import torch.nn.functional as F

from tools.lesson import definitions
from zth_helpers.names import Vocabulary, context_windows

WORDS = ["anna", "hannah", "ana", "bob", "abba", "nob", "hanna", "banana", "anab", "b", "hob", "nana"]
DEV = ["hana", "bobo", "na", "ohan"]
VOCAB = Vocabulary(WORDS)


@pytest.fixture
def nb() -> dict:
    """The notebook's imports and functions, by name, with a small list in place of the names."""
    space = definitions("03_mlp", vocab=VOCAB, V=len(VOCAB), block_size=3)
    space["progress"] = lambda items, label="": items
    return space


def string_windows(words, k) -> list[tuple[str, str]]:
    """(last k letters, next letter), by plain string work; k = None: all letters before."""
    result = []
    for word in words:
        padded = "." * 20 + word + "."
        for i in range(20, len(padded)):
            result.append((padded[:i] if k is None else padded[i - k : i], padded[i]))
    return result


def counted(examples) -> dict[str, Counter]:
    after = defaultdict(Counter)
    for context, letter in examples:
        after[context][letter] += 1
    return after


def conditional_entropy(examples) -> float:
    total = 0.0
    for counts in counted(examples).values():
        n = counts.total()
        total -= sum(c * math.log(c / n) for c in counts.values())
    return total / len(examples)


def test_the_data_set_by_hand_is_the_helpers(nb):
    X, Y = nb["build_dataset"](WORDS)
    windows = [(VOCAB.decode(x), VOCAB.itos[y]) for x, y in zip(X.tolist(), Y.tolist())]
    assert windows == string_windows(WORDS, 3)
    assert all(torch.equal(a, b) for a, b in zip((X, Y), context_windows(WORDS, VOCAB, 3)))


def test_entropy_floors_by_brute_force(nb):
    longest = max(map(len, WORDS))
    floors = nb["entropy_floors"](*context_windows(WORDS, VOCAB, longest))
    assert len(floors) == longest + 1
    for k, floor in enumerate(floors):
        assert floor == pytest.approx(conditional_entropy(string_windows(WORDS, k)), abs=1e-12)
    assert floors[-1] == pytest.approx(conditional_entropy(string_windows(WORDS, None)))
    # Distinct words: the entropy of a word is the log of their number, and is spread over its letters.
    assert floors[-1] == pytest.approx(math.log(len(WORDS)) / (sum(map(len, WORDS)) / len(WORDS) + 1))


def test_training_ends_on_the_floor(nb):
    """Free logits for each context, trained to convergence: the floor is the minimum of the training loss."""
    X, Y = context_windows(WORDS, VOCAB, 3)
    ids = nb["context_ids"](X)[3]
    logits = torch.zeros((int(ids.max()) + 1, len(VOCAB)), requires_grad=True, dtype=torch.float64)
    optimizer = torch.optim.LBFGS([logits], max_iter=300, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = F.cross_entropy(logits[ids], Y)
        loss.backward()
        return loss

    optimizer.step(closure)
    floor = nb["floor_of"](X, Y)
    assert floor == pytest.approx(nb["entropy_floors"](X, Y)[3])
    assert floor < closure().item() < floor + 1e-3


def test_floor_of_five_names(nb):
    """32 examples, one ambiguous context `...` with five answers: 5 log 5 / 32, the lecture's 0.25147."""
    words = ["abcde", "fghij", "klmno", "pqrstu", "vwxyza"]
    X, Y = context_windows(words, Vocabulary(words), 3)
    assert len(Y) == 32
    assert nb["floor_of"](X, Y) == pytest.approx(5 * math.log(5) / 32)
    assert round(nb["floor_of"](X, Y), 5) == 0.25147


@pytest.mark.parametrize("k", [0, 1, 3, 5])
@pytest.mark.parametrize("extra", [0.1, 2])
def test_smoothed_counts_by_brute_force(nb, k, extra):
    (Xtr, Ytr), (Xdev, Ydev) = (context_windows(words, VOCAB, 6) for words in (WORDS, DEV))
    nb.update(Ytr=Ytr, Ydev=Ydev, joint=nb["context_ids"](torch.cat([Xtr, Xdev])))
    after = counted(string_windows(WORDS, k))

    def loss(words) -> float:
        examples = string_windows(words, k)
        probabilities = ((after[x][y] + extra) / (after[x].total() + extra * len(VOCAB)) for x, y in examples)
        return -sum(map(math.log, probabilities)) / len(examples)

    assert nb["count_table_loss"](k, extra) == pytest.approx((loss(WORDS), loss(DEV)))


def test_unsmoothed_counts_are_the_floor_on_train_and_infinite_on_dev(nb):
    (Xtr, Ytr), (Xdev, Ydev) = (context_windows(words, VOCAB, 3) for words in (WORDS, DEV))
    nb.update(Ytr=Ytr, Ydev=Ydev, joint=nb["context_ids"](torch.cat([Xtr, Xdev])))
    train, dev = nb["count_table_loss"](3, 0)
    assert train == pytest.approx(nb["entropy_floors"](Xtr, Ytr)[3]) and dev == math.inf


@pytest.mark.parametrize("n_embd, n_hidden, wanted", [(2, 100, 3_481), (2, 300, 10_281), (10, 200, 11_897)])
def test_parameter_counts_of_the_lecture(nb, n_embd, n_hidden, wanted):
    nb["V"] = 27
    parameters = nb["init_mlp"](n_embd, n_hidden)
    assert sum(p.numel() for p in parameters) == wanted and all(p.requires_grad for p in parameters)


def test_mlp_is_torchs(nb):
    C, W1, b1, W2, b2 = parameters = nb["init_mlp"](4, 5)
    hidden, output = torch.nn.Linear(12, 5).double(), torch.nn.Linear(5, len(VOCAB)).double()
    with torch.no_grad():
        for ours, theirs in (
            (W1.T, hidden.weight),
            (b1, hidden.bias),
            (W2.T, output.weight),
            (b2, output.bias),
        ):
            theirs.copy_(ours)
    net = torch.nn.Sequential(
        torch.nn.Embedding.from_pretrained(C), torch.nn.Flatten(), hidden, torch.nn.Tanh(), output
    )
    X, Y = context_windows(WORDS, VOCAB, 3)
    assert torch.allclose(nb["mlp"](X, parameters), net(X), atol=1e-6)
    assert nb["loss_on"](X, Y, parameters) == pytest.approx(F.cross_entropy(net(X), Y).item())


def test_train_is_sgd(nb):
    X, Y = context_windows(WORDS, VOCAB, 3)
    ours, theirs = nb["init_mlp"](2, 8), nb["init_mlp"](2, 8)
    rates = [0.1] * 10 + [0.01] * 5
    losses = nb["train"](ours, X, Y, rates, seed=5, batch_size=4)
    optimizer, g, wanted = torch.optim.SGD(theirs, lr=1), torch.Generator().manual_seed(5), []
    for optimizer.param_groups[0]["lr"] in rates:
        ix = torch.randint(0, len(X), (4,), generator=g)
        loss = F.cross_entropy(nb["mlp"](X[ix], theirs), Y[ix])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        wanted.append(loss.item())
    assert losses == pytest.approx(wanted)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(ours, theirs))


def test_losses_by_hand_and_fused_agree(nb):
    z = torch.randn((7, 5), generator=torch.Generator().manual_seed(0))
    Y = torch.tensor([0, 1, 2, 3, 4, 0, 1])
    assert nb["by_hand"](z, Y).item() == pytest.approx(F.cross_entropy(z, Y).item())


def test_draw_follows_the_probabilities(nb):
    g = torch.Generator().manual_seed(0)
    p = torch.tensor([0.2, 0.0, 0.5, 0.3])
    drawn = Counter(nb["draw"](p, g) for _ in range(4_000))
    assert set(drawn) == {0, 2, 3}
    for i, n in drawn.items():  # within four standard deviations
        assert abs(n - 4_000 * p[i]) < 4 * math.sqrt(4_000 * p[i] * (1 - p[i]))


def test_a_written_name_follows_the_network(nb):
    """A table that is certain of each next letter leaves nothing to chance: it spells its word."""
    spelled = {"...": "b", "..b": "a", ".ba": "n", "ban": "."}
    nb["mlp"] = lambda X, _: (
        100.0
        * F.one_hot(torch.tensor([VOCAB.stoi[spelled[VOCAB.decode(x)]] for x in X.tolist()]), len(VOCAB))
    )
    assert nb["write_name"](None, torch.Generator().manual_seed(0)) == "ban"
