"""What starts the course elsewhere: containers, Binder, workflows; and what a release has to agree on."""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import zth_helpers
from tools import flash_cards, install
from tools.lesson import ROOT
from zth_helpers import settings


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_one_version():
    assert re.search(r"^version: (.+)$", read("CITATION.cff"), re.M)[1] == zth_helpers.__version__
    assert re.search(r"^## (.+)$", read("CHANGELOG.md"), re.M)[1] == zth_helpers.__version__


def test_one_address():
    address = re.search(r'^Repository = "https://github.com/(.+)"$', read("pyproject.toml"), re.M)[1]
    badges = re.search(r"<!-- badges -->(.*?)<!-- /badges -->", read("README.md"), re.S)[1]
    links = re.findall(r"\]\((https://(?!.*badge)[^)]+)\)", badges)
    assert len(links) == 3 and all(address in link for link in links)
    [notebook] = re.findall(rf"{address}/blob/main/(\S+?)\)", badges)
    assert (ROOT / notebook).exists()


def test_the_container_copies_what_is_there():
    text = read("Dockerfile")
    copied = [word for line in re.findall(r"^COPY \S+ (.+) \S+$", text, re.M) for word in line.split()]
    assert copied and all((ROOT / word).exists() for word in copied)
    kept = set(re.findall(r"^!(\S+)$", read(".dockerignore"), re.M))
    assert set(copied) <= kept
    assert "USER learner" in text and "HEALTHCHECK" in text
    assert set(re.findall(r"tools/(\w+\.py)", text)) <= {path.name for path in (ROOT / "tools").glob("*.py")}


def test_devcontainer_and_binder_run_what_is_there():
    command = json.loads(read(".devcontainer/devcontainer.json"))["postCreateCommand"]
    assert "python3 tools/install.py course" in command and "zth doctor" in command
    assert os.access(ROOT / ".binder" / "postBuild", os.X_OK)
    subprocess.run(["bash", "-n", ROOT / ".binder" / "postBuild"], check=True)


@pytest.mark.parametrize("path", sorted((ROOT / ".github").rglob("*.yml")), ids=lambda path: path.name)
def test_workflows_are_yaml_and_run_what_is_there(path):
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    steps = [step for job in found.get("jobs", {}).values() for step in job["steps"]]
    runs = [step["run"].strip() for step in steps if "run" in step]
    if path.name == "site.yml":
        assert runs == ["make site"]
    for target in re.findall(r"^make ([\w-]+)", "\n".join(runs), re.M):
        assert re.search(rf"^{target}:", read("Makefile"), re.M)
    for script in re.findall(r"^(\.\S+)", "\n".join(runs), re.M):
        assert os.access(ROOT / script, os.X_OK)
    for extra in re.findall(r'-e "\.\[(\w+)\]"', "\n".join(runs)):
        assert re.search(rf"^{extra} = \[", read("pyproject.toml"), re.M)


def test_the_first_cell_needs_an_extra_that_exists():
    path = ROOT / "notebooks" / "02_bigram.ipynb"
    [cell] = [
        c for c in json.loads(path.read_text("utf-8"))["cells"] if "launch" in c["metadata"].get("tags", [])
    ]
    [extra] = re.findall(r"zth-helpers\[(\w+)\]", "".join(cell["source"]))
    assert re.search(rf"^{extra} = \[", read("pyproject.toml"), re.M)


def test_flash_cards_are_those_of_the_lessons():
    assert flash_cards.FILE.read_text("utf-8") == flash_cards.as_csv(), "run python -m tools.flash_cards"
    cards = flash_cards.cards()
    assert len(cards) == 30 and all(question and answer for question, answer, _ in cards)
    assert not [card for card in cards if re.search(r"\$|<summary>|\*\*|`", " ".join(card))]


def test_the_command(capsys):
    [entry] = re.findall(r'^zth = "([\w.]+):(\w+)"$', read("pyproject.toml"), re.M)
    with pytest.raises(SystemExit):
        runpy.run_module(entry[0])[entry[1]](["--help"])
    assert {"doctor", "start", "progress", "names"} <= set(re.findall(r"\w+", capsys.readouterr().out))


@pytest.mark.parametrize(
    ("wanted", "platform", "build"),
    [("", "linux", "cpu"), ("auto", "linux", "auto"), ("", "darwin", None), ("cu126", "win32", "cu126")],
)
def test_which_torch(monkeypatch, wanted, platform, build):
    monkeypatch.setenv("ZTH_TORCH", wanted)
    monkeypatch.setattr(sys, "platform", platform)
    assert install.torch_build() == build


def test_torch_that_cannot_be_reached_is_said(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(subprocess, "call", lambda *_, **__: 1)  # no torch there yet, and no GPU
    monkeypatch.setattr(install, "python", lambda: sys.executable)
    monkeypatch.setattr(
        install, "quietly", lambda command, environment=None: asked.append(command) or len(asked) == 1
    )
    install.install_torch("cpu")
    assert [command[2] for command in asked] == ["pip", "uv"] and "--torch-backend" in asked[1]
    assert "cannot be reached" in capsys.readouterr().out


def test_a_device_that_is_not_there(monkeypatch):
    monkeypatch.setenv("ZTH_DEVICE", "tpu")
    with pytest.raises(ValueError, match="finds cpu"):
        settings.device()
    monkeypatch.delenv("ZTH_DEVICE")
    assert settings.device() == "cpu"


def test_nothing_of_an_authors_machine_in_the_documents():
    for path in [*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", *Path(ROOT / ".github").rglob("*.yml")]:
        assert not re.search(r"/(?:home|root)/\w", path.read_text(encoding="utf-8")), path
