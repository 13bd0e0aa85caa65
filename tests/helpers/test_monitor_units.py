"""Where the units of a layer are: on the channels behind convolutions, else on the last axis."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from zth_helpers import Monitor


def dead_of(model, x, layer):
    mon = Monitor(model, every=1)
    loss = model(x).square().mean()
    loss.backward()
    mon.step(loss)
    return float(mon.outputs.dead[0, mon.layer_names.index(layer)])


@pytest.mark.parametrize(
    ("first", "shape"),
    [
        (nn.Conv1d(2, 10, 3), (6, 2, 12)),
        (nn.Conv2d(2, 10, 3), (6, 2, 8, 8)),
        (nn.Conv3d(2, 10, 3), (6, 2, 6, 6, 6)),
        (nn.Sequential(nn.Conv1d(2, 10, 3), nn.BatchNorm1d(10)), (6, 2, 12)),
        (nn.Sequential(nn.Conv1d(2, 10, 3), nn.GroupNorm(2, 10)), (6, 2, 12)),
        (nn.Sequential(nn.Conv1d(2, 10, 3), nn.Dropout(0.0), nn.MaxPool1d(2)), (6, 2, 12)),
    ],
)
def test_units_of_convolutions_are_channels(first, shape):
    model = nn.Sequential(first, nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))
    x = torch.randn(shape)
    model(x)
    last = first if not isinstance(first, nn.Sequential) else first[min(1, len(first) - 1)]
    with torch.no_grad():  # three channels that are dark everywhere
        target = last if getattr(last, "bias", None) is not None else first[0]
        target.weight[:3] = 0
        target.bias[:3] = -5
    assert dead_of(model, x, "1") == pytest.approx(0.3)


def test_units_of_a_sequence_model_stay_on_the_last_axis():
    model = nn.Sequential(nn.Linear(4, 10), nn.ReLU(), nn.Linear(10, 3))
    with torch.no_grad():
        model[0].weight[:3], model[0].bias[:3] = 0, -5
    assert dead_of(model, torch.randn(6, 7, 4), "1") == pytest.approx(0.3)


class AsChannelsLast(nn.LayerNorm):
    """Over the channels of images, as in ConvNeXt: they are moved to the end and back."""

    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


@pytest.mark.parametrize(
    ("between", "shape"),
    [
        (nn.LayerNorm([10, 6]), (8, 2, 6)),
        (nn.PReLU(10), (8, 2, 6)),
        (nn.LayerNorm([10, 6, 6], elementwise_affine=False), (8, 2, 6, 6)),
        (AsChannelsLast(10), (8, 2, 6, 6)),
        (nn.Identity(), (2, 6, 6)),
    ],
    ids=str,
)
def test_units_stay_channels_behind(between, shape):
    """What normalises or bends channels, and a single example, whose channels come first."""
    conv = nn.Conv1d if shape == (8, 2, 6) else nn.Conv2d
    model = nn.Sequential(conv(2, 10, 1), between, nn.Hardtanh(), nn.ReLU(), nn.Flatten(0), nn.LazyLinear(1))
    x = torch.randn(shape)
    model(x)
    with torch.no_grad():
        model[0].weight[:] = model[0].weight.abs()
        model[0].weight[:3], model[0].bias[:], model[0].bias[:3] = 0, 1, -50
    dead = dead_of(model, x.abs(), "3")
    assert dead == pytest.approx(0.3)


def test_a_layer_norm_behind_transposed_convolutions_has_its_units_last():
    """As in a speech encoder: the convolutions' (N, C, L) becomes (N, L, C)."""

    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.act = nn.Conv1d(2, 10, 1), nn.LayerNorm(10), nn.ReLU()

        def forward(self, x):
            return self.act(self.norm(self.conv(x).transpose(1, 2)))

    model = Encoder()
    with torch.no_grad():
        model.norm.weight[:], model.norm.bias[:], model.norm.bias[:3] = 0, 1, -1
    assert dead_of(model, torch.randn(8, 2, 6), "act") == pytest.approx(0.3)


def test_an_activation_has_its_units_where_its_own_input_has_them():
    """Not where the last output had them; and behind a functional convolution, on the channels."""

    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.linear = nn.Conv1d(3, 5, 1), nn.Linear(7, 7)
            self.first, self.last = nn.ReLU(), nn.ReLU()
            self.kernel = nn.Parameter(torch.randn(6, 1, 1, 1))

        def forward(self, x):
            a, b = self.conv(x), self.linear(x)
            return (self.first(a)[:, :3] + b).sum() + self.last(F.conv2d(x[:, None], self.kernel)).sum()

    model, x = Branches(), torch.randn(4, 3, 7)
    model.conv.bias.data[1], model.conv.weight.data[1] = -9, 0  # one channel of five is dead
    model.kernel.data[2:4] = 0  # and two of six
    mon = Monitor(model, every=1)
    loss = model(x)
    loss.backward()
    mon.step(loss)
    dead = mon.outputs.dead[0]
    names = mon.layer_names
    assert dead[names.index("first")] == pytest.approx(1 / 5)
    assert dead[names.index("last")] == pytest.approx(2 / 6)


def test_a_sum_between_convolution_and_activation_keeps_the_channels():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.act = nn.Conv1d(10, 10, 3, padding=1), nn.BatchNorm1d(10), nn.ReLU()

        def forward(self, x):
            return self.act(x + self.norm(self.conv(x)))

    model = nn.Sequential(Residual(), nn.Conv1d(10, 2, 1))
    x = torch.randn(6, 10, 12)
    x[:, :3] = -50
    assert dead_of(model, x, "0.act") == pytest.approx(0.3)
