"""`python -m zth_helpers doctor | start N | progress`: the course from the command line."""

from __future__ import annotations

import argparse
import sys


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m zth_helpers", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("doctor", help="is this environment fit for the course?")
    options = parser.parse_args(arguments)
    if options.command == "doctor":
        from zth_helpers.doctor import main as doctor

        return doctor()
    raise AssertionError(options.command)


if __name__ == "__main__":
    sys.exit(main())
