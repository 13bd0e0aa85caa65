"""The learner's own copies: `start` puts notebooks into work/, which git ignores; `progress` runs them.

The notebooks of the course stay as they are, so that `git pull` never meets a learner's edits.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from zth_helpers.settings import ROOT


def _lectures(which: str, root: Path = ROOT) -> list[Path]:
    """The notebooks of one lecture ("3" or "03") or of "all": lesson and exercises.

    Raises ValueError that lists what there is.
    """
    lessons = sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    chosen = (
        lessons
        if which == "all"
        else [p for p in lessons if which.isdigit() and int(p.name[:2]) == int(which)]
    )
    if not chosen:
        there = ", ".join(str(int(p.name[:2])) for p in lessons)
        raise ValueError(f"there is no lecture {which!r}; there are {there}, and `all`")
    return [q for p in chosen for q in (p, p.parent / "exercises" / p.name) if q.exists()]


def _ask(path: Path) -> bool:
    """May the file be overwritten? Asks; where nobody can answer, the answer is no."""
    if not sys.stdin.isatty():
        return False
    return input(f"{path} exists. Overwrite your copy? [y/N] ").strip().lower() in ("y", "yes")


def start(which: str, root: Path = ROOT) -> int:
    """Copies the notebooks of a lecture to work/, asking before it overwrites anything."""
    try:
        sources = _lectures(which, root)
    except ValueError as error:
        print(f"✗ {error}", file=sys.stderr)
        return 2
    for source in sources:
        target = root / "work" / source.relative_to(root / "notebooks")
        shown = target.relative_to(root)
        if target.exists() and not _ask(shown):
            print(f"· {shown} is kept as you left it")
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
        print(f"✓ {shown}")
    return 0


def progress(root: Path = ROOT) -> int:
    """Runs the exercise notebooks in work/ (your files are not changed) and shows which are solved."""
    import nbformat
    from nbclient import NotebookClient
    from tqdm import tqdm

    os.environ["ZTH_QUIET"] = "1"
    paths = sorted((root / "work" / "exercises").glob("*.ipynb"))
    if not paths:
        print("· no exercises in work/ yet: python -m zth_helpers start 1")
        return 0
    report = []
    for path in tqdm(paths, desc="running your answers", leave=False):
        verdicts, broken = [], 0
        try:
            notebook = nbformat.read(path, as_version=4)
            NotebookClient(
                notebook, timeout=600, allow_errors=True, resources={"metadata": {"path": str(path.parent)}}
            ).execute()
        except Exception as error:  # an unreadable file or a dead kernel must not hide the other notebooks
            report.append(
                f"{path.stem}: could not be run ({type(error).__name__}: {str(error).splitlines()[0]})"
            )
            continue
        for cell in notebook.cells:
            for output in cell.get("outputs", []):
                broken += output.output_type == "error"
                text = output.get("data", {}).get("text/plain", "").splitlines()
                if ".check(" in cell.source and text and text[0][:1] in "✓✗·":
                    verdicts.append(text[0])
        solved = sum(v.startswith("✓") for v in verdicts)
        cells = f", {broken} cells raise an error" if broken else ""
        report.append(f"{path.stem}: {solved} of {len(verdicts)} solved{cells}")
        report.extend(f"  {verdict}" for verdict in verdicts)
    print("\n".join(report))
    return 0
