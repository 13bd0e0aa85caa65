"""Make a course for nbgrader out of the masters: `make class ARGS=folder`.

    folder/source/…           the assignments, one a lesson: statements, answers, locked tests with points
    folder/nbgrader_config.py their settings; autograding runs in a jail (tools/jailed_kernel.py)
    folder/key.txt            what the hidden tests draw their inputs from: keep it from the students

What stands in the folder is kept: only the sources and the settings are written anew.
"""

from __future__ import annotations

import argparse
import importlib
import json
import re
import secrets
import sys
from pathlib import Path
from typing import Any

import nbformat

from tools.exercises import MASTERS
from tools.notebooks import ROOT, normalise
from zth_helpers.exercises.exercise import BEGIN, STUB, Exercise

LESSONS = ("micrograd", "bigram", "mlp", "batchnorm", "backprop_ninja", "wavenet")
# Judged once only: a text of the learner's own, and what trains for many seconds.
NO_HIDDEN_TEST = ("invent", "beat_the_lecture", "beat_the_loss")
TEST = """from zth_helpers.exercises import {lesson} as ex

verdict = ex.{name}.check({answers})
assert verdict, verdict
print(verdict)"""
HIDDEN = """
### BEGIN HIDDEN TESTS
from zth_helpers.exercises.draws import other_inputs

with other_inputs({key}):
    hidden = ex.{name}.check({answers})
assert hidden, f"with other inputs: {{hidden}}"
### END HIDDEN TESTS"""
CONFIG = '''"""Written by tools/class_course.py of the course; your own settings belong below the line."""

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

here = Path(__file__).resolve().parent
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # for alembic
os.environ["JUPYTER_PATH"] = str(here / "jupyter")  # the jailed kernel's
sockets = tempfile.mkdtemp(prefix="zth-")  # a short path, and nothing else in it: the jail opens it
atexit.register(shutil.rmtree, sockets, ignore_errors=True)

c = get_config()
c.CourseDirectory.root = str(here)
c.CourseDirectory.course_id = here.name
c.ClearSolutions.code_stub = {{"python": {stub!r}}}
# Submissions are code that nobody has read: they run in a jail without network, home and other submissions.
c.Execute.kernel_name = "zth-jailed"
c.KernelManager.transport = "ipc"
c.KernelManager.connection_file = f"{{sockets}}/kernel.json"
c.Execute.timeout = 120  # seconds for one cell; a check ends by itself after 20
c.Execute.error_on_timeout = {{
    "ename": "CellTimeoutError",
    "evalue": "this cell ran for more than 120 seconds",
    "traceback": ["CellTimeoutError: this cell ran for more than 120 seconds"],
}}
# ---- below this line nothing is written over ----
'''
# What a statement says of our own answer, which a class is not shown.
OURS = r"\. Ours: `ex\.\w+\.solution\(\)`|, and `ex\.NAME\.solution\(\)` shows our answer"
LINE = "# ---- below this line nothing is written over ----\n"


def assignment(master: nbformat.NotebookNode, lesson: str, key: int) -> nbformat.NotebookNode:
    """A master notebook with nbgrader's cells: statements and helpers locked, answers open, tests
    with points."""
    notebook = normalise(nbformat.from_dict(master))
    exercises = importlib.import_module(f"zth_helpers.exercises.{lesson}")
    for cell in notebook.cells:
        mark: dict[str, Any] = {
            "schema_version": 3,
            "task": False,
            "grade": False,
            "locked": True,
            "solution": False,
        }
        check = re.search(r"^ex\.(\w+)\.check\((.*)\)$", cell.source, re.M)
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        if cell.cell_type == "code" and check:
            name, answers = check.groups()
            exercise: Exercise = getattr(exercises, name)
            values = {"lesson": lesson, "name": name, "answers": answers, "key": key}
            cell.source = TEST.format(**values) + HIDDEN.format(**values) * (name not in NO_HIDDEN_TEST)
            mark |= {"grade": True, "grade_id": f"test-{name}", "points": exercise.level}
        elif BEGIN in cell.source:
            mark |= {"locked": False, "solution": True, "grade_id": f"answer-{cell.id}"}
        else:
            cell.source = re.sub(OURS, "", cell.source)
            mark |= {"grade_id": f"given-{cell.id}"}
        cell.metadata["nbgrader"] = nbformat.from_dict({**mark, "cell_type": cell.cell_type})
    first = notebook.cells[0]
    first.source = first.source.replace(" · Solutions", "", 1)
    return notebook


def write(course: Path, root: Path = ROOT) -> list[Path]:
    """Writes the nbgrader course; returns its assignments."""
    course.mkdir(parents=True, exist_ok=True)
    key = course / "key.txt"
    if not key.exists():
        key.write_text(f"{secrets.randbelow(1_000_000) + 1}\n")
    config = course / "nbgrader_config.py"
    own = config.read_text(encoding="utf-8").partition(LINE)[2] if config.exists() else ""
    config.write_text(CONFIG.format(stub=STUB) + own, encoding="utf-8")
    kernel = course / "jupyter" / "kernels" / "zth-jailed"
    kernel.mkdir(parents=True, exist_ok=True)
    launch = [sys.executable, str(root / "tools" / "jailed_kernel.py"), "{connection_file}"]
    spec = {"argv": launch, "display_name": "Python 3 (jailed)", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(spec, indent=1) + "\n", encoding="utf-8")
    made = []
    for path, lesson in zip(sorted(MASTERS.glob("*.ipynb")), LESSONS):
        target = course / "source" / path.stem / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        notebook = assignment(nbformat.read(path, as_version=4), lesson, int(key.read_text()))
        nbformat.write(notebook, target)
        made.append(target)
    return made


def main() -> int:
    parser = argparse.ArgumentParser(prog="make class", description=__doc__)
    parser.add_argument("course", type=Path, help="the folder of the nbgrader course")
    course = parser.parse_args().course.expanduser().resolve()
    for path in write(course):
        points = sum(c.metadata.nbgrader.get("points", 0) for c in nbformat.read(path, 4).cells)
        print(f"✓ {path.stem}: {points} points")
    print(f"Now: cd {course} && nbgrader generate_assignment 01_micrograd (docs/teaching.md goes on)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
