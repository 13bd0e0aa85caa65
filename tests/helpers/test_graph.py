"""`draw_dot`: a picture on any machine, the same text on every one, and never an error from drawing."""

from __future__ import annotations

import io
import stat
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass

import graphviz
import pytest
import torch
from PIL import Image

from tools.lesson import definitions
from zth_helpers import graph
from zth_helpers.graph import draw_dot, find_renderer

Value = definitions("01_micrograd")["Value"]


def expression() -> object:
    a, b, c = Value(2.0, label="a"), Value(-3.0, label="b"), Value(10.0, label="c")
    d = a * b + c
    d.label = "d"
    d.backward()
    return d


TREE = """\
d: data 4.0000, grad 1.0000  = +
  #1: data -6.0000, grad 1.0000  = *
    a: data 2.0000, grad -3.0000
    b: data -3.0000, grad 2.0000
  c: data 10.0000, grad 1.0000"""


@pytest.fixture
def no_pygraphviz(monkeypatch):
    monkeypatch.setitem(sys.modules, "pygraphviz", None)


@pytest.fixture
def no_dot(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))


def texts(svg: str) -> list[str]:
    """What stands in the picture, from well-formed XML."""
    return [element.text for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("text")]


def boxes(svg: str) -> dict[str, list[str]]:
    """The texts of each node in the picture, by the node's name in DOT."""
    found = {}
    for group in ElementTree.fromstring(svg).iter():
        if group.get("class") == "node":
            title, *rest = [e.text for e in group if e.tag.endswith(("title", "text"))]
            found[title] = rest
    return found


def arrows(svg: str) -> set[str]:
    groups = [g for g in ElementTree.fromstring(svg).iter() if g.get("class") == "edge"]
    return {next(e.text for e in g if e.tag.endswith("title")) for g in groups}


def test_svg_shows_labels_data_gradients_and_operations(no_dot):
    svg = draw_dot(expression()).svg
    assert boxes(svg) == {
        "n0": ["d", "data 4.0000", "grad 1.0000"],
        "n0op": ["+"],
        "n1": ["data -6.0000", "grad 1.0000"],
        "n1op": ["*"],
        "n2": ["a", "data 2.0000", "grad -3.0000"],
        "n3": ["b", "data -3.0000", "grad 2.0000"],
        "n4": ["c", "data 10.0000", "grad 1.0000"],
    }
    assert arrows(svg) == {"n0op->n0", "n1->n0op", "n4->n0op", "n1op->n1", "n2->n1op", "n3->n1op"}


def test_a_png_stands_beside_the_svg_for_notebooks_that_are_not_trusted(no_dot):
    data, size = draw_dot(expression())._repr_mimebundle_()
    image = Image.open(io.BytesIO(data["image/png"]))
    assert size["image/png"]["width"] == image.width // 2 > 100
    assert len(set(image.convert("L").getdata())) > 10  # something is drawn


def test_the_twin_is_a_tree_of_text():
    drawn = draw_dot(expression())
    assert str(drawn) == TREE
    bundle, _ = drawn._repr_mimebundle_()
    assert bundle["text/plain"] == TREE and bundle["image/svg+xml"].startswith("<svg")


def test_light_background_so_that_dark_themes_can_read_it():
    first = next(e for e in ElementTree.fromstring(draw_dot(expression()).svg).iter() if e.get("fill"))
    assert first.get("fill") == "#fcfcfa"


def test_pygraphviz_needs_no_dot_on_the_path(no_dot):
    assert find_renderer() == "pygraphviz"


