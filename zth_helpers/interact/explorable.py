"""Explorables: figures that compute in the page, in a notebook and on a page without a kernel.

Each is one plain ES module under `js/`, which exports `draw(el, data)`, the data that Python sends it once,
and a still: the `plots.Figure` of its first state, which stands in the saved notebook. anywidget shows it in
a notebook; `page_html` makes the same figure for a static page, from what the notebook stores under `MIME`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets
from numpy.typing import ArrayLike

from zth_helpers.plots import Figure

MIME = "application/vnd.zth.explorable+json"  # {"module": …, "data": …} in a stored output
FOLDER = Path(__file__).with_name("js")
IMPORT = re.compile(r'^import \{[^}]*\} from "\./kit\.js";\n', re.M)


def source(module: str) -> str:
    """The ES module of that name with the shared kit in it: one text that imports nothing."""
    if not (path := FOLDER / f"{module}.js").is_file():
        known = ", ".join(sorted(p.stem for p in FOLDER.glob("*.js") if p.stem != "kit"))
        raise ValueError(f"there is no explorable {module!r}; there are {known}")
    kit = (FOLDER / "kit.js").read_text(encoding="utf-8")
    return kit + IMPORT.sub("", path.read_text(encoding="utf-8"))


class Explorable(anywidget.AnyWidget):
    """Shows the module `module` with `data`; `still` is its picture and its text where nothing runs.

    Another `data` is shown at once.
    """

    _esm = traitlets.Unicode().tag(sync=True)
    data = traitlets.Dict().tag(sync=True)

    def __init__(self, module: str, data: Mapping[str, Any], still: Figure | None = None):
        self.module, self.still = module, still
        super().__init__(_esm=source(module), data=dict(data))

    def __str__(self) -> str:
        return str(self.still)

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict, dict]:
        shown = super()._repr_mimebundle_(**kwargs)
        widget = shown[0] if isinstance(shown, tuple) else shown or {}
        if self.still is None:  # it will not stay: see `live`
            return widget, {}
        picture, metadata = self.still._repr_mimebundle_()
        return widget | picture | {MIME: {"module": self.module, "data": self.data}}, metadata


def page_html(stored: Mapping[str, Any], modules: str | None = None) -> str:
    """HTML that shows a stored explorable on a page without a kernel, to be pasted anywhere into its body.

    `stored` is what a notebook's output holds under MIME, `modules` the address of a folder with the files of
    `js/`, to be fetched from there; without it the module stands in the HTML, which then fetches nothing.
    """
    module, data = stored["module"], json.dumps(stored["data"], ensure_ascii=False).replace("</", "<\\/")
    place = f"zth-{hashlib.sha1((module + data).encode()).hexdigest()[:10]}"
    code = source(module) if modules is None else f'import {{ draw }} from "{modules}/{module}.js";\n'
    call = f'draw(document.getElementById("{place}"), {data});'
    return f'<div id="{place}"></div>\n<script type="module">\n{code}{call}\n</script>\n'


def pack(values: ArrayLike) -> dict[str, Any]:
    """An array for `unpack` in js/kit.js: 16-bit whole numbers times a scale, to 1/65,000 of the largest."""
    array = np.asarray(values, dtype=np.float64)
    if not np.isfinite(array).all():
        raise ValueError("this network has values that are not finite, so there is nothing to explore")
    scale = float(np.abs(array).max(initial=0.0)) / 32767 or 1.0
    whole = np.round(array / scale).astype("<i2")
    return {"shape": list(array.shape), "scale": scale, "data": base64.b64encode(whole.tobytes()).decode()}


def rounded(values: ArrayLike, digits: int = 6) -> Any:
    """Numbers as (nested) lists of so many significant digits, for data that should stay readable."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim:
        return [rounded(row, digits) for row in array]
    return float(f"{float(array):.{digits}g}")


def letters(vocab: Any) -> list[str]:
    """The characters of a Vocabulary, or of its `itos`, in the order of their numbers."""
    itos = getattr(vocab, "itos", vocab)
    return [itos[i] for i in range(len(itos))]


__all__ = ["FOLDER", "MIME", "Explorable", "letters", "pack", "page_html", "rounded", "source"]
