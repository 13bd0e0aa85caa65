"""All speeds in turn, into results.md, results.json and the README's table: `make bench`, about 20 minutes.

    python -m benchmarks.speed.bench                    everything; let nothing else run meanwhile
    python -m benchmarks.speed.bench engine windows     only those; the others stay as they were
    python -m benchmarks.speed.bench --tiny             all for a moment, to see that it works; writes nothing

The time to the lecture's loss is measured with the list in ZTH_NAMES, all else with the course's own.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import torch
from tqdm import tqdm

from benchmarks.lecture_numbers.report import between, read_json
from benchmarks.speed import (
    engine,
    explorables,
    live,
    monitor,
    sampling,
    time_to_loss,
    verdict,
    windows,
)
from tools.notebooks import ROOT

FOLDER = ROOT / "benchmarks" / "speed"


def notebooks() -> list[dict]:
    """Processor seconds of each notebook, as `make numbers` has measured them."""
    runs = read_json(ROOT / "benchmarks" / "lecture_numbers" / "numbers.json").get("notebooks", {})
    return [
        {"notebook": name, "quick_s": run["quick"]["processor_seconds"], "full_s": run["processor_seconds"]}
        for name, run in runs.items()
        if "quick" in run
    ]


def notebooks_table(rows: list[dict]) -> str:
    lines = ["| up to its last comparison | quick | full | ratio |", "|---|--:|--:|--:|"]
    for row in rows:
        ratio = row["full_s"] / row["quick_s"]
        lines.append(
            f"| {row['notebook']} | {row['quick_s']:,.0f} s | {row['full_s']:,.0f} s | ×{ratio:.1f} |"
        )
    return "\n".join(lines)


# part -> title, measure, the same for a moment, table
PARTS: dict[str, tuple[str, Callable, Callable, Callable]] = {
    "engine": (
        "micrograd's engines, and time per operation as graphs grow",
        lambda: engine.measure(5),
        lambda: engine.measure(1, (100, 1_000)),
        lambda rows: engine.table(*rows),
    ),
    "windows": (
        "Context windows: the loop against vectorised",
        windows.measure,
        lambda: windows.measure({1: 1}),
        windows.table,
    ),
    "sampling": (
        "Sampling names: one at a time against in a batch",
        sampling.measure,
        lambda: sampling.measure(1, 500, 5_000),
        sampling.table,
    ),
    "monitor": (
        "What watching costs: Monitor, the lecture's line, TensorBoard, wandb",
        lambda: monitor.measure(24),
        lambda: monitor.measure(1),
        monitor.table,
    ),
    "verdict": (
        "Sick and healthy networks: what Monitor with diagnose finds, and what others find",
        verdict.measure,
        lambda: verdict.measure(seeds=1),
        verdict.table,
    ),
    "live": ("What seeing it live costs", lambda: live.measure(3), lambda: live.measure(1, 200), live.table),
    "explorables": (
        "Explorables: frames while a slider is dragged, and bytes of JavaScript",
        explorables.measure,
        lambda: explorables.measure(10),
        explorables.table,
    ),
    "loss": (
        "Time to the lecture's dev loss, and the lowest in 120 seconds",
        time_to_loss.measure,
        lambda: [time_to_loss.lowest(1, 5.0) | {"threads": 1, "list": None}],
        time_to_loss.table,
    ),
    "notebooks": ("Whole notebooks, quick against full", notebooks, notebooks, notebooks_table),
}


# A step with a Monitor that takes a sample often, against the bare step: at most so much.
TARGETS = {"Monitor, every=10": 1.08, "Monitor, every=1": 1.5, "Monitor(module), every=1": 1.9}


def short(found: dict) -> list[tuple[str, str, str, bool]]:
    """The rows of the README: what, measured, target, met."""
    rows = []

    def ratio(what: str, value: float, target: float, at_most: bool = False, digits: int = 0) -> None:
        met = value <= target if at_most else value >= target
        rows.append((what, f"×{value:.{digits}f}", f"{'≤' if at_most else '≥'} ×{target:g}", met))

    def one_thread(part: str) -> list[dict]:
        return [row for row in found.get(part, []) if row["threads"] == 1]

    if "engine" in found:
        for row in found["engine"][0]:
            if row["engine"] == "and whole sums":
                what = f"micrograd engine against the lecture's, Python's garbage collector {row['gc']}"
                ratio(what, row["ratio"], 12, digits=1)
    for row in one_thread("windows"):
        ratio(f"context windows of {row['names']:,} names", row["ratio"], 50)
    by_name = {row["name"]: row["ratio"] for row in one_thread("monitor")}
    for name, value in by_name.items():
        if name in ("Monitor, every=100", "Monitor(module), every=100"):
            ratio(f"`{name}`, a step against bare", value, 1.03, True, 3)
        elif name in TARGETS:
            ratio(f"`{name}`", value, TARGETS[name], True, 2)
        elif name.startswith(("the lecture's line", "TensorBoard", "wandb")):
            rows.append((f"for comparison: {name}", f"×{value:.2f}", "", True))
    for row in one_thread("live")[-1:]:
        ratio("`live`, a whole run against bare", row["ratio"], 1.1, True, 2)
    for row in one_thread("sampling"):
        ratio("names in a batch against one at a time", row["ratio"], 100)
    for row in found.get("loss", []):
        if "ratio" not in row:
            met = row["dev"] <= row["dev_target"]
            rows.append((row["what"], f"{row['dev']:.4f}", f"≤ {row['dev_target']}", met))
        elif row["threads"] == 2:  # as their targets are set
            ratio(f"{row['what']}, sooner", row["ratio"], row["ratio_target"])
    return rows


def write(results: dict) -> None:
    """results.json, results.md and the README's short table."""
    made = "\n".join(f"- {key}: {value}" for key, value in results["machine"].items())
    pages = ["# How fast it is", "Written by `make bench`; do not edit.", made]
    for part, (title, *_) in PARTS.items():
        if part in results["tables"]:
            pages += [f"## {title}", results["tables"][part]]
    text = json.dumps(results, ensure_ascii=False, indent=1)
    (FOLDER / "results.json").write_text(text + "\n", encoding="utf-8")
    (FOLDER / "results.md").write_text("\n\n".join(pages) + "\n", encoding="utf-8")
    lines = ["| how fast | measured | target | |", "|---|--:|--:|---|"]
    lines += [
        f"| {what} | {value} | {target} | {'' if not target else '✓' if met else '✗ missed'} |"
        for what, value, target, met in short(results["found"])
    ]
    between(
        "bench",
        "\n".join([*lines, "", "All of it: [benchmarks/speed/results.md](benchmarks/speed/results.md)."]),
    )


