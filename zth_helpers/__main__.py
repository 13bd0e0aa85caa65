"""`python -m zth_helpers doctor | start N | progress`: the course from the command line."""

from __future__ import annotations

import argparse
import sys


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m zth_helpers", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("doctor", help="is this environment fit for the course?")
    starting = commands.add_parser("start", help="copy a lecture's notebooks to work/, yours to edit")
    starting.add_argument("lecture", help="1 to 6, or all")
    commands.add_parser("progress", help="run your exercises in work/ and show which are solved")
    options = parser.parse_args(arguments)

    from zth_helpers import doctor, work

    if options.command == "start":
        return work.start(options.lecture)
    return work.progress() if options.command == "progress" else doctor.main()


if __name__ == "__main__":
    sys.exit(main())
