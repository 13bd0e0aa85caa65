"""What a notebook builds, taken out of the notebook itself, for the tests and benchmarks that try it."""

from __future__ import annotations

import ast

import nbformat

from tools.notebooks import ROOT


def definitions(name: str, **given) -> dict:
    """The imports, functions and classes of notebooks/NAME.ipynb, and what it hangs onto its classes.

    Top-level statements only, in the notebook's order, so that a later definition replaces an earlier one
    as it does for the reader; nothing is trained or drawn. `given`: globals that they use.
    """
    path = ROOT / "notebooks" / f"{name}.ipynb"
    space = {"__name__": name, **given}
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            for node in ast.parse(cell.source).body:
                if is_definition(node, space):
                    exec(compile(ast.Module([node], []), str(path), "exec"), space)
    return space


def is_definition(node: ast.stmt, space: dict) -> bool:
    if isinstance(node, ast.Assign):  # Value.__add__ = add, but not p.grad = 0.0
        targets = [t for target in node.targets for t in getattr(target, "elts", [target])]
        return all(
            isinstance(t, ast.Attribute)
            and isinstance(t.value, ast.Name)
            and isinstance(space.get(t.value.id), type)
            for t in targets
        )
    return isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef)
