"""The interactive figures, moved as their controls move them, against numbers worked out otherwise."""

from __future__ import annotations

import math
from io import BytesIO

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from matplotlib.contour import ContourSet
from PIL import Image

from zth_helpers import interact
from zth_helpers.interact.distributions import warmed
from zth_helpers.interact.explorer import typed
from zth_helpers.interact.micrograd import places, run_backward
from zth_helpers.names import Vocabulary
from zth_helpers.plots import Figure

VOCAB = Vocabulary(["maria", "bob", "dex"])  # . and 9 letters
V = len(VOCAB)
BELOW = "color:#7a1420"  # the line under the box


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def bars(explorer, panel: int = 0) -> dict[str, float]:
    """The heights of the bars under their labels."""
    ax = explorer.figure.axes[panel]
    across = ax.containers[0].orientation == "horizontal"
    labels = [label.get_text() for label in (ax.get_yticklabels() if across else ax.get_xticklabels())]
    return dict(zip(labels, (b.get_width() if across else b.get_height() for b in ax.containers[0])))


def words(explorer, panel: int = 0) -> list[str]:
    return [text.get_text() for text in explorer.figure.axes[panel].texts]


def picture(explorer) -> bytes:
    return explorer.image.value


# -- the base --------------------------------------------------------------------------------------------


def counting(n: int, word: str = "ab") -> Figure:
    word = typed(word, VOCAB, 4)
    fig = Figure(2, 1, lambda _: f"{word} {n}")
    fig.add_subplot().plot([0, n])
    return fig


def test_saved_with_a_static_picture_and_its_numbers():
    explorer = interact.Explorer(counting, n=interact.slider("n", 1, 9, 4), word=interact.text("word", "ab"))
    data, size = explorer._repr_mimebundle_()
    assert size["image/png"]["width"] == 200
    assert data["text/plain"] == "ab 4" and data["image/png"].startswith(b"\x89PNG")
    assert "application/vnd.jupyter.widget-view+json" in data
    before = picture(explorer)
    explorer.controls["n"].value = 7
    assert explorer._repr_mimebundle_()[0]["text/plain"] == "ab 7"
    assert "ab 7" in explorer.numbers.value and picture(explorer) != before


@pytest.mark.parametrize("bad", ["", "   ", "a1", "<b>", "mariamaria", "é"])
def test_bad_text_leaves_the_picture_and_says_why(bad):
    explorer = interact.Explorer(counting, n=interact.slider("n", 1, 9, 4), word=interact.text("word", "ab"))
    before = picture(explorer)
    explorer.controls["word"].value = bad
    if bad.strip():
        assert BELOW in explorer.problem.value and "<b>" not in explorer.problem.value
        assert picture(explorer) == before
    else:
        assert "empty" in explorer.problem.value
    explorer.controls["word"].value = " BEX "
    assert explorer.problem.value == "" and str(explorer.figure) == "bex 4"


def test_what_is_wrong_with_a_text_is_named():
    with pytest.raises(ValueError, match="empty"):
        typed("", VOCAB, 5)
    with pytest.raises(ValueError, match=r"6 characters.*at most 5"):
        typed("mariam", VOCAB, 5)
    with pytest.raises(ValueError, match=r"'1' '#'|'#' '1'"):
        typed("a1#", VOCAB, 5)


def test_an_error_in_the_first_picture_is_the_notebooks():
    with pytest.raises(ValueError):
        interact.Explorer(counting, n=interact.slider("n", 1, 9, 4), word=interact.text("word", "123"))


# -- lecture 1 -------------------------------------------------------------------------------------------


class Value:
    """The engine of notebook 01, in short."""

    def __init__(self, data, _prev=(), _op="", label="", local=()):
        self.data, self._prev, self._op, self.label, self.grad = data, _prev, _op, label, 0.0
        self.local = local

    def _backward(self):
        for child, slope in zip(self._prev, self.local):
            child.grad += slope * self.grad

    def __add__(self, o):
        return Value(self.data + o.data, (self, o), "+", "", (1.0, 1.0))

    def __mul__(self, o):
        return Value(self.data * o.data, (self, o), "*", "", (o.data, self.data))


def reused() -> tuple:
    a, b = Value(-2.0, label="a"), Value(3.0, label="b")
    return a, b, (a * b) * (a + b)


