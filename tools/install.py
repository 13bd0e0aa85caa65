"""Builds .venv for this course, or says in one line why it cannot. Called by the Makefile; needs only Python.

    python tools/install.py [course | class | site | scale | test | bench]

The syntax here is kept old on purpose: a Python that is too old must still be able to say so.
`.venv/installed` says what was installed; it is written last, so an interrupted install
is never taken for a finished one, and a change of pyproject.toml or constraints.txt installs again.

On Linux the package index has torch with CUDA, 4 GB more than torch for the processor alone. So torch comes
first and by the name of its build, ZTH_TORCH=cpu (the default), auto (what the GPU wants), cu126, rocm6.4 …:
uv knows where each is kept. Where uv or that place cannot be reached, pip takes what its index has, and that
is said.
"""

import hashlib
import os
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")
NEEDED_MB = 6000
# What each set of packages of pyproject.toml has in it: who has installed `test` need not install `course`.
CONTAINS = {"course": ["course"], "site": ["site"], "scale": ["scale"], "class": ["course", "class"]}
CONTAINS["test"] = ["test", "course", "class", "site", "scale"]
CONTAINS["bench"] = ["bench"] + CONTAINS["test"]
# What pip prints when something outside of it is wrong -> what to tell the user.
CAUSES = [
    ("No space left on device", "the disk is full: free about 6 GB and run the same command again"),
    (
        "Temporary failure in name resolution|Name or service not known|NewConnectionError|getaddrinfo failed"
        "|Network is unreachable|Connection refused|ConnectTimeoutError|ReadTimeoutError|ProxyError",
        "no network: pip cannot reach its package index; connect, or set your proxy, then run it again",
    ),
    (
        "SSLError|CERTIFICATE_VERIFY_FAILED",
        "the network's certificate is not trusted: set PIP_CERT to your CA file",
    ),
    ("Permission denied", "no permission to write .venv: run it as the user who owns this folder"),
    (
        "No matching distribution found|Could not find a version",
        "a package has no build for this Python or system (see the line above): try another Python, such as"
        " `make lab PYTHON=python3.12`",
    ),
]


def fail(message):
    sys.stderr.write("✗ " + message + "\n")
    sys.exit(1)


def fingerprint():
    """Of what an installation depends on: the packages, their versions, and where the course lies."""
    digest = hashlib.sha256()
    for name in ("pyproject.toml", "constraints.txt"):
        with open(os.path.join(ROOT, name), "rb") as file:
            digest.update(file.read())
    return digest.hexdigest() + " " + ROOT


def python():
    if os.name == "nt":
        return os.path.join(VENV, "Scripts", "python.exe")
    return os.path.join(VENV, "bin", "python")


def torch_build():
    """The build of torch by the name that uv gives it; None where the index has only the small one."""
    wanted = os.environ.get("ZTH_TORCH", "")
    return wanted or ("cpu" if sys.platform.startswith("linux") else None)


