"""Explorables as Python makes them: data, still, page. (What they compute is tested in tests/browser.)"""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from io import BytesIO

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from tests.helpers import gallery
from tests.helpers.gallery import VOCAB, V, Value, generator, reused
from zth_helpers import interact
from zth_helpers.interact.explorable import FOLDER, MIME, pack, rounded, source
from zth_helpers.interact.micrograd import as_text, places, run_backward
from zth_helpers.interact.wavenet import _layers

each = pytest.mark.parametrize("module", gallery.GALLERY)


@each
def test_saved_with_a_sharp_picture_its_numbers_and_its_data(module):
    it = gallery.GALLERY[module]()
    data, metadata = it._repr_mimebundle_()
    assert it.module == module and data[MIME] == {"module": module, "data": it.data}
    assert json.loads(json.dumps(data[MIME])) == data[MIME], "what is stored is plain JSON"
    assert "application/vnd.jupyter.widget-view+json" in data
    assert re.search(r"\d", data["text/plain"]) and metadata["image/png"]["alt"] in data["text/plain"]
    picture = Image.open(BytesIO(data["image/png"]))
    assert picture.width == 2 * metadata["image/png"]["width"] <= 2 * 900


@each
def test_the_module_stands_alone(module):
    """One text that imports nothing and fetches nothing, and a page that holds all of it."""
    text = source(module)
    assert not re.search(r"^import |\bfetch\(|https?://", text, re.M)
    assert text.count("export default") == 1 and "export function draw(" in text
    stored = gallery.GALLERY[module]()._repr_mimebundle_()[0][MIME]
    page = interact.page_html(stored)
    assert page.count("</script>") == 1 and page == interact.page_html(stored)
    linked = interact.page_html(stored, "/_static/explorables")
    assert f'from "/_static/explorables/{module}.js"' in linked and len(linked) < len(page) - 20_000


def test_every_module_is_shown_by_something():
    assert {path.stem for path in FOLDER.glob("*.js")} - {"kit", "live"} == set(gallery.GALLERY)
    with pytest.raises(ValueError, match="there are batchnorm, broadcast"):
        source("nothing")


def test_data_cannot_end_the_script():
    page = interact.page_html({"module": "softmax", "data": {"letters": ["</script><b>"]}})
    assert page.count("</script>") == 1 and "<b>" in page


