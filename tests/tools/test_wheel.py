"""A built wheel works away from the checkout: names, exercises with their solutions, graphs, `live`."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile

import pytest

from tools.lesson import ROOT

pytestmark = pytest.mark.sweep
USE = """
import sys, pathlib
import zth_helpers
assert str(pathlib.Path(zth_helpers.__file__)).startswith(sys.argv[1]), zth_helpers.__file__
import torch
from zth_helpers import Monitor, diagnose, draw_dot, live, load_names, check
assert len(load_names("shipped")) == 22_527 and load_names().source == "shipped"
from importlib import import_module
from zth_helpers.exercises.exercise import Exercise
for lesson in ("micrograd", "bigram", "mlp", "batchnorm", "backprop_ninja", "wavenet"):
    for name, exercise in vars(import_module(f"zth_helpers.exercises.{lesson}")).items():
        if isinstance(exercise, Exercise):
            assert exercise.check(...).state == "not tried yet"
            assert exercise.hint().message and "def " in exercise.solution().message, name
class Value:
    data, grad, _prev = 1.0, 0.0, ()
assert draw_dot(Value()).svg
model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
mon = Monitor(model, every=1)
for _ in live(mon, 3):
    loss = model(torch.randn(16, 4)).square().mean()
    loss.backward()
    mon.step(loss, lr=0.1)
print(len(mon.steps), diagnose(mon, vocab_size=None) is not None)
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with the built wheel and nothing else in it."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    # pip copies nothing: what an older build has left in build/ would come along
    built = [*pip, "wheel", "--no-deps", "-w", str(folder), str(ROOT)]
    subprocess.run(built, check=True, capture_output=True, text=True, cwd=folder)
    [wheel] = folder.glob("zth_helpers-*.whl")
    target = folder / "site"
    subprocess.run([*pip, "install", "--no-deps", "--target", str(target), str(wheel)], check=True)
    return wheel, target


def test_what_is_in_it(site):
    names = zipfile.ZipFile(site[0]).namelist()
    assert "zth_helpers/_data/names.txt" in names and "zth_helpers/py.typed" in names
    assert "zth_helpers/_data/sweep_gru.jsonl" in names
    assert sum(name.startswith("zth_helpers/_solutions/0") for name in names) == 6
    modules = [path.name for path in (ROOT / "zth_helpers" / "interact" / "js").glob("*.js")]
    assert len(modules) > 10 and {f"zth_helpers/interact/js/{name}" for name in modules} <= set(names)
    assert not [n for n in names if n.startswith(("tests", "tools", "benchmarks", "notebooks", "data"))]


def test_it_works_away_from_the_checkout(site, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(site[1]), "ZTH_NAMES": "", "ZTH_QUIET": "0"}
    command = [sys.executable, "-c", USE, str(site[1])]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].endswith("3 True")
