"""Runs a command that ends with whoever started it, however that ends: Ctrl-C, kill -9, a crash.

python -m tests.browser.leash COMMAND ...     (holds as long as its standard input stays open)
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys


def main() -> None:
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        sys.stdin.buffer.read()  # comes back when the other end of the pipe is closed
    finally:
        os.killpg(child.pid, signal.SIGTERM)
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
