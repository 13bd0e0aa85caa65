"""What a newcomer meets: a welcome page, own copies of the lessons, a terminal that knows the course."""

from __future__ import annotations

import re
import time
from urllib.parse import urlsplit, urlunsplit

import pytest
from playwright.sync_api import Page, expect

from tests.browser import jupyterlab as jl

pytestmark = pytest.mark.browser
LOADED = "all => all.filter(i => i.complete && i.naturalWidth > 100).length"


def page_of(lab: str, path: str) -> str:
    parts = urlsplit(lab)
    return urlunsplit((parts.scheme, parts.netloc, f"/lab/tree/{path}", parts.query + "&reset", ""))


def preview(page: Page):
    shown = page.locator(".jp-MarkdownViewer")
    shown.get_by_role("heading", level=1).first.wait_for(timeout=60_000)
    return shown


def all_pictures(page: Page, shown, count: int) -> None:
    pictures = shown.locator("img:not([src*='mermaid'])")
    for _ in range(100):
        if pictures.evaluate_all(LOADED) >= count:
            return
        page.wait_for_timeout(200)
    raise AssertionError(f"{pictures.evaluate_all(LOADED)} pictures of {count} have loaded")


def test_make_lab_opens_on_the_welcome_page_and_it_leads_to_a_copy_of_ones_own(page, lab, course):
    page.goto(f"{lab}&reset")  # without the tabs that other tests have left open
    shown = preview(page)
    expect(shown.get_by_role("heading", level=1)).to_contain_text("Welcome")
    all_pictures(page, shown, 6)
    expect(shown.locator("img[src*='svg'], svg").first).to_be_visible()  # the map
    assert re.search(r"0 of \d+ solved", shown.inner_text())
    shown.get_by_role("link", name="03 MLP", exact=True).click()
    page.locator(".jp-Notebook").wait_for(timeout=60_000)
    page.get_by_text("| Idle").wait_for(timeout=60_000)
    expect(page.locator(".jp-Notebook h1").first).to_be_visible()
    assert (course / "work" / "03_mlp.ipynb").exists()
    assert jl.pictures(page, 1) >= 1
    assert jl.our_console_errors(page) == []


def test_the_readme_shows_rendered_with_its_pictures(page, lab):
    page.goto(page_of(lab, "README.md"))
    shown = preview(page)
    all_pictures(page, shown, 5)
    assert jl.our_console_errors(page) == []


def test_reading_a_lesson_of_the_course_changes_no_file(page, lab, course):
    """JupyterLab asks to save as soon as a kernel has started; what one types is saved as always."""
    file = course / "notebooks" / "02_bigram.ipynb"
    before = file.read_bytes()
    jl.open_notebook(page, lab, "notebooks/02_bigram.ipynb")
    page.keyboard.press("Escape")
    page.keyboard.press("Control+s")
    page.wait_for_timeout(3000)
    assert file.read_bytes() == before
    page.locator(".jp-CodeCell .cm-content").first.click()
    page.keyboard.type("# mine\n")
    jl.save(page, file)
    assert b"# mine" in file.read_bytes()
    file.write_bytes(before)


def test_a_terminal_finds_the_course(page, lab, course):
    page.goto(page_of(lab, "work/welcome.md"))
    preview(page)
    page.locator(".lm-MenuBar-itemLabel", has_text="File").click()
    page.locator(".lm-Menu-itemLabel").get_by_text("New", exact=True).hover()
    page.locator(".lm-Menu-itemLabel").get_by_text("Terminal", exact=True).click()
    page.locator(".jp-Terminal-body").wait_for(timeout=60_000)
    page.wait_for_timeout(2000)
    page.locator(".jp-Terminal-body").click()
    page.keyboard.type("python -m zth_helpers names > work/said.txt\n", delay=10)
    said = course / "work" / "said.txt"
    for _ in range(60):
        if said.exists() and said.read_text().startswith("names: "):
            return
        time.sleep(1)
    raise AssertionError(said.read_text() if said.exists() else "nothing was written")
