"""on_device moves a training loop to another device and back. Tried without a GPU, on a pretended one."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.lessons.hands import Notebook, bench
from zth_helpers.course import device
from zth_helpers.course.device import on_device
from zth_helpers.layers import BatchNorm1d, Linear


class Elsewhere(TorchDispatchMode):
    """A device that is none: what was moved there, and what is computed from it, may not meet other tensors.

    As on a GPU, indices and tensors without axes may come from the processor.
    """

    def __init__(self):
        super().__init__()
        self.there: dict[int, torch.UntypedStorage] = {}  # kept, so that no address is used again
        self.visits = 0

    def has(self, tensor: torch.Tensor) -> bool:
        return tensor.untyped_storage().data_ptr() in self.there

    def move(self, tensor: torch.Tensor, where: str) -> torch.Tensor:
        moved = tensor.clone()
        storage = moved.untyped_storage()
        self.there.pop(storage.data_ptr(), None)  # a copy of what is there is there
        if where != "cpu":
            self.there[storage.data_ptr()] = storage
            self.visits += 1
        return moved

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        first = given[:1] if "index" in str(function) else given
        here = [x for x in first if x.ndim and not self.has(x)]
        anywhere = [x for x in given if self.has(x)]
        if here and anywhere and "copy" not in str(function):
            raise RuntimeError(f"{function}: tensors on two devices")
        out = function(*args, **(kwargs or {}))
        if anywhere:
            for x in tree_leaves(out):
                if isinstance(x, torch.Tensor) and x.untyped_storage().data_ptr():
                    self.there.setdefault(x.untyped_storage().data_ptr(), x.untyped_storage())
        return out


@pytest.fixture
def elsewhere(monkeypatch):
    mode = Elsewhere()
    monkeypatch.setattr(device, "_to", mode.move)
    monkeypatch.setattr(device.settings, "device", lambda: "elsewhere")
    with mode:
        yield mode


def test_on_the_processor_nothing_moves():
    weights = torch.randn(3)
    before = weights.data_ptr()
    with on_device([weights]):
        assert weights.data_ptr() == before
    assert weights.data_ptr() == before


def test_tensors_gradients_and_running_statistics_go_and_come_back(elsewhere):
    g = torch.Generator().manual_seed(1)
    C, layers = torch.randn((5, 3), generator=g), [Linear(6, 4), BatchNorm1d(4)]
    running = {"mean": torch.zeros(4)}
    X, Y = torch.randint(0, 5, (8, 2), generator=g), torch.randint(0, 4, (8,), generator=g)
    parameters = [p.requires_grad_() for p in (C, *layers[0].parameters(), *layers[1].parameters())]

    def forward(X, running):
        x = layers[1](layers[0](C[X].view(len(X), -1)))
        running["mean"] = 0.9 * running["mean"] + 0.1 * x.detach().mean(0)
        return x

    with on_device(layers, C, X, Y, partial(forward, running=running)):
        assert all(elsewhere.has(t) for t in (*parameters, X, Y, running["mean"]))
        loss = F.cross_entropy(forward(X, running), Y)
        loss.backward()
        assert elsewhere.has(C.grad)
    for t in (*parameters, *(p.grad for p in parameters), X, Y, running["mean"], layers[1].running_mean):
        assert not elsewhere.has(t)
    C.grad = None
    F.cross_entropy(forward(X, running), Y).backward()  # and on the processor it goes on
    assert C.is_leaf and C.grad is not None


def test_an_error_or_ctrl_c_brings_everything_back(elsewhere):
    weights = torch.randn(3)
    with pytest.raises(KeyboardInterrupt), on_device(weights):
        raise KeyboardInterrupt
    assert not elsewhere.has(weights)


def test_a_tensor_that_stays_behind_is_noticed(elsewhere):
    weights, forgotten = torch.randn(3), torch.randn(3)
    with on_device(weights), pytest.raises(RuntimeError, match="two devices"):
        weights * forgotten


def test_double_precision_stays_off_mps(monkeypatch, capsys):
    monkeypatch.setattr(device.settings, "device", lambda: "mps")
    weights = torch.zeros(3, dtype=torch.float64)
    with on_device([weights]):
        assert weights.device.type == "cpu"
    assert "no double precision" in capsys.readouterr().out


@pytest.mark.sweep
@pytest.mark.parametrize("name", ["03_mlp", "04_batchnorm", "06_wavenet"])
def test_a_lesson_trains_elsewhere_and_says_the_same(name, monkeypatch, tmp_path, request):
    """The loops run there, nothing meets a tensor that was left behind, and the claims are the same."""
    notebook, moved = Notebook(name), Notebook(name)
    with bench(monkeypatch, tmp_path):
        failing = notebook.run(notebook.cells())
        elsewhere = request.getfixturevalue("elsewhere")
        assert moved.run(moved.cells()) == failing
    assert elsewhere.visits > 20
    for trained in ("net", "C", "params_bn", "layers", "big"):
        for tensor in device._tensors(moved.space.get(trained)):
            assert not elsewhere.has(tensor)