def test_backward_pass_adds_what_autograd_finds():
    a, b, f = reused()
    a.grad = 5.0  # the learner's own gradients stay
    names, steps = run_backward(f)
    assert a.grad == 5.0 and f.grad == 0.0
    x, y = (torch.tensor(v, requires_grad=True) for v in (-2.0, 3.0))
    ((x * y) * (x + y)).backward()
    assert steps[-1][2][a] == x.grad.item() and steps[-1][2][b] == y.grad.item()
    received = {v: sum(added.get(v, 0.0) for _, added, _ in steps) for v in names}
    assert all(received[v] == steps[-1][2][v] for v in names if v is not f)
    assert steps[0][2][f] == 1.0 and sum(steps[0][2].values()) == 1.0
    assert len(steps) == 1 + 3  # three operations fire


def test_one_that_is_used_twice_by_one_node_receives_the_sum():
    a = Value(3.0, label="a")
    _, steps = run_backward(a + a)
    assert steps[1][1] == {a: 2.0}


def test_backward_pass_moves_step_by_step():
    a, b, f = reused()
    explorer = interact.backward_pass({"f": f, "sum": a + b})
    seen = set()
    for step in range(4):
        explorer.controls["step"].value = step
        seen.add((picture(explorer), str(explorer.figure)))
    assert len(seen) == 4 and "step 3 of 3" in str(explorer.figure)
    shown = words(explorer)
    assert "a\ndata -2.0000\ngrad -3.0000" in shown and "b\ndata 3.0000\ngrad -8.0000" in shown
    explorer.controls["graph"].value = "sum"  # a shorter one: stays at its end
    assert "step 1 of 1" in str(explorer.figure)


def test_boxes_of_a_graph_do_not_cover_each_other():
    _, _, f = reused()
    at = list(places(run_backward(f)[0]).values())
    for i, (x, y) in enumerate(at):
        assert all(abs(x - u) >= 1 or abs(y - v) >= 0.85 for u, v in at[:i])


def test_decision_boundary_shows_the_scores():
    X, y = np.array([[0.0, 0.0], [2.0, 1.0], [2.0, 0.0]]), np.array([-1, 1, 1])
    history = [(0.9, 1 / 3), (0.1, 1.0)]
    low, line = [0.0, 0.0, -3.0], [1.0, 0.0, -1.0]  # the score is -3 everywhere; it is x₁ - 1
    explorer = interact.decision_boundary([low, line], [2, 1], X, y, history)
    assert "loss 0.1000, 100% right" in str(explorer.figure)
    [contour] = [
        c for c in explorer.figure.axes[0].collections if isinstance(c, ContourSet) and list(c.levels) == [0]
    ]
    assert contour.get_paths()[0].vertices[:, 0] == pytest.approx(1.0)  # where the score x - 1 changes sign
    assert rings(explorer) == []
    before = picture(explorer)
    explorer.controls["step"].value = 0  # nowhere positive: no boundary to draw, two points wrong
    assert rings(explorer) == [[2.0, 1.0], [2.0, 0.0]] and picture(explorer) != before


def rings(explorer) -> list[list[float]]:
    """The points that are ringed as wrong."""
    marked = [c for c in explorer.figure.axes[0].collections if c.get_label() == "wrong"]
    return marked[0].get_offsets().tolist() if marked else []


# -- lectures 2, 3, 6 ------------------------------------------------------------------------------------


def test_temperature_is_a_power_of_the_probabilities():
    P = torch.rand(3, V, generator=generator()).double()
    P /= P.sum(1, keepdim=True)
    P[0, 0], P[0, 1] = 0, P[0, 0] + P[0, 1]
    for T in (0.5, 2.0):
        power = P ** (1 / T)
        assert torch.allclose(warmed(P, T), power / power.sum(1, keepdim=True))
    assert warmed(P, 1.0) is P


