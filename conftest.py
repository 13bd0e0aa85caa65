"""What all tests share, and all that nbval needs to be told (its quirks: CONTRIBUTING.md, "How outputs are
compared")."""

from __future__ import annotations

import math
import os
import re
from decimal import Decimal

import pytest
from nbval.kernel import RunningKernel
from nbval.plugin import IPyNbCell

# Kernels inherit these: no progress bars in compared output, and the shipped list of names at quick steps,
# whatever the shell of the person who runs the tests has set.
os.environ["ZTH_QUIET"] = "1"
os.environ["ZTH_NAMES"] = "shipped"
for name in ("ZTH_FULL", "ZTH_SHRINK", "ZTH_LEDGER"):
    os.environ.pop(name, None)
# Several test processes share the cores. With several threads of torch in each, the threads mostly wait.
os.environ.setdefault("OMP_NUM_THREADS", "1")

REL_TOL = 2e-5  # below a change in the fifth digit; results agree to 7 across machines
ABS_TOL = 1e-7  # rounding noise around zero
CELL_TIMEOUT = 300  # seconds; nbval waits 2000 for a dead kernel otherwise

FLOAT = re.compile(r"(?<![\w.])[-+−]?(?:\d+\.\d*(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+)(?![\w.]*\w)")


class Tolerant(str):
    """Text that equals another when all but the floats is the same and the floats are close."""

    def __eq__(self, other) -> bool:
        if str.__eq__(self, other):
            return True
        if not isinstance(other, str):
            return NotImplemented
        if squeeze(FLOAT.sub("\0", self)) != squeeze(FLOAT.sub("\0", other)):
            return False
        pairs = zip(FLOAT.findall(self), FLOAT.findall(other))
        return all(close(a, b) for a, b in pairs)

    def __ne__(self, other) -> bool:
        return not self == other

    __hash__ = str.__hash__


def close(a: str, b: str) -> bool:
    """A number that lies at the edge between two roundings prints one unit apart on another processor. From
    five digits on that counts as the same, so that a changed fourth digit is always seen."""
    x, y = (Decimal(text.replace("−", "-")) for text in (a, b))
    if math.isclose(x, y, rel_tol=REL_TOL, abs_tol=ABS_TOL):
        return True
    unit = Decimal(10) ** min(x.as_tuple().exponent, y.as_tuple().exponent)
    return abs(x - y) <= unit and min(abs(x), abs(y)) >= 9_999 * unit


def squeeze(text: str) -> str:
    """A float that prints one character shorter moves the columns beside it: runs of spaces count as one."""
    return re.sub(r"[ \t]+", " ", text)


@pytest.hookimpl(optionalhook=True)  # there is none without xdist
def pytest_xdist_make_scheduler(config, log):
    """A notebook, or a file of tests, stays on one worker. But the file that opens all notebooks in a browser
    is cut into one part for each, or it would run alone at the end for minutes."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file, _, test = nodeid.partition("::")
            return file + test.partition("[")[2] if file.endswith("browser/test_lab.py") else file

    return ByFile(config, log)


def pytest_configure(config):
    if hasattr(config.option, "nbval_cell_timeout") and config.option.nbval_cell_timeout == 2000:
        config.option.nbval_cell_timeout = CELL_TIMEOUT
    IPyNbCell.sanitize = sanitize
    RunningKernel.execute_cell_input = execute_cell_input


def sanitize(self, text):
    """Replaces nbval's, which only looks for regexes. Graphviz's SVG differs from release to release: that
    there is one counts, and the text twin beside it is what is compared."""
    if isinstance(text, str) and re.match(r"\s*(<\?xml|<!DOCTYPE svg|<svg)", text):
        return "<svg>"
    if isinstance(text, dict) and "module" in text:  # an explorable's data; its twin is what is compared
        return f"<explorable {text['module']}>"
    return Tolerant(text) if isinstance(text, str) else text


def execute_cell_input(self, cell_input, allow_stdin=None):
    """nbval's own leaves the history out, and without it IPython does not see that a line ends with `;`."""
    return self.kc.execute(cell_input, allow_stdin=allow_stdin, store_history=True, stop_on_error=False)
