"""The folder work/: the learner's own copies of all notebooks, with a welcome page that leads to them.

Git ignores the folder, so a learner's work and `git pull` never meet. `make lab` calls `lay_out` each time.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
from collections.abc import Mapping
from datetime import date
from pathlib import Path

from zth_helpers.course import progress
from zth_helpers.settings import ROOT

RECORD = ".copied.json"  # {notebook: digest of the version of the course that was copied}
SOLVED = re.compile(r"\[(\d+) exercises\]\(exercises/(\w+)\.ipynb\)")


def lay_out(root: Path = ROOT) -> list[str]:
    """Copies what is missing, renews copies that were not edited, and gives lines that say so.

    An edited copy is never touched: where the course has a newer version of it, the line says how to get it.
    Raises OSError when the folder cannot be written.
    """
    record = _read_record(root)
    copied: list[str] = []
    renewed: list[str] = []
    waiting: list[str] = []
    for name, source in _notebooks(root).items():
        target, new = root / "work" / name, _digest(source)
        mine = _digest(target)
        if not target.exists() or (mine == record.get(name) and mine != new):
            (renewed if target.exists() else copied).append(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
            record[name] = new
        elif mine == new:
            record[name] = new
        elif record.get(name) != new:
            waiting.append(name)
    _write_record(root, record)
    lines = [f"✓ {len(copied)} notebooks copied to work/, yours to edit"] if copied else []
    lines += [f"✓ work/{name} is the course's new version (you had not edited it)" for name in renewed]
    lines += [
        f"· work/{name} is kept as you left it; the course has a newer one: "
        f"python -m zth_helpers update {name.removesuffix('.ipynb')}"
        for name in waiting
    ]
    return lines


def update(which: str, root: Path = ROOT) -> list[str]:
    """Puts the course's version of `which`, such as "03_mlp" or "exercises/03_mlp", into work/.

    The learner's goes to work/earlier/, with the date in its name. Raises ValueError for a name that is none.
    """
    name = which.removeprefix("work/").removesuffix(".ipynb") + ".ipynb"
    sources = _notebooks(root)
    if name not in sources:
        there = ", ".join(n.removesuffix(".ipynb") for n in sources)
        raise ValueError(f"there is no notebook {which!r}; there are {there}")
    target, record, lines = root / "work" / name, _read_record(root), []
    if target.exists():
        kept = _free_name(root / "work" / "earlier" / name)
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(target, kept)
        lines.append(f"✓ yours is {kept.relative_to(root)} now")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(sources[name], target)
    _write_record(root, record | {name: _digest(sources[name])})
    return [*lines, f"✓ work/{name} is the course's version"]


def start(which: str, root: Path = ROOT) -> int:
    """Lays out work/ and says which of its notebooks to open for a lecture; 2 for no such lecture."""
    try:
        chosen = progress.lectures(which, root)
    except ValueError as error:
        print(f"✗ {error}", file=sys.stderr)
        return 2
    if failed := main(root=root):
        return failed
    mine = [root / "work" / path.relative_to(root / "notebooks") for path in chosen]
    print("Yours to edit, kept when the course is updated:", *(f"  {path}" for path in mine), sep="\n")
    print(
        f"Open them with `make lab` in {root}, or from anywhere with `jupyter lab` and the path.\n"
        f"For a fresh copy (yours is kept aside): python -m zth_helpers update {chosen[0].stem}"
    )
    return 0


def write_welcome(solved: Mapping[str, int], root: Path = ROOT) -> Path:
    """work/welcome.md: the course's welcome page, with how many exercises of each lesson are solved.

    solved: {lesson: count}, such as {"03_mlp": 4}.
    """

    def count(found: re.Match) -> str:
        there, name = found.groups()
        return f"[{solved.get(name, 0)} of {there} solved](exercises/{name}.ipynb)"

    page = (root / "notebooks" / "welcome.md").read_text(encoding="utf-8")
    target = root / "work" / "welcome.md"
    target.parent.mkdir(exist_ok=True)
    target.write_text(SOLVED.sub(count, page), encoding="utf-8")
    return target


def main(which: str | None = None, root: Path = ROOT) -> int:
    """The commands `copies` and `update`; 1, and a line that says why, where the folder cannot be written."""
    try:
        lines = lay_out(root) if which is None else update(which, root)
        write_welcome(progress.solved(root), root)
    except (OSError, ValueError) as error:
        print(f"✗ {error}", file=sys.stderr)
        return 1
    print("\n".join(lines), end="\n" if lines else "")
    return 0


def _notebooks(root: Path) -> dict[str, Path]:
    """{path below notebooks/: file} of all that a learner works in."""
    folder = root / "notebooks"
    found = [path for part in ("", "beyond", "exercises") for path in sorted((folder / part).glob("*.ipynb"))]
    return {path.relative_to(folder).as_posix(): path for path in found}


def _digest(path: Path) -> str | None:
    """Of what one types into a notebook, since running it changes only outputs; None if it cannot be read."""
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        typed = [(cell["cell_type"], "".join(cell["source"])) for cell in cells]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return hashlib.sha256(json.dumps(typed).encode()).hexdigest()


def _read_record(root: Path) -> dict[str, str | None]:
    try:
        return json.loads((root / "work" / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _write_record(root: Path, record: Mapping[str, str | None]) -> None:
    (root / "work").mkdir(exist_ok=True)
    (root / "work" / RECORD).write_text(json.dumps(record, indent=1, sort_keys=True), encoding="utf-8")


def _free_name(path: Path) -> Path:
    stem = f"{path.stem} {date.today()}"
    names = (path.with_name(f"{stem}{f' {i}' if i else ''}{path.suffix}") for i in range(10_000))
    return next(name for name in names if not name.exists())
