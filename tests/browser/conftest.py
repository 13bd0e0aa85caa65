"""A real JupyterLab, started the way `make lab` starts it, and a real Chromium that works in it.

The server runs on a copy of the course, because JupyterLab saves what it runs. On a failure, a screenshot
is kept under artefacts/ (outside of git).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import free_port

ROOT = Path(__file__).resolve().parents[2]
ARTEFACTS = ROOT / "artefacts"
COPIED = (
    "notebooks",
    "figs",
    "data",
    "zth_helpers",
    "tools",
    "README.md",
    "Makefile",
    "pyproject.toml",
    "constraints.txt",
)
# Without these, Chromium tries to reach the outside at every start; root needs --no-sandbox.
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def chromium_path() -> str | None:
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def pytest_collection_modifyitems(items):
    if chromium_path() is None and os.environ.get("ZTH_BROWSER") != "required":
        skip = pytest.mark.skip(reason="no Chromium on this machine (on Debian: apt install chromium)")
        for item in items:
            if item.get_closest_marker("browser"):
                item.add_marker(skip)


@pytest.fixture(scope="session")
def course(tmp_path_factory) -> Path:
    """A copy of what a learner has after cloning and installing."""
    copy = tmp_path_factory.mktemp("course")
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(
                source, copy / name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
            )
        else:
            shutil.copy(source, copy / name)
    (copy / ".venv").symlink_to(ROOT / ".venv")
    return copy


@pytest.fixture(scope="session")
def lab(course, tmp_path_factory):
    """The address of the running server, token included."""
    port = free_port()
    home = tmp_path_factory.mktemp("home")
    environment = {
        k: v
        for k, v in os.environ.items()
        if k not in ("ZTH_QUIET", "ZTH_NAMES") and not k.startswith("PYTEST")
    }
    environment |= {"HOME": str(home), "JUPYTER_CONFIG_DIR": str(home / "config"), "MAKEFLAGS": ""}
    log = ARTEFACTS / f"lab-{port}.log"
    log.parent.mkdir(exist_ok=True)
    with log.open("wb") as output:
        server = subprocess.Popen(
            # `-o install-course`: the environment of the copy is this one, which is installed already
            [sys.executable, ROOT / "tests" / "browser" / "leash.py"]
            + ["make", "-o", "install-course", "lab", f"ARGS=--no-browser --port {port}"],
            cwd=course,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield wait_for(server, log)
    finally:
        server.stdin.close()
        server.wait(30)
    log.unlink()


def wait_for(server: subprocess.Popen, log: Path) -> str:
    """The address that the server prints, once it answers."""
    for _ in range(240):
        found = re.search(r"http://127\.0\.0\.1:\d+/lab\S*token=\w+", log.read_text(errors="replace"))
        if found:
            with urllib.request.urlopen(found[0], timeout=30) as answer:
                assert answer.status == 200
            return found[0]
        if server.poll() is not None:
            break
        time.sleep(0.5)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text(errors='replace')[-3000:]}")


@pytest.fixture(scope="session")
def browser():
    from playwright.sync_api import sync_playwright

    path = chromium_path()
    assert path, "ZTH_BROWSER=required, and there is no Chromium: apt install chromium"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS)
        yield chromium
        chromium.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    setattr(item, f"report_{report.when}", report)
    return report


@contextmanager
def watched_page(browser, width: int = 1280):
    """A fresh page; its console errors are collected in `page.errors`."""
    context = browser.new_context(viewport={"width": width, "height": 900})
    page = context.new_page()
    page.errors = []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.on("console", lambda message: page.errors.append(message.text) if message.type == "error" else None)
    yield page
    context.close()


@pytest.fixture
def page(browser, request):
    with watched_page(browser) as page:
        yield page
        screenshot_on_failure(page, request.node)


def screenshot_on_failure(page, item) -> None:
    if getattr(item, "report_call", None) is not None and item.report_call.failed:
        ARTEFACTS.mkdir(exist_ok=True)
        page.screenshot(path=ARTEFACTS / f"{re.sub(r'[^a-zA-Z0-9_]+', '-', item.name)}.png")
