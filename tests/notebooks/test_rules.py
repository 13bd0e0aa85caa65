"""What every notebook of the course keeps to, whatever it teaches."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest

from tools import notebooks as runner

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = runner.all_notebooks()
LESSONS = [path for path in NOTEBOOKS if path.parent.name == "notebooks"]
SEQUELS = [path for path in NOTEBOOKS if path.parent.name == "beyond"]
VIDEOS = {
    1: "VMj-3S1tku0",
    2: "PaCmpygFfXo",
    3: "TCH_1BHY58I",
    4: "P6sfmUTpUmc",
    5: "q8SA3rM6ckI",
    6: "t3YJ5hKiMQ0",
}
MOST_CODE_LINES = {1: 420, 2: 320, 3: 260, 4: 480, 5: 400, 6: 320}
HEADING = re.compile(r"## (\d+) · (.+?)(?: \[▶ ([\d:]+)\]\(https://youtu\.be/([\w-]+)\?t=(\d+)\)| \(ours\))")
UNNUMBERED = ("Recap", "Questions", "Where next")
TAGS = re.compile(r"launch|nbval-ignore-output|raises-exception|fig:\d\d_\w+")
LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"")


def title(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchor(heading: str) -> str:
    """The fragment that JupyterLab gives a heading: its text, with spaces as hyphens."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading.lstrip("#"))
    return re.sub(r"[`*]", "", text).strip().replace(" ", "-")


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
def test_the_first_cell_installs_what_is_missing(path):
    """The same in each notebook, and silent where the course is installed."""
    first, *others = code_cells(path)
    assert first.metadata.get("tags") == ["launch"] and first.outputs == []
    assert first.source == code_cells(LESSONS[0])[0].source
    assert not [cell for cell in others if "launch" in cell.metadata.get("tags", [])]


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
def test_no_comment_is_meant_for_a_linter(path):
    """But for `fmt: skip`, which keeps the lecture's layout."""
    assert [c.source for c in code_cells(path) if re.search(r"#\s*(noqa|type:|pragma|ruff:)", c.source)] == []


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
def test_every_picture_is_sharp_and_has_an_alternative_text(path):
    """Twice as many pixels as it is wide in the page, and words for who cannot see it."""
    for cell in code_cells(path):
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                shown = output.metadata["image/png"]
                pixels = int.from_bytes(base64.b64decode(output.data["image/png"])[16:20], "big")
                assert abs(pixels - 2 * shown["width"]) <= 1 and shown["width"] <= 1060, cell.source
                assert len(shown["alt"]) > 5, cell.source


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
    headings = {anchor(line).lower() for line in text.splitlines() if line.startswith("#")}
    for target in (a or b for a, b in LINK.findall(text)):
        if target.startswith(("https://", "mailto:")):
            continue
        assert not target.startswith("http://"), target
        file, _, fragment = target.partition("#")
        if file:
            assert (path.parent / file).exists(), f"{title(path)} links to {target}, which is not there"
        elif fragment:
            assert unquote(fragment).lower() in headings, f"{title(path)} has no heading #{fragment}"


@each
def test_boxes_are_readable_in_either_theme(path):
    """JupyterLab itself writes them in orange on light orange."""
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown":
            boxes = re.findall(r"<div class=\"alert[^>]*>", cell.source)
            assert all('style="color:#3a2000"' in box for box in boxes), boxes


@pytest.mark.parametrize("path", LESSONS, ids=title)
def test_figs_are_what_the_notebooks_store(path, tmp_path):
    for picture in runner.save_figures(path, tmp_path):
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
    opening, closing = cells[0].source, "\n".join(c.source for c in cells[-6:] if c.cell_type == "markdown")
    number = int(path.name[:2])
    assert opening.startswith(f"# {number:02d} · ")
    assert f"https://www.youtube.com/watch?v={VIDEOS[number]}" in opening and "../figs/" in opening
    for folder in ("exercises", "beyond"):
        assert f"{folder}/{path.name}" in opening and f"{folder}/{path.name}" in closing
    if number < 6:
        assert LESSONS[number].name in closing  # on to the next lecture
    assert "torch.set_num_threads(1)" in "\n".join(c.source for c in cells if c.cell_type == "code")


def headings(path: Path) -> list[str]:
    return [
        line
        for cell in nbformat.read(path, as_version=4).cells
        if cell.cell_type == "markdown"
        for line in cell.source.splitlines()
        if line.startswith("## ")
    ]


@pytest.mark.parametrize("path", LESSONS, ids=title)
def test_each_section_names_its_minute_in_the_video(path):
    number, seconds = int(path.name[:2]), []
    numbered = [line for line in headings(path) if line[3:] not in UNNUMBERED]
    for i, line in enumerate(numbered, 1):
        found = HEADING.fullmatch(line)
        assert found, f"not `## {i} · Title [▶ m:ss](https://youtu.be/…?t=…)` and not `(ours)`: {line}"
        assert int(found[1]) == i, line
        if found[3]:
            minutes = [int(part) for part in found[3].split(":")]
            assert found[4] == VIDEOS[number], line
            assert int(found[5]) == sum(part * 60**k for k, part in enumerate(reversed(minutes))), line
            seconds.append(int(found[5]))
    assert len(seconds) >= 5 and seconds == sorted(seconds), "the sections follow the video"


@pytest.mark.parametrize("path", [*LESSONS, *SEQUELS], ids=title)
def test_headings_stand_alone_and_in_the_contents(path):
    cells = nbformat.read(path, as_version=4).cells
    contents = next((c.source for c in cells[:4] if "| § |" in c.source), "")
    linked = [unquote(target) for target in re.findall(r"\]\(#([^)]+)\)", contents)]
    found = [line for line in headings(path) if line[3:] not in UNNUMBERED]
    assert linked == [anchor(line) for line in found]
    for cell in cells:
        if cell.cell_type == "markdown" and "\n## " in f"\n{cell.source}":
            assert len(cell.source.splitlines()) == 1, f"a heading is a cell of its own: {cell.source[:60]}"


@pytest.mark.parametrize("path", LESSONS, ids=title)
def test_a_lesson_is_short(path):
    lines = [line.strip() for cell in code_cells(path) for line in cell.source.splitlines()]
    count = sum(bool(line) and not line.startswith("#") for line in lines)
    assert count <= MOST_CODE_LINES[int(path.name[:2])]


@pytest.mark.parametrize("path", [*LESSONS, *SEQUELS], ids=title)
def test_claims_are_shown_and_not_enforced(path):
    for cell in code_cells(path):
        assert not re.search(r"^\s*assert\b", cell.source, re.M), cell.source
        assert ".twin" not in cell.source, cell.source
        text = "".join(output.get("text", "") for output in cell.outputs)
        assert "✗" not in text, f"a claim does not hold on the shipped list:\n{text}"


@pytest.mark.parametrize("path", LESSONS, ids=title)
def test_five_questions_with_folded_answers(path):
    text = "\n".join(c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "markdown")
    questions = text.partition("## Questions")[2]
    assert questions.count("<details><summary>") >= 5


@pytest.mark.parametrize("path", [*LESSONS, *SEQUELS], ids=title)
def test_text_output_fits_a_page(path):
    for cell in code_cells(path):
        for output in cell.outputs:
            text = output.get("text", "") + output.get("data", {}).get("text/plain", "")
            if "image/png" not in output.get("data", {}):
                assert max(map(len, text.splitlines()), default=0) <= 110, text
