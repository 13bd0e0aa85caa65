"""The package's rooms and arrows, as the design has them, and what a newcomer may rely on."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tools.lesson import ROOT

PACKAGE = ROOT / "zth_helpers"
MODULES = sorted(PACKAGE.rglob("*.py"))
LESSONS = {"micrograd", "bigram", "mlp", "batchnorm", "backprop_ninja", "wavenet"}
GROUND = {"moons", "names", "name_lists", "layers", "settings", "text"}


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> set[str]:
    """The modules of the package that a file imports anywhere, functions included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.startswith("zth_helpers")}


def room(module: str) -> str:
    return module.removeprefix("zth_helpers").lstrip(".").partition(".")[0]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_arrows(path):
    mine, theirs = room(name_of(path)), {room(name) for name in imports(path)} - {""}
    if mine in GROUND:
        assert theirs <= GROUND | {"__version__"}
    if mine == "monitor":
        assert theirs <= GROUND | {"monitor"}
    if mine == "plots":
        assert theirs <= GROUND | {"monitor", "plots"}
    if mine not in ("", "__main__"):
        assert "course" not in theirs - {mine}, "no helper imports the course"
    assert "__main__" not in theirs


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_lessons_module_imports_anothers(path):
    if path.stem in LESSONS:
        others = {name for name in imports(path) if set(name.split(".")) & (LESSONS - {path.stem})}
        assert {name for name in others if f".{path.parent.name}." in name} == set()


def test_there_is_no_circle():
    graph = {name_of(path): imports(path) for path in MODULES}
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, f"a circle: {' → '.join([*way, name])}"
        if name not in done:
            for other in sorted(graph.get(name, ())):
                if other != name and not name.startswith(f"{other}."):
                    visit(other, (*way, name))
            done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_public_functions_carry_type_hints(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name[0] != "_"]
    for node in [*tree.body, *(method for c in classes for method in c.body)]:
        if isinstance(node, ast.FunctionDef) and (node.name[0] != "_" or node.name == "__init__"):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            bare = [a.arg for a in arguments if a.annotation is None and a.arg not in ("self", "cls")]
            assert bare == [], f"{node.name}, line {node.lineno}"
            assert node.returns is not None or node.name == "__init__", f"{node.name}, line {node.lineno}"


def test_tests_and_tools_change_no_path():
    for folder in ("tests", "tools", "benchmarks", "zth_helpers"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            assert "sys.path" + "." not in text, path


WITHOUT = """
import builtins, sys
class Refused(ImportError): pass
real = builtins.__import__
def only(name, *rest, **more):
    if name.partition(".")[0] in {blocked}:
        raise Refused(name)
    return real(name, *rest, **more)
builtins.__import__ = only
{code}
print(sorted(m for m in ("torch", "matplotlib", "ipywidgets", "numpy") if m in sys.modules))
"""
COURSE = {"matplotlib", "IPython", "ipywidgets", "graphviz", "pygraphviz", "pooch", "requests", "tqdm"}


def alone(code: str, blocked: set[str]) -> str:
    script = WITHOUT.format(blocked=sorted(blocked), code=code)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_package_imports_nothing_else():
    assert alone("import zth_helpers", set()).strip() == "[]"


def test_monitor_and_diagnose_need_torch_and_numpy_alone():
    code = """
import torch
from zth_helpers import Monitor, diagnose
model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
with Monitor(model, optimizer=optimizer, every=1) as mon:
    for _ in range(3):
        loss = torch.nn.functional.cross_entropy(model(torch.randn(16, 4)), torch.randint(3, (16,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        mon.step(loss)
print(len(mon.steps), type(diagnose(mon, vocab_size=3)).__name__)
"""
    said = alone(code, COURSE).splitlines()
    assert said == ["3 Findings", "['numpy', 'torch']"]


def test_the_light_set_is_enough_for_names_graphs_figures_and_exercises():
    code = """
from zth_helpers import draw_dot, load_names, plots
from zth_helpers.exercises import micrograd as ex
print(len(load_names()), ex.gradient_by_hand.check(...).state)
class Value:
    data, grad, _prev = 1.0, 0.0, ()
print(draw_dot(Value()))
print(str(plots.loss_curve([2.0, 1.0], window=1)).splitlines()[0])
"""
    said = alone(code, COURSE - {"matplotlib"}).splitlines()
    assert said[:-1] == [
        "22527 not tried yet",
        "#0: data 1.0000, grad 0.0000",
        "Loss over 2 steps: 2.000 → 1.000",
    ]


@pytest.mark.parametrize(
    "name", ["Monitor", "diagnose", "live", "draw_dot", "load_names", "check", "compare"]
)
def test_the_face(name):
    import zth_helpers

    assert callable(getattr(zth_helpers, name)) and name in zth_helpers.__all__ and name in dir(zth_helpers)


def test_the_face_refuses_what_it_does_not_have():
    with pytest.raises(ImportError, match="nothing_of_this"):
        from zth_helpers import nothing_of_this  # noqa: F401
