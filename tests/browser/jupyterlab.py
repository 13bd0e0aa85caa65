"""What the browser tests do in JupyterLab, in the words of a learner."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

from playwright.sync_api import Page, expect

# JupyterLab's own offline complaints (it looks for news and extensions) are not ours.
NOT_OURS = ("ERR_", "Failed to load resource", "jupyter-lsp", "extension", "announcements", "favicon")


def open_notebook(page: Page, lab: str, path: str) -> None:
    """Opens a notebook of the course by its path below the server's root and waits for its kernel."""
    parts = urlsplit(lab)
    page.goto(urlunsplit((parts.scheme, parts.netloc, f"/lab/tree/{path}", parts.query + "&reset", "")))
    page.locator(".jp-Notebook").wait_for(timeout=60_000)
    page.wait_for_function(IDLE, timeout=60_000)


# The kernel's state as JupyterLab shows it, plus no cell waiting: the status indicator alone lags behind.
IDLE = """() => {
    const dot = document.querySelector('.jp-Notebook-ExecutionIndicator');
    return dot && dot.dataset.status === 'idle' &&
        ![...document.querySelectorAll('.jp-InputPrompt')].some(p => p.textContent.includes('[*]'));
}"""


def run_all(page: Page, seconds: float = 300) -> None:
    """Run > Run All Cells, and waits until the kernel is idle again."""
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    page.wait_for_timeout(1500)
    page.wait_for_function(IDLE, timeout=seconds * 1000)


def errors(page: Page) -> list[str]:
    """Error outputs that the notebook shows."""
    return page.locator('.jp-RenderedText[data-mime-type="application/vnd.jupyter.error"]').all_inner_texts()


def our_console_errors(page: Page) -> list[str]:
    return [text for text in page.errors if not any(theirs in text for theirs in NOT_OURS)]


__all__ = ["errors", "expect", "open_notebook", "our_console_errors", "run_all"]
