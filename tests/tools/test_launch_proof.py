"""What a badge starts, tried: a lesson's first cell where the course is missing; the container's commands.

Neither Colab nor Docker is needed. An environment of its own gets links to the packages of the tests, but not
to the course, so nothing large is downloaded.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import site
import subprocess
import sys
import time
import venv
from pathlib import Path

import nbformat
import pytest

from tests import free_port
from tools.lesson import ROOT, lessons

pytestmark = pytest.mark.sweep


def environment(folder: Path, torch_says: str | None = None) -> Path:
    """The Python of a new environment with all packages but the course; torch may say another version."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    [target] = (folder / "lib").glob("python*/site-packages")
    for source in filter(
        Path.is_dir, map(Path, site.getsitepackages())
    ):  # Debian names some that are not there
        for entry in source.iterdir():
            if re.match(r"zth_helpers|__editable__|pip\b|__pycache__|distutils-precedence", entry.name):
                continue
            if torch_says and re.match(r"torch-.*\.dist-info", entry.name):
                shutil.copytree(entry, target / f"torch-{torch_says}.dist-info")
                metadata = target / f"torch-{torch_says}.dist-info" / "METADATA"
                text = metadata.read_text("utf-8")
                metadata.write_text(re.sub(r"^Version: .+$", f"Version: {torch_says}", text, flags=re.M))
            elif not (target / entry.name).exists():
                (target / entry.name).symlink_to(entry)
    for script in ("jupyter", "jupyter-lab"):
        text = Path(sys.executable).with_name(script).read_text("utf-8")
        (folder / "bin" / script).write_text(f"#!{python}\n" + text.partition("\n")[2], encoding="utf-8")
        (folder / "bin" / script).chmod(0o755)
    return python


@pytest.fixture(scope="module")
def offline(tmp_path_factory):
    """pip's settings for an index that is a folder: the course's wheel, and what builds it. None of the pips
    below may wait for a network: some have another HOME, and with it none of this machine's settings."""
    folder = tmp_path_factory.mktemp("index")
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", folder, ROOT], check=True, capture_output=True)
    subprocess.run([*pip, "download", "-d", folder, "setuptools>=77"], check=True, capture_output=True)
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder), "PIP_CONFIG_FILE": os.devnull}


@pytest.mark.parametrize("version", ["2.4.0", "9.9.0"])
def test_the_first_cell_brings_the_course_and_leaves_torch_alone(version, offline, tmp_path):
    python = environment(tmp_path / "env", torch_says=version)
    notebook = nbformat.read(ROOT / "notebooks" / "02_bigram.ipynb", as_version=4)
    launch, imports = [cell.source for cell in notebook.cells if cell.cell_type == "code"][:2]
    script = tmp_path / "lesson.ipy"
    after = 'words = load_names()\nprint(words.about)\nprint("from", __import__("zth_helpers").__file__)\n'
    script.write_text("\n".join([launch, 'print("—")', imports, after]), encoding="utf-8")
    settings = offline | {"ZTH_NAMES": "", "ZTH_QUIET": "1", "PYTHONPATH": "", "IPYTHONDIR": str(tmp_path)}
    command = [python, "-m", "IPython", "--no-banner", "--colors=NoColor", script]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=os.environ | settings)
    assert done.returncode == 0, done.stdout + done.stderr
    said, _, rest = done.stdout.partition("—\n")
    assert len(said.strip().splitlines()) <= 1, said  # pip's note to restart the kernel
    assert "22,527 names" in rest and f"from {tmp_path}" in rest
    shown = subprocess.run([python, "-m", "pip", "show", "torch"], capture_output=True, text=True)
    assert f"Version: {version}" in shown.stdout
    again = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=os.environ | settings)
    assert again.stdout.startswith("—"), "where the course is installed, the first cell does nothing"


def test_every_lesson_has_the_same_first_cell():
    first = set()
    for name in [*lessons(), *lessons("beyond")]:
        notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
        first.add(next(cell.source for cell in notebook.cells if cell.cell_type == "code"))
    assert len(first) == 1


def test_the_containers_commands(offline, tmp_path):
    """Dockerfile and devcontainer.json line by line, in a folder that holds what is copied and no more."""
    course, port = tmp_path / "course", free_port()
    course.mkdir()
    environment(course / ".venv")
    changed = {"HOME": str(tmp_path), "PATH": f"{course}/.venv/bin:{os.environ['PATH']}", "ZTH_TORCH": "cpu"}
    changed |= {"PYTHONPATH": "", "JUPYTER_CONFIG_DIR": str(tmp_path / "jupyter"), "VIRTUAL_ENV": ""}
    changed |= offline

    def run(command: str) -> None:
        ran = {"shell": True, "cwd": course, "env": os.environ | changed, "text": True}
        done = subprocess.run(command, capture_output=True, executable="/bin/bash", **ran)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"

    text = (ROOT / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
    lines = [line.split(None, 1) for line in text.splitlines() if line and not line.startswith("#")]
    said = {word: rest for word, rest in lines}
    for word, rest in lines:
        if word == "COPY":
            _, *sources, target = shlex.split(rest)
            for source in sources:
                path, to = ROOT / source, course / (source if target == "./" else target)
                shutil.copytree(path, to) if path.is_dir() else shutil.copy(path, to)
        elif word == "RUN" and "useradd" not in rest:
            run(rest)
    run(json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text("utf-8"))["postCreateCommand"])
    command = said["CMD"].replace("--ip=0.0.0.0", f"--ip=127.0.0.1 --port={port} --ServerApp.port_retries=0")
    command += " --allow-root" * (os.geteuid() == 0)
    with open(tmp_path / "server.log", "w") as log:
        started = {"shell": True, "cwd": course, "env": os.environ | changed, "start_new_session": True}
        server = subprocess.Popen(command, executable="/bin/bash", stdout=log, stderr=log, **started)
    try:
        health = said["HEALTHCHECK"].partition(" CMD ")[2].strip().replace(":8888/", f":{port}/")
        for _ in range(240):
            if not subprocess.call(health, shell=True, env=os.environ | changed, stderr=subprocess.DEVNULL):
                break
            assert server.poll() is None, (tmp_path / "server.log").read_text()
            time.sleep(0.5)
        else:
            pytest.fail((tmp_path / "server.log").read_text())
        assert (course / "work" / "welcome.md").exists()
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(30)
