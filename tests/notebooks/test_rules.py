"""What every notebook of the course keeps to, whatever it teaches."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

from tools import notebooks as runner

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = runner.all_notebooks()
LESSONS = [path for path in NOTEBOOKS if path.parent.name == "notebooks"]
TAGS = re.compile(r"nbval-ignore-output|raises-exception|fig:\d\d_\w+")
LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"")


def title(path: Path) -> str:
    return str(path.relative_to(ROOT))


def code_cells(path: Path) -> list:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


each = pytest.mark.parametrize("path", NOTEBOOKS, ids=title)


def test_the_course_is_complete():
    assert [path.stem for path in LESSONS] == [
        "01_micrograd",
        "02_bigram",
        "03_mlp",
        "04_batchnorm",
        "05_backprop_ninja",
        "06_wavenet",
    ]


@each
def test_format(path):
    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata.kernelspec == runner.KERNELSPEC
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert dict(notebook.metadata.language_info) == {"name": "python"}
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)


@each
def test_stored_as_one_run_from_top_to_bottom(path):
    """A cell without a count is not compared by nbval at all."""
    cells = code_cells(path)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        assert cell.source.strip(), f"cell {cell.execution_count} is empty"
        assert set(cell.metadata) <= set(runner.KEPT_CELL_METADATA)


@each
def test_no_stored_error_and_no_stderr(path):
    for cell in code_cells(path):
        for output in cell.outputs:
            assert output.output_type != "error", cell.source
            assert output.get("name") != "stderr", cell.source


@each
def test_tags_are_known_and_little_is_left_uncompared(path):
    cells = code_cells(path)
    tags = [tag for cell in cells for tag in cell.metadata.get("tags", [])]
    assert [tag for tag in tags if not TAGS.fullmatch(tag)] == []  # a misspelt tag would be ignored silently
    assert tags.count("nbval-ignore-output") * 5 <= len(cells)


@each
def test_cells_fit_on_a_screen(path):
    long = [(c.execution_count, len(c.source.splitlines())) for c in code_cells(path)]
    assert [(count, lines) for count, lines in long if lines > 40] == []


@each
def test_every_picture_has_a_text_twin(path):
    """nbval never compares pixels: a picture must bring text, in its own output or printed beside it."""
    for cell in code_cells(path):
        data = [output.get("data", {}) for output in cell.outputs]
        if any("image/png" in d or "image/svg+xml" in d for d in data):
            text = "".join(d.get("text/plain", "") for d in data)
            text += "".join(output.get("text", "") for output in cell.outputs)
            text = re.sub(r"<Figure size .*?>", "", text)
            assert re.search(r"\d", text), f"cell {cell.execution_count} shows a picture without its numbers"


@each
def test_nothing_of_one_machine_is_stored(path):
    text = path.read_text(encoding="utf-8")
    assert re.findall(r"/(?:home|root|tmp|Users|work)/[\w./-]+", text) == []
    assert re.findall(r"\b0x[0-9a-f]{8,}\b", text) == []  # an address in memory


@each
def test_normalised(path):
    before = nbformat.writes(nbformat.read(path, as_version=4))
    assert nbformat.writes(runner.normalise(nbformat.read(path, as_version=4))) == before


DOCUMENTS = [
    *NOTEBOOKS,
    *(p for p in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "data/README.md")),
]


@pytest.mark.parametrize("path", DOCUMENTS, ids=title)
def test_links_resolve(path):
    if path.suffix == ".ipynb":
        cells = nbformat.read(path, as_version=4).cells
        text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    else:
        text = path.read_text(encoding="utf-8")
    headings = {
        re.sub(r"[`*]", "", line.lstrip("#")).strip().replace(" ", "-").lower()
        for line in text.splitlines()
        if line.startswith("#")
    }
    for target in (a or b for a, b in LINK.findall(text)):
        if target.startswith(("https://", "mailto:")):
            continue
        assert not target.startswith("http://"), target
        file, _, anchor = target.partition("#")
        if file:
            assert (path.parent / file).exists(), f"{title(path)} links to {target}, which is not there"
        elif anchor:
            assert anchor.lower() in headings, f"{title(path)} links to #{anchor}, which is not there"


@each
def test_boxes_are_readable_in_either_theme(path):
    """JupyterLab itself writes them in orange on light orange."""
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown":
            boxes = re.findall(r"<div class=\"alert[^>]*>", cell.source)
            assert all('style="color:#3a2000"' in box for box in boxes), boxes


@pytest.mark.parametrize("path", LESSONS, ids=title)
def test_figs_are_what_the_notebooks_store(path, tmp_path):
    written = runner.save_figures(path, tmp_path)
    assert written, "no cell is tagged fig:NAME"
    for picture in written:
        kept = ROOT / "figs" / picture.name
        assert kept.exists() and kept.read_bytes() == picture.read_bytes(), f"run `make figs`: {picture.name}"


def test_no_stray_figures():
    tags = {
        t[4:] for p in LESSONS for c in code_cells(p) for t in c.metadata.get("tags", []) if t[:4] == "fig:"
    }
    assert {path.stem for path in (ROOT / "figs").glob("*.*")} == tags


@pytest.mark.parametrize("path", LESSONS, ids=title)
def test_opens_and_closes_as_a_lesson(path):
    cells = nbformat.read(path, as_version=4).cells
    opening, closing = cells[0].source, "\n".join(c.source for c in cells[-4:] if c.cell_type == "markdown")
    number = int(path.name[:2])
    assert opening.startswith(f"# {number:02d} · ")
    assert "https://www.youtube.com/watch?v=" in opening and "../figs/" in opening
    assert f"exercises/{path.name}" in opening and f"exercises/{path.name}" in closing
    if number < 6:
        assert LESSONS[number].name in closing  # on to the next lecture
    assert "torch.set_num_threads(1)" in "\n".join(c.source for c in cells if c.cell_type == "code")
