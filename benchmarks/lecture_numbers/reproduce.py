"""The lectures' numbers: every notebook with the lecture's list and full steps, into one table.

    python -m benchmarks.lecture_numbers.reproduce                  all notebooks, then numbers.json, numbers.md, README.md
    python -m benchmarks.lecture_numbers.reproduce 02_bigram ...    only those (the table is made of all that are there)
    python -m benchmarks.lecture_numbers.reproduce --collect        only write the tables, from the runs that are there
    python -m benchmarks.lecture_numbers.reproduce --seeds 10       the final losses from ten seeds (quick steps, own list)

A copy of each notebook is run, never the notebook; its result is kept in benchmarks/runs/ as soon as it is
done, and used again until the notebook's code, the list, torch or the package's version changes. ZTH_NAMES
names the list ("lecture" if it is not set). Processor time on one thread; an hour on a quiet machine.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import sys
import tempfile
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path

import nbformat
import torch
from nbclient import NotebookClient
from tqdm import tqdm

from benchmarks import prefixes, report, seeds
from tools.notebooks import ROOT
from zth_helpers import names

NOTEBOOKS = (
    "01_micrograd",
    "02_bigram",
    "05_backprop_ninja",
    "03_mlp",
    "04_batchnorm",
    "06_wavenet",
)  # fast first
RUNS = ROOT / "benchmarks" / "runs"
# A number that is off must not lose those behind it in its cell: the ledger has noted it before it raises.
LENIENT = """\
from zth_helpers import ledger
def lenient(*numbers, strict=ledger.compare, **options):
    try:
        strict(*numbers, **options)
    except AssertionError as error:
        print(error)
