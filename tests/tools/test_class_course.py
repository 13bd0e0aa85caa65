"""A class, with the real nbgrader: what is handed in, what it scores, what the students read, and the"
" jail."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from html import unescape
from pathlib import Path

import nbformat
import pytest

from tools import class_course
from zth_helpers.exercises.exercise import BEGIN

pytest.importorskip("nbgrader")
JAIL = shutil.which("bwrap") is not None or os.environ.get("ZTH_BROWSER") == "required"
LESSON, POINTS = "01_micrograd", 11


def nbgrader(course: Path, *arguments: str, fails: bool = False) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "nbgrader", *arguments],
        cwd=course, capture_output=True, text=True, timeout=300, env=os.environ | {"ZTH_QUIET": "1"},
    )  # fmt: skip
    assert fails or done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def hand_in(course: Path, student: str, answer, lesson: str = LESSON) -> Path:
    """A student's notebook: the released one with answer(name of the first function, stub) in its
    open cells."""
    notebook = nbformat.read(course / "release" / lesson / f"{lesson}.ipynb", 4)
    for cell in notebook.cells:
        if cell.metadata.get("nbgrader", {}).get("solution"):
            name = re.search(r"^(?:def|class) (\w+)", cell.source, re.M)[1]
            cell.source = answer(name, cell.source)
    target = course / "submitted" / student / lesson / f"{lesson}.ipynb"
    target.parent.mkdir(parents=True)
    nbformat.write(notebook, target)
    return target


def ours(lesson: str = LESSON) -> dict[str, str]:
    """The masters' answers by the name of their first function."""
    cells = nbformat.read(class_course.MASTERS / f"{lesson}.ipynb", 4).cells
    sources = [cell.source for cell in cells if BEGIN in cell.source]
    return {re.search(r"^(?:def|class) (\w+)", source, re.M)[1]: source for source in sources}


WRONG = {
    "gradient": "def gradient(a, b, c):\n    return 1.0, 2.0, 3.0",
    "nudge": "def nudge(g, x, h):\n    return [0.0] * len(x)",
    "nudge_both": "def nudge_both(g, x, h):\n    return None",
    "product_backward": "def product_backward(a, b, out):\n    a.grad = b.data\n    b.grad = a.data",
    "topological_order": "def topological_order(root):\n    return root.nonsense",
    "exp": "def exp(self):\n    return self\n\n\ndef log(self):\n    return self\n\n\nValue.exp,"
    " Value.log = exp, log"
    "\n\n\ndef softmax_nll(logits, label):\n    return logits[0]",
}
VANDAL = """
import os, pathlib, shutil, socket, sys
seen = [str(p) for p in pathlib.Path({course!r}).rglob("*")]
for folder in ({course!r}, {repository!r}, os.path.expanduser("~")):
    shutil.rmtree(folder, ignore_errors=True)
try:
    socket.create_connection(("127.0.0.1", {port}), 3)
    network = "open"
except OSError as error:
    network = f"closed: {{error}}"
try:
    hoard = bytearray(8 << 30)
    memory = "had"
except MemoryError:
    memory = "refused"
pathlib.Path("report.txt").write_text("\\n".join([network, memory, *seen]))
def gradient(a, b, c):
    while True:
        pass
"""


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """A course with a released assignment and its submissions, graded and with feedback."""
    if not JAIL:
        pytest.skip("no bubblewrap here: apt-get install bubblewrap")
    course = tmp_path_factory.mktemp("course")
    class_course.write(course)
    nbgrader(course, "generate_assignment", LESSON)
    right = ours()
    some = ("gradient", "nudge", "topological_order")  # 1 + 1 + 3 points
    hand_in(course, "anna", lambda name, stub: right[name])
    hand_in(course, "ben", lambda name, stub: right[name] if name in some else stub)
    hand_in(course, "carl", lambda name, stub: WRONG[name])
    hand_in(course, "dora", lambda name, stub: stub)
    import http.server
    import threading

    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    values = {"course": str(course), "repository": str(class_course.ROOT), "port": server.server_port}
    vandal = VANDAL.format(**values)
    hand_in(course, "eve", lambda name, stub: vandal if name == "gradient" else right[name])
    hand_in(course, "zoe", lambda name, stub: right[name])  # graded after the vandal
    said = nbgrader(course, "autograde", LESSON)
    assert "anna" in said
    nbgrader(course, "generate_feedback", LESSON)
    server.shutdown()
    return course


