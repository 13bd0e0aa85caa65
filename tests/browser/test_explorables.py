"""Explorables on a page without a kernel: driven by mouse and keyboard, and their numbers against torch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.browser import explorables as ex
from tests.helpers import gallery
from zth_helpers import moons
from zth_helpers.interact.explorable import source
from zth_helpers.layers import BatchNorm1d

pytestmark = pytest.mark.browser
SEEDS = range(3)


# -- every figure, as a hand uses it ------------------------------------------------------------------------


class Shown:
    """One explorable on a page of its own, which may fetch nothing."""

    def __init__(self, browser, module: str, width: int = 1280, height: int = 800, dark: bool = False):
        scheme = "dark" if dark else "light"
        self.context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        self.page = page = self.context.new_page()
        self.errors: list[str] = []
        self.requests: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on(
            "console",
            lambda said: self.errors.append(said.text) if said.type in ("error", "warning") else None,
        )
        page.on("request", lambda request: self.requests.append(request.url))
        page.set_content(
            gallery.page(module).replace("<body>", f"<body style='background:{'#111' if dark else '#fff'}'>")
        )
        self.root = page.locator(".zth")
        self.root.wait_for()
        page.evaluate(ex.FRAME)


@pytest.fixture
def shown(browser):
    opened = []

    def show(*args, **kwargs) -> Shown:
        opened.append(Shown(browser, *args, **kwargs))
        return opened[-1]

    yield show
    for one in opened:
        one.context.close()


each = pytest.mark.parametrize("module", gallery.GALLERY)


@each
def test_every_control_by_mouse_and_keyboard(shown, module):
    it = shown(module)
    first = ex.state(it.root)
    ex.drive(it.page, it.root)
    it.page.evaluate(ex.FRAME)
    assert ex.state(it.root) == first, "reset does not bring the first state back"
    assert it.errors == [] and it.requests == []


@each
@pytest.mark.parametrize("size", [(1280, 800), (1024, 768)])
def test_controls_and_picture_are_visible_at_once(shown, module, size):
    it = shown(module, *size)
    box = it.root.bounding_box()
    assert box["x"] + box["width"] <= size[0] and box["y"] + box["height"] <= size[1] - 150  # Lab's bars
    assert it.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    canvas = it.root.locator("canvas").first.bounding_box()
    for control in it.root.locator("input, select, button").all():
        assert control.bounding_box()["y"] < canvas["y"], "controls stand above the picture"


@each
def test_dark_pages_have_dark_figures(shown, module):
    for dark in (False, True):
        it = shown(module, dark=dark)
        assert it.root.get_attribute("data-theme") == ("dark" if dark else "light")
        corner = it.root.locator("canvas").first.evaluate(
            "c => [...c.getContext('2d').getImageData(1, 1, 1, 1).data]"
        )
        assert (sum(corner[:3]) < 150) == dark


@each
def test_sharp_on_a_sharp_screen(browser, module):
    context = browser.new_context(viewport={"width": 1280, "height": 800}, device_scale_factor=2)
    page = context.new_page()
    page.set_content(gallery.page(module))
    canvas = page.locator("canvas").first
    canvas.wait_for()
    assert canvas.evaluate("c => c.width / c.clientWidth") == pytest.approx(2, abs=0.01)
    context.close()


def test_the_figure_itself_can_be_dragged(shown):
    """Bars, examples, leaves, the start of the path; cells and nodes by pointing."""
    for module, at, to in (
        ("softmax", (0.3, 0.2), (0.3, 0.3)),
        ("batchnorm", (0.53, 0.23), (0.75, 0.23)),
        ("expression", (0.07, 0.1), (0.07, 0.4)),
        ("rate", (0.3, 0.3), (0.2, 0.6)),
        ("counts", (0.2, 0.4), (0.3, 0.7)),
        ("broadcast", (0.03, 0.2), (0.38, 0.2)),
        ("gradients", (0.1, 0.4), (0.5, 0.6)),
        ("tree", (0.36, 0.9), (0.36, 0.55)),
    ):
        it = shown(module)
        box = it.root.locator("canvas").bounding_box()
        places = [(box["x"] + a * box["width"], box["y"] + b * box["height"]) for a, b in (at, to)]

        def drag(page=it.page, places=places):
            page.mouse.move(*places[0])
            page.mouse.down()
            page.mouse.move(*places[1], steps=8)
            page.mouse.up()

        before = ex.words(it.root)
        assert ex.changes(it.root, drag), module
        it.page.evaluate(ex.FRAME)
        assert ex.words(it.root) != before, f"{module}: the words do not follow"
        assert it.errors == []


def test_moons_train_pause_and_step(shown):
    it = shown("moons")
    train = it.root.get_by_role("button", name="train")
    train.click()
    it.page.wait_for_function(
        "() => +document.querySelector('.zth-words').textContent.match(/Step (\\d+)/)[1] > 5"
    )
    it.root.get_by_role("button", name="pause").press("Enter")
    it.page.evaluate(ex.FRAME)
    now = ex.words(it.root)
    it.page.wait_for_timeout(300)
    assert ex.words(it.root) == now
    assert ex.changes(it.root, lambda: it.root.get_by_role("button", name="step").press("Enter"))
    assert it.errors == []


# -- their numbers ------------------------------------------------------------------------------------------

CALL = """async ([source, name, args]) => {
    window.modules ??= {};
    const blob = new Blob([source], {type: 'text/javascript'});
    const m = window.modules[source] ??= await import(URL.createObjectURL(blob));
    const plain = (key, v) => ArrayBuffer.isView(v) ? Array.from(v) : v;
    const unpacked = v => {
        if (!v || typeof v !== 'object' || Array.isArray(v)) return v;
        if (v.data && v.scale !== undefined) return m.unpack(v);
        return Object.fromEntries(Object.entries(v).map(([k, w]) => [k, unpacked(w)]));
    };
    const f = name.split('.').reduce((o, k) => o[k], m);
    return JSON.parse(JSON.stringify(f(...args.map(unpacked)), plain));
}"""


@pytest.fixture(scope="module")
def js(browser):
    """Calls a function of a module in the browser: js("softmax", "lossAndGradient", logits, 3)."""
    context = browser.new_context()
    page = context.new_page()
    page.set_content("<title>numbers</title>")

    def call(module: str, function: str, *args):
        return page.evaluate(CALL, [source(module), function, args])

    yield call
    context.close()


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_softmax_loss_and_gradient(js, seed):
    z = (4 * torch.randn(27, generator=generator(seed), dtype=torch.float64)).requires_grad_()
    y = int(torch.randint(27, (1,), generator=generator(seed)))
    loss = F.cross_entropy(z[None], torch.tensor([y]))
    loss.backward()
    got = js("softmax", "lossAndGradient", z.tolist(), y)
    assert got["loss"] == pytest.approx(loss.item())
    assert got["p"] == pytest.approx(F.softmax(z, 0).tolist())
    assert got["dlogits"] == pytest.approx(z.grad.tolist(), abs=1e-12)


def test_softmax_of_large_logits(js):
    assert js("softmax", "lossAndGradient", [1000.0, 0.0], 1)["loss"] == pytest.approx(1000)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("sizes", [[2, 8, 8, 1], [2, 3, 1], [2, 4, 4, 4, 1]])
def test_moons_loss_and_gradient(js, seed, sizes):
    X, y = moons.make_moons(40, 0.2, seed)
    parameters = gallery.first_parameters(sizes, seed)
    p = torch.tensor(parameters, dtype=torch.float64, requires_grad=True)
    x, at = torch.tensor(X), 0
    for i, (nin, nout) in enumerate(zip(sizes, sizes[1:])):
        layer = p[at : at + nout * (nin + 1)].view(nout, nin + 1)
        x, at = x @ layer[:, :-1].T + layer[:, -1], at + nout * (nin + 1)
        x = x if i == len(sizes) - 2 else x.relu()
    loss = (1 - torch.tensor(y) * x[:, 0]).relu().mean() + 1e-3 * (p * p).sum()
    loss.backward()
    got = js("moons", "lossAndGradient", parameters, sizes, X.tolist(), y.tolist(), 1e-3)
    assert got["loss"] == pytest.approx(loss.item())
    assert got["gradient"] == pytest.approx(p.grad.tolist(), abs=1e-12)
    assert got["scores"] == pytest.approx(moons.scores(parameters, sizes, X).tolist())


def test_moons_trains_as_the_lesson_does(js):
    """A hundred steps from lesson 01's first parameters end at its stored loss."""
    import nbformat

    from tools.lesson import ROOT
    from zth_helpers.interact import MIME

    cells = nbformat.read(ROOT / "notebooks" / "01_micrograd.ipynb", as_version=4).cells
    stored = [o.data[MIME] for c in cells for o in c.get("outputs", []) if MIME in o.get("data", {})]
    data = next(s["data"] for s in stored if s["module"] == "moons")
    p = list(data["parameters"])
    for k in range(100):
        now = js("moons", "lossAndGradient", p, data["sizes"], data["X"], data["y"], data["alpha"])
        if k == 0:
            assert now["loss"] == pytest.approx(0.8958, abs=1e-4) and now["right"] == pytest.approx(0.5)
        if k < 99:
            rate = js("moons", "rateAt", 1, k)
            p = [v - rate * g for v, g in zip(p, now["gradient"])]
    assert now["loss"] == pytest.approx(0.01098, abs=2e-5) and now["right"] == pytest.approx(1)


