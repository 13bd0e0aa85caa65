"""A notebook as a learner's hands meet it: its cells, sections and knobs, and what it defines.

For the tests, the benchmarks and `make numbers`, which run parts of a lesson or turn its knobs.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
KNOB = re.compile(r"^(\w+) = ([^#\n]+?)  # try: (.+)$", re.M)


def lessons(folder: str = "") -> list[str]:
    """The lessons' names, as "03_mlp"; with "beyond", the sequels', as "beyond/03_mlp"."""
    paths = sorted((NOTEBOOKS / folder).glob("0[1-6]_*.ipynb"))
    return [str(path.relative_to(NOTEBOOKS).with_suffix("")).replace("\\", "/") for path in paths]


def read(name: str) -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)


def sections(notebook: nbformat.NotebookNode) -> list[list[str]]:
    """The sources of the code cells, a list for each section (`## …`), and one for what stands before."""
    found: list[list[str]] = [[]]
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and cell.source.startswith("## "):
            found.append([])
        elif cell.cell_type == "code":
            found[-1].append(cell.source)
    return [section for section in found if section]


@dataclass(frozen=True)
class Knob:
    """A value that the lesson invites to change: the line `name = value  # try: other, another`."""

    name: str
    line: str
    default: object
    others: tuple

    def turned(self, source: str, value: object) -> str:
        """The source of its cell with another value."""
        comment = self.line.partition("  # try: ")[2]
        return source.replace(self.line, f"{self.name} = {value!r}  # try: {comment}")


def knobs(notebook: nbformat.NotebookNode) -> Iterator[Knob]:
    """The knobs in the order of the cells; raises SyntaxError for values that are not Python."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            for match in KNOB.finditer(cell.source):
                default, others = (eval(text, {"__builtins__": {}}) for text in (match[2], f"({match[3]},)"))
                yield Knob(match[1], match[0], default, others)


def definitions(name: str, **given: object) -> dict:
    """The imports, functions and classes of notebooks/NAME.ipynb, and what it hangs onto its classes.

    Top-level statements only, in the notebook's order, so that a later definition replaces an earlier one
    as it does for the reader; nothing is trained or drawn. `given`: globals that they use.
    """
    path = NOTEBOOKS / f"{name}.ipynb"
    space: dict = {"__name__": name, **given}
    for cell in read(name).cells:
        if cell.cell_type == "code":
            for node in ast.parse(cell.source).body:
                if _is_definition(node, space):
                    exec(compile(ast.Module([node], []), str(path), "exec"), space)
    return space


def _is_definition(node: ast.stmt, space: dict) -> bool:
    if isinstance(node, ast.Assign):  # Value.__add__ = add, but not p.grad = 0.0
        targets = [t for target in node.targets for t in getattr(target, "elts", [target])]
        return all(
            isinstance(t, ast.Attribute)
            and isinstance(t.value, ast.Name)
            and isinstance(space.get(t.value.id), type)
            for t in targets
        )
    return isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef)
