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
    """The lesson's imports and functions, by name, with a small list in place of the names."""
    space = definitions("03_mlp", vocab=VOCAB, V=len(VOCAB), block_size=3, batch_size=4)
    space["progress"] = lambda items, label="": items
    return space


@pytest.fixture
def beyond() -> dict:
    """The same of the sequel."""
    return definitions("beyond/03_mlp", vocab=VOCAB, V=len(VOCAB), block_size=3, batch_size=4)


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
    X, Y = nb["build_dataset"](WORDS, VOCAB.stoi)
    windows = [(VOCAB.decode(x), VOCAB.itos[y]) for x, y in zip(X.tolist(), Y.tolist())]
    assert windows == string_windows(WORDS, 3)
    assert all(torch.equal(a, b) for a, b in zip((X, Y), context_windows(WORDS, VOCAB, 3)))


def test_entropy_floors_by_brute_force(beyond):
    longest = max(map(len, WORDS))
    floors = beyond["entropy_floors"](*context_windows(WORDS, VOCAB, longest))
    assert len(floors) == longest + 1
    for k, floor in enumerate(floors):
        assert floor == pytest.approx(conditional_entropy(string_windows(WORDS, k)), abs=1e-12)
    assert floors[-1] == pytest.approx(conditional_entropy(string_windows(WORDS, None)))
    # Distinct words: the entropy of a word is the log of their number, and is spread over its letters.
    assert floors[-1] == pytest.approx(math.log(len(WORDS)) / (sum(map(len, WORDS)) / len(WORDS) + 1))