EXPRESSIONS = {
    "n = x*w + b; tanh(n)": lambda t: torch.tanh(t["x"] * t["w"] + t["b"]),
    "(a*b)*(a+b)": lambda t: (t["a"] * t["b"]) * (t["a"] + t["b"]),
    "a**3 - b/c + exp(-a) * log(c) + relu(b)": lambda t: (
        t["a"] ** 3 - t["b"] / t["c"] + torch.exp(-t["a"]) * torch.log(t["c"]) + torch.relu(t["b"])
    ),
    "-a**2 + 2*sin(b)^2": lambda t: -(t["a"] ** 2) + 2 * torch.sin(t["b"]) ** 2,
    "d = a - b; d*d + d": lambda t: (t["a"] - t["b"]) ** 2 + t["a"] - t["b"],
}  # fmt: skip


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("text", EXPRESSIONS)
def test_expression_against_autograd(browser, js, text, seed):
    values = (3 * torch.rand(6, generator=generator(seed), dtype=torch.float64) + 0.2).tolist()
    leaves = {n: torch.tensor(v, dtype=torch.float64, requires_grad=True) for n, v in zip("abcxwz", values)}
    leaves["b"].data -= 2
    out = EXPRESSIONS[text](leaves)
    out.backward()
    nodes = js("expression", "parse", text, {n: v.item() for n, v in leaves.items()})
    run = js("expression", "run", nodes)
    assert run["result"] == pytest.approx(out.item())
    found = {v["name"]: v["grad"] for v in run["nodes"] if not v.get("op") and not v.get("constant")}
    assert found == pytest.approx({n: leaves[n].grad.item() for n in found}, abs=1e-12)
    assert len(found) >= 2


