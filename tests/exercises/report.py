"""How fair and how closed each exercise is: `make exercises-report`.

Per exercise: how many right ways are accepted (the master's and others), how many wrong answers are refused,
and how many of those are told what is wrong in words of their own, not by a difference of numbers alone.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
import time

from tests.exercises.answers import TOPICS, exercises_of, right
from zth_helpers.text import table

BANKS = {topic: f"tests.exercises.test_{stem}" for topic, stem in TOPICS.items()}
# What the first line reads where no mistake is recognised: a type, a shape, a number, an exception.
UNNAMED = re.compile(r"largest difference|(^|: )(got|shape|dtype|expected) |are nan or inf|^your code raised")


def rows(topic: str) -> list[tuple[str, str, int, int, int, int, int, float]]:
    """Per exercise: topic, name, right ways accepted and tried, wrong ones refused, tried and named,
    seconds."""
    exercises = exercises_of(importlib.import_module(f"zth_helpers.exercises.{topic}"))
    right_ways, wrong = importlib.import_module(BANKS[topic]).bank()
    found = []
    for name, exercise in exercises.items():
        start = time.perf_counter()
        ways = [right(topic, name), *(answers for which, answers in right_ways if which == name)]
        accepted = sum(bool(exercise.check(*answers)) for answers in ways)
        tried = [answers for which, _, answers in wrong if which == name]
        verdicts = [exercise.check(*answers) for answers in tried]
        refused = [v for v in verdicts if v.state == "wrong"]
        named = sum(not UNNAMED.search(v.message.splitlines()[0]) for v in refused)
        seconds = (time.perf_counter() - start) / (len(ways) + len(tried))
        found.append((topic, name, accepted, len(ways), len(refused), len(tried), named, seconds))
    return found


def main() -> int:
    os.environ["ZTH_QUIET"] = "1"
    all_rows = [row for topic in BANKS for row in rows(topic)]
    lines = [
        (topic, name, f"{ok} of {ways}", f"{no} of {tried}", str(named), f"{seconds:.2f} s")
        for topic, name, ok, ways, no, tried, named, seconds in all_rows
    ]
    total = [sum(row[i] for row in all_rows) for i in range(2, 7)]
    lines.append(
        (
            "all",
            str(len(all_rows)),
            f"{total[0]} of {total[1]}",
            f"{total[2]} of {total[3]}",
            str(total[4]),
            "",
        )
    )
    head = ("lesson", "exercise", "right accepted", "wrong refused", "named", "a check")
    print(table(head, lines))
    return int(total[0] != total[1] or total[2] != total[3])


if __name__ == "__main__":
    sys.exit(main())
