"""The runner itself: a notebook that no longer prints what it stores must fail, whatever way it was changed.

Each test gives the real runner (a pytest process with this repository's conftest.py) a tampered copy.
"""

from __future__ import annotations

import copy
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from conftest import Tolerant
from tools import notebooks as runner

ROOT = Path(__file__).resolve().parents[2]
CELLS = [
    "import random\nfrom IPython.display import SVG, display",
    'print(f"loss {2.454 + random.Random(1).random():.4f}")',
    'print("counts", 32_033)\n27',
    'print("small", 1e-9, "and text")',
    'display(SVG(\'<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>\'))',
    "6 * 7;",
    "try:\n    [][1]\nexcept IndexError as error:\n    print(error)",
]


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> nbformat.NotebookNode:
    """A small sound notebook, run and stored by the course's own runner."""
    path = tmp_path_factory.mktemp("sound") / "sound.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell(source) for source in CELLS]), path)
    runner.run(path, root=path.parent)
    return nbformat.read(path, as_version=4)


def verdicts(cases: dict[str, nbformat.NotebookNode], folder: Path) -> dict[str, bool]:
    """Runs nbval once over all cases, each as a notebook of its own; True where it passed."""
    shutil.copy(ROOT / "conftest.py", folder)
    for name, notebook in cases.items():
        nbformat.write(notebook, folder / f"{name}.ipynb")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "--nbval",
            "-q",
            "-rA",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:xdist",
            ".",
        ],
        cwd=folder,
        env={k: v for k, v in os.environ.items() if not k.startswith("PYTEST")},
        capture_output=True,
        text=True,
    )
    return {
        name: f"PASSED {name}.ipynb" in done.stdout
        and f"FAILED {name}.ipynb" not in done.stdout
        and f"ERROR {name}.ipynb" not in done.stdout
        for name in cases
    }


def printed(notebook, old: str, new: str):
    """The notebook with `old` replaced in its stored text outputs."""
    changed = copy.deepcopy(notebook)
    hits = 0
    for cell in changed.cells:
        for output in cell.outputs:
            if "text" in output and old in output.text:
                output.text = output.text.replace(old, new)
                hits += 1
    assert hits, f"{old!r} is not in the stored outputs"
    return changed


def test_tampering_is_caught(sound, tmp_path):
    loss = sound.cells[1].outputs[0].text.split()[1]  # such as 3.8162
    fourth = loss[:4] + str((int(loss[4]) + 1) % 10) + loss[5:]
    last = loss[:-1] + str((int(loss[-1]) + 5) % 10)
    rounded = loss[:-1] + (str(int(loss[-1]) + 1) if loss[-1] < "9" else "8")

    missing, extra, value, broken, uncounted = (copy.deepcopy(sound) for _ in range(5))
    missing.cells[2].outputs = missing.cells[2].outputs[:1]
    extra.cells[0].outputs = [new_output("stream", name="stdout", text="more\n")]
    value.cells[2].outputs[-1].data["text/plain"] = "28"
    broken.cells[1].source = "raise RuntimeError('no')"
    uncounted.cells[1].execution_count = None
    no_picture = copy.deepcopy(sound)
    no_picture.cells[4].outputs = []
    other_svg = copy.deepcopy(sound)
    other_svg.cells[4].outputs[0].data["image/svg+xml"] = '<svg width="2"/>'

    cases = {
        "sound": sound,
        "other_svg": other_svg,  # Graphviz lays out differently from release to release: not compared
        "rounding_noise": printed(sound, "1e-09", "3e-09"),
        "last_digit_by_one": printed(sound, loss, rounded),  # the other side of a rounding
        "integer": printed(sound, "32033", "32034"),
        "fourth_digit": printed(sound, loss, fourth),
        "last_digit": printed(sound, loss, last),
        "word": printed(sound, "and text", "and test"),
        "value": value,
        "missing_output": missing,
        "extra_output": extra,
        "missing_picture": no_picture,
        "exception": broken,
    }
    passed = verdicts(cases, tmp_path)
    assert [name for name in cases if passed[name]] == [
        "sound",
        "other_svg",
        "rounding_noise",
        "last_digit_by_one",
    ]


def test_a_cell_without_a_count_breaks_the_rules(sound, tmp_path):
    """nbval does not look at such a cell; the rules for notebooks do."""
    from tests.notebooks.test_rules import test_stored_as_one_run_from_top_to_bottom as rule

    path = tmp_path / "uncounted.ipynb"
    changed = copy.deepcopy(sound)
    changed.cells[1].execution_count = None
    nbformat.write(changed, path)
    with pytest.raises(AssertionError):
        rule(path)


@pytest.mark.parametrize(
    ("stored", "run", "same"),
    [
        ("loss 2.4540", "loss 2.4540", True),
        ("loss 2.45401", "loss 2.45402", True),
        ("loss #", "loss 2.5", False),  # a placeholder of ours is nothing that can be printed
        ("loss 2.5", "loss #", False),
        ("loss 2.4540", "loss 2.4541", True),  # one unit of the fifth digit: a rounding
        ("loss 2.4540", "loss 2.4542", False),
        ("loss 9.9999", "loss 10.0000", True),
        ("p 0.0889", "p 0.088899", True),
        ("p 0.0889", "p 0.0888", False),
        ("-1.2345", "1.2345", False),
        ("loss 2.454", "loss 2.455", False),
        ("27 names", "28 names", False),
        ("27 names", "27.0 names", False),
        ("a 1e-9", "a 4e-9", True),
        ("grad -0.5000", "grad 0.5000", False),
        ("x  1.50\ny 10.25", "x 1.50\ny 10.25", True),
        ("version 1.2.3", "version 1.2.4", False),
        ("nan", "1.0", False),
        ("tensor([0.1000, 0.2000])", "tensor([0.1000, 0.2001])", False),
        ("(81.2%)", "(81.3%)", False),
    ],
)
def test_tolerance(stored, run, same):
    assert (Tolerant(stored) == Tolerant(run)) is same


ENDLESS = ["while True:\n    pass", "import os\nos._exit(1)"]


@pytest.mark.sweep
@pytest.mark.parametrize("source", ENDLESS, ids=["endless loop", "dead kernel"])
def test_a_cell_that_never_ends_fails_after_the_time_of_conftest(source, tmp_path):
    """With 4 seconds in place of conftest's own: nbval itself would wait 2,000."""
    notebook = new_notebook(cells=[new_code_cell(source), new_code_cell("1")])
    for i, cell in enumerate(notebook.cells, 1):
        cell.execution_count = i
    notebook.metadata.kernelspec = runner.KERNELSPEC
    nbformat.write(notebook, tmp_path / "endless.ipynb")
    text, ours = (ROOT / "conftest.py").read_text(encoding="utf-8"), "CELL_TIMEOUT = 300"
    assert ours in text
    (tmp_path / "conftest.py").write_text(text.replace(ours, "CELL_TIMEOUT = 4"), encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--nbval",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        ".",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=150)
    assert done.returncode == 1 and " failed" in done.stdout, done.stdout