def test_expression_of_the_lessons_graphs(js):
    """The text that Python makes of a graph of Values gives the same gradients in the page."""
    from zth_helpers.interact.micrograd import as_text, run_backward

    for root in (gallery.neuron(), gallery.reused()[2]):
        text, values = as_text(root)
        run = js("expression", "run", js("expression", "parse", text, values))
        names, steps = run_backward(root)
        mine = {names[v]: g for v, g in steps[-1][2].items() if not v._prev}
        found = {v["name"]: v["grad"] for v in run["nodes"] if not v.get("op")}
        assert found == pytest.approx(mine) and len(run["fired"]) == len(steps) - 1


@pytest.mark.parametrize(
    "bad", ["", "a +", "(a", "foo(a)", "a = ; b", "3 = a", "+".join("abcdefghijklmnopqrstuvwxyz")]
)
def test_expression_that_cannot_be_read(js, bad):
    with pytest.raises(Exception, match=r"empty|early|missing|function|expected|name|at most"):
        js("expression", "parse", bad, {})


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("k, T", [(0, 1), (3, 0.5), (10, 2.0)])
def test_counts_row(js, seed, k, T):
    counts = torch.randint(0, 50, (27,), generator=generator(seed)).double()
    p = (counts + k) / (counts + k).sum()
    p = (p ** (1 / T)) / (p ** (1 / T)).sum()
    assert js("counts", "rowOf", counts.tolist(), k, T) == pytest.approx(p.tolist())


