"""The stored outputs are not this machine's alone: other instruction sets, another working directory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.sweep
@pytest.mark.parametrize(
    "processor",
    [("ATEN_CPU_CAPABILITY", "default"), ("ATEN_CPU_CAPABILITY", "avx2"), ("MKL_CBWR", "COMPATIBLE")],
)
def test_stored_outputs_hold_elsewhere(processor, tmp_path):
    """One notebook that trains; `ATEN_CPU_CAPABILITY=default make test`, or `MKL_CBWR=COMPATIBLE make test`,
    tries them all.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--nbval", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
        + [str(ROOT / "notebooks" / "05_backprop_ninja.ipynb")],
        cwd=tmp_path,
        env=environment | dict([processor]),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert " passed" in done.stdout
