"""The course from the command line."""

from __future__ import annotations

import argparse
import sys


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m zth_helpers", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("doctor", help="is this environment fit for the course?")
    starting = commands.add_parser(
        "start", help="your own copies of the notebooks in work/; says what to open for a lesson"
    )
    starting.add_argument("lesson", help="3, 03, mlp, 03_mlp, or all")
    solving = commands.add_parser("progress", help="run your exercises in work/ and show which are solved")
    solving.add_argument("lesson", nargs="?", default="all", help="3, 03, mlp, 03_mlp, or all (the default)")
    commands.add_parser("copies", help="your own copies of all notebooks in work/, and its welcome page")
    updating = commands.add_parser("update", help="the course's version of a notebook; yours is kept aside")
    updating.add_argument("notebook", help="such as 03_mlp or exercises/03_mlp")
    commands.add_parser("names", help="fetch the lecture's list if need be, and say which list is used")
    options = parser.parse_args(arguments)

    from zth_helpers.course import doctor, progress, work_folder

    if options.command == "copies":
        return work_folder.main()
    if options.command == "update":
        return work_folder.main(options.notebook)
    if options.command == "start":
        return work_folder.start(options.lesson)
    if options.command == "progress":
        status = progress.progress(options.lesson)
        work_folder.write_welcome(progress.solved())
        return status
    return doctor.say_names() if options.command == "names" else doctor.main()


if __name__ == "__main__":
    sys.exit(main())
