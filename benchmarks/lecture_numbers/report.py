"""Tables of the measured numbers and speeds, in Markdown, whole under benchmarks/ and short in the README."""

from __future__ import annotations

import json
import re
import statistics
from pathlib import Path

from tools.notebooks import ROOT
from zth_helpers.course.lecture_numbers import agree, difference, show

# What the README shows: the losses that the lectures end with, and a few numbers that hang on every detail.
SHORT = {
    "01_micrograd": ["neuron: o = tanh n", "moons: last loss", "moons: last accuracy, %"],
    "02_bigram": ["pairs", "NLL of all names", "NLL of all names, +1", "loss of emma"],
    "03_mlp": [
        "train examples",
        "first loss on the first five names",
        "embedding 10, hidden 200, train loss",
        "embedding 10, hidden 200, dev loss",
        "3-character counts +.1, dev loss",
    ],
    "04_batchnorm": [
        "first loss, original",
        "original, dev loss",
        "Kaiming, dev loss",
        "running stats, train loss",
        "running stats, dev loss",
        "first loss, 6 layers",
        "6 layers, 1,001 steps, dev",
    ],
    "05_backprop_ninja": ["train loss", "dev loss"],
    "06_wavenet": [
        "3 characters, hidden 200: dev",
        "8 characters, flat: dev",
        "BN fixed: dev",
        "embedding 24, hidden 128: parameters",
        "embedding 24, hidden 128: train",
        "embedding 24, hidden 128: dev",
    ],
}
ROUNDED = "the lecture's number is rounded"


def split(rows: list[dict]) -> list[dict]:
    """A row for each value of the ledger's rows that compare several, called `what [1]`, `what [2]`, …"""
    single = []
    for row in rows:
        ours, theirs = row["measured"], row["lecture"]
        if not isinstance(ours, list):
            single.append(row)
            continue
        for i, (a, b) in enumerate(zip(ours, theirs), 1):
            same = agree(row["what"], a, b, row["tol"])
            what, delta = f"{row['what']} [{i}]", difference(a, b)
            single.append(
                row | {"what": what, "measured": a, "lecture": b, "difference": delta, "same": same}
            )
    return single


def number(notebook: str, row: dict) -> dict:
    """A row of numbers.json: why a number differs, where it does."""
    kept = {k: row[k] for k in ("what", "lecture", "measured", "difference", "same")}
    return {"notebook": notebook} | kept | {"why": row["differs"] if not row["same"] else None}


def line(row: dict) -> str:
    digits = 4
    if isinstance(row["lecture"], float) and "e" not in repr(row["lecture"]):
        digits = max(4, min(6, len(repr(row["lecture"]).partition(".")[2])))
    lecture, measured = show(row["lecture"], digits), show(row["measured"], digits)
    if row["difference"] is None:
        delta = ""
    elif row["difference"] == 0:
        delta = "0"
    elif isinstance(row["difference"], int):
        delta = f"{row['difference']:+,}"
    else:
        delta = (
            f"{row['difference']:+.1e}"
            if abs(row["difference"]) < 10**-digits
            else f"{row['difference']:+.{digits}f}"
        )
    verdict = "✓" if row["same"] else row["why"] or "✗ **not explained**"
    what = row["what"].replace("|", r"\|")
    return f"| {row['notebook'][:2]} | {what} | {lecture} | {measured} | {delta} | {verdict} |"


HEADER = "| | what | lecture | measured | difference | |\n|---|---|--:|--:|--:|---|"


def write_numbers(data: dict) -> None:
    """benchmarks/numbers.md, whole, and the README's short form; both say which notebooks are missing."""
    rows, same = data["numbers"], sum(row["same"] for row in data["numbers"])
    other = [row for row in rows if not row["same"]]
    hours = sum(run["processor_seconds"] or run["seconds"] for run in data["notebooks"].values()) / 3600
    summary = (
        f"{len(rows)} numbers of the lectures, {same} the same (counts exactly, decimals to the tolerance of "
        f"their comparison, most often .5%), {len(other)} not. With the lecture's list and full steps, torch "
        f"{', '.join(data['torch'])}, one thread, {hours:.1f} h of processor time, {data['date']}."
    )
    if data["missing"]:
        summary += f"\n\n**Not measured yet:** {', '.join(data['missing'])}."
    for name, run in data["notebooks"].items():
        if not run["current"]:
            summary += f"\n\n**{name} has changed since it was measured:** `make numbers` measures it again."
        for failure in run["failed"]:
            summary += (
                f"\n\n**A cell of {name} failed** (`{failure['cell']}`): {failure['error'].splitlines()[0]}"
            )
    seconds = ["| notebook | clock | processor | |", "|---|--:|--:|---|"] + [
        f"| {name} | {run['seconds']:,.0f} s | {run['processor_seconds']:,.0f} s | {run['date']} |"
        for name, run in data["notebooks"].items()
    ]
    whole = ["# The lectures' numbers, measured", summary, "\n".join([HEADER, *map(line, rows)])]
    whole += [seeds_table(data["seeds"])] if data["seeds"] else []
    whole += ["## Seconds of each run", "\n".join(seconds), "Written by `make numbers`; do not edit."]
    (ROOT / "benchmarks" / "numbers.md").write_text("\n\n".join(whole) + "\n", encoding="utf-8")
    chosen = [row for row in rows if row["what"] in SHORT[row["notebook"]]]
    between("numbers", f"{summary}\n\n" + "\n".join([HEADER, *map(line, chosen)]))


def seeds_table(seeds: dict) -> str:
    text = "## What is normal: the quick recipes with the course's own list, other seeds\n\n"
    text += "| | what | seeds | mean | std | lowest | highest |\n|---|---|--:|--:|--:|--:|--:|"
    for name, found in seeds.items():
        for what, values in found["values"].items():
            mean, std = statistics.mean(values), statistics.stdev(values)
            numbers = " | ".join(f"{x:.4f}" for x in (mean, std, min(values), max(values)))
            text += f"\n| {name[:2]} | {what} | {len(values)} | {numbers} |"
    return text


def between(marker: str, text: str, path: Path = ROOT / "README.md") -> None:
    """Puts text between <!-- marker --> and <!-- /marker --> of a file; ValueError if they are not there."""
    page = path.read_text(encoding="utf-8")
    pattern = rf"(<!-- {marker} -->).*?(<!-- /{marker} -->)"
    page, found = re.subn(pattern, lambda m: f"{m[1]}\n{text}\n{m[2]}", page, flags=re.S)
    if found != 1:
        raise ValueError(f"{path.name} must have <!-- {marker} --> and <!-- /{marker} --> once, has {found}")
    path.write_text(page, encoding="utf-8")


def read_json(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
