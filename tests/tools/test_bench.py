"""The speed table: one part can be measured again without losing, or misreading, the others."""

from __future__ import annotations

import json
import sys

from benchmarks.speed import bench, verdict


def test_a_part_measured_again_keeps_the_others_as_they_were(tmp_path, monkeypatch):
    of_before = {"found": {"old": [{"a field that nobody reads any more": 1}]}, "tables": {"old": "| old |"}}
    (tmp_path / "results.json").write_text(json.dumps(of_before))
    parts = {
        "old": ("The old part", lambda: 1 / 0, lambda: 1 / 0, lambda rows: 1 / 0),
        "new": ("The new part", lambda: [{"x": 2}], lambda: [], lambda rows: f"| {rows[0]['x']} |"),
    }
    monkeypatch.setattr(bench, "PARTS", parts)
    monkeypatch.setattr(bench, "FOLDER", tmp_path)
    monkeypatch.setattr(bench, "between", lambda marker, text: None)  # the README stays as it is
    monkeypatch.setattr(sys, "argv", ["bench", "new"])
    assert bench.main() == 0
    page = (tmp_path / "results.md").read_text()
    assert page.index("## The old part\n\n| old |") < page.index("## The new part\n\n| 2 |")
    kept = json.loads((tmp_path / "results.json").read_text())
    assert kept["found"] == of_before["found"] | {"new": [{"x": 2}]} and "minutes" not in kept["machine"]


def test_sick_networks_are_caught_and_healthy_ones_raise_no_alarm():
    [ours, *_] = verdict.measure(seeds=1)
    assert ours["missed"] == [] and ours["caught"] == ours["sick"] == len(verdict.SICK)
    assert ours["false_alarms"] == 0 and ours["healthy"] == len(verdict.HEALTHY)
