"""The code in the documents runs, and says what it is said to say."""

from __future__ import annotations

import re

import pytest

from tools.lesson import ROOT
from zth_helpers.monitor.statistics import EXTRA


def code_blocks(name: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (ROOT / name).read_text(encoding="utf-8"), re.M | re.S)


def test_the_statistic_of_contributing():
    [code] = code_blocks("CONTRIBUTING.md")
    space: dict = {}
    try:
        exec(code, space)
        zeros = space["mon"].outputs.zeros
    finally:
        EXTRA.pop("zeros", None)
    assert zeros.shape == (1, 3) and zeros[0, 1] > 0 and zeros[0, 0] == 0


def test_the_exercise_of_the_guide():
    [code] = code_blocks("docs/writing_exercises.md")
    space: dict = {"__name__": "guide"}
    exec(code, space)
    assert space["twice"].check(lambda x: x + x)
    wrong = space["twice"].check(lambda x: x * x)
    assert wrong.state == "wrong" and "that is the square" in wrong.message


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "README.md", "docs/writing_exercises.md"])
def test_places_that_are_named_are_there(name):
    text = re.sub(r"```.*?```", "", (ROOT / name).read_text(encoding="utf-8"), flags=re.S)
    for place in re.findall(r"`((?:zth_helpers|tests|tools|benchmarks|notebooks|docs)/[\w./]*\w)/?`", text):
        if "NN" not in place:
            assert (ROOT / place).exists(), f"{name} names {place}"


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "data/README.md", "notebooks/welcome.md"])
def test_links_lead_to_files(name):
    """A folder would be a dead link in JupyterLab's preview."""
    file = ROOT / name
    for link in re.findall(r"\]\(([^)\s]+)\)", file.read_text(encoding="utf-8")):
        if not link.startswith(("http:", "https:", "#")):
            assert (file.parent / link.partition("#")[0]).is_file(), f"{name}: {link}"