def test_bigram_row():
    N = torch.randint(0, 50, (V, V), generator=generator())
    drawn = []

    def smoothed(N, k):
        return (N + k).double() / (N + k).sum(1, keepdim=True)

    def sample_names(P, n, g):
        drawn.append(P)
        return ["maria", "bob"]

    explorer = interact.bigram(N, VOCAB, smoothed, sample_names)
    explorer.controls["k"].value = 10
    explorer.controls["letter"].value = "b"
    explorer.controls["temperature"].value = 2.0
    p = ((N[VOCAB.stoi["b"]] + 10).double()).sqrt()
    p /= p.sum()
    assert list(bars(explorer).values()) == pytest.approx(p.tolist())
    assert list(bars(explorer)) == list(VOCAB.stoi)
    as_counted = [b.get_height() for b in explorer.figure.axes[0].containers[1]]
    assert as_counted == pytest.approx(smoothed(N, 0)[VOCAB.stoi["b"]].tolist())
    assert torch.allclose(drawn[-1][VOCAB.stoi["b"]], p) and words(explorer, 1) == ["maria\nbob"]
    explorer.controls["letter"].value = "ab"
    assert BELOW in explorer.problem.value


def test_next_character_sees_the_last_three():
    W, seen = torch.randn(V, V, generator=generator()), []

    def predict(X):
        seen.append(X.tolist())
        return W[X[:, -1]] + W[X[:, 0]]

    explorer = interact.next_character(predict, VOCAB, 3, start="b")
    assert VOCAB.decode(seen[-1][0]) == "..b"
    explorer.controls["so_far"].value = "Maria"
    assert VOCAB.decode(seen[-1][0]) == "ria" and "“ria”" in str(explorer.figure)
    p = F.softmax(W[VOCAB.stoi["a"]] + W[VOCAB.stoi["r"]], 0)
    assert list(bars(explorer).values()) == pytest.approx(p.tolist())
    before = picture(explorer)
    for bad in ("", "zzz", "a" * 21):
        explorer.controls["so_far"].value = bad
        assert BELOW in explorer.problem.value and picture(explorer) == before


def test_embedding_names_the_nearest():
    C = torch.randn(V, 4, generator=generator())
    explorer = interact.embedding(C, VOCAB)
    explorer.controls["letter"].value = "r"
    i = VOCAB.stoi["r"]
    distances = {VOCAB.itos[j]: math.dist(C[i].tolist(), C[j].tolist()) for j in range(V) if j != i}
    nearest = sorted(distances, key=distances.get)[:10]
    ax = explorer.figure.axes[1]
    assert [label.get_text() for label in ax.get_yticklabels()] == nearest
    assert ax.lines[0].get_xdata().tolist() == pytest.approx(
        [distances[letter] for letter in nearest], rel=1e-5
    )
    explorer.controls["across"].value = 3
    at = {t.get_text(): t.get_position() for t in explorer.figure.axes[0].texts}
    assert at == {c: tuple(C[j, [3, 1]].double().tolist()) for j, c in VOCAB.itos.items()}


def test_temperature_marks_copies_and_asks_for_names_at_it():
    asked = []

    def sample(count, temperature):
        asked.append((count, temperature))
        return ["maria", "dxo"] * 6

    explorer = interact.temperature(torch.zeros(V), sample, VOCAB, ["maria"])
    explorer.controls["temperature"].value = 0.5
    assert asked == [(12, 1.0), (12, 0.5)]
    assert words(explorer, 1)[0].startswith("maria ✓\ndxo\n") and f"entropy {math.log(V):.2f}" in str(
        explorer.figure
    )


def test_name_tree_shows_what_is_seen_at_each_position():
    W = torch.randn(V, V, generator=generator())
    explorer = interact.name_tree(lambda X: W[X[:, -1]], VOCAB, block_size=4, start="maria")
    explorer.controls["position"].value = 5
    tree, expected = explorer.figure.axes[:2]
    nodes = [text.get_text() for text in tree.texts if len(text.get_text()) in (2, 4)]
    assert nodes == ["ar", "ia", "aria"]
    P = torch.stack([F.softmax(W[VOCAB.stoi[last]], 0) for last in ".maria"])
    np.testing.assert_allclose(expected.images[0].get_array(), P, rtol=1e-6)
    [ring] = expected.collections
    assert ring.get_offsets().tolist() == [[VOCAB.stoi[c], i] for i, c in enumerate("maria.")]
    explorer.controls["position"].value = 15  # beyond the end: stays at the end
    assert "before position 5" in explorer.figure.axes[0].get_title()
    before = picture(explorer)
    for bad in ("", "...", "a.b", "zoe", "a" * 16):
        explorer.controls["name"].value = bad
        assert BELOW in explorer.problem.value and picture(explorer) == before


# -- lectures 4 and 5 ------------------------------------------------------------------------------------


