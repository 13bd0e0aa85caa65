"""Every explorable, from small data: for the tests, and to look at (python -m tests.helpers.gallery)."""

from __future__ import annotations

import random
from collections.abc import Callable

import torch

from zth_helpers import interact, moons
from zth_helpers.layers import BatchNorm1d, Embedding, FlattenConsecutive, Linear, Sequential, Tanh
from zth_helpers.names import Vocabulary

WORDS = [
    "emma",
    "olivia",
    "ava",
    "isabella",
    "sophia",
    "quentin",
    "xyra",
    "wolfgang",
    "jack",
    "bob",
    "kid",
    "hugo",
]
VOCAB = Vocabulary([*WORDS, "abcdefghijklmnopqrstuvwxyz"])
V = len(VOCAB)


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Value:
    """The engine of lesson 01, in short."""

    def __init__(self, data, _prev=(), _op="", label="", slopes=()):
        self.data, self._prev, self._op, self.label, self.grad = data, _prev, _op, label, 0.0
        self.slopes = slopes

    def _backward(self):
        for child, slope in zip(self._prev, self.slopes):
            child.grad += slope * self.grad

    def __add__(self, o):
        return Value(self.data + o.data, (self, o), "+", slopes=(1.0, 1.0))

    def __mul__(self, o):
        return Value(self.data * o.data, (self, o), "*", slopes=(o.data, self.data))

    def tanh(self):
        t = torch.tanh(torch.tensor(self.data, dtype=torch.float64)).item()
        return Value(t, (self,), "tanh", slopes=(1 - t * t,))


def neuron() -> Value:
    x1, x2, w1, w2, b = (
        Value(v, label=n)
        for v, n in ((2.0, "x1"), (0.0, "x2"), (-3.0, "w1"), (1.0, "w2"), (6.8813735870195432, "b"))
    )
    n = x1 * w1 + x2 * w2 + b
    n.label = "n"
    o = n.tanh()
    o.label = "o"
    return o


def reused() -> tuple[Value, Value, Value]:
    a, b = Value(-2.0, label="a"), Value(3.0, label="b")
    return a, b, (a * b) * (a + b)


def first_parameters(sizes: list[int], seed: int = 1) -> list[float]:
    rng, out = random.Random(seed), []
    for nin, nout in zip(sizes, sizes[1:]):
        for _ in range(nout):
            out += [rng.uniform(-1, 1) for _ in range(nin)] + [0.0]
    return out


def counts() -> torch.Tensor:
    return torch.randint(0, 400, (V, V), generator=generator()) * (
        torch.rand(V, V, generator=generator(2)) < 0.6
    )


def mlp_net(seed: int = 3) -> list[torch.Tensor]:
    g = generator(seed)
    return [
        torch.randn(s, generator=g) * k
        for s, k in (((V, 10), 1), ((30, 50), 0.3), ((50,), 0.1), ((50, V), 0.3), ((V,), 0.1))
    ]


def tree(joins: tuple[int, ...] = (2, 2, 2), embedding: int = 6, hidden: int = 12) -> Sequential:
    torch.manual_seed(4)
    layers: list = [Embedding(V, embedding)]
    width = embedding
    for n in joins:
        layers += [FlattenConsecutive(n), Linear(n * width, hidden, bias=False), BatchNorm1d(hidden), Tanh()]
        width = hidden
    model = Sequential([*layers, Linear(hidden, V)])
    block = int(torch.tensor(joins).prod())
    for _ in range(20):  # running statistics that differ from 0 and 1
        model(torch.randint(0, V, (32, block)))
    return model.eval()


def gradients() -> interact.Explorable:
    g = generator(5)
    h, W, b = torch.randn(6, 4, generator=g), torch.randn(4, 5, generator=g), torch.zeros(1, 5)
    for t in (h, W, b):
        t.requires_grad_()
    logits = h @ W + b
    logits.retain_grad()
    y = torch.tensor([0, 1, 2, 3, 4, 0])
    torch.nn.functional.cross_entropy(logits, y).backward()
    tensors = dict(logits=logits, h=h, W=W, b=b)
    hand = {name: t.grad.clone() for name, t in tensors.items()}
    formulas = """
        logits | h @ W + b | (p - y) / n
        h | parameter | dlogits @ W.T
        W | parameter | h.T @ dlogits
        b | parameter | dlogits.sum(0, keepdim=True)"""
    wrong = dict(
        logits={"/n forgotten": hand["logits"] * 6},
        W={"W transposed": hand["W"].T},
        b={"keepdim lost": hand["b"][0]},
    )
    return interact.gradients(tensors, hand, formulas, "logits", wrong)


def playground() -> interact.Explorable:
    X, y = moons.make_moons(60, 0.1, 1337)
    sizes = [2, 16, 16, 1]
    return interact.moons_playground([first_parameters(sizes)], sizes, X, y, [(0.9, 0.5)])


def depth() -> interact.Explorable:
    X = torch.randint(0, V, (32, 3), generator=generator())
    return interact.scale_through_depth(X, torch.randint(0, V, (32,), generator=generator(2)), V)


GALLERY: dict[str, Callable[[], interact.Explorable]] = {
    "moons": playground,
    "expression": lambda: interact.expression({"the neuron": neuron(), "(a·b)(a+b)": reused()[2]}),
    "counts": lambda: interact.counts_and_rows(counts(), VOCAB),
    "softmax": lambda: interact.logits_to_loss(torch.randn(V, generator=generator(6)), 5, VOCAB),
    "letters": lambda: interact.letters_and_next(mlp_net(), VOCAB, 3),
    "depth": depth,
    "batchnorm": lambda: interact.batch_norm(torch.tensor([0.0, 5.35, 0.4573, 2.438, -0.449])),
    "rate": interact.rate_on_a_surface,
    "broadcast": interact.broadcasting,
    "gradients": gradients,
    "tree": lambda: interact.name_tree(tree(), VOCAB, 8, "isabella"),
    "temperature": lambda: interact.temperature(
        torch.randn(V, generator=generator(7)), lambda n, t: WORDS[:n], VOCAB, WORDS[::3]
    ),
}


def page(module: str) -> str:
    """A whole page without a kernel that shows one explorable."""
    stored = GALLERY[module]()._repr_mimebundle_()[0][interact.MIME]
    shown = interact.page_html(stored)
    return f'<!doctype html><meta charset="utf-8"><title>{module}</title><body>{shown}</body>'


if __name__ == "__main__":
    from pathlib import Path

    folder = Path("artefacts") / "gallery"
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in GALLERY.items():
        (folder / f"{name}.html").write_text(page(name), encoding="utf-8")
        (folder / f"{name}.png").write_bytes(make().still.png())
    print(f"open {folder}/*.html")
