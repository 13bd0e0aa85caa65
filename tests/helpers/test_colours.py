"""Categories can be told apart, with red-green blindness too, and depth is an ordered ramp."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest

from zth_helpers.interact.explorable import FOLDER
from zth_helpers.plots.figure import COLOURS, DASHES, PAPER, ramp

# Machado, Oliveira & Fernandes 2009, severity 1, on linear RGB
SIGHT = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}
KIT = (FOLDER / "kit.js").read_text(encoding="utf-8")
PAGE = {
    theme: re.findall(r"#[0-9a-f]{6}", re.search(rf"const {theme} = .*?cats: \[(.*?)\]", KIT, re.S)[1])
    for theme in ("LIGHT", "DARK")
}
PAPERS = {
    theme: re.search(rf'const {theme} = .*?paper: "(#\w+)"', KIT, re.S)[1] for theme in ("LIGHT", "DARK")
}


def linear(colour: str) -> np.ndarray:
    c = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of linear sRGB, D65."""
    to_xyz = [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
    xyz = np.array(to_xyz) @ np.clip(rgb, 0, 1) / [0.95047, 1, 1.08883]
    x, y, z = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])  # fmt: skip


def seen(colour: str, sight: str) -> np.ndarray:
    return lab(np.array(SIGHT[sight]) @ linear(colour))


def ciede2000(one: np.ndarray, two: np.ndarray) -> float:
    (L1, a1, b1), (L2, a2, b2) = one, two
    mean = (np.hypot(a1, b1) + np.hypot(a2, b2)) / 2
    g = 0.5 * (1 - np.sqrt(mean**7 / (mean**7 + 25**7)))
    a1, a2 = a1 * (1 + g), a2 * (1 + g)
    C1, C2 = np.hypot(a1, b1), np.hypot(a2, b2)
    h1, h2 = np.degrees(np.arctan2(b1, a1)) % 360, np.degrees(np.arctan2(b2, a2)) % 360
    turn = (h2 - h1 + 180) % 360 - 180 if C1 * C2 else 0.0
    L, C, dH = (L1 + L2) / 2, (C1 + C2) / 2, 2 * np.sqrt(C1 * C2) * np.sin(np.radians(turn / 2))
    h = (h1 + turn / 2) % 360 if C1 * C2 else h1 + h2
    T = 1 - 0.17 * np.cos(np.radians(h - 30)) + 0.24 * np.cos(np.radians(2 * h))
    T += 0.32 * np.cos(np.radians(3 * h + 6)) - 0.2 * np.cos(np.radians(4 * h - 63))
    R = -2 * np.sqrt(C**7 / (C**7 + 25**7)) * np.sin(np.radians(60 * np.exp(-(((h - 275) / 25) ** 2))))
    l = (L2 - L1) / (1 + 0.015 * (L - 50) ** 2 / np.sqrt(20 + (L - 50) ** 2))  # noqa: E741
    c, k = (C2 - C1) / (1 + 0.045 * C), dH / (1 + 0.015 * C * T)
    return float(np.sqrt(l**2 + c**2 + k**2 + R * c * k))


def contrast(one: str, two: str) -> float:
    low, high = sorted(float(linear(c) @ [0.2126, 0.7152, 0.0722]) for c in (one, two))
    return (high + 0.05) / (low + 0.05)


def test_the_difference_is_the_published_one():
    """Pairs of Sharma, Wu & Dalal 2005, table 1."""
    for one, two, expected in (
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, 2.5, 0), (73, 25, -18), 27.1492),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ):
        assert ciede2000(np.array(one, dtype=float), np.array(two, dtype=float)) == pytest.approx(
            expected, abs=1e-3
        )


@pytest.mark.parametrize("palette", [COLOURS, *PAGE.values()], ids=["plots", "page, light", "page, dark"])
@pytest.mark.parametrize("sight", SIGHT)
def test_six_categories_at_most_and_far_apart(palette, sight):
    assert len(palette) == 6
    apart = {pair: ciede2000(*(seen(c, sight) for c in pair)) for pair in itertools.combinations(palette, 2)}
    assert min(apart.values()) > 15, min(apart, key=apart.get)


def test_categories_stand_out_from_the_paper():
    for palette, paper in ((COLOURS, PAPER), *((PAGE[t], PAPERS[t]) for t in PAGE)):
        assert min(contrast(colour, paper) for colour in palette) > 3


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("n", [2, 5, 8])
def test_depth_is_an_ordered_ramp(n, sight):
    light = [seen(ramp(i, n), sight)[0] for i in range(n)]
    assert all(b - a > 5 for a, b in itertools.pairwise(light)), "lighter with each layer, in every eye"
    assert ramp(0, 1) == ramp(0, n)


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("theme", PAGE)
def test_the_pages_ramp_is_ordered(theme, sight):
    numbers = re.search(rf"const {theme} = .*?ramp: \[\[(.*?)\]\]", KIT, re.S)[1]
    ends = [[int(v) for v in part.split(",")] for part in numbers.split("], [")]
    light = [seen("#" + bytes(rgb).hex(), sight)[0] for rgb in ends]
    assert len(ends) == 4 and all(b - a > 5 for a, b in itertools.pairwise(light))


def test_dashes_tell_neighbours_apart_too():
    assert len(set(map(str, DASHES))) == len(DASHES) == 6