def test_init_gain_measures_the_layers():
    x = torch.randn(32, 20, generator=generator())

    def first_pass(gain, output_scale, batchnorm):
        return [torch.tanh(gain * x), torch.full((32, 20), 0.99)], 3.0 + output_scale + batchnorm

    explorer = interact.init_gain(first_pass, classes=V)
    explorer.controls["gain"].value = 3.0
    explorer.controls["batchnorm"].value = True
    h = np.tanh(3 * x.double().numpy())
    top, first, second = explorer.figure.axes
    density, _ = np.histogram(h, bins=60, range=(-1, 1), density=True)
    assert top.lines[0].get_ydata() == pytest.approx(density)
    flat = (abs(h) > 0.97).mean()
    assert top.lines[0].get_label() == f"tanh 1: std {h.std(ddof=1):.2f}, saturated {flat:.1%}"
    np.testing.assert_array_equal(first.images[0].get_array(), abs(h) > 0.97)
    assert first.images[0].get_cmap().name == "gray"  # what is flat is white
    assert second.images[0].get_array().all()
    assert f"first loss 4.10, expected ln {V} = {math.log(V):.2f}" in str(explorer.figure)


def test_batch_norm_moves_all_when_one_moves():
    x = torch.tensor([1.0, 2.0, -3.0, 4.0, -1.5], dtype=torch.float64)
    explorer = interact.batch_norm(x)
    explorer.controls["first"].value = 20.0
    moved = np.array([20.0, 2.0, -3.0, 4.0, -1.5])
    expected = (moved - moved.mean()) / moved.std(ddof=1)
    before, after = explorer.figure.axes[0].collections[:2]
    assert before.get_offsets()[:, 0].tolist() == moved.tolist()
    assert after.get_offsets()[:, 0].tolist() == pytest.approx(expected)
    assert x[0] == 1.0  # the notebook's tensor is not touched
    with pytest.raises(ValueError, match="shape"):
        interact.batch_norm(torch.zeros(3, 2))
    same = interact.batch_norm(torch.tensor([1.0, 2.0, 2.0]))
    same.controls["first"].value = 2.0
    assert "deviation is 0" in same.problem.value


def test_gradients_agree_or_not():
    x = torch.randn(5, 3, generator=generator(), requires_grad=True)
    b = torch.zeros(3, requires_grad=True)
    (x**2 + 0 * b).sum().backward()
    formulas = "x | x | 2 * x\nb | parameter | 0"
    explorer = interact.gradients({"x": x, "b": b}, {"x": 2 * x, "b": b.grad}, formulas, start="x")
    assert "(5, 3)" in str(explorer.figure) and "2 * x" in str(explorer.figure)
    assert "the same up to rounding" in str(explorer.figure)
    explorer.controls["name"].value = "b"
    assert "which is to say 0" in str(explorer.figure)
    wrong = interact.gradients({"x": x}, {"x": x}, "x | x | x", start="x")
    assert f"differ by {x.abs().max():.1e}" in str(wrong.figure)


@pytest.mark.parametrize("formulas", ["x | x", "y | y | y", "a | x | x | x"])
def test_gradients_refuse_a_formula_without_a_tensor(formulas):
    x = torch.ones(2, requires_grad=True)
    x.sum().backward()
    with pytest.raises(ValueError, match=r"formulas reads|tensor with"):
        interact.gradients({"x": x}, {"x": x.grad}, formulas, start="x")


def test_pictures_fit_a_page():
    W = torch.randn(V, V, generator=generator())
    explorer = interact.name_tree(lambda X: W[X[:, -1]], VOCAB)
    explorer.controls["name"].value = "mariamariamaria"
    assert Image.open(BytesIO(picture(explorer))).width <= 1000


def test_what_jupyterlab_saves_has_the_picture_instead_of_the_widget():
    from tools.lab_config import WIDGET, keep_static_pictures

    outputs = [{"data": {"image/png": "…", WIDGET: {}}}, {"data": {WIDGET: {}}}, {"output_type": "stream"}]
    model = {"type": "notebook", "content": {"cells": [{"outputs": outputs}, {"cell_type": "markdown"}]}}
    keep_static_pictures(model, path="x.ipynb", contents_manager=None)
    assert [list(o.get("data", {})) for o in outputs] == [["image/png"], [WIDGET], []]
    keep_static_pictures({"type": "file", "content": "text"})
    keep_static_pictures({"type": "notebook", "content": None})
