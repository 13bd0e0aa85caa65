"""Run notebooks in place and normalise them, so that what is stored is what a fresh run prints.

    python tools/notebooks.py            all notebooks
    python tools/notebooks.py PATH ...   those
    python tools/notebooks.py --figs     only write the tagged pictures of the stored outputs to figs/

A notebook that raises is left as it was, and the cell and its error are shown.
"""

from __future__ import annotations

import argparse
import base64
import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("notebooks", "notebooks/beyond", "notebooks/solutions", "notebooks/exercises")
KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
KEPT_CELL_METADATA = ("tags", "nbgrader")


def all_notebooks() -> list[Path]:
    return [path for folder in FOLDERS for path in sorted((ROOT / folder).glob("*.ipynb"))]


def normalise(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Keeps only what a reader sees: no timestamps, no widget ids, counts 1..n, streams joined."""
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNELSPEC, "language_info": {"name": "python"}})
    count = 0
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict(
            {k: v for k, v in cell.metadata.items() if k in KEPT_CELL_METADATA}
        )
        if cell.cell_type != "code":
            continue
        count += 1
        cell.execution_count = count
        outputs: list = []
        for output in cell.outputs:
            output.pop("transient", None)
            if output.output_type in ("display_data", "execute_result"):
                shown = output.metadata.get("image/png", {})
                kept = {k: shown[k] for k in ("width", "alt") if k in shown}
                output.metadata = {"image/png": kept} if kept else {}
                # A widget's id is random and dies with its kernel; its static picture stays.
                output.data.pop("application/vnd.jupyter.widget-view+json", None)
            if output.output_type == "execute_result":
                output.execution_count = count
            if (
                output.output_type == "stream"
                and outputs
                and outputs[-1].output_type == "stream"
                and outputs[-1].name == output.name
            ):
                outputs[-1].text += output.text
            else:
                outputs.append(output)
        cell.outputs = outputs
    return notebook


def run(path: Path, root: Path = ROOT) -> None:
    """Executes one notebook in its own folder and kernel and writes it back, normalised."""
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    bar = tqdm(total=len(code), desc=str(path.relative_to(root)), unit="cell")
    client = NotebookClient(
        notebook,
        timeout=1200,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(path.parent)}},
        on_cell_executed=lambda **_: bar.update(),
    )
    try:
        client.execute()
    finally:
        bar.close()
    nbformat.write(normalise(notebook), path)


def save_figures(path: Path, folder: Path = ROOT / "figs") -> list[Path]:
    """Writes the last picture of each cell tagged `fig:NAME` to figs/NAME.png (or .svg)."""
    written = []
    for cell in nbformat.read(path, as_version=4).cells:
        names = [t.removeprefix("fig:") for t in cell.metadata.get("tags", []) if t.startswith("fig:")]
        if not names:
            continue
        pictures = [
            (kind, output.data[mime])
            for output in cell.get("outputs", [])
            if "data" in output
            for mime, kind in (("image/png", "png"), ("image/svg+xml", "svg"))
            if mime in output.data
        ]
        if not pictures:
            raise SystemExit(f"{path.name}: the cell tagged fig:{names[0]} stores no picture: make notebooks")
        kind, data = pictures[-1]
        target = folder / f"{names[0]}.{kind}"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(base64.b64decode(data) if kind == "png" else data.encode())
        written.append(target)
    return written


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("paths", nargs="*", type=Path)
    parser.add_argument("--figs", action="store_true")
    options = parser.parse_args()
    os.environ["ZTH_QUIET"] = "1"  # no progress bars in stored outputs
    failed = []
    for path in [p.resolve() for p in options.paths] or all_notebooks():
        try:
            if not options.figs:
                run(path)
            if path.parent == ROOT / "notebooks":
                save_figures(path)
        except CellExecutionError as error:
            failed.append(path.name)
            print(f"\n{path.name} was left as it was; this cell failed:\n{error}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