def gpu_is_there():
    return bool(shutil.which("nvidia-smi")) and not subprocess.call(
        ["nvidia-smi", "-L"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def pip_settings():
    """pip's own index, certificate and so on, as uv's environment: uv does not read pip's settings."""
    names = {"global.index-url": "UV_DEFAULT_INDEX", "global.cert": "SSL_CERT_FILE"}
    said = subprocess.run(
        [python(), "-m", "pip", "config", "list"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ).stdout.decode("utf-8", "replace")
    found = {}
    for line in said.splitlines():
        key, _, value = line.partition("=")
        if key in names:
            found[names[key]] = value.strip("'\"")
    return found


def install_torch(build):
    """Tries to install that build of torch with uv; what is there already stays. Never fails."""
    if not subprocess.call([python(), "-c", "import torch"], stderr=subprocess.DEVNULL):
        return
    if build == "cpu" and gpu_is_there():
        print(
            "  A GPU is there; torch for the processor alone is installed (ZTH_TORCH=auto takes the GPU's)."
        )
    uv = [python(), "-m", "pip", "--disable-pip-version-check", "install", "-q", "uv"]
    command = [python(), "-m", "uv", "pip", "install", "-q", "--python", python(), "--torch-backend", build]
    command += ["-c", "constraints.txt", "torch"]
    print("  torch (%s)" % build)
    sys.stdout.flush()
    if not (quietly(uv) and quietly(command, dict(os.environ, UV_HTTP_TIMEOUT="60", **pip_settings()))):
        print("  ! the %s build of torch cannot be reached from here: pip takes what its index has," % build)
        print("    which may be 4 GB larger")
        sys.stdout.flush()


def quietly(command, environment=None):
    """Runs a command without a word; did it succeed?"""
    done = subprocess.run(
        command, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    return done.returncode == 0


def pip(*arguments):
    """Runs pip, shows what it says line by line, and turns its known failures into one line."""
    command = [python(), "-m", "pip", "--disable-pip-version-check", "install"] + list(arguments)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=ROOT)
    said = []
    for raw in process.stdout or ():
        line = raw.decode("utf-8", "replace").rstrip()
        said.append(line)
        if line.startswith(
            ("Collecting", "Downloading", "  Downloading", "Installing", "ERROR", "Successfully")
        ):
            print("  " + line.strip()[:100])
            sys.stdout.flush()
    if process.wait() == 0:
        return
    text = "\n".join(said)
    for patterns, remedy in CAUSES:
        if any(pattern in text for pattern in patterns.split("|")):
            fail(remedy)
    fail("pip could not install the packages: " + (said[-1] if said else "it said nothing"))


def make_venv():
    try:
        import ensurepip  # noqa: F401
        import venv
    except ImportError:
        fail("this Python has no venv module; on Debian or Ubuntu: sudo apt install python3-venv, then again")
    try:
        venv.create(VENV, with_pip=True, clear=True)
    except subprocess.CalledProcessError:
        fail("this Python cannot make a virtual environment with pip: on Debian or Ubuntu:"
             " sudo apt install python3-venv, then again")  # fmt: skip
    except OSError as error:
        fail("cannot write %s: %s" % (VENV, error.strerror or error))


def main():
    if sys.version_info < (3, 11):
        fail("Python 3.11 or newer is needed, this is %d.%d: install one and run `make lab PYTHON=python3.12`"
             % sys.version_info[:2])  # fmt: skip
    extras = sys.argv[1] if len(sys.argv) > 1 else "test"
    stamp = os.path.join(VENV, "installed")
    there = []
    try:
        with open(stamp) as file:
            names, of = file.read().split("\n")
        if of == fingerprint():
            there = names.split(",")
            if any(extras in CONTAINS[name] for name in there):
                return
        os.remove(stamp)
    except (OSError, ValueError, KeyError):
        there = []
    free = shutil.disk_usage(ROOT).free // 2**20
    if free < NEEDED_MB and not os.path.exists(python()):
        fail("the disk has %d MB free and the course's packages need about %d MB: make room, then again"
             % (free, NEEDED_MB))  # fmt: skip
    print("Installing the course into .venv (once; a few minutes, about 2 GB on disk) …")
    sys.stdout.flush()
    if not os.path.exists(python()) or subprocess.call(
        [python(), "-c", "import pip"], stderr=subprocess.DEVNULL
    ):
        make_venv()
    build = torch_build()
    if build:
        install_torch(build)
    pip("-c", "constraints.txt", "-e", ".[" + extras + "]")
    with open(stamp, "w") as file:
        file.write(",".join(there + [extras]) + "\n" + fingerprint())
    print("✓ installed")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        fail("interrupted: run the same command again, it goes on where it can")
    except OSError as error:
        fail("%s (disk full or not writable?): make room or check permissions, then again" % error)
