"""The lectures' numbers: every lesson with the lecture's list and full steps, into one table.

    python -m benchmarks.lecture_numbers.reproduce                 all lessons and sequels, then the tables
    python -m benchmarks.lecture_numbers.reproduce 02_bigram ...   only those, then the tables
    python -m benchmarks.lecture_numbers.reproduce --collect       only the tables
    python -m benchmarks.lecture_numbers.reproduce --seeds 10 ...  quick runs of ten seeds, on both lists

A copy of each notebook is run, never the notebook; its result is kept in benchmarks/runs/ as soon as it is
done, and used again until the lesson's stored results or torch change. What was recorded before and not run
again stays in the tables. ZTH_NAMES names the list ("lecture" if it is not set). Processor time on one
thread; an hour on a quiet machine.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import nbformat
import torch
from nbclient import NotebookClient
from tqdm import tqdm

from benchmarks.lecture_numbers import report
from tools import lesson
from tools.lesson import ROOT
from zth_helpers.name_lists import load_names

RUNS = ROOT / "benchmarks" / "runs"
FOLDER = ROOT / "benchmarks" / "lecture_numbers"
NOTEBOOKS = (*lesson.lessons(), *lesson.lessons("beyond"))
MEASURES = ("compare(", "recomputed(")


def measuring_cells(
    notebook: nbformat.NotebookNode, measures: tuple[str, ...] = MEASURES
) -> list[nbformat.NotebookNode]:
    """The code cells up to the last measured number, without the interactive figures, which make none."""
    cells = [c for c in notebook.cells if c.cell_type == "code" and "interact." not in c.source]
    measuring = [i for i, cell in enumerate(cells) if any(call in cell.source for call in measures)]
    return cells[: measuring[-1] + 1] if measuring else []


def stored(notebook: nbformat.NotebookNode) -> list[str]:
    """What a lesson's stored outputs say of its numbers and steps, with quick steps and the course's list.

    A changed recipe changes these lines, so they tell whether the full run is still that of this lesson. The
    numbers of a cell that is not compared are those of the author's processor, and are left out.
    """
    return [
        re.sub(r"\d+\.\d+|\d+e-?\d+", "…", line)
        if "nbval-ignore-output" in cell.metadata.get("tags", [])
        else line
        for cell in measuring_cells(notebook)
        for output in cell.outputs
        if any(call in cell.source for call in MEASURES) or "budget(" in cell.source
        for line in output.get("text", "").splitlines()
        if not line.startswith(("✓", "✗"))
    ]


def run(
    name: str,
    notebook: nbformat.NotebookNode,
    settings: dict[str, str],
    measures: tuple[str, ...] = MEASURES,
) -> dict:
    """Executes a copy; gives what it recorded, its seconds, and the cells that failed."""
    cells = measuring_cells(notebook, measures)
    failed: list[dict] = []
    clock, processor = time.perf_counter(), _time_of_children()
    with tempfile.TemporaryDirectory() as folder, tqdm(total=len(cells), desc=name, unit="cell") as bar:
        ledger = Path(folder, "ledger.jsonl")

        def end(cell: nbformat.NotebookNode, cell_index: int, **_: object) -> None:
            bar.update()
            for output in cell.outputs:
                if output.output_type == "error":
                    first = cell.source.partition("\n")[0]
                    failed.append({"cell": first, "error": f"{output.ename}: {output.evalue}"})
                    tqdm.write(f"✗ {name}, the cell {first!r}: {failed[-1]['error']}", file=sys.stderr)

        client = NotebookClient(
            nbformat.from_dict({**notebook, "cells": cells}),
            timeout=None,
            startup_timeout=300,  # a busy machine
            kernel_name="python3",
            allow_errors=True,
            resources={"metadata": {"path": str((lesson.NOTEBOOKS / name).parent)}},
            on_cell_executed=end,
        )
        client.execute(env=os.environ | {"ZTH_QUIET": "1", "ZTH_LEDGER": str(ledger)} | settings)
        written = ledger.read_text(encoding="utf-8") if ledger.exists() else ""
    return {
        "rows": [json.loads(line) for line in written.splitlines()],
        "failed": failed,
        "seconds": round(time.perf_counter() - clock, 1),
        "processor_seconds": round(_time_of_children() - processor, 1),
    }


def seeds(name: str, notebook: nbformat.NotebookNode, count: int, names: str = "shipped") -> dict[str, list]:
    """What the quick run gives with `count` seeds: the lesson's own, that plus 1, plus 2, …

    Of each measured number its values, of each checked claim whether it held.
    """
    found: dict[str, list] = {}
    knobs = [knob for knob in lesson.knobs(notebook) if knob.name == "seed"]
    for shift in range(count if knobs else 0):
        turned = nbformat.from_dict(notebook)
        for knob in knobs:
            for cell in turned.cells:
                cell.source = knob.turned(cell.source, knob.default + shift)
        made = run(f"{name}, seed + {shift}", turned, {"ZTH_NAMES": names}, (*MEASURES, "check("))
        for row in made["rows"]:
            found.setdefault(row["what"], []).append(row["same" if row["kind"] == "check" else "measured"])
    return found


def _time_of_children() -> float:
    """Processor seconds of the kernels that have ended (0 on Windows, which does not say)."""
    return os.times().children_user + os.times().children_system


def load(name: str) -> dict | None:
    path = RUNS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def write(path: Path, data: dict) -> None:
    """Whole or not at all: an interruption leaves no half file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(".half")
    half.write_text(json.dumps(data, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    half.replace(path)


def collect() -> int:
    """numbers.json, numbers.md and the README's table, from the results that are there; how many are off."""
    recorded = report.read_json(FOLDER / "numbers.json")
    runs = {name: result for name in NOTEBOOKS if (result := load(name))}
    before = {name: old for name, old in recorded.get("notebooks", {}).items() if name not in runs}
    kept = ("failed", "seconds", "processor_seconds", "quick", "stored", "date", "torch")
    about = before | {name: {key: result.get(key) for key in kept} for name, result in runs.items()}
    rows = [row for row in recorded.get("numbers", []) if row["notebook"] in before] + [
        {"notebook": name} | {key: row[key] for key in report.KEPT}
        for name, result in runs.items()
        for row in result["rows"]
        if row["kind"] != "check" and not row["other"]
    ]
    claims = [row for result in runs.values() for row in result["rows"] if row["kind"] == "check"]
    seeds_of = {
        name: {
            of: {
                what: told for what, values in measured.items() if (told := report.spread_over_seeds(values))
            }
            for of, measured in found["values"].items()
        }
        for name in NOTEBOOKS
        if (found := load(f"{name}.seeds"))
    }
    data = {
        "date": max((result["date"] for result in about.values()), default=None),
        "torch": sorted({result["torch"] for result in about.values()}),
        "missing": [n for n in NOTEBOOKS if n not in about and measuring_cells(lesson.read(n))],
        "notebooks": {name: about[name] for name in NOTEBOOKS if name in about},
        "numbers": sorted(rows, key=lambda row: NOTEBOOKS.index(row["notebook"])),
        "claims_that_fail": [row["what"] for row in claims if not row["same"]],
        "seeds": recorded.get("seeds", {}) | seeds_of,
    }
    write(FOLDER / "numbers.json", data)
    report.write_numbers(data)
    off = [row for row in rows if not row["same"] and not row["differs"]]
    for row in off:
        print(
            f"✗ {row['notebook']}, {row['what']}: measured {row['measured']}, expected {row['lecture']}. "
            "Look for another seed, a random call more or less before it, another rate, step count or split;"
            " if the lecture's number cannot come out, say why with differs=…"
        )
    for claim in data["claims_that_fail"]:
        print(f"✗ with the lecture's list and full steps this claim does not hold: {claim}")
    return len(off) + len(data["claims_that_fail"])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("notebooks", nargs="*", metavar="NOTEBOOK", choices=[[], *NOTEBOOKS])
    parser.add_argument("--collect", action="store_true", help="run nothing")
    parser.add_argument("--seeds", type=int, metavar="N", help="only quick runs of N seeds, both lists")
    options = parser.parse_args()
    chosen = [] if options.collect else options.notebooks or NOTEBOOKS
    listed = os.environ.get("ZTH_NAMES") or "lecture"
    if chosen and load_names(listed).source != "lecture":
        parser.error(f"ZTH_NAMES={listed} is not the lecture's list, and the numbers are to be the lecture's")
    if listed != "lecture":
        listed = str(Path(listed).expanduser().resolve())  # the notebooks run in another folder
    for name in chosen:
        notebook = lesson.read(name)
        result = f"{name}.seeds" if options.seeds else name
        key = {"stored": stored(notebook), "torch": torch.__version__}
        done = load(result) or {}
        if all(done.get(k) == value for k, value in key.items()) and not done.get("failed"):
            print(f"{result}: done on {done['date']}")
            continue
        if options.seeds:
            lists = {"the course's list": "shipped", "the lecture's list": listed}
            done = {"values": {of: seeds(name, notebook, options.seeds, path) for of, path in lists.items()}}
        else:
            done = run(name, notebook, {"ZTH_NAMES": listed, "ZTH_FULL": "1"})
            quick = run(f"{name}, quick", notebook, {"ZTH_NAMES": listed, "ZTH_FULL": "0"})
            done["quick"] = {k: quick[k] for k in ("seconds", "processor_seconds")}
        write(RUNS / f"{result}.json", done | key | {"date": date.today().isoformat()})
    return 1 if collect() else 0


if __name__ == "__main__":
    sys.exit(main())
