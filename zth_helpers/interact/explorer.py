"""Figures with controls: pull a slider, and one picture is drawn again.

Each figure is a `draw` function (values in, `plots.Figure` out) and a few ipywidgets controls. The picture is
one Image widget, so nothing flickers; the saved notebook keeps a static picture and its text twin, which show
where there is no kernel.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence

import ipywidgets as widgets

from zth_helpers.names import Vocabulary
from zth_helpers.plots import Figure

WIDE = {"style": {"description_width": "initial"}, "layout": widgets.Layout(width="min(420px, 95%)")}

ALERT = "style='color:#7a1420; background:#fbe9eb; padding:2px 6px'"  # dark on light in either theme


class Explorer(widgets.VBox):
    """Controls above, one picture below, its numbers as text under it, and a line for what is wrong.

    `draw(**values)` gets the value of each control by name and returns a Figure; a ValueError it raises is
    shown under the controls, and the picture stays as it was.
    """

    def __init__(self, draw: Callable[..., Figure], **controls: widgets.ValueWidget):
        self.draw, self.controls = draw, controls
        self.problem = widgets.HTML()
        fit = widgets.Layout(max_width="100%", object_fit="contain")
        self.image = widgets.Image(format="png", layout=fit)
        self.numbers = widgets.HTML()
        for control in controls.values():
            control.observe(self.redraw, "value")
        super().__init__([*controls.values(), self.problem, self.image, self.numbers])
        self.add_class("zth-explorer")
        self.redraw()

    def redraw(self, _change: object = None) -> None:
        try:
            self.figure = self.draw(**{name: control.value for name, control in self.controls.items()})
        except ValueError as error:
            if not hasattr(self, "figure"):
                raise  # the first picture is the notebook's own: an error there is not the reader's
            self.problem.value = f"<span role='alert' {ALERT}>{html.escape(str(error))}</span>"
            return
        self.problem.value = ""
        self.image.value = self.figure.png(scale=1)
        twin = html.escape(str(self.figure))
        self.numbers.value = f"<details><summary>the numbers</summary><pre>{twin}</pre></details>"

    def _repr_mimebundle_(self, **kwargs) -> tuple[dict, dict]:
        shown = super()._repr_mimebundle_(**kwargs)
        data = shown[0] if isinstance(shown, tuple) else shown
        picture, size = self.figure._repr_mimebundle_()
        return data | picture, size


def slider(
    label: str, low: float, high: float, value: float, step: float | None = None
) -> widgets.IntSlider | widgets.FloatSlider:
    """A slider that redraws when it is let go or moved by a key; whole numbers if all arguments are."""
    whole = all(isinstance(v, int) for v in (low, high, value))
    kind = widgets.IntSlider if whole else widgets.FloatSlider
    step = step or (1 if whole else (high - low) / 50)
    return kind(value, min=low, max=high, step=step, description=label, continuous_update=False, **WIDE)


def stops(label: str, options: Sequence, value: object) -> widgets.SelectionSlider:
    """A slider that knows only these values."""
    options = list(options)
    return widgets.SelectionSlider(
        options=options, value=value, description=label, continuous_update=False, **WIDE
    )


def text(label: str, value: str) -> widgets.Text:
    """A text box that redraws on Enter or when it is left."""
    return widgets.Text(value, description=label, continuous_update=False, **WIDE)


def choice(label: str, options: list, value: object = None) -> widgets.Dropdown:
    return widgets.Dropdown(options=options, value=value or options[0], description=label, **WIDE)


def switch(label: str, value: bool = False) -> widgets.Checkbox:
    return widgets.Checkbox(value, description=label, indent=False, layout=WIDE["layout"])


def typed(value: str, vocab: Vocabulary, longest: int, what: str = "a name") -> str:
    """What was typed, in small letters and without spaces around; ValueError says what is wrong with it."""
    value = value.strip().lower()
    if not value:
        raise ValueError(f"The box is empty: type {what}.")
    if len(value) > longest:
        raise ValueError(f"{len(value)} characters are too many (at most {longest}): type {what}.")
    unknown = sorted(set(value) - set(vocab.stoi))
    if unknown:
        known = "".join(vocab.stoi)
        raise ValueError(f"Not in the vocabulary: {' '.join(map(repr, unknown))}. It has {known}")
    return value
