"""Every figure of the course: data in, `Figure` out, each with a text twin (see `figure.py`)."""

from zth_helpers.plots.figure import Figure, table

__all__ = ["Figure", "table"]