@pytest.mark.parametrize("seed", SEEDS)
def test_letters_logits_and_distances(js, seed):
    from zth_helpers.interact.explorable import pack

    net = gallery.mlp_net(seed)
    C, W1, b1, W2, b2 = (t.double() for t in net)
    context = torch.randint(0, gallery.V, (3,), generator=generator(seed))
    expected = torch.tanh(C[context].view(1, -1) @ W1 + b1) @ W2 + b2
    packed = {n: pack(t) for n, t in zip(("C", "W1", "b1", "W2", "b2"), net)}
    assert js("letters", "logits", packed, context.tolist()) == pytest.approx(expected[0].tolist(), abs=5e-3)
    near = js("letters", "nearest", packed["C"], 4)
    distance = (C - C[4]).norm(dim=1)
    assert [j for j, _ in near[:5]] == distance.argsort()[1:6].tolist()
    assert [d for _, d in near] == pytest.approx(sorted(distance.tolist())[1:], abs=1e-3)


@pytest.mark.parametrize("kind", ["tanh", "relu", "linear"])
@pytest.mark.parametrize("batchnorm", [False, True])
def test_depth_forward_and_backward(js, kind, batchnorm):
    g, n, sizes = generator(3), 16, [6, 10, 10, 10, 7]
    x0 = torch.randn(n, sizes[0], generator=g, dtype=torch.float64)
    weights = [torch.randn(a, b, generator=g, dtype=torch.float64) for a, b in zip(sizes, sizes[1:])]
    y = torch.randint(7, (n,), generator=g)
    f = {"tanh": torch.tanh, "relu": torch.relu, "linear": lambda a: a}[kind]
    x, outs = x0, []
    for i, W in enumerate(weights):
        last = i == len(weights) - 1
        x = x @ (
            W.clone().requires_grad_() * ((1 if batchnorm else 0.3) if last else 1.4) / W.shape[0] ** 0.5
        )
        if batchnorm:
            x = F.batch_norm(x, None, None, training=True, eps=1e-5)
        if last:
            x = x * 0.3 if batchnorm else x
        else:
            x = f(x)
            x.retain_grad()
            outs.append(x)
    loss = F.cross_entropy(x, y)
    loss.backward()
    setting = dict(
        inputs=x0.flatten().tolist(),
        n=n,
        sizes=sizes,
        weights=[W.flatten().tolist() for W in weights],
        targets=y.tolist(),
    )
    got = js("depth", "passOf", setting | dict(gain=1.4, outputScale=0.3, kind=kind, batchnorm=batchnorm))
    assert got["loss"] == pytest.approx(loss.item())
    for mine, out in zip(got["layers"], outs, strict=True):
        assert mine["out"] == pytest.approx(out.flatten().tolist(), abs=1e-9)
        assert mine["grad"] == pytest.approx(out.grad.flatten().tolist(), abs=1e-9)
        assert mine["of"]["std"] == pytest.approx(out.std().item())


@pytest.mark.parametrize("seed", SEEDS)
def test_batch_norm(js, seed):
    x = torch.randn(5, generator=generator(seed), dtype=torch.float64) * 3
    got = js("batchnorm", "normalise", x.tolist())
    assert got["out"] == pytest.approx(((x - x.mean()) / x.std()).tolist())
    layer = BatchNorm1d(1)  # the course's own, which adds eps
    assert got["out"] == pytest.approx(layer(x[:, None].float())[:, 0].tolist(), abs=1e-4)


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.19, 0.25])
def test_rate_against_sgd(js, rate):
    start, curvatures = [-3.0, 1.2], [1.0, 9.0]
    p = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([p], lr=rate)
    losses, ratios = [], []
    for _ in range(20):
        loss = 0.5 * (torch.tensor(curvatures) * p * p).sum()
        optimizer.zero_grad()
        loss.backward()
        losses.append(loss.item())
        ratios.append(math.log10((rate * p.grad).norm() / p.detach().norm()))
        optimizer.step()
    got = js("rate", "descend", dict(start=start, curvatures=curvatures, rate=rate, steps=20))
    assert got["losses"][:-1] == pytest.approx(losses) and got["ratios"] == pytest.approx(ratios)
    assert got["points"][-1] == pytest.approx(p.tolist())


def test_rate_in_words(js):
    said = [js("rate", "verdict", r, 10) for r in (0.0005, 0.05, 0.15, 0.2, 0.25)]
    assert said == ["crawls", "converges", "oscillates", "swings for ever", "diverges"]


