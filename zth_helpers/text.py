"""Numbers and tables as aligned text."""

from __future__ import annotations

from collections.abc import Sequence


def table(header: Sequence[str], rows: Sequence[Sequence], digits: int = 5) -> str:
    """Aligned text: floats with `digits` significant digits, None and nan as a dash, numbers to the right."""

    def cell(value: object) -> str:
        if value is None or value != value:
            return "–"
        return f"{value + 0.0:.{digits}g}" if isinstance(value, float) else str(value)  # + 0.0: never "-0"

    body = [[cell(value) for value in row] for row in rows]
    columns = list(zip(*[list(header), *body])) if body else [(h,) for h in header]
    widths = [max(map(len, column)) for column in columns]
    right = [
        bool(rows) and all(row[i] is None or isinstance(row[i], int | float) for row in rows)
        for i in range(len(widths))
    ]
    return "\n".join(
        "  ".join(v.rjust(w) if r else v.ljust(w) for v, w, r in zip(line, widths, right)).rstrip()
        for line in [list(header), *body]
    )


def number(value: object, digits: int = 4) -> str:
    """A number, text or (nested) list of them, as the lessons print it: 228,146 · 2.4540 · 9.31e-10."""
    if isinstance(value, list | tuple):
        return ", ".join(number(item, digits) for item in value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.2e}" if 0 < abs(value) < 1e-3 else f"{value:.{digits}f}"
