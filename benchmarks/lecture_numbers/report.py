"""The measured numbers as tables in Markdown: whole in numbers.md, short in the README."""

from __future__ import annotations

import json
import re
import statistics
from pathlib import Path

from tools.lesson import ROOT
from zth_helpers.text import number

KEPT = ("kind", "what", "lecture", "measured", "difference", "same", "differs")
HEADER = "| | what | {0} | measured | difference | |\n|---|---|--:|--:|--:|---|"
# What the README shows: the losses that the lectures end with, and numbers that hang on every detail.
SHORT = re.compile(r"n, o|last loss|first loss$|NLL of all|pairs")


def line(row: dict) -> str:
    """A row of the table; a list of numbers stands in one cell."""
    digits = _digits(row["lecture"])
    cells = [number(row["lecture"], digits), number(row["measured"], digits)]
    verdict = "✓" if row["same"] else row["differs"] or "✗ **not explained**"
    what = row["what"].replace("|", r"\|")
    lesson = row["notebook"].removeprefix("beyond/")[:2]
    return f"| {lesson} | {what} | {' | '.join(cells)} | {_delta(row['difference'], digits)} | {verdict} |"


def _digits(value: object) -> int:
    if isinstance(value, list):
        return max(map(_digits, value), default=4)
    text = repr(value) if isinstance(value, float) and "e" not in repr(value) else ""
    return max(4, min(6, len(text.partition(".")[2])))


def _delta(value: object, digits: int) -> str:
    if isinstance(value, list):
        return ", ".join(_delta(item, digits) for item in value)
    if value is None or value == 0:
        return "" if value is None else "0"
    if isinstance(value, int):
        return f"{value:+,}"
    return f"{value:+.1e}" if abs(value) < 10**-digits else f"{value:+.{digits}f}"


def count(rows: list[dict]) -> int:
    """How many numbers: each of a list counts."""
    return sum(len(row["measured"]) if isinstance(row["measured"], list) else 1 for row in rows)


def summary(data: dict) -> str:
    parts = []
    for kind, whose in (("published", "that the lectures published"), ("recomputed", "that we recomputed")):
        rows = [row for row in data["numbers"] if row["kind"] == kind]
        same = count([row for row in rows if row["same"]])
        parts.append(f"{count(rows)} numbers {whose}, {same} of them the same")
    seconds = sum(run["processor_seconds"] or run["seconds"] for run in data["notebooks"].values())
    text = (
        f"{'; '.join(parts)} (counts exactly, decimals to a tolerance, most often .5%). "
        f"With the lecture's list and full steps, torch {', '.join(data['torch'])}, one thread, "
        f"{seconds / 3600:.1f} h of processor time, {data['date']}."
    )
    if data["missing"]:
        text += f"\n\n**Not measured yet:** {', '.join(data['missing'])}."
    for name, run in data["notebooks"].items():
        for failure in run["failed"]:
            text += (
                f"\n\n**A cell of {name} failed** (`{failure['cell']}`): {failure['error'].splitlines()[0]}"
            )
    return text


def write_numbers(data: dict) -> None:
    """benchmarks/lecture_numbers/numbers.md, whole, and the README's short form."""
    by_kind = {
        kind: [row for row in data["numbers"] if row["kind"] == kind] for kind in ("published", "recomputed")
    }
    seconds = ["| notebook | full | quick | |", "|---|--:|--:|---|"] + [
        f"| {name} | {run['processor_seconds']:,.0f} s | {run['quick']['processor_seconds']:,.0f} s "
        f"| {run['date']} |"
        for name, run in data["notebooks"].items()
    ]
    whole = ["# The lectures' numbers, measured", summary(data)]
    whole += ["## Published by the lectures", _table(by_kind["published"], "lecture")]
    whole += ["## Recomputed on the lecture's list", _table(by_kind["recomputed"], "expected")]
    whole += [_seeds_table(data["seeds"])] if data["seeds"] else []
    whole += ["## Processor seconds of each run", "\n".join(seconds)]
    whole += ["Written by `make numbers`; do not edit."]
    text = "\n\n".join(whole) + "\n"
    (ROOT / "benchmarks" / "lecture_numbers" / "numbers.md").write_text(text, encoding="utf-8")
    lessons = [row for row in by_kind["published"] if not row["notebook"].startswith("beyond/")]
    chosen = [row for row in lessons if SHORT.search(row["what"]) or _is_train_and_dev(row["lecture"])]
    between("numbers", f"{summary(data)}\n\n{_table(chosen, 'lecture')}")


def _table(rows: list[dict], theirs: str) -> str:
    return "\n".join([HEADER.format(theirs), *map(line, rows)])


def _is_train_and_dev(value: object) -> bool:
    """The two losses that a training ends with."""
    pair = isinstance(value, list) and len(value) == 2 and all(isinstance(v, float) for v in value)
    return pair and 1.5 < min(value) < max(value) < 3


def spread_over_seeds(values: list) -> str | list | None:
    """Of a claim, ✓ or ✗ for each seed. Of numbers that vary, (mean, std, lowest, highest) of each."""
    if all(isinstance(value, bool) for value in values):
        return "".join("✓" if held else "✗" for held in values)
    columns = list(zip(*[v if isinstance(v, list) else [v] for v in values]))
    spread = [
        [float(f"{x:.5g}") for x in (statistics.mean(c), statistics.stdev(c), min(c), max(c))]
        for c in columns
        if len(set(c)) > 1 and all(isinstance(v, float) for v in c)
    ]
    return spread or None


def _seeds_table(seeds: dict) -> str:
    """What other seeds give: how each measured number varies, and how often each claim held."""
    numbers, claims = [], []
    for name, lists in seeds.items():
        where = f"{name.removeprefix('beyond/')[:2]}{' beyond' if '/' in name else ''}"
        for of, found in lists.items():
            for what, values in found.items():
                what = what.replace("|", r"\|")
                if isinstance(values, str):
                    claims.append(f"| {where} | {what} | {of} | {values.count('✓')} of {len(values)} |")
                else:
                    rows = (" | ".join(number(x, 4) for x in spread) for spread in values)
                    numbers += [f"| {where} | {what} | {of} | {cells} |" for cells in rows]
    head = "| | what | list | mean | std | lowest | highest |\n|---|---|---|--:|--:|--:|--:|"
    text = "## What is normal: the quick recipes with other seeds\n\n" + "\n".join([head, *numbers])
    return text + "\n\n" + "\n".join(["| | claim | list | held |\n|---|---|---|--:|", *claims])


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