SHAPES = [
    ((3, 4), (3, 1)),
    ((3, 4), (4,)),
    ((3, 1), (1, 4)),
    ((2, 3, 4), (3, 1)),
    ((4,), ()),
    ((2, 1, 3), (4, 1)),
]


@pytest.mark.parametrize("a, b", SHAPES)
@pytest.mark.parametrize("op", ["+", "−", "×"])
def test_broadcasting_forward_and_backward(js, a, b, op):
    g = generator(1)
    x, y = (torch.randn(s, generator=g, dtype=torch.float64, requires_grad=True) for s in (a, b))
    out = {"+": torch.add, "−": torch.sub, "×": torch.mul}[op](x, y)
    grad = torch.randn(out.shape, generator=g, dtype=torch.float64)
    out.backward(grad)
    flat = [t.detach().reshape(-1).tolist() for t in (x, y)]
    got = js("broadcast", "forwardBackward", *flat, list(a), list(b), op, grad.reshape(-1).tolist())
    assert js("broadcast", "broadcastShape", list(a), list(b))["shape"] == list(out.shape)
    assert got["out"] == pytest.approx(out.detach().reshape(-1).tolist())
    assert got["da"] == pytest.approx(x.grad.reshape(-1).tolist())
    assert got["db"] == pytest.approx(y.grad.reshape(-1).tolist())


def test_shapes_that_do_not_fit(js):
    for a, b in (([3, 4], [3]), ([2], [3]), ([2, 3, 4], [2, 4])):
        with pytest.raises(RuntimeError):
            torch.broadcast_shapes(tuple(a), tuple(b))
        assert "equal" in js("broadcast", "broadcastShape", a, b)["error"]


def test_gradients_compare(js):
    from zth_helpers.interact.explorable import pack

    x = torch.randn(4, 3, generator=generator(1))
    same = js("gradients", "compare", pack(x), pack(x))
    assert (
        same["same"]
        and same["difference"] == 0
        and same["peak"] == pytest.approx(x.abs().max().item(), rel=1e-4)
    )
    wrong = js("gradients", "compare", pack(2 * x), pack(x))
    assert wrong["difference"] == pytest.approx(x.abs().max().item(), rel=1e-3)
    for mine, theirs in ((x[0], x[:1]), (x[:, 0], x[:, :1]), (x.T, x)):
        assert not js("gradients", "compare", pack(mine), pack(theirs))["same"]


@pytest.mark.parametrize("joins", [(2, 2, 2), (2, 4), (8,)])
def test_tree_against_the_model(js, joins):
    from zth_helpers.interact.explorable import pack
    from zth_helpers.interact.wavenet import _layers

    model = gallery.tree(joins)
    table, layers, found = _layers(model)
    X = torch.randint(0, gallery.V, (6, 8), generator=generator(2))
    for context, logits in zip(X.tolist(), model(X)):
        got = js("tree", "logitsOf", layers, pack(table), context)
        assert got == pytest.approx(logits.tolist(), abs=3e-3)
    assert found == list(joins)


def test_tree_nodes_are_those_of_the_lecture(js):
    """8 windows of “diondre”: 56 nodes computed, 34 different (lecture 6, 47:44)."""
    nodes = js("tree", "nodesOf", 8, [2, 2, 2])
    assert nodes["all"] == 56 and len(nodes["distinct"]) == 34


@pytest.mark.parametrize("T", [0.3, 1.0, 2.0])
def test_temperature(js, T):
    z = torch.randn(27, generator=generator(1), dtype=torch.float64)
    assert js("temperature", "warmed", z.tolist(), T) == pytest.approx(F.softmax(z / T, 0).tolist())


def test_random_numbers_are_normal_and_the_same_everywhere(js):
    values = np.array(js("depth", "normals", 1, 20_000))
    assert abs(values.mean()) < 0.03 and abs(values.std() - 1) < 0.03
    assert js("depth", "normals", 1, 5) == js("depth", "normals", 1, 5) != js("depth", "normals", 2, 5)


def test_numbers_as_a_reader_wants_them(js):
    for value, text in (
        (0, "0"),
        (-0.0, "0"),
        (-1e-15, "0"),
        (1e-4, "1.0e−4"),
        (-2.5, "−2.5"),
        (1234, "1234"),
    ):
        assert js("softmax", "fmt", value) == text
    assert js("softmax", "fixed", -0.001, 2) == "0.00"