def scores(course: Path) -> dict[str, float]:
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{course}/gradebook.db") as book:
        return {s.student.id: s.score for s in book.assignment_submissions(LESSON)}


def feedback(course: Path, student: str) -> str:
    html = (course / "feedback" / student / LESSON / f"{LESSON}.html").read_text(encoding="utf-8")
    return unescape(re.sub(r"<[^>]+>", "", html))


def released_with_stubs_and_no_answers(graded):
    text = (graded / "release" / LESSON / f"{LESSON}.ipynb").read_text(encoding="utf-8")
    assert "your code here" in text and "SOLUTION" not in text
    assert "HIDDEN" not in text and "other_inputs" not in text and ".solution()" not in text
    assert "-3 * a**2" not in text


def graded_exactly(graded):
    assert scores(graded) == {
        "anna": POINTS, "ben": 5, "carl": 0, "dora": 0, "eve": POINTS - 1, "zoe": POINTS,
    }  # fmt: skip


def told_in_our_words(graded):
    assert "✓ The gradient by hand: right" in feedback(graded, "anna")
    assert "· A better nudge: not tried yet" in feedback(graded, "ben")
    assert "· The gradient by hand: not tried yet" in feedback(graded, "dora")
    carl = feedback(graded, "carl")
    assert "got None: is a `return` missing?" in carl and "multiply with what arrives, out.grad" in carl
    assert "has no attribute 'nonsense'" in carl
    assert "too slow: stopped after 20 seconds" in feedback(graded, "eve")


def harmed_nothing_but_itself(graded):
    """Eve deleted what she saw and called home: the course stands, and she saw nobody's work but her own."""
    network, memory, *seen = (graded / "autograded" / "eve" / LESSON / "report.txt").read_text().splitlines()
    assert network.startswith("closed") and memory == "refused"
    inside = graded / "autograded" / "eve" / LESSON
    assert all(
        Path(path) == inside or inside in Path(path).parents or Path(path) in inside.parents for path in seen
    )
    assert (graded / "gradebook.db").exists() and (graded / "source" / LESSON / f"{LESSON}.ipynb").exists()
    assert (class_course.ROOT / "zth_helpers" / "exercises" / "micrograd.py").exists()


def test_a_class_from_release_to_feedback(graded):
    """One test, so that no second worker builds the same class."""
    released_with_stubs_and_no_answers(graded)
    graded_exactly(graded)
    told_in_our_words(graded)
    harmed_nothing_but_itself(graded)


def test_answers_known_by_heart_score_nothing(tmp_path):
    """Right for the inputs of the check, which the students know, and wrong for those of the hidden test."""
    from tests.exercises.answers import right
    from zth_helpers.exercises import batchnorm as ex
    from zth_helpers.exercises.draws import other_inputs

    answer, known = right("batchnorm", "gain_of")[0], []
    assert ex.gain_of.check(lambda f, z: known.append((z, answer(f, z))) or known[-1][1])

    def by_heart(f, z):
        return next((value for x, value in known if x.equal(z) and value == value), 1.0)

    seen = iter(value for _, value in known)
    assert ex.gain_of.check(lambda f, z: next(seen))
    with other_inputs(7):
        assert ex.gain_of.check(answer)
        assert ex.gain_of.check(by_heart).state == "wrong"


def test_every_assignment_is_well_formed(tmp_path):
    for path in class_course.write(tmp_path):
        cells = nbformat.read(path, 4).cells
        ids = [cell.metadata.nbgrader.grade_id for cell in cells]
        assert len(set(ids)) == len(ids)
        tests = [cell for cell in cells if cell.metadata.nbgrader.grade]
        checks = re.findall(r"ex\.(\w+)\.check", "".join(cell.source for cell in tests))
        assert len(set(checks)) == len(tests) and all(c.metadata.nbgrader.points >= 1 for c in tests)
        assert sum(cell.metadata.nbgrader.solution for cell in cells) >= len(tests)


def test_writing_again_keeps_the_key_and_the_teachers_own_settings(tmp_path):
    class_course.write(tmp_path)
    key, config = (tmp_path / "key.txt").read_text(), tmp_path / "nbgrader_config.py"
    config.write_text(config.read_text() + "c.Exchange.root = '/srv/exchange'\n")
    class_course.write(tmp_path)
    assert (tmp_path / "key.txt").read_text() == key
    assert config.read_text().endswith("c.Exchange.root = '/srv/exchange'\n")
