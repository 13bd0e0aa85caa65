"""An exported lesson says in words what its pictures show."""

from __future__ import annotations

import re

import pytest
from nbconvert import HTMLExporter

from tools.lesson import ROOT


@pytest.mark.parametrize("lesson", ["01_micrograd", "05_backprop_ninja"])
def test_exported_pictures_have_alternative_texts(lesson):
    folders = [str(ROOT / "tools" / "nbconvert")]  # as in tools/lab_config.py
    exporter = HTMLExporter(template_name="described", extra_template_basedirs=folders)
    page, _ = exporter.from_filename(str(ROOT / "notebooks" / f"{lesson}.ipynb"))
    images = re.findall(r"<img [^>]*>", page)
    texts = [re.search(r'alt="([^"]*)"', image)[1] for image in images]
    assert len(texts) >= 8 and all(len(text) > 5 for text in texts)
    assert not [text for text in texts if "No description" in text]
