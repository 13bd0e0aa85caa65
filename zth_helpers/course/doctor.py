"""Is this environment fit for the course, and if not, what to do? Which names will it use?"""

from __future__ import annotations

import importlib.metadata
import os
import sys
from collections.abc import Callable
from pathlib import Path

Row = tuple[bool, str, str]  # fine?, what was found, what to do if not
INSTALL = "run `make lab`, or `pip install -c constraints.txt -e .` in this environment"


def _python() -> Row:
    found = f"{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro} ({sys.prefix})"
    return sys.version_info >= (3, 11), found, "install Python 3.11 or newer: make lab PYTHON=python3.12"


def _torch_build() -> Row:
    try:
        import torch
    except ImportError as error:
        return False, f"does not import: {error}", INSTALL
    return (
        True,
        f"{torch.__version__} ({'CUDA ' + torch.version.cuda if torch.version.cuda else 'CPU build'})",
        "",
    )


def kernel() -> Row:
    """The classic trap: a `python3` kernel of another environment, where the course is not installed."""
    try:
        from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
    except ImportError as error:
        return False, f"no Jupyter: {error}", INSTALL
    remedy = f"run `{Path(sys.executable).name} -m ipykernel install --sys-prefix`, or start with `make lab`"
    try:
        spec = KernelSpecManager().get_kernel_spec("python3")
    except NoSuchKernel:
        return False, "no kernel named python3", remedy
    command = spec.argv[0]
    # A bare "python" means the interpreter that runs the server: this one.
    here = (
        not os.path.isabs(command)
        or Path(command).absolute().parent == Path(sys.executable).absolute().parent
    )
    return here, f"python3 -> {sys.executable if not os.path.isabs(command) else command}", remedy


def version_of(package: str, at_least: int) -> Row:
    try:
        found = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False, "not installed", INSTALL
    return int(found.split(".")[0]) >= at_least, found, f"version {at_least} or newer is needed: {INSTALL}"


def renderer() -> Row:
    from zth_helpers.graph import find_renderer

    found = find_renderer()
    return found != "text", found, "graphs show as text trees; for pictures: pip install 'pygraphviz>=2'"


def names() -> Row:
    from zth_helpers.name_lists import SHIPPED, SHIPPED_SHA256, file_sha256, load_names

    try:
        digest = file_sha256(SHIPPED)
        found = f"{len(load_names(SHIPPED)):,} names, sha256 {digest[:12]}"
    except (OSError, ValueError) as error:
        return False, str(error).splitlines()[0], "restore it: git checkout data/names.txt"
    return digest == SHIPPED_SHA256, found, "it is not the shipped list: git checkout data/names.txt"


def home() -> Row:
    """Where Jupyter keeps its settings and its list of running servers; it cannot start without."""
    try:
        from jupyter_core.paths import jupyter_config_dir, jupyter_runtime_dir
    except ImportError as error:
        return False, f"no Jupyter: {error}", INSTALL
    for folder in map(Path, (jupyter_runtime_dir(), jupyter_config_dir())):
        there = next(path for path in (folder, *folder.parents) if path.exists())
        if not os.access(there, os.W_OK | os.X_OK):
            remedy = "name a folder of yours as the home: HOME=/some/folder make lab"
            return False, f"Jupyter may not write to {there}", remedy
    return True, str(Path.home()), ""


def _threads() -> Row:
    try:
        import torch
    except ImportError:
        return False, "unknown: torch does not import", INSTALL
    return True, f"torch uses {torch.get_num_threads()} of {os.cpu_count()}; the notebooks set 1", ""


CHECKS: dict[str, Callable[[], Row]] = {
    "Python": _python,
    "torch": _torch_build,
    "kernel": kernel,
    "JupyterLab": lambda: version_of("jupyterlab", 4),
    "anywidget": lambda: version_of("anywidget", 0),
    "home": home,
    "graph renderer": renderer,
    "names": names,
    "threads": _threads,
}


def say_names() -> int:
    """One line: which list the notebooks will use. Tries for a few seconds to fetch the lecture's."""
    from zth_helpers import settings
    from zth_helpers.name_lists import lecture_list, load_names

    missing = ""
    if settings.names_wanted() is None:
        try:
            lecture_list(timeout=3)
        except OSError as error:  # ConnectionError is one
            missing = str(error).splitlines()[0].replace("the lecture's list of names", ", which")
    try:
        print(f"names: {load_names().about}{missing}")
    except (OSError, ValueError) as error:
        print(f"✗ {error}", file=sys.stderr)
        return 1
    return 0


def main() -> int:
    """Prints one line per check, the fix beside each ✗; returns 1 if any is ✗."""
    healthy = True
    for what, check in CHECKS.items():
        try:
            fine, found, remedy = check()
        except Exception as error:  # a broken environment breaks in ways nobody listed: say so and go on
            fine, found, remedy = False, f"{type(error).__name__}: {error}", INSTALL
        healthy &= fine
        print(f"{'✓' if fine else '✗'} {what:<15} {found}" + ("" if fine else f"\n  {'':<15} → {remedy}"))
    return 0 if healthy else 1
