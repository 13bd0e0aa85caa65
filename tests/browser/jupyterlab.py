"""What the browser tests do in JupyterLab, in the words of a learner."""

from __future__ import annotations

import time
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import nbformat
from playwright.sync_api import Locator, Page, expect

# JupyterLab's own offline complaints (it looks for news and extensions) are not ours.
NOT_OURS = ("ERR_", "Failed to load resource", "jupyter-lsp", "extension", "announcements", "favicon")


def open_notebook(page: Page, lab: str, path: str) -> None:
    """Opens a notebook of the course by its path below the server's root and waits for its kernel."""
    parts = urlsplit(lab)
    page.goto(urlunsplit((parts.scheme, parts.netloc, f"/lab/tree/{path}", parts.query + "&reset", "")))
    page.locator(".jp-Notebook").wait_for(timeout=60_000)
    page.get_by_text("| Idle").wait_for(timeout=60_000)  # the status bar: there is a kernel, and it waits


# The kernel's state as JupyterLab shows it, plus no cell waiting: the status indicator alone lags behind.
IDLE = """() => {
    const dot = document.querySelector('.jp-Notebook-ExecutionIndicator');
    return dot && dot.dataset.status === 'idle' &&
        ![...document.querySelectorAll('.jp-InputPrompt')].some(p => p.textContent.includes('[*]'));
}"""


def menu(page: Page, top: str, item: str) -> None:
    page.get_by_role("menuitem", name=top, exact=True).click()
    page.locator(".lm-Menu-itemLabel").get_by_text(item, exact=True).click()


# How many cells have run: this changes as long as there is progress, however slow the machine.
DONE = """() => [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')]
    .filter(p => /\\[\\d+\\]/.test(p.textContent)).length"""


def run_all(page: Page, patience: float = 180) -> None:
    """Run > Run All Cells, and waits until the kernel is idle again.

    Fails when for `patience` seconds no cell has finished, which on a busy machine says more than a total.
    """
    menu(page, "Run", "Run All Cells")
    page.wait_for_timeout(1500)
    done, seen = page.evaluate(DONE), time.monotonic()
    while not page.evaluate(IDLE):
        page.wait_for_timeout(500)
        if (now := page.evaluate(DONE)) != done:
            done, seen = now, time.monotonic()
        assert time.monotonic() - seen < patience, f"no cell has finished for {patience:.0f} s, {done} have"


def save(page: Page, file: Path) -> nbformat.NotebookNode:
    """Ctrl+S, and the notebook as it then lies on the disk."""
    before = file.stat().st_mtime_ns
    page.keyboard.press("Escape")
    page.keyboard.press("Control+s")
    for _ in range(100):
        page.wait_for_timeout(100)
        if file.stat().st_mtime_ns != before:
            page.wait_for_timeout(300)
            return nbformat.read(file, as_version=4)
    raise AssertionError(f"JupyterLab did not save {file.name}")


def errors(notebook: nbformat.NotebookNode) -> list[str]:
    """What went wrong in a saved notebook: errors, and code that has not run. (JupyterLab need not have drawn
    every cell of a long notebook, so its page cannot be asked.)"""
    found = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            found += [f"{o.ename}: {o.evalue}" for o in cell.outputs if o.output_type == "error"]
            found += [f"not run: {cell.source}"] if cell.source.strip() and not cell.execution_count else []
    return found


def our_console_errors(page: Page) -> list[str]:
    return [text for text in page.errors if not any(theirs in text for theirs in NOT_OURS)]


def pictures(page: Page, expected: int) -> int:
    """How many pictures the outputs show: goes from the first to the last cell, since JupyterLab draws what
    is near, until `expected` have been drawn, three times at most."""
    pane, shown = page.locator(".jp-WindowedPanel-outer").first, 0
    for _ in range(3):
        for i in range(200):
            at_end = pane.evaluate("(p, top) => (p.scrollTop = top, p.scrollTop < top)", i * 600)
            page.wait_for_timeout(80)
            if at_end:
                break
        page.wait_for_timeout(1000)
        images = page.locator(".jp-OutputArea-output img")
        shown = images.evaluate_all("all => all.filter(i => i.complete && i.naturalWidth > 100).length")
        if shown >= expected:
            break
    return shown


def explorables(page: Page, count: int) -> list[Locator]:
    """The explorables, `count` of them, each scrolled to once so that JupyterLab draws it."""
    found = page.locator(".zth")
    for cell in page.locator(".jp-CodeCell", has_text="interact.").all():
        cell.scroll_into_view_if_needed()
    expect(found).to_have_count(count, timeout=30_000)
    return found.all()


__all__ = [
    "IDLE",
    "errors",
    "expect",
    "explorables",
    "menu",
    "open_notebook",
    "our_console_errors",
    "pictures",
    "run_all",
    "save",
]