def processor() -> str:
    """Its name, from the system where that knows more than Python does."""
    if sys.platform == "darwin":
        asked = subprocess.run(["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True)
        return asked.stdout.strip()
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    named = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", choices=[[], *PARTS])
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    results = read_json(FOLDER / "results.json") or {"found": {}, "tables": {}}
    results["machine"] = {
        "processor": f"{processor()}, {os.cpu_count()} cores",
        "Python": platform.python_version(),
        "torch": torch.__version__,
        "date": date.today().isoformat(),
    }
    started = time.perf_counter()
    for part in (bar := tqdm(options.parts or list(PARTS), desc="bench", unit="part")):
        title, measure, tiny, table = PARTS[part]
        bar.set_postfix_str(part)
        torch.set_num_threads(1)  # those that use two say so themselves
        found = (tiny if options.tiny else measure)()
        if options.tiny:
            tqdm.write(f"{part} works: {json.dumps(found)[:100]}")
        elif found:
            results["found"][part] = found
            results["tables"][part] = table(found)  # as text: rows of an older form stay readable
            if not options.parts:
                results["machine"]["minutes"] = round((time.perf_counter() - started) / 60, 1)
            write(results)  # after each: an interruption loses one
            tqdm.write(f"\n{title}\n\n{results['tables'][part]}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
