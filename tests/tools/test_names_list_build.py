"""data/names.txt: rebuilt from its sources, and what data/README.md says about it."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from tools.lesson import ROOT
from zth_helpers.name_lists import SHIPPED, SHIPPED_SHA256, file_sha256

DATA = SHIPPED.parent
SCRIPT = ROOT / "tools" / "build_names.py"


@pytest.fixture(scope="module")
def builder():
    spec = importlib.util.spec_from_file_location("build_names", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def rebuilt(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess]:
    # A fresh interpreter has another seed for hashes: an order that came from a set would differ.
    target = tmp_path_factory.mktemp("rebuilt") / "names.txt"
    run = subprocess.run([sys.executable, SCRIPT, "-o", target], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return target, run


def test_rebuilding_gives_the_same_bytes(rebuilt):
    target, run = rebuilt
    assert target.read_bytes() == SHIPPED.read_bytes()
    assert "reading locales" in run.stderr  # the progress bar


def test_readme_has_the_counts_of_the_rebuild(rebuilt):
    readme = (DATA / "README.md").read_text(encoding="utf-8")
    rows = [line for line in rebuilt[1].stdout.splitlines() if line.startswith("|")]
    assert len(rows) > 60
    assert [line for line in readme.splitlines() if line.startswith("|")] == rows
    words = SHIPPED.read_text().split()
    assert f"{len(words):,} given names, {sum(map(len, words)):,} letters" in readme
    assert f"all\n{len(rows) - 2} locales, in 41 languages" in readme
    assert len({row.split("|")[1].strip().split("_")[0] for row in rows[2:]}) == 41


def test_shipped_list_is_what_design_says():
    words = SHIPPED.read_bytes().decode("ascii").split("\n")
    assert words.pop() == ""  # a newline at the end
    assert all(re.fullmatch("[a-z]{2,15}", word) for word in words)
    assert len(set(words)) == len(words) == 22_527
    assert words[:5] == ["maria", "ivan", "olga", "anita", "daniel"]
    assert file_sha256(SHIPPED) == SHIPPED_SHA256


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("Ольга", "olga"),
        ("Ελένη", "eleni"),
        ("ნინო", "nino"),
        ("Արամ", "aram"),
        ("Zoë", "zoe"),
        ("D'Arcy", "darcy"),
        ("Tahir ", "tahir"),  # as listed by Faker, with the blank
        ("Jean-Luc", None),
        ("Anna Maria", None),
        ("O", None),
        ("Bartholomewjames", None),  # 16 letters
        ("Bartholomewjame", "bartholomewjame"),
        ("Emine.", None),
    ],
)
def test_romanise(builder, name, plain):
    assert builder.romanise(name) == plain


def test_order_counts_languages_not_locales(builder):
    by_locale = {"de_AT": {"uwe", "eva"}, "de_CH": {"uwe"}, "cs_CZ": {"eva"}, "en": {"al"}}
    assert builder.most_shared_first(by_locale) == ["eva", "al", "uwe"]


def test_main_script(builder):
    assert builder.main_script({"Анна", "Bo"}) == "CYRILLIC"
    assert builder.main_script({"一"}) == "CJK"
    assert builder.main_script(set()) == ""


@pytest.mark.parametrize("found", [None, "0.0.1"])
def test_wrong_or_missing_package_names_the_command(builder, monkeypatch, found):
    def version(name):
        if found is None:
            raise PackageNotFoundError(name)
        return found

    monkeypatch.setattr(builder, "version", version)
    with pytest.raises(SystemExit, match=r"pip install Faker==40\.54\.0 anyascii==0\.3\.3"):
        builder.check_versions()


def test_pins_agree_with_the_project(builder):
    root = DATA.parent
    for name, pin in builder.PINNED.items():
        assert f"{name}=={pin}\n" in (root / "constraints.txt").read_text()
        assert f'"{name}=={pin}"' in (root / "pyproject.toml").read_text()


def test_unwritable_output_is_one_line(tmp_path):
    target = tmp_path / "missing" / "names.txt"
    run = subprocess.run([sys.executable, SCRIPT, "-o", target], capture_output=True, text=True)
    assert run.returncode == 1
    assert f"cannot write {target}: No such file or directory; name another file with -o" in run.stderr
    assert "Traceback" not in run.stderr


def test_the_sources_licence_stands_in_the_readme():
    from importlib.metadata import distribution

    readme = (DATA / "README.md").read_text(encoding="utf-8")
    licence = next(f for f in distribution("Faker").files if f.name.startswith("LICENSE")).read_text()
    quoted = re.sub(r"^> ?", "", readme, flags=re.MULTILINE)
    assert licence.strip() in quoted
