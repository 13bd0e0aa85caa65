"""The kernel in which submissions are graded: in a jail, because nobody has read their code.

    python tools/jailed_kernel.py CONNECTION_FILE      (nbgrader starts it, see tools/class_course.py)

The jail is bubblewrap's (Debian's package `bubblewrap`; no root needed). Inside there is no network, and no
files but the system's and the course's, read-only, and the submission itself, which may do to itself what it
likes. Processor time, memory and the size of files are limited. The kernel talks over a socket in its folder.
"""

from __future__ import annotations

import os
import resource
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIMITS = {
    resource.RLIMIT_CPU: 600,  # seconds, for one submission; the longest of ours takes 12
    resource.RLIMIT_DATA: 4 << 30,  # bytes of memory
    resource.RLIMIT_FSIZE: 64 << 20,  # bytes of one file
    resource.RLIMIT_NPROC: 4096,  # processes and threads of the teacher's account, these included
    resource.RLIMIT_NOFILE: 256,
    resource.RLIMIT_CORE: 0,
}


def jail(bwrap: str, work: Path, connection: Path) -> list[str]:
    """The command that starts a program in the jail."""
    readable = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/alternatives", "/etc/ld.so.cache"]
    readable += ["/etc/passwd", "/etc/group", "/etc/fonts", sys.base_prefix, sys.prefix]
    readable += [str(ROOT / part) for part in ("zth_helpers", "zth_helpers.egg-info", "data")]
    command = [
        bwrap,
        "--unshare-all",
        "--die-with-parent",
        "--new-session",
        "--cap-drop",
        "ALL",
        "--clearenv",
        *("--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"),  # first: the course itself may lie in /tmp
    ]
    for path in dict.fromkeys(readable):
        if Path(path).is_symlink():  # on most systems /bin is one, to usr/bin
            command += ["--symlink", os.readlink(path), path]
        elif Path(path).exists():
            command += ["--ro-bind", path, path]
    command += ["--dir", "/tmp/home/.ipython"]
    command += ["--bind", str(connection.parent), str(connection.parent)]
    command += ["--bind", str(work), str(work), "--chdir", str(work)]
    variables = {"HOME": "/tmp/home", "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "ZTH_QUIET": "1"}
    variables |= {"OMP_NUM_THREADS": "1", "ZTH_NAMES": "shipped", "IPYTHONDIR": "/tmp/home/.ipython"}
    for name, value in variables.items():
        command += ["--setenv", name, value]
    return command


def main() -> int:
    connection = Path(sys.argv[1]).resolve()
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        print("✗ autograding needs bubblewrap for its jail: apt-get install bubblewrap", file=sys.stderr)
        return 1
    for what, most in LIMITS.items():
        _, hard = resource.getrlimit(what)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (most, most))
    command = jail(bwrap, Path.cwd(), connection)
    os.execv(bwrap, [*command, sys.executable, "-m", "ipykernel_launcher", "-f", str(connection)])


if __name__ == "__main__":
    sys.exit(main())
