"""A cell that was interrupted changes nothing for the cells after it."""

from __future__ import annotations

import gc

import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from jupyter_client.manager import start_new_kernel

from zth_helpers.course import interrupts


@pytest.fixture
def shell():
    yield (shell := InteractiveShell())
    shell.history_manager.end_session()
    torch.set_grad_enabled(True), gc.enable()


def test_an_interrupted_cell_leaves_gradients_and_gc_as_they_were(shell, capsys):
    shell.run_cell("import gc, torch")
    interrupts.undo_in(shell)
    shell.run_cell("torch.set_grad_enabled(False); gc.disable(); raise KeyboardInterrupt")
    assert torch.is_grad_enabled() and gc.isenabled()
    shell.run_cell("torch.set_grad_enabled(False); gc.disable()")
    shell.run_cell("torch.set_grad_enabled(True); gc.enable(); raise KeyboardInterrupt")
    assert not torch.is_grad_enabled() and not gc.isenabled()


@pytest.mark.parametrize("ending", ["", "; raise ValueError"])
def test_what_a_cell_switches_itself_stays_switched(shell, capsys, ending):
    interrupts.undo_in(shell)
    shell.run_cell("import torch; torch.set_grad_enabled(False)" + ending)
    assert not torch.is_grad_enabled()


def test_the_lessons_imports_are_enough():
    """In a kernel: the interrupt comes at the worst moment, just before gradients are switched on again."""
    manager, client = start_new_kernel(extra_arguments=["--IPKernelApp.quiet=True"])
    try:
        for source, status in (
            ("import torch\nfrom zth_helpers import check", "ok"),
            ("grad = torch.no_grad()\ngrad.__enter__()\nraise KeyboardInterrupt", "error"),
            ("assert torch.is_grad_enabled()", "ok"),
        ):
            reply = client.execute_interactive(source, timeout=60, output_hook=lambda message: None)
            assert reply["content"]["status"] == status, source
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
