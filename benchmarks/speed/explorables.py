"""How quickly the explorables answer a hand, and how much JavaScript they are.

    python -m benchmarks.speed.explorables          (half a minute, needs a Chromium)

The slider with the most stops of each is dragged by mouse from one end to the other, a stop or more with each
move, on a page of 1280×800 without a kernel. `answer` is the time from a move of the slider to the picture
that shows it, `slowest` the longest; `frames` is how many pictures were painted in a second of dragging, 60
at most.
"""

from __future__ import annotations

import statistics

from tests.browser import explorables as ex
from tests.browser.conftest import CHROMIUM_FLAGS, chromium_path
from tests.helpers import gallery
from zth_helpers.interact.explorable import FOLDER, source

STOPS = "sliders => sliders.map(i => Math.round((i.max - i.min) / (i.step || 1)))"
WATCH = """canvas => {
    [window.times, window.answers, window.moved] = [[], [], null];
    window.addEventListener('input', () => { window.moved ??= performance.now(); }, true);
    new MutationObserver(() => {
        const now = performance.now();
        window.times.push(now);
        if (window.moved !== null) window.answers.push(now - window.moved);
        window.moved = null;
    }).observe(canvas, { attributes: true, attributeFilter: ['data-paints'] });
}"""


def measure(moves: int = 120) -> list[dict]:
    """A row per explorable: how soon it answers while a slider is dragged, frames, bytes of JavaScript."""
    from playwright.sync_api import sync_playwright

    if not (path := chromium_path()):
        raise SystemExit("no Chromium on this machine (on Debian: apt install chromium)")
    rows = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS)
        for module in gallery.GALLERY:
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            page.set_content(gallery.page(module))
            row: dict = {"module": module, "own": (FOLDER / f"{module}.js").stat().st_size}
            row |= {"whole": len(source(module).encode()), "frames": None}
            sliders = page.locator("input[type=range]")
            if stops := sliders.evaluate_all(STOPS):
                page.locator("canvas").first.evaluate(WATCH)
                ex.drag_slider(page, sliders.nth(stops.index(max(stops))), min(moves, max(stops)))
                times, answers = page.evaluate("[window.times, window.answers]")
                row["frames"] = 1000 * (len(times) - 1) / (times[-1] - times[0])
                row |= {"answer": statistics.median(answers), "slowest": max(answers)}
            rows.append(row)
            page.close()
        browser.close()
    return rows


def table(rows: list[dict]) -> str:
    lines = [
        "| explorable | answer | slowest | frames a second | its JavaScript | with the kit |",
        "|:--|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        spoken = "– | – | –"
        if row["frames"]:
            spoken = f"{row['answer']:.0f} ms | {row['slowest']:.0f} ms | {row['frames']:.0f}"
        lines.append(f"| {row['module']} | {spoken} | {row['own']:,} bytes | {row['whole']:,} bytes |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(measure()))
