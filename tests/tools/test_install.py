"""tools/install.py: an unfinished install is never taken for a finished one; each failure says what to do."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import tomllib
import venv
from importlib import metadata
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from tools import install


class Pip:
    """Stands in for the pip process: says `text`, returns `code`, and counts how often it was asked."""

    def __init__(self, text: str = "Successfully installed", code: int = 0):
        self.text, self.code, self.calls = text, code, []

    def __call__(self, command, **_):
        self.calls.append(command)
        self.stdout = iter(line.encode() for line in self.text.splitlines())
        return self

    def wait(self) -> int:
        return self.code


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project folder with a `.venv` that is there but empty."""
    (tmp_path / "pyproject.toml").write_text("[project]")
    (tmp_path / "constraints.txt").write_text("torch==2.13.0")
    monkeypatch.setattr(install, "ROOT", str(tmp_path))
    monkeypatch.setattr(install, "VENV", str(tmp_path / ".venv"))
    monkeypatch.setattr(install, "python", lambda: sys.executable)
    monkeypatch.setattr(sys, "argv", ["install.py"])
    monkeypatch.setattr(subprocess, "call", lambda *_, **__: 0)  # "does this .venv have pip?" yes
    (tmp_path / ".venv").mkdir()
    return tmp_path


def test_installs_once_and_again_after_a_change(project, monkeypatch):
    pip = Pip()
    monkeypatch.setattr(subprocess, "Popen", pip)
    install.main()
    assert len(pip.calls) == 1 and "constraints.txt" in pip.calls[0]
    install.main()
    assert len(pip.calls) == 1
    (project / "constraints.txt").write_text("torch==2.13.1")
    install.main()
    assert len(pip.calls) == 2


@pytest.mark.parametrize(
    ("first", "then", "calls"),
    [("course", "test", 2), ("test", "course", 1), ("bench", "test", 1), ("test", "bench", 2)],
)
def test_who_has_more_need_not_install_less(project, monkeypatch, first, then, calls):
    pip = Pip()
    monkeypatch.setattr(subprocess, "Popen", pip)
    for extras in (first, then):
        monkeypatch.setattr(sys, "argv", ["install.py", extras])
        install.main()
    assert len(pip.calls) == calls and pip.calls[-1][-1] == f".[{then if calls == 2 else first}]"


def test_an_interrupted_install_is_not_a_finished_one(project, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    install_ok = Pip()
    monkeypatch.setattr(subprocess, "Popen", install_ok)
    install.main()
    (project / "pyproject.toml").write_text("[project] # changed")
    monkeypatch.setattr(subprocess, "Popen", interrupted)
    with pytest.raises(KeyboardInterrupt):
        install.main()
    assert not (project / ".venv" / "installed").exists()


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        (
            "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
            "disk is full",
        ),
        (
            "WARNING: Retrying: NewConnectionError: Temporary failure in name resolution\n"
            "ERROR: No matching distribution found for torch",
            "no network",
        ),
        ("ERROR: No matching distribution found for torch==2.13.0", "another Python"),
        ("ERROR: [Errno 13] Permission denied: '.venv/lib'", "permission"),
        ("ERROR: something new", "something new"),
    ],
)
def test_a_failing_pip_is_told_in_one_line(project, monkeypatch, capsys, said, remedy):
    monkeypatch.setattr(subprocess, "Popen", Pip(said, code=1))
    with pytest.raises(SystemExit):
        install.main()
    message = capsys.readouterr().err
    assert remedy in message and message.count("\n") == 1 and message.startswith("✗ ")
    assert not (project / ".venv" / "installed").exists()


def test_an_old_python_is_told_in_one_line(project, monkeypatch, capsys):
    monkeypatch.setattr(sys, "version_info", (3, 10, 4))
    with pytest.raises(SystemExit):
        install.main()
    message = capsys.readouterr().err
    assert "3.10" in message and "PYTHON=python3.12" in message and message.count("\n") == 1


def test_a_missing_venv_module_is_told_in_one_line(project, monkeypatch, capsys):
    monkeypatch.setattr(install, "python", lambda: str(project / "none"))
    monkeypatch.setitem(sys.modules, "ensurepip", None)
    with pytest.raises(SystemExit):
        install.main()
    assert "python3-venv" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (subprocess.CalledProcessError(1, "ensurepip"), "python3-venv"),
        (PermissionError(13, "Permission denied"), "Permission denied"),
    ],
)
def test_a_venv_that_cannot_be_made(project, monkeypatch, capsys, error, remedy):
    def create(*_, **__):
        raise error

    monkeypatch.setattr(install, "python", lambda: str(project / "none"))
    monkeypatch.setattr(venv, "create", create)
    with pytest.raises(SystemExit):
        install.main()
    assert remedy in capsys.readouterr().err


def test_a_full_disk_is_told_before_the_download(project, monkeypatch, capsys):
    monkeypatch.setattr(install, "python", lambda: str(project / "none"))
    monkeypatch.setattr(install.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 2**20}))
    with pytest.raises(SystemExit):
        install.main()
    assert "1 MB free" in capsys.readouterr().err


def test_what_is_pinned_can_be_had_for_every_python_that_the_course_supports():
    """Debian's Python 3.11.2 is older than some releases ask for: pip would find no way out there."""
    root = Path(install.__file__).parents[1]
    oldest = tomllib.loads((root / "pyproject.toml").read_text())["project"]["requires-python"]
    assert oldest == ">=3.11"
    pins = re.findall(r"^([\w.-]+)==", (root / "constraints.txt").read_text(), re.M)
    asked = {}
    for name in pins:
        with contextlib.suppress(metadata.PackageNotFoundError):  # jupytext, for authors alone
            asked[name] = metadata.metadata(name)["Requires-Python"]
    assert len(asked) > 150
    too_new = {name: wants for name, wants in asked.items() if wants and "3.11.0" not in SpecifierSet(wants)}
    assert not too_new
