"""The site that `make site` builds, in a Chromium: over http from a sub-folder, and as plain files."""

from __future__ import annotations

import functools
import http.server
import json
import shutil
import threading
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.browser.conftest import watched_page
from tests.browser.explorables import changes, words
from tools import site as tool

pytestmark = pytest.mark.browser
LIMIT_MB = 30
# What is wrong with a page, as a reader would see it.
LOOK = """() => ({
  width: document.documentElement.scrollWidth,
  broken_formulas: [...document.querySelectorAll("[data-mml-node=merror]")].map((e) => e.textContent),
  raw_formulas: [...document.querySelectorAll(".math")]
    .filter((e) => !e.querySelector("mjx-container")).length,
  cut: [...document.querySelectorAll(".bd-article-container pre")]
    .filter((p) => p.scrollWidth > p.clientWidth + 1).map((p) => p.textContent.slice(0, 80)),
  pictures: [...document.querySelectorAll(".bd-article img")]
    .filter((i) => !i.getAttribute("alt") || !i.getAttribute("width") || i.loading !== "lazy")
    .map((i) => i.src),
})"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def built() -> Path:
    return tool.build()


@pytest.fixture(scope="module")
def address(built, tmp_path_factory):
    """The site behind http, in a folder of its own name, as it stands on GitHub Pages."""
    root = tmp_path_factory.mktemp("server")
    (root / "course").symlink_to(built, target_is_directory=True)
    handler = functools.partial(Quiet, directory=str(root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/course"
        server.shutdown()


def pages(built: Path) -> list[str]:
    found = (path.relative_to(built) for path in built.rglob("*.html"))
    return sorted(p.as_posix() for p in found if p.parts[0] not in ("_modules", "_static"))


def opened(page, url: str) -> list[str]:
    """Opens a page, waits for its formulas; returns the requests that failed or went elsewhere."""
    origin, strays = url.partition("/course")[0] if url.startswith("http") else "file://", []
    listeners = {
        "request": lambda r: strays.append(r.url) if not r.url.startswith((origin, "data:")) else None,
        "requestfailed": lambda r: strays.append(f"failed: {r.url}"),
        "response": lambda r: strays.append(f"{r.status}: {r.url}") if r.status >= 400 else None,
    }
    for name, listener in listeners.items():
        page.on(name, listener)
    page.goto(url, wait_until="load", timeout=120_000)
    page.evaluate("window.MathJax?.startup?.promise")
    for name, listener in listeners.items():
        page.remove_listener(name, listener)
    return strays


def test_it_is_small_and_complete(built):
    size = sum(path.stat().st_size for path in built.rglob("*") if path.is_file())
    assert size < LIMIT_MB * 1e6
    for source in tool.sources():
        assert (built / source).with_suffix(".html").exists(), source
    assert not list((built / "_sources").rglob("solutions")) and not list(built.rglob("solutions"))
    for source in tool.sources():
        if source.suffix == ".ipynb":
            assert json.loads((built / "_sources" / source).read_text("utf-8"))["cells"]


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_every_page(built, address, browser, width, scheme):
    axe = (tool.MODULES / "axe-core" / "axe.min.js").read_text("utf-8")
    wrong = {}
    with watched_page(browser, width) as page:
        page.emulate_media(color_scheme=scheme)
        for name in pages(built):
            page.errors.clear()
            strays = opened(page, f"{address}/{name}")
            seen = page.evaluate(LOOK)
            page.evaluate(axe)
            found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
            serious = [
                (v["id"], len(v["nodes"]), v["nodes"][0]["html"][:120])
                for v in found["violations"]
                if v["impact"] in ("serious", "critical")
            ]
            bad = [*page.errors, *strays, *serious, *seen["broken_formulas"], *seen["pictures"]]
            bad += [f"{seen['width']} px wide"] if seen["width"] > width else []
            bad += [f"{seen['raw_formulas']} formulas are not set"] if seen["raw_formulas"] else []
            bad += [f"cut: {line}" for line in seen["cut"]] if width > 1000 else []
            if bad:
                wrong[name] = bad
    assert wrong == {}


def test_from_a_folder(built, browser, tmp_path):
    """As files, moved elsewhere: no error either, formulas are set, the map is drawn, the search finds."""
    moved = shutil.copytree(built, tmp_path / "a folder" / "site")
    with watched_page(browser) as page:
        for name in (
            "index.html",
            "notebooks/04_batchnorm.html",
            "notebooks/exercises/05_backprop_ninja.html",
        ):
            assert opened(page, f"file://{moved}/{name}") == [] and page.errors == [], name
            assert page.evaluate(LOOK)["raw_formulas"] == 0
        opened(page, f"file://{moved}/index.html")
        page.locator("pre.mermaid svg").wait_for(timeout=30_000)
        assert "batch norm" in page.locator("pre.mermaid svg").text_content()
        opened(page, f"file://{moved}/search.html?q=saturated")
        assert "04_batchnorm" in found(page) and page.errors == []


def found(page) -> str:
    page.locator("#search-results .search li a").first.wait_for(timeout=30_000)
    hrefs = page.locator("#search-results .search li a").evaluate_all("links => links.map(a => a.href)")
    return " ".join(hrefs)


def test_search_and_the_two_colours(address, browser):
    with watched_page(browser) as page:
        opened(page, f"{address}/search.html?q=saturated")
        assert "notebooks/04_batchnorm.html" in found(page)
        opened(page, f"{address}/notebooks/04_batchnorm.html")
        background = "getComputedStyle(document.body).backgroundColor"
        shades = []
        for theme in ("light", "dark"):
            page.evaluate("theme => document.documentElement.setAttribute('data-theme', theme)", theme)
            page.wait_for_timeout(500)
            shades.append(int(page.evaluate(background).strip("rgba()").split(",")[0]))
        assert shades[0] > 200 > 60 > shades[1]
        assert page.errors == []


def test_a_lesson_can_be_read_within_two_seconds(address, browser):
    """Not the clock of a busy machine but what decides: what has to be loaded before a lesson is there."""
    with watched_page(browser) as page:
        loaded = []
        page.on("response", lambda r: loaded.append((r.url, int(r.headers.get("content-length", 0)))))
        opened(page, f"{address}/notebooks/04_batchnorm.html")
        pictures = [url for url, _ in loaded if "/pictures/" in url]
        assert len(pictures) < page.locator("figure.picture img").count()
        assert sum(size for _, size in loaded) < 8e6


@pytest.mark.parametrize("lesson", ["03_mlp", "04_batchnorm"])
def test_explorables_answer_without_a_kernel(address, browser, lesson):
    """A hand on the keyboard moves the first slider: the numbers and the words under the figure follow."""
    with watched_page(browser) as page:
        assert opened(page, f"{address}/notebooks/{lesson}.html") == []
        asked = []
        page.on(
            "request", lambda r: asked.append(r.url) if not r.url.startswith(("data:", "blob:")) else None
        )
        root = page.locator(".zth:has(input[type=range])").first
        root.wait_for(timeout=30_000)
        root.scroll_into_view_if_needed()
        slider = root.locator("input[type=range]").first
        said, number = words(root), root.locator("output").first.inner_text()
        at_end = slider.evaluate("i => +i.value >= +i.max")
        slider.focus()
        assert changes(root, lambda: slider.press("ArrowLeft" if at_end else "ArrowRight"))
        assert root.locator("output").first.inner_text() != number
        assert words(root) != said
        assert page.errors == [] and [url for url in asked if not url.startswith(address)] == []


def test_links_inside_of_the_site(built, address, browser):
    """Each link to a page of the site, and to a heading, leads somewhere."""
    links, ids = {}, {}
    with watched_page(browser) as page:
        for name in pages(built):
            page.goto(f"{address}/{name}", wait_until="domcontentloaded")
            ids[name] = set(page.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)"))
            links[name] = page.evaluate(
                "[...document.querySelectorAll('.bd-article a[href]')].map((a) => a.href)"
            )
    dead = []
    for name, targets in links.items():
        for target in targets:
            if target.startswith(address):
                path, _, fragment = target.removeprefix(f"{address}/").partition("#")
                path = path.partition("?")[0]
                file = built / path
                fragment = unquote(fragment)
                if not file.exists() or (path in ids and fragment and fragment not in ids[path]):
                    dead.append((name, target))
    assert dead == []
