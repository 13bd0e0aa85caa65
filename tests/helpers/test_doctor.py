"""`python -m zth_helpers doctor` sees what is wrong, says how to mend it, and its exit status tells."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys

from zth_helpers.course import doctor


def test_this_environment_is_healthy():
    done = subprocess.run([sys.executable, "-m", "zth_helpers", "doctor"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(doctor.CHECKS)
    assert all(line.startswith("✓ ") for line in lines)


def test_each_missing_thing_gets_its_fix_and_the_others_are_still_checked(monkeypatch, capsys):
    def absent(_):
        raise importlib.metadata.PackageNotFoundError

    monkeypatch.setattr(importlib.metadata, "version", absent)
    assert doctor.main() == 1
    said = capsys.readouterr().out
    assert said.count("✗") == 2 and said.count("make lab") == 2
    assert said.count("✓") == len(doctor.CHECKS) - 2


def test_an_old_package_is_named(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "7.6.0")
    assert doctor.version_of("ipywidgets", 8)[0] is False


def test_a_kernel_of_another_environment_is_seen(tmp_path, monkeypatch):
    kernel = tmp_path / "kernels" / "python3"
    kernel.mkdir(parents=True)
    spec = {"argv": ["/elsewhere/bin/python", "-m", "ipykernel"], "display_name": "x", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    fine, found, remedy = doctor.kernel()
    assert not fine and "/elsewhere/bin/python" in found and "ipykernel install" in remedy


def test_a_changed_names_file_is_seen(tmp_path, monkeypatch):
    from zth_helpers import name_lists

    path = tmp_path / "names.txt"
    path.write_text("emma\nolivia\n")
    monkeypatch.setattr(name_lists, "SHIPPED", path)
    assert doctor.names()[0] is False
    path.unlink()
    fine, found, remedy = doctor.names()
    assert not fine and "names.txt" in found and "git checkout" in remedy


def test_without_a_renderer_graphs_are_said_to_be_text(monkeypatch):
    from zth_helpers import graph

    monkeypatch.setattr(graph, "find_renderer", lambda: "text")
    fine, _, remedy = doctor.renderer()
    assert not fine and "pygraphviz" in remedy


def test_one_line_says_which_list_of_names_is_used(monkeypatch, capsys):
    from zth_helpers import name_lists

    asked = []

    def offline(timeout):
        asked.append(timeout)
        raise ConnectionError("the lecture's list of names cannot be fetched: no network\nTry again.")

    monkeypatch.setattr(name_lists, "lecture_list", offline)
    monkeypatch.setattr(name_lists, "fetched", lambda: None)
    monkeypatch.delenv("ZTH_NAMES", raising=False)
    assert doctor.say_names() == 0 and len(asked) == 1 and asked[0] <= 5, "the start is not held up"
    said = capsys.readouterr().out
    assert "22,527 names from the course's own list" in said
    assert said.count("\n") == 1 and said.endswith("cannot be fetched: no network\n")

    monkeypatch.setenv("ZTH_NAMES", "shipped")  # who has chosen is not made to wait
    assert doctor.say_names() == 0 and len(asked) == 1
    assert capsys.readouterr().out.count("\n") == 1

    monkeypatch.setenv("ZTH_NAMES", "/nowhere/names.txt")
    assert doctor.say_names() == 1
    wrong = capsys.readouterr()
    assert wrong.out == "" and wrong.err.startswith("✗ ") and "/nowhere/names.txt" in wrong.err
