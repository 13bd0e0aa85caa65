"""An interrupted cell changes nothing for the cells after it.

The ■ button stops a cell between any two instructions of Python, also where `with torch.no_grad():` ends
and has not yet switched gradients on again. No later cell could train then, until the kernel is restarted.
"""

from __future__ import annotations

import gc
import sys
from typing import Any


def undo_in(shell: Any) -> None:
    """From now on a cell of this IPython shell that is interrupted leaves gradients and gc as they were."""
    before = switches()

    def remember(_: Any) -> None:
        nonlocal before
        before = switches()

    def undo(result: Any) -> None:
        if isinstance(result.error_in_exec, KeyboardInterrupt):
            switch(*before)

    shell.events.register("pre_run_cell", remember)
    shell.events.register("post_run_cell", undo)


def switches() -> tuple[bool, bool]:
    """Gradients and garbage collection: on?"""
    torch = sys.modules.get("torch")
    return torch is None or torch.is_grad_enabled(), gc.isenabled()


def switch(gradients: bool, collect: bool) -> None:
    """Puts both back."""
    if torch := sys.modules.get("torch"):
        torch.set_grad_enabled(gradients)
    (gc.enable if collect else gc.disable)()
