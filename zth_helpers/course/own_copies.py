"""The learner's own copies: `start` puts the notebooks of a lesson into work/, which git ignores.

The notebooks of the course stay as they are, so that `git pull` never meets a learner's edits.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

from zth_helpers.settings import ROOT


def lectures(which: str, root: Path = ROOT) -> list[Path]:
    """The notebooks of one lecture ("3", "03", "mlp" or "03_mlp") or of "all": lesson and exercises.

    Raises ValueError that lists what there is.
    """
    lessons = sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    wanted = which.strip().lower().removesuffix(".ipynb")
    chosen = [p for p in lessons if wanted == "all" or wanted in _spellings(p.stem)]
    if not chosen:
        there = ", ".join(f"{int(p.name[:2])} ({p.stem[3:]})" for p in lessons)
        raise ValueError(f"there is no lecture {which!r}; there are {there}, and `all`")
    return [q for p in chosen for q in (p, p.parent / "exercises" / p.name) if q.exists()]


def _spellings(stem: str) -> set[str]:
    number, _, name = stem.partition("_")
    return {stem, number, str(int(number)), name, name.replace("_", " "), name.replace("_", "-")}


def _ask(path: Path) -> bool:
    """May the file be overwritten? Asks; where nobody can answer, the answer is no."""
    if not sys.stdin.isatty():
        return False
    return input(f"{path} exists. Overwrite your copy? [y/N] ").strip().lower() in ("y", "yes")


def start(which: str, root: Path = ROOT) -> int:
    """Copies the notebooks of a lecture to work/, asking before it overwrites anything.

    What they link to is copied along where it is missing, so that the links work there, too.
    """
    try:
        sources = lectures(which, root)
    except ValueError as error:
        print(f"✗ {error}", file=sys.stderr)
        return 2
    for source in sources:
        target = _copy_of(source, root)
        shown = target.relative_to(root)
        if target.exists() and not _ask(shown):
            print(f"· {shown} is kept as you left it")
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
            print(f"✓ {shown}")
    _follow(sources, root)
    first = _copy_of(sources[0], root)
    print(
        f"Open {first.name} in JupyterLab: `make lab` in {root}, then {first.relative_to(root)} in the list "
        f"of files on the left; or from anywhere: jupyter lab {first}"
    )
    return 0


def _copy_of(notebook: Path, root: Path) -> Path:
    return root / "work" / notebook.relative_to(root / "notebooks")


def _follow(sources: list[Path], root: Path) -> None:
    """Copies the notebooks that these link to, and those link to, and so on, where no copy stands yet."""
    todo, seen = list(sources), set(sources)
    while todo:
        for linked in _links(todo.pop(), root):
            if linked not in seen:
                seen.add(linked)
                todo.append(linked)
                if not (target := _copy_of(linked, root)).exists():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(linked, target)


def _links(notebook: Path, root: Path) -> list[Path]:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    found = [
        (notebook.parent / link).resolve() for link in re.findall(r"\]\(([^)#:\s]+\.(?:ipynb|md))", text)
    ]
    return [path for path in found if path.exists() and root / "notebooks" in path.parents]
