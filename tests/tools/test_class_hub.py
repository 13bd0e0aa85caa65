"""A class on a JupyterHub on this machine: two students log in, fetch, work and submit; one grade book.

It makes two accounts on the machine and removes them again, so it runs as root alone (in CI).
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import pytest
import requests

from tests import free_port
from tests.tools.test_class_course import LESSON, POINTS, WRONG, nbgrader, ours, scores
from tools import class_course
from tools.notebooks import ROOT

pytest.importorskip("jupyterhub")
pytestmark = pytest.mark.sweep
STUDENTS = ("zthanna", "zthben")
NEEDED = ("bwrap", "configurable-http-proxy", "useradd", "chpasswd")


def missing() -> str:
    if os.name == "nt" or os.geteuid() != 0:
        return "making accounts takes root"
    lacking = [name for name in NEEDED if shutil.which(name) is None]
    return f"not installed: {', '.join(lacking)}" if lacking else ""


def as_user(student: str, *command: str) -> subprocess.CompletedProcess:
    return subprocess.run(["runuser", "-u", student, "--", *command], capture_output=True, text=True, cwd="/")


@pytest.fixture(scope="module")
def hub():
    """A folder with a course and an exchange, a running hub, and the students' passwords."""
    if why := missing():
        if os.environ.get("ZTH_BROWSER") == "required" and "not installed" in why:
            pytest.fail(why)
        pytest.skip(why)
    base = Path(tempfile.mkdtemp(prefix="zth-class-"))
    base.chmod(0o755)
    passwords = {student: secrets.token_hex(12) for student in STUDENTS}
    process = None
    try:
        remove_accounts()  # those of a run that was killed
        for student, password in passwords.items():
            subprocess.run(["useradd", "--create-home", "-K", "HOME_MODE=0700", student], check=True)
            subprocess.run(["chpasswd"], input=f"{student}:{password}", text=True, check=True)
        tried = as_user(
            STUDENTS[0], sys.executable, "-c", "import jupyterhub, nbgrader, zth_helpers.exercises.mlp"
        )
        if tried.returncode:
            pytest.skip(f"other users cannot run this environment: {tried.stderr[-300:]}")
        course, exchange = base / "course", base / "exchange"
        course.mkdir(mode=0o700)
        exchange.mkdir()
        exchange.chmod(0o777)
        class_course.write(course)
        with (course / "nbgrader_config.py").open("a") as config:
            config.write(f"c.Exchange.root = {str(exchange)!r}\n")
        nbgrader(course, "generate_assignment", LESSON)
        nbgrader(course, "release_assignment", LESSON)
        url = f"http://127.0.0.1:{free_port()}"
        ports = {"CONFIGPROXY_AUTH_TOKEN": secrets.token_hex(16)}
        settings = {"ZTH_CLASS": "course", "ZTH_EXCHANGE": str(exchange), "ZTH_HUB": url} | ports
        command = [
            sys.executable,
            "-m",
            "jupyterhub",
            "-f",
            str(ROOT / "tools/class_hub/jupyterhub_config.py"),
        ]
        command += [f"--JupyterHub.hub_port={free_port()}"]
        command += [f"--ConfigurableHTTPProxy.api_url=http://127.0.0.1:{free_port()}"]
        log = (base / "hub.log").open("w")
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = os.environ | settings | {"PATH": path}
        process = subprocess.Popen(command, cwd=course, env=environment, stdout=log, stderr=log)
        wait(lambda: answers(f"{url}/hub/api/"), process, base)
        yield base, url, passwords
    finally:
        if process:
            process.terminate()
            process.wait(60)
        remove_accounts()
        shutil.rmtree(base, ignore_errors=True)


def remove_accounts() -> None:
    for student in STUDENTS:
        subprocess.run(["loginctl", "terminate-user", student], capture_output=True)
        subprocess.run(["userdel", "--force", "--remove", student], capture_output=True)


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).ok
    except requests.RequestException:
        return False


def wait(condition, process, base: Path, seconds: int = 300) -> None:
    """Until the condition holds; fails when the hub dies or nothing comes for a long while."""
    end = time.monotonic() + seconds
    while not condition():
        log = (base / "hub.log").read_text()[-3000:]
        assert process is None or process.poll() is None, log
        assert time.monotonic() < end, log
        time.sleep(1)


