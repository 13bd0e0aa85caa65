"""Make notebooks/exercises from notebooks/solutions: solutions cut to stubs, outputs dropped, then run.

The markers are nbgrader's (`### BEGIN SOLUTION`, `### END SOLUTION`), so that a class can use nbgrader with
the masters. nbgrader itself is not needed: its preprocessor is a few lines, its dependencies are many.
"""

from __future__ import annotations

import os
import sys

import nbformat

from tools.notebooks import ROOT, normalise, run
from zth_helpers.exercises.exercise import BEGIN, END, STUB

MASTERS, EXERCISES = ROOT / "notebooks" / "solutions", ROOT / "notebooks" / "exercises"


def cut(source: str, where: str) -> str:
    """The source with each marked region replaced by one stub line at the region's indentation.

    Raises ValueError naming `where` for markers that are nested, unbalanced or not at a function's level.
    """
    lines, inside = [], False
    for number, line in enumerate(source.splitlines(), 1):
        marker = line.strip()
        if marker == BEGIN:
            if inside:
                raise ValueError(f"{where}, line {number}: a solution begins inside another")
            inside, indent = True, line[: len(line) - len(line.lstrip())]
            if not indent:
                raise ValueError(f"{where}, line {number}: a solution must stand inside a function")
            lines.append(indent + STUB)
        elif marker == END:
            if not inside:
                raise ValueError(f"{where}, line {number}: a solution ends that never began")
            inside = False
        elif "BEGIN SOLUTION" in line or "END SOLUTION" in line:
            raise ValueError(f"{where}, line {number}: malformed marker {marker!r}")
        elif not inside:
            lines.append(line)
    if inside:
        raise ValueError(f"{where}: a solution begins and never ends")
    return "\n".join(lines)


def make(master: nbformat.NotebookNode, name: str) -> nbformat.NotebookNode:
    """The exercise notebook of a master, not yet run."""
    notebook = normalise(nbformat.from_dict(master))
    count = 0
    for cell in notebook.cells:
        if cell.cell_type == "code":
            count += 1
            cell.source = cut(cell.source, f"{name}, code cell {count}")
            cell.outputs = []
    first = notebook.cells[0]
    first.source = first.source.replace(" · Solutions", " · Exercises", 1)
    return notebook


def main() -> int:
    os.environ["ZTH_QUIET"] = "1"
    EXERCISES.mkdir(exist_ok=True)
    for path in sorted(MASTERS.glob("*.ipynb")):
        target = EXERCISES / path.name
        try:
            nbformat.write(make(nbformat.read(path, as_version=4), path.name), target)
        except ValueError as error:
            print(f"✗ {error}", file=sys.stderr)
            return 1
        run(target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
