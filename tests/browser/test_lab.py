"""Every notebook, opened and run in JupyterLab by a browser, as a learner does."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

from tests.browser import explorables as ex
from tests.browser import jupyterlab as jl
from tests.browser.conftest import screenshot_on_failure, watched_page

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
LESSONS = sorted(p.name for p in FOLDER.glob("*.ipynb"))
pytestmark = pytest.mark.browser


class Lesson:
    """One notebook, open in a page: as it is stored, and then run once for all tests of this module."""

    def __init__(self, page, lab: str, course: Path, name: str):
        self.page, self.file = page, course / "notebooks" / name
        self.stored = nbformat.read(self.file, as_version=4)
        self.figures = sum(len(re.findall(r"^interact\.\w+\(", c.source, re.M)) for c in self.stored.cells)
        jl.open_notebook(page, lab, f"notebooks/{name}")
        data = [o.get("data", {}) for c in self.stored.cells for o in c.get("outputs", [])]
        self.expected = sum("image/png" in d for d in data)
        self.pictures = jl.pictures(page, self.expected)
        images = page.locator(".jp-RenderedImage img")
        self.alternatives = images.evaluate_all("all => all.map(i => i.alt)")
        self.before = page.locator(".jp-OutputArea-output").all_inner_texts()
        jl.run_all(page)
        self.saved = jl.save(page, self.file)


@pytest.fixture(scope="module", params=LESSONS)
def lesson(request, browser, lab, course):
    with watched_page(browser) as page:
        yield Lesson(page, lab, course, request.param)
        jl.menu(page, "Kernel", "Shut Down Kernel")  # its memory is needed for the next one
        page.wait_for_timeout(1000)


@pytest.fixture(autouse=True)
def screenshot(request, lesson):
    yield
    screenshot_on_failure(lesson.page, request.node)


def test_stored_pictures_show_before_anything_has_run(lesson):
    """There is no widget yet in this kernel: what shows is what was stored."""
    assert lesson.pictures >= lesson.expected > 0
    assert not [text for text in lesson.before if "widget" in text.lower()]


def test_stored_pictures_have_alternative_texts(lesson):
    assert lesson.alternatives and all(len(text) > 5 for text in lesson.alternatives), lesson.alternatives


def test_runs_without_an_error(lesson):
    assert jl.errors(lesson.saved) == []
    assert jl.our_console_errors(lesson.page) == []


def test_every_explorable_by_mouse_and_keyboard(lesson):
    page = lesson.page
    assert lesson.figures > 0
    for root in jl.explorables(page, lesson.figures):
        root.scroll_into_view_if_needed()
        assert root.bounding_box()["height"] < 620, "taller than what JupyterLab shows at 1280×800"
        ex.drive(page, root)
    assert jl.our_console_errors(page) == []
