"""An interrupted test run leaves no server behind."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tools.lesson import ROOT

SERVER = (
    "import os, pathlib, sys, time; pathlib.Path(sys.argv[1]).write_text(str(os.getpid())); time.sleep(600)"
)
TEST_RUN = f"""
import subprocess, sys, time
command = [sys.executable, "-m", "tests.browser.leash", sys.executable, "-c", {SERVER!r}, sys.argv[1]]
subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
time.sleep(600)
"""


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_the_server_ends_with_a_test_run_that_is_killed(tmp_path):
    file = tmp_path / "pid"
    run = subprocess.Popen([sys.executable, "-c", TEST_RUN, str(file)], cwd=ROOT)
    assert waited(lambda: file.exists() and file.read_text())
    server = Path("/proc", file.read_text())
    assert server.is_dir()
    run.kill()
    run.wait()
    assert waited(lambda: not server.is_dir()), "the server is still there"


def waited(condition, seconds: float = 30) -> bool:
    for _ in range(int(seconds * 10)):
        if condition():
            return True
        time.sleep(0.1)
    return False