@pytest.mark.skipif(shutil.which("node") is None, reason="no node on this machine")
@each
def test_node_can_read_it(module, tmp_path):
    (tmp_path / "m.mjs").write_text(source(module), encoding="utf-8")
    done = subprocess.run(["node", "--check", tmp_path / "m.mjs"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_packed_arrays_come_back():
    x = torch.randn(7, 5, generator=generator())
    packed = pack(x)
    whole = np.frombuffer(base64.b64decode(packed["data"]), "<i2").reshape(packed["shape"])
    np.testing.assert_allclose(whole * packed["scale"], x, atol=float(x.abs().max()) / 60_000)
    assert pack(torch.zeros(3))["scale"] == 1.0
    with pytest.raises(ValueError, match="not finite"):
        pack(torch.tensor([1.0, float("nan")]))
    assert rounded(torch.tensor([[1 / 3, 2.0]])) == [[0.333333, 2.0]]


# -- lecture 1 -------------------------------------------------------------------------------------------


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
    assert len(steps) == 1 + 3  # three operations fire


def test_one_that_is_used_twice_by_one_node_receives_the_sum():
    a = Value(3.0, label="a")
    _, steps = run_backward(a + a)
    assert steps[1][1] == {a: 2.0}


def test_a_graph_as_text():
    text, values = as_text(gallery.neuron())
    assert text == "n = ((x1 * w1) + (x2 * w2)) + b; o = tanh(n)"
    assert values == {"x1": 2.0, "x2": 0.0, "w1": -3.0, "w2": 1.0, "b": 6.8813735870195432}
    a, b, f = reused()
    assert as_text(f)[0] == "(a * b) * (a + b)"
    shared = a + b  # used twice and without a name: it must stay one node
    assert as_text(shared * shared)[0] == "v2 = a + b; v2 * v2"
    two = Value(1.0, label="a") + Value(2.0, label="a") * Value(-3.0)
    assert as_text(two) == ("a_ + (a * (-3.0))", {"a": 2.0, "a_": 1.0}) or as_text(two)[1].keys() == {
        "a",
        "a_",
    }
    with pytest.raises(ValueError, match="operation 'sqrt'"):
        as_text(Value(1.0, (a,), "sqrt"))


def test_boxes_of_a_graph_do_not_cover_each_other():
    at = list(places(run_backward(reused()[2])[0]).values())
    for i, (x, y) in enumerate(at):
        assert all(abs(x - u) >= 1 or abs(y - v) >= 0.85 for u, v in at[:i])


def test_moons_start_where_the_lesson_starts():
    X, y = np.array([[0.0, 0.0], [2.0, 1.0], [2.0, 0.0]]), np.array([-1, 1, 1])
    first, last = [0.1] * 9, [0.2] * 9
    it = interact.moons_playground([first, last], [2, 2, 1], X, y, [(0.9, 1 / 3), (0.1, 1.0)])
    assert it.data["parameters"] == first and it.data["X"] == X.tolist() and it.data["y"] == [-1, 1, 1]
    assert "Before step 1: loss 0.1000, 100% right" in str(it)
    with pytest.raises(ValueError, match="hidden layers of one size"):
        interact.moons_playground([first], [2, 2, 3, 1], X, y, [(0.9, 0.5)])


# -- lectures 2, 3, 6 ------------------------------------------------------------------------------------


def bars(it: interact.Explorable, panel: int) -> list[float]:
    return [bar.get_height() for bar in it.still.axes[panel].containers[0]]


def test_counts_and_rows():
    N = gallery.counts()
    it = interact.counts_and_rows(N, VOCAB, "b")
    assert it.data["counts"] == N.tolist() and it.data["letters"] == list(VOCAB.stoi)
    row = N[VOCAB.stoi["b"]].double()
    assert bars(it, 1) == pytest.approx((row / row.sum()).tolist())
    with pytest.raises(ValueError, match="a row for each character"):
        interact.counts_and_rows(N[:3], VOCAB)


def test_logits_to_loss():
    z = torch.randn(V, generator=generator())
    it = interact.logits_to_loss(z, torch.tensor(3), VOCAB.itos)
    loss = F.cross_entropy(z[None], torch.tensor([3])).item()
    assert it.data["target"] == 3 and f"loss {loss:.3f}" in str(it)
    assert bars(it, 1) == pytest.approx(F.softmax(z.double(), 0).tolist())
    for target in (0, V - 1):  # the dot is a character as any other
        assert interact.logits_to_loss(z, target, VOCAB).data["target"] == target
    for bad, target in ((z[:5], 3), (z[None], 3), (z, -1), (z, V)):
        with pytest.raises(ValueError, match="one example's logits"):
            interact.logits_to_loss(bad, target, VOCAB)


def test_letters_and_next_sees_the_last_three():
    net = gallery.mlp_net()
    it = interact.letters_and_next(net, VOCAB, 3, start="Maria")
    C, W1, b1, W2, b2 = (t.double() for t in net)
    x = C[[VOCAB.stoi[c] for c in "ria"]].view(1, -1)
    assert bars(it, 1) == pytest.approx(F.softmax(torch.tanh(x @ W1 + b1) @ W2 + b2, 1)[0].tolist())
    assert "“ria”" in str(it) and it.data["start"] == "maria"
    with pytest.raises(ValueError, match="a context of 4"):
        interact.letters_and_next(net, VOCAB, 4)


@pytest.mark.parametrize("joins", [(2, 2, 2), (8,), (4, 2)])
def test_the_trees_layers_say_what_the_model_computes(joins):
    model = gallery.tree(joins)
    table, layers, found = _layers(model)
    assert found == list(joins)
    X = torch.randint(0, V, (4, 8), generator=generator())

    def open_up(p):
        return torch.tensor(
            np.frombuffer(base64.b64decode(p["data"]), "<i2").reshape(p["shape"]) * p["scale"]
        )

    x = table[X].double()
    for layer in layers:
        if layer["kind"] == "join":
            x = x.reshape(len(X), -1, x.shape[-1] * layer["n"])
        elif layer["kind"] == "linear":
            x = x @ open_up(layer["weight"]) + (open_up(layer["bias"]) if layer["bias"] else 0)
        elif layer["kind"] == "affine":
            x = x * open_up(layer["scale"]) + open_up(layer["shift"])
        else:
            x = x.tanh()
    assert torch.allclose(x[:, 0].float(), model(X), atol=2e-3)


def test_a_name_tree_needs_layers_that_the_page_knows():
    model = gallery.tree()
    with pytest.raises(ValueError, match="joins 2 × 2 × 2 characters, not 4"):
        interact.name_tree(
            type(
                "M",
                (),
                {
                    "layers": model.layers,
                    "__call__": lambda s, X: model(torch.zeros(len(X), 8, dtype=torch.long)),
                },
            )(),
            VOCAB,
            4,
        )
    model.layers.insert(1, object())
    with pytest.raises(ValueError, match="does not know a layer object"):
        _layers(model)


def test_temperature_asks_once_for_names_at_each():
    asked = []

    def sample(count, temperature):
        asked.append((count, temperature))
        return ["maria", "dxo"] * 6

    it = interact.temperature(torch.zeros(V), sample, VOCAB, ["maria", "anna"])
    assert [t for _, t in asked] == it.data["temperatures"] and it.data["known"] == ["maria"]
    assert "6 known ✓" in str(it) and all(len(names) == 12 for names in it.data["names"])


# -- lectures 3, 4 and 5 ---------------------------------------------------------------------------------


def test_scale_through_depth_of_the_lessons_gain():
    it = gallery.depth()
    assert it.data["width"] == 100 and len(it.data["contexts"]) == 32
    stds = it.still.axes[1].lines[0].get_ydata()
    assert 0.6 < min(stds) and max(stds) < 0.85, "with a gain of 5/3 the scale stays"
    with pytest.raises(ValueError, match="X \\(n, context\\)"):
        interact.scale_through_depth(torch.zeros(3, dtype=torch.long), torch.zeros(3, dtype=torch.long), 27)


def test_batch_norm_still_is_batch_norm():
    x = torch.tensor([1.0, 2.0, -3.0, 4.0, -1.5], dtype=torch.float64)
    it = interact.batch_norm(x)
    before, after = it.still.axes[0].collections[:2]
    assert before.get_offsets()[:, 0].tolist() == x.tolist() == it.data["values"]
    assert after.get_offsets()[:, 0].tolist() == pytest.approx(((x - x.mean()) / x.std()).tolist())
    assert interact.batch_norm(x[:2]).data["values"] == [1.0, 2.0]  # two are enough for a deviation
    for bad, why in (
        (torch.zeros(3, 2), "shape"),
        (torch.ones(1), "shape"),
        (torch.ones(3), "standard deviation is 0"),
    ):
        with pytest.raises(ValueError, match=why):
            interact.batch_norm(bad)


def test_broadcasting_draws_what_torch_computes():
    it = interact.broadcasting((3, 4), (3, 1))
    shown = [float(text.get_text()) for text in it.still.axes[2].texts]
    a, b = torch.arange(1, 13).view(3, 4), 10 * torch.arange(1, 4).view(3, 1)
    assert shown == (a + b).flatten().tolist()
    assert str(it.still.axes[2].get_title()) == "a + b (3, 4)"
    with pytest.raises(RuntimeError):
        interact.broadcasting((3, 4), (3,))
    with pytest.raises(ValueError, match="at most 6"):
        interact.broadcasting((7,), (1,))


def test_rate_still_walks_as_gradient_descent_does():
    losses = {line.get_label(): line.get_ydata() for line in interact.rate_on_a_surface().still.axes[1].lines}
    assert (
        losses["rate 0.1"][-1] < losses["rate 0.01"][-1] < losses["rate 0.01"][0] < losses["rate 0.205"][-1]
    )


def test_gradients_carry_their_mistakes():
    it = gallery.gradients()
    assert list(it.data["tensors"]) == ["logits", "h", "W", "b"]
    assert it.data["tensors"]["b"]["mistakes"]["keepdim lost"]["shape"] == [5]
    assert "by hand: /n forgotten" in str(it) and "(p - y) / n" in str(it)


@pytest.mark.parametrize("formulas", ["x | x", "y | y | y", "a | x | x | x"])
def test_gradients_refuse_a_formula_without_a_tensor(formulas):
    x = torch.ones(2, requires_grad=True)
    x.sum().backward()
    with pytest.raises(ValueError, match=r"formulas reads|tensor with"):
        interact.gradients({"x": x}, {"x": x.grad}, formulas, start="x")
    with pytest.raises(ValueError, match="a mistake, but no formula"):
        interact.gradients({"x": x}, {"x": x.grad}, "x | x | x", start="x", mistakes={"z": {}})


def test_what_jupyterlab_saves_has_the_picture_instead_of_the_widget():
    from tools.lab_config import WIDGET, keep_static_pictures

    outputs = [{"data": {"image/png": "…", WIDGET: {}}}, {"data": {WIDGET: {}}}, {"output_type": "stream"}]
    outputs.append({"data": {"text/plain": ["still training"], WIDGET: {}}})  # `live`, saved meanwhile
    model = {"type": "notebook", "content": {"cells": [{"outputs": outputs}, {"cell_type": "markdown"}]}}
    keep_static_pictures(model, path="x.ipynb", contents_manager=None)
    assert [list(o.get("data", {})) for o in outputs] == [
        ["image/png"],
        [WIDGET],
        [],
        ["text/plain"],
    ]
    keep_static_pictures({"type": "file", "content": "text"})
    keep_static_pictures({"type": "notebook", "content": None})
