"""Helpers for the course: they load names, draw, watch a network and check answers.

    from zth_helpers import Monitor, diagnose, live, draw_dot, load_names

Nothing is imported before it is asked for: `Monitor` and `diagnose` need torch and numpy alone.
"""

from importlib import import_module
from typing import Any

__version__ = "1.1.0"

_HOMES = {
    "Monitor": "monitor",
    "diagnose": "monitor",
    "live": "screen",
    "draw_dot": "graph",
    "load_names": "name_lists",
    "progress": "settings",
    "budget": "course.lecture_numbers",
    "check": "course.lecture_numbers",
    "compare": "course.lecture_numbers",
    "recomputed": "course.lecture_numbers",
}
__all__ = [
    "Monitor",
    "budget",
    "check",
    "compare",
    "diagnose",
    "draw_dot",
    "live",
    "load_names",
    "progress",
    "recomputed",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