ledger.compare = lenient
"""


def measuring_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """The code cells up to the last comparison, without controls: those show numbers and make none."""
    cells = [
        cell
        for cell in notebook.cells
        if cell.cell_type == "code"
        and not any(isinstance(n, ast.Name) and n.id == "interact" for n in ast.walk(ast.parse(cell.source)))
    ]
    compares = [i for i, cell in enumerate(cells) if "compare(" in cell.source or "lecture=" in cell.source]
    return cells[: compares[-1] + 1] if compares else []


def key(notebook: nbformat.NotebookNode) -> str:
    """A hash of all that a notebook's numbers come from: its code without imports, comments and controls, the
    list, torch and the package. Raises SyntaxError where a cell is not plain Python."""
    code = [
        ast.dump(statement)
        for cell in measuring_cells(notebook)
        for statement in ast.parse(cell.source).body
        if not isinstance(statement, ast.Import | ast.ImportFrom)
    ]
    made_of = [*code, name_lists.LECTURE_SHA256, torch.__version__, version("zth-helpers")]
    return names.sha256("\n".join(made_of).encode())


def run(name: str, notebook: nbformat.NotebookNode, listed: str, full: bool = True) -> dict:
    """Executes a copy, with full or quick steps.

    Gives the ledger's rows, seconds (of the clock and the processor), and the cells that failed.
    """
    cells = [nbformat.v4.new_code_cell(LENIENT), *measuring_cells(notebook)]
    started, clock, failed, slow = {}, time.perf_counter(), [], {}
    with tempfile.TemporaryDirectory() as folder, tqdm(total=len(cells), desc=name, unit="cell") as bar:
        ledger = Path(folder, "ledger.jsonl")

        def begin(cell, cell_index, **_):
            started[cell_index] = time.perf_counter()
            bar.set_postfix_str(cell.source.partition("\n")[0][:50])

        def end(cell, cell_index, **_):
            bar.update()
            seconds, first = time.perf_counter() - started[cell_index], cell.source.partition("\n")[0]
            if seconds > 10:
                slow[first] = round(seconds, 1)
            for output in cell.outputs:
                if output.output_type == "error":
                    failed.append({"cell": first, "error": f"{output.ename}: {output.evalue}"})
                    tqdm.write(f"✗ {name}, the cell {first!r}: {failed[-1]['error']}", file=sys.stderr)

        processor = time_of_children()
        client = NotebookClient(
            nbformat.from_dict({**notebook, "cells": cells}),
            timeout=None,
            startup_timeout=300,  # a busy machine
            kernel_name="python3",
            allow_errors=True,
            resources={"metadata": {"path": str(ROOT / "notebooks")}},
            on_cell_start=begin,
            on_cell_executed=end,
        )
        given = {"ZTH_NAMES": listed, "ZTH_FULL": str(int(full)), "ZTH_QUIET": "1", "ZTH_LEDGER": str(ledger)}
        client.execute(env=os.environ | given)
        written = ledger.read_text(encoding="utf-8") if ledger.exists() else ""
        rows = [json.loads(line) for line in written.splitlines()]
    return {
        "notebook": name,
        "rows": rows,
        "failed": failed,
        "seconds": round(time.perf_counter() - clock, 1),
        "processor_seconds": round(time_of_children() - processor, 1),
        "seconds_of_slow_cells": slow,
        "date": date.today().isoformat(),
        "torch": torch.__version__,
        "threads": 1,  # set in each notebook's first cell
    }


def time_of_children() -> float:
    """Processor seconds of the kernels that have ended (0 on Windows, which does not say)."""
    return os.times().children_user + os.times().children_system


def load(name: str) -> dict | None:
    path = RUNS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def write(path: Path, data: dict) -> None:
    """Whole or not at all: an interruption leaves no half file."""
    path.parent.mkdir(exist_ok=True)
    half = path.with_suffix(".half")
    half.write_text(json.dumps(data, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    half.replace(path)


def read(name: str) -> nbformat.NotebookNode:
    return nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)


def collect() -> int:
    """numbers.json, prefixes.json and both tables from the results that are there; how many rows are off."""
    runs = {name: result for name in sorted(NOTEBOOKS) if (result := load(name))}
    for name, result in runs.items():
        result["current"] = result["key"] == key(read(name))
    rows = [report.number(name, row) for name, result in runs.items() for row in report.split(result["rows"])]
    data = {
        "date": max((result["date"] for result in runs.values()), default=None),
        "torch": sorted({result["torch"] for result in runs.values()}),
        "threads": 1,
        "missing": [name for name in sorted(NOTEBOOKS) if name not in runs],
        "notebooks": {
            name: {k: v for k, v in result.items() if k not in ("rows", "prefixes", "notebook")}
            for name, result in runs.items()
        },
        "numbers": rows,
        "seeds": {name: found for name in sorted(NOTEBOOKS) if (found := load(f"{name}.seeds"))},
    }
    write(ROOT / "benchmarks" / "numbers.json", data)
    report.write_numbers(data)
    for name, result in runs.items():
        if result["current"] and "prefixes" not in result:
            result["prefixes"] = prefixes.record(name, read(name))
            write(RUNS / f"{name}.json", {k: v for k, v in result.items() if k != "current"})
    recorded = {name: result["prefixes"] for name, result in runs.items() if "prefixes" in result}
    write(ROOT / "benchmarks" / "prefixes.json", recorded)
    return sum(not row["same"] and not row["why"] for row in rows)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("notebooks", nargs="*", metavar="NOTEBOOK", choices=[[], *NOTEBOOKS])
    parser.add_argument("--collect", action="store_true", help="run nothing")
    parser.add_argument("--seeds", type=int, metavar="N", help="only the losses of N seeds, quick, own list")
    options = parser.parse_args()
    chosen = [] if options.collect else options.notebooks or NOTEBOOKS
    listed = os.environ.get("ZTH_NAMES") or "lecture"
    if chosen and not options.seeds and name_lists.load_names(listed) and names.source != "lecture":
        parser.error(f"ZTH_NAMES={listed} is not the lecture's list, and the numbers are to be the lecture's")
    if listed != "lecture":
        listed = str(Path(listed).expanduser().resolve())  # the notebooks run in another folder
    for name in chosen:
        notebook = read(name)
        result = f"{name}.seeds" if options.seeds else name
        done = load(result) or {}
        if done.get("key") == key(notebook) and not done.get("failed"):
            print(f"{result}: done on {done['date']}")
        elif options.seeds:
            found = seeds.losses(name, notebook, options.seeds)
            done = {"key": key(notebook), "date": date.today().isoformat(), "values": found}
            write(RUNS / f"{result}.json", done)
        else:
            done = run(name, notebook, listed) | {"key": key(notebook)}
            write(RUNS / f"{result}.json", done)
        if not options.seeds and "quick" not in done:  # the same cells with quick steps, for their time alone
            quick = run(f"{name}, quick", notebook, listed, full=False)
            done["quick"] = {k: quick[k] for k in ("seconds", "processor_seconds")}
            write(RUNS / f"{result}.json", done)
    unexplained = collect()
    if unexplained:
        print(f"✗ {unexplained} numbers differ from the lecture's, and nothing says why: see numbers.md")
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
