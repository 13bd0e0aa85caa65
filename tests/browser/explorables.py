"""Drives an explorable as a hand does, by mouse and keyboard, in JupyterLab and on a static page."""

from __future__ import annotations

from playwright.sync_api import Locator, Page

# What there is to see and to hear: all pictures, and the words under them.
STATE = """root => [...root.querySelectorAll('canvas')].map(c => c.toDataURL()).join() +
    root.querySelector('.zth-words').textContent"""
FRAME = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
UNNAMED = """root => [...root.querySelectorAll('input, select, button, canvas')].filter(
    node => !(node.getAttribute('aria-label') || (node.tagName === 'BUTTON' && node.textContent))).length"""


def state(root: Locator) -> str:
    return root.evaluate(STATE)


def words(root: Locator) -> str:
    return root.locator(".zth-words").inner_text()


def changes(root: Locator, act, seconds: float = 5) -> bool:
    """Does `act` bring another picture, or other words?"""
    before = state(root)
    act()
    for _ in range(int(seconds * 20)):
        root.page.evaluate(FRAME)
        if state(root) != before:
            return True
        root.page.wait_for_timeout(50)
    return False


def drag_slider(page: Page, slider: Locator, moves: int = 30) -> int:
    """Drags the slider's handle by mouse to the other side; how often the picture was painted meanwhile."""
    count = "i => +i.closest('.zth').querySelector('canvas').dataset.paints"
    box, share = (
        slider.bounding_box(),
        slider.evaluate("i => (i.value - i.min) / ((i.max - i.min) || 1)"),
    )
    assert box
    x, y = box["x"] + 8 + share * (box["width"] - 16), box["y"] + box["height"] / 2
    end = box["x"] + (box["width"] - 6 if share < 0.5 else 6)
    page.mouse.move(x, y)
    page.mouse.down()
    before = slider.evaluate(count)
    for i in range(1, moves + 1):
        page.mouse.move(x + (end - x) * i / moves, y)
    page.evaluate(FRAME)
    painted = slider.evaluate(count) - before
    page.mouse.up()
    return painted


def drive(page: Page, root: Locator) -> None:
    """Every control by keyboard and by mouse; an AssertionError names the one that does nothing."""
    root.scroll_into_view_if_needed()
    assert root.evaluate(UNNAMED) == 0, "a control without a name"
    assert root.get_attribute("aria-label") and words(root)
    for slider in root.locator("input[type=range]").all():
        name = slider.get_attribute("aria-label")
        if slider.evaluate("i => i.min === i.max"):
            continue
        at_end = slider.evaluate("i => +i.value >= +i.max")
        slider.focus()
        assert changes(root, lambda s=slider, e=at_end: s.press("ArrowLeft" if e else "ArrowRight")), (
            f"{name}: nothing by keyboard"
        )
        assert changes(root, lambda s=slider: drag_slider(page, s)), f"{name}: nothing by mouse"
    for choice in root.locator("select").all():
        name, options = choice.get_attribute("aria-label"), choice.evaluate("s => s.options.length")
        if options > 1:
            assert changes(
                root,
                lambda c=choice: c.select_option(index=1 if c.evaluate("s => s.selectedIndex") == 0 else 0),
            ), f"{name}: nothing"
    for box in root.locator("input[type=checkbox]").all():
        assert changes(root, lambda b=box: b.press("Space")), f"{box.get_attribute('aria-label')}: nothing"
    for box in root.locator("input[type=text]").all():
        good = box.input_value()
        for bad in ("é$", "a(" * 30):
            before = state(root)
            box.fill(bad)
            page.evaluate(FRAME)
            assert len(root.locator("[role=alert]").text_content()) > 10, f"{bad}: no word about it"
            assert state(root) == before, "a bad text has changed the figure"
        box.fill(good)
        assert root.locator("[role=alert]").text_content() == ""
    for canvas in root.locator("canvas[tabindex]").all():
        canvas.focus()
        assert changes(root, lambda c=canvas: [c.press(k) for k in ("ArrowDown", "ArrowRight", "ArrowRight")])
    for button in root.locator("button").all():
        label = button.inner_text()
        if label not in ("reset", "next step", "all of backward", "train", "pause"):
            button.press("Enter")
    root.get_by_role("button", name="reset").click()


__all__ = ["FRAME", "changes", "drag_slider", "drive", "state", "words"]