def test_training_ends_on_the_floor(beyond):
    """Free logits for each context, trained to convergence: the floor is the minimum of the training loss."""
    X, Y = context_windows(WORDS, VOCAB, 3)
    ids = beyond["context_ids"](X)[3]
    logits = torch.zeros((int(ids.max()) + 1, len(VOCAB)), requires_grad=True, dtype=torch.float64)
    optimizer = torch.optim.LBFGS([logits], max_iter=300, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = F.cross_entropy(logits[ids], Y)
        loss.backward()
        return loss

    optimizer.step(closure)
    floor = beyond["entropy_floors"](X, Y)[3]
    assert floor < closure().item() < floor + 1e-3


def test_floor_of_five_names(beyond):
    """32 examples, one ambiguous context `...` with five answers: 5 log 5 / 32, as the lesson says."""
    words = ["emma", "olivia", "ava", "isabella", "sophia"]
    vocab = Vocabulary(words)
    X, Y = context_windows(words, vocab, 3)
    beyond["V"] = len(vocab)
    assert len(Y) == 32
    assert (
        beyond["entropy_floors"](X, Y)[3]
        == pytest.approx(5 * math.log(5) / 32)
        == pytest.approx(0.25147, abs=5e-6)
    )


def give_windows(space: dict, block: int) -> None:
    """What the sequel's counts are made of: windows of all names, of train and of dev."""
    windows = [context_windows(words, VOCAB, block) for words in (WORDS + DEV, WORDS, DEV)]
    joint = space["context_ids"](torch.cat([windows[1][0], windows[2][0]]))
    space.update(windows=windows, joint=joint, n=len(windows[1][0]))


@pytest.mark.parametrize("k", [0, 1, 3, 5])
@pytest.mark.parametrize("extra", [0.1, 2])
def test_smoothed_counts_by_brute_force(beyond, k, extra):
    give_windows(beyond, 6)
    after = counted(string_windows(WORDS, k))

    def loss(words) -> float:
        examples = string_windows(words, k)
        probabilities = ((after[x][y] + extra) / (after[x].total() + extra * len(VOCAB)) for x, y in examples)
        return -sum(map(math.log, probabilities)) / len(examples)

    assert beyond["count_table_loss"](k, extra) == pytest.approx([loss(WORDS), loss(DEV)])


def test_unsmoothed_counts_are_the_floor_on_train_and_infinite_on_dev(beyond):
    give_windows(beyond, 3)
    train, dev = beyond["count_table_loss"](3, 0)
    assert train == pytest.approx(beyond["entropy_floors"](*beyond["windows"][1])[3]) and dev == math.inf


@pytest.mark.parametrize("n_embd, n_hidden, wanted", [(2, 100, 3_481), (2, 300, 10_281), (10, 200, 11_897)])
def test_parameter_counts_of_the_lecture(nb, n_embd, n_hidden, wanted):
    parameters = nb["init_mlp"](27, n_embd, n_hidden)
    assert sum(p.numel() for p in parameters) == wanted and all(p.requires_grad for p in parameters)


def test_mlp_is_torchs(nb):
    C, W1, b1, W2, b2 = parameters = nb["init_mlp"](len(VOCAB), 4, 5, dtype=torch.float64)
    hidden, output = torch.nn.Linear(12, 5).double(), torch.nn.Linear(5, len(VOCAB)).double()
    pairs = (W1.T, hidden.weight), (b1, hidden.bias), (W2.T, output.weight), (b2, output.bias)
    with torch.no_grad():
        for ours, theirs in pairs:
            theirs.copy_(ours)
    net = torch.nn.Sequential(
        torch.nn.Embedding.from_pretrained(C), torch.nn.Flatten(), hidden, torch.nn.Tanh(), output
    )
    X, Y = context_windows(WORDS, VOCAB, 3)
    assert torch.allclose(nb["mlp"](X, parameters), net(X), atol=1e-6)
    assert nb["loss_on"](X, Y, parameters) == pytest.approx(F.cross_entropy(net(X), Y).item())


def test_train_is_sgd(nb):
    X, Y = context_windows(WORDS, VOCAB, 3)
    ours, theirs = (nb["init_mlp"](len(VOCAB), 2, 8, dtype=torch.float64) for _ in range(2))
    rates = [0.1] * 10 + [0.01] * 5
    losses = nb["train"](ours, X, Y, rates, torch.Generator().manual_seed(5), "")
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


def test_the_sequel_has_the_lessons_network(nb, beyond):
    X, Y = context_windows(WORDS, VOCAB, 3)
    beyond.update(Xtr=X, Ytr=Y, progress=lambda items, label="": items)
    ours = nb["init_mlp"](len(VOCAB), 2, 8, 7, torch.float64)
    theirs = beyond["init_mlp"](2, 8, 7)
    nb["train"](ours, X, Y, [0.1] * 20, torch.Generator().manual_seed(7), "")
    beyond["train"](theirs, [0.1] * 20, "", 7)
    assert nb["loss_on"](X, Y, ours) == pytest.approx(beyond["loss_on"](X, Y, theirs))


def test_losses_by_hand_and_fused_agree(beyond):
    z = torch.randn((7, 5), generator=torch.Generator().manual_seed(0))
    Y = torch.tensor([0, 1, 2, 3, 4, 0, 1])
    assert beyond["by_hand"](z, Y).item() == pytest.approx(F.cross_entropy(z, Y).item())


def test_made_notes_each_new_storage_once(beyond):
    with beyond["Made"]() as made:
        x = torch.zeros(100)
        y = x + 1
        y.view(10, 10)
        y += 1
    assert sorted(s.nbytes() for s in made.storages.values()) == [400, 400]


def test_a_written_name_follows_the_network(nb):
    """A network that is certain of each next letter leaves nothing to chance: it spells its word."""
    spelled = {"...": "b", "..b": "a", ".ba": "n", "ban": "."}
    nb["mlp"] = lambda X, _: (
        1000.0
        * F.one_hot(torch.tensor([VOCAB.stoi[spelled[VOCAB.decode(x)]] for x in X.tolist()]), len(VOCAB))
    )
    assert nb["sample"](None, torch.Generator().manual_seed(0)) == "ban"


def test_a_network_that_never_draws_the_dot_is_stopped():
    space = definitions("03_mlp", vocab=VOCAB, block_size=3)
    space["mlp"] = lambda X, parameters: 1000.0 * F.one_hot(torch.tensor([1]), len(VOCAB))
    assert space["sample"](None, torch.Generator().manual_seed(0)) == 100 * VOCAB.itos[1]