def log_in(url: str, name: str, password: str) -> requests.Session:
    """A session of the hub's own login page; it holds what the hub has given it."""
    session = requests.Session()
    session.get(f"{url}/hub/login", timeout=60)
    form = {"username": name, "password": password, "_xsrf": session.cookies.get("_xsrf", path="/hub/")}
    session.post(f"{url}/hub/login", data=form, timeout=60, allow_redirects=False)
    return session


class Student:
    """One logged in student: their server's addresses, asked with their own token."""

    def __init__(self, base: Path, url: str, name: str, password: str):
        self.url, self.name, self.base = url, name, base
        self.session = log_in(url, name, password)
        self.session.headers["X-XSRFToken"] = self.session.cookies.get("_xsrf", path="/hub/")
        got = self.session.post(f"{url}/hub/api/users/{name}/tokens", json={}, timeout=60)
        assert got.status_code == 201, got.text
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"token {got.json()['token']}"
        assert self.session.post(f"{url}/hub/api/users/{name}/server", timeout=300).status_code in (201, 202)
        wait(self.ready, None, base)

    def ready(self) -> bool:
        user = self.session.get(f"{self.url}/hub/api/users/{self.name}", timeout=60).json()
        return user["servers"].get("", {}).get("ready", False)

    def ask(self, method: str, path: str, **how) -> requests.Response:
        got = self.session.request(method, f"{self.url}/user/{self.name}/{path}", timeout=300, **how)
        assert got.ok, f"{path}: {got.status_code} {got.text[:500]}"
        return got

    def hand_in(self, answer) -> None:
        """Fetches the assignment, writes the answers into it, runs its tests, and submits it."""
        which = {"course_id": "course", "assignment_id": LESSON}
        self.ask("POST", "assignments/fetch", json=which)
        path = f"{LESSON}/{LESSON}.ipynb"
        model = self.ask("GET", f"api/contents/{path}").json()
        notebook = nbformat.from_dict(model["content"])
        for cell in notebook.cells:
            if cell.metadata.get("nbgrader", {}).get("solution"):
                cell.source = answer(cell.source)
        self.ask("PUT", f"api/contents/{path}", json={"type": "notebook", "content": notebook})
        said = self.ask("POST", "assignments/submit", json=which).json()
        assert said["success"], said


def test_a_wrong_password_is_refused(hub):
    _, url, _ = hub
    session = log_in(url, STUDENTS[0], "wrong")
    assert session.get(f"{url}/hub/api/user", timeout=60).status_code == 403


def test_two_students_and_one_grade_book(hub):
    base, url, passwords = hub
    course, right = base / "course", ours()

    def name_of(source: str) -> str:
        return next(name for name in WRONG if f"def {name}(" in source)

    anna, ben = (Student(base, url, name, passwords[name]) for name in STUDENTS)
    anna.hand_in(lambda stub: right[name_of(stub)])
    ben.hand_in(lambda stub: right["gradient"] if name_of(stub) == "gradient" else stub)

    # Each works as their own user: neither sees the other's work, nor the course with its answers.
    assert as_user(STUDENTS[1], "ls", f"/home/{STUDENTS[0]}/{LESSON}").returncode != 0
    assert as_user(STUDENTS[1], "ls", str(course / "source")).returncode != 0
    inbound = as_user(STUDENTS[1], "ls", str(base / "exchange" / "course" / "inbound"))
    assert inbound.returncode != 0

    nbgrader(course, "collect", LESSON)
    nbgrader(course, "autograde", LESSON)
    assert scores(course) == {STUDENTS[0]: POINTS, STUDENTS[1]: 1}
    nbgrader(course, "generate_feedback", LESSON)
    nbgrader(course, "release_feedback", LESSON)
    ben.ask("POST", "assignments/fetch_feedback", json={"course_id": "course", "assignment_id": LESSON})
    home = Path(f"/home/{STUDENTS[1]}") / LESSON / "feedback"
    [html] = home.rglob(f"{LESSON}.html")
    assert "not tried yet" in html.read_text(encoding="utf-8")