def test_falls_back_to_dot(no_pygraphviz, monkeypatch, tmp_path):
    dot = tmp_path / "dot"
    dot.write_text(f"#!{sys.executable}\nimport sys\nsys.stdin.read()\nprint('<?xml?><svg>from dot</svg>')\n")
    dot.chmod(dot.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_renderer() == "dot"
    assert draw_dot(expression()).svg.strip().endswith(">from dot</svg>")


def test_falls_back_to_text(no_pygraphviz, no_dot):
    assert find_renderer() == "text"
    assert draw_dot(expression())._repr_mimebundle_() == ({"text/plain": TREE}, {})


def test_without_the_graphviz_package_it_is_text(monkeypatch):
    monkeypatch.setitem(sys.modules, "graphviz", None)
    assert draw_dot(expression())._repr_mimebundle_() == ({"text/plain": TREE}, {})


@pytest.mark.parametrize("error", [OSError("broken"), RuntimeError("layout"), ValueError(), UnicodeError()])
def test_a_broken_renderer_is_never_an_error(error, monkeypatch, no_dot):
    def broken(source, form):
        raise error

    monkeypatch.setattr(graph, "by_pygraphviz", broken)
    assert draw_dot(expression())._repr_mimebundle_() == ({"text/plain": TREE}, {})


def test_nothing_reaches_stderr(capfd):
    assert draw_dot(expression()).svg
    assert capfd.readouterr().err == ""


def test_the_same_graph_has_the_same_source():
    """Names by counting: ids would make every stored picture another."""
    assert draw_dot(expression()).source == draw_dot(expression()).source


def test_a_value_used_twice_has_two_edges():
    a = Value(3.0, label="a")
    drawn = draw_dot(a + a)
    assert drawn.source.count("n1 -> n0op") == 2
    assert drawn.svg.count('class="edge"') == 3
    line = "  a: data 3.0000, grad 0.0000"
    assert str(drawn).splitlines()[1:] == [line, line + "  (as above)"]


def test_a_shared_subexpression_is_unfolded_once():
    a = Value(3.0, label="a")
    b = a * 2
    b.label = "b"
    lines = str(draw_dot(b * b)).splitlines()
    assert lines[-1] == "  b: data 6.0000, grad 0.0000  = *  (as above)" and len(lines) == 5


@pytest.mark.parametrize(
    "label", ["{x|y}", "<b>", 'say "x"', "back\\slash", "w₁·x", "a b", "&amp;", "{", "\\"]
)
def test_any_label_and_operation_is_drawn(label):
    a = Value(1.0, label=label)
    b = Value(2.0, (a,), label)
    shown = texts(draw_dot(b).svg)
    assert [text.replace("\xa0", " ") for text in shown].count(label) == 2


@pytest.mark.parametrize("x", [float("nan"), float("inf"), -float("inf"), -0.0, 1e-12, 1e300, 7, True])
def test_any_number_is_drawn(x):
    assert draw_dot(Value(x)).svg
    if x == 0:
        assert "data 0.0000" in str(draw_dot(Value(x)))


def test_data_that_is_no_number_is_drawn():
    assert "(1+2j)" in str(draw_dot(Value(1 + 2j))) and draw_dot(Value(1 + 2j)).svg


@pytest.mark.parametrize("direction", graph.DIRECTIONS)
def test_directions(direction):
    assert f"rankdir={direction}" in draw_dot(expression(), direction).source


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="direction must be one of LR, RL, TB, BT, got 'left'"):
        draw_dot(expression(), "left")
    for other in (3.0, None, torch.tensor(1.0)):
        with pytest.raises(TypeError, match=f"got a {type(other).__name__}"):
            draw_dot(other)


def test_the_drawing_keeps_the_moment():
    a = Value(1.0, label="a")
    drawn = draw_dot(a)
    a.data = 5.0
    assert "data 1.0000" in str(drawn) and "data 1.0000" in drawn.svg


def test_a_long_chain_is_told_as_text():
    total = Value(0.0)
    for _ in range(100_000):
        total = total + 1.0
    drawn = draw_dot(total)
    assert set(drawn._repr_mimebundle_()[0]) == {"text/plain"}
    assert str(drawn).startswith("200,001 values, too many for a picture") and len(str(drawn)) < 20_000


def test_sets_of_children_and_objects_without_labels_are_drawn():
    """A Value as it stands in the lecture's notebook: children in a set."""

    class Plain:
        def __init__(self, data, children=()):
            self.data, self.grad, self._prev = data, 0, set(children)

    drawn = draw_dot(Plain(3.0, [Plain(1.0), Plain(2.0)]))
    assert "= ?" in str(drawn) and drawn.svg


@dataclass(eq=True)
class ByData:
    """Equal when its data are, and so without a hash."""

    data: float
    grad: float = 0.0
    _prev: tuple = ()


class HashedByData(Value):
    def __eq__(self, other):
        return self.data == other.data

    def __hash__(self):
        return hash(self.data)


class Contrary(Value):
    """Refuses to be compared, and to be a truth value."""

    def __eq__(self, other):
        raise RuntimeError

    __hash__ = None

    def __bool__(self):
        raise RuntimeError


@pytest.mark.parametrize("kind", [ByData, HashedByData, Contrary])
def test_values_are_told_apart_by_identity(kind):
    a, b = kind(1.0), kind(1.0)
    root = kind(2.0, 0.0, (a, b)) if kind is ByData else kind(2.0, (a, b), "+")
    drawn = draw_dot(root)
    assert sorted(boxes(drawn.svg)) == ["n0", "n0op", "n1", "n2"] and len(str(drawn).splitlines()) == 3


def test_a_cycle_ends():
    a = Value(1.0, label="a")
    b = Value(2.0, (a,), "f")
    a._prev = (b,)
    drawn = draw_dot(b)
    assert len(boxes(drawn.svg)) == 4 and "(as above)" in str(drawn)


def test_children_that_are_no_values_are_leaves():
    drawn = draw_dot(Value(3.0, (1, None), "?"))
    assert boxes(drawn.svg)["n1"] == ["data 1.0000", "grad –"] and "data None" in str(drawn)


def test_against_dot_itself_where_there_is_one(no_pygraphviz):
    try:
        graphviz.version()
    except graphviz.ExecutableNotFound:
        pytest.skip("no dot on this machine")
    assert "data 2.0000" in texts(draw_dot(expression()).svg)
