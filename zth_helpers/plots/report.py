"""A Monitor's findings and figures as one HTML page, to keep or to send."""

from __future__ import annotations

import base64
import html
from os import PathLike
from pathlib import Path
from typing import Literal

from zth_helpers.monitor import Monitor, diagnose
from zth_helpers.plots.dashboard import dashboard
from zth_helpers.plots.figure import INK, PAPER
from zth_helpers.plots.training import statistics_heatmap

STYLE = (
    f"body {{ font: 15px sans-serif; color: {INK}; background: {PAPER}; width: 1060px; margin: 2em auto }}"
)


def save_report(
    mon: Monitor,
    path: str | PathLike,
    vocab_size: int | Literal["auto"] | None = "auto",
    title: str = "Monitor",
) -> None:
    """Writes the page, with its pictures inside and their numbers as text; vocab_size as for `diagnose`.

    Raises OSError, and ValueError when the Monitor has no sample yet.
    """
    findings = diagnose(mon, vocab_size)
    parts = [f"<h1>{html.escape(title)}</h1><p>{html.escape(repr(mon))}</p>"]
    parts.append(f"<pre>{html.escape(str(findings))}</pre>")
    for figure in (dashboard(mon), statistics_heatmap(mon)):
        picture = base64.b64encode(figure.png()).decode()
        text = html.escape(str(figure))
        size = f'width="{round(figure.get_figwidth() * 100)}" alt="{text.splitlines()[0]}"'
        parts.append(f'<img {size} src="data:image/png;base64,{picture}">')
        parts.append(f"<details><summary>the numbers</summary><pre>{text}</pre></details>")
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{STYLE}</style>'
    page = f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>\n'
    Path(path).write_text(page, encoding="utf-8")
