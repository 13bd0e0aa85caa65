"""`make site`: the notebooks, as they are stored, and the documents as a site of plain files in build/site.

    python -m tools.site            (needs npm once, for MathJax and mermaid; nothing is executed)

The sources are staged in build/site-source at the same places as in the repository, so that their links hold:
pictures become files of their own, with sizes and alternative text, and each exercise gets its hints. Then
Sphinx makes the pages; the functions from `setup` on are its extension. No page asks another server for
anything, and all of it works from a folder.
"""

from __future__ import annotations

import base64
import html
import importlib
import io
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import nbformat
from docutils import nodes
from docutils.parsers.rst import Directive
from PIL import Image

from zth_helpers.interact import MIME, page_html

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build"
SOURCE, SITE, MODULES = BUILD / "site-source", BUILD / "site", BUILD / "node_modules"
NOTEBOOKS = ("notebooks", "notebooks/beyond", "notebooks/exercises")
DOCUMENTS = ("CONTRIBUTING.md", "CHANGELOG.md", "data/README.md", "docs/*.md", "benchmarks/*/*.md")
OF_README = re.compile(r"<!-- (badges|numbers|bench) -->.*?<!-- /\1 -->\n", re.S)  # not on the first page
LINK = re.compile(r"(?<=\]\()([^)\s#]+)(#[^)\s]*)?(?=\))")
FIGURE = """<figure class="picture"><img src="{src}" width="{width}" height="{height}" alt="{alt}"
loading="lazy" decoding="async"><details><summary>the numbers</summary><pre>{text}</pre></details></figure>"""
HINT = '<details class="hint"><summary>Hint {number}</summary>\n\n{hint}\n\n</details>'


def repository() -> str:
    """The repository's address: CI's own, or the one in pyproject.toml."""
    if there := os.environ.get("GITHUB_REPOSITORY"):
        return f"https://github.com/{there}"
    with open(ROOT / "pyproject.toml", "rb") as file:
        return tomllib.load(file)["project"]["urls"]["Repository"]


def anchor(heading: str) -> str:
    """The fragment that JupyterLab gives to a heading, which is what the notebooks' links use."""
    return heading.strip().replace(" ", "-")


def sources() -> list[Path]:
    """All that becomes a page, relative to the repository."""
    patterns = [*(f"{folder}/0*.ipynb" for folder in NOTEBOOKS), *DOCUMENTS]
    return [path.relative_to(ROOT) for pattern in patterns for path in sorted(ROOT.glob(pattern))]


def stage() -> None:
    """Writes build/site-source. Raises OSError."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    shutil.copytree(ROOT / "docs", SOURCE, ignore=shutil.ignore_patterns("*.md", "package*.json"))
    shutil.copytree(ROOT / "figs", SOURCE / "figs")
    (SOURCE / "_extra" / "pictures").mkdir(parents=True)
    pages = sources()
    known = {path.as_posix() for path in pages}
    for path in pages:
        target = SOURCE / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".ipynb":
            nbformat.write(staged(nbformat.read(ROOT / path, as_version=4), path, known), target)
        else:
            target.write_text(relinked((ROOT / path).read_text("utf-8"), path, known), encoding="utf-8")
    readme = OF_README.sub("", (ROOT / "README.md").read_text("utf-8"))
    contents = (ROOT / "docs" / "contents.txt").read_text("utf-8")
    first = relinked(readme, Path("README.md"), known) + "\n" + contents
    (SOURCE / "index.md").write_text(first, encoding="utf-8")


def relinked(text: str, page: Path, known: set[str]) -> str:
    """A link to something that is no page of the site goes to the repository instead."""

    def replace(match: re.Match) -> str:
        target, fragment = match[1], match[2] or ""
        if re.match(r"[a-z]+:", target):
            return match[0]
        path = Path(os.path.normpath(page.parent / unquote(target))).as_posix()
        if path == "README.md":
            return os.path.relpath("index.md", page.parent) + fragment
        if path in known or path.startswith("figs/"):
            return match[0]
        return f"{repository()}/blob/main/{path}{fragment}"

    text = re.sub(r'(?<=href=")([\w./]+)\.ipynb', r"\1.html", text)  # inside of HTML, Sphinx does not look
    return LINK.sub(replace, text)


def staged(notebook: nbformat.NotebookNode, page: Path, known: set[str]) -> nbformat.NotebookNode:
    """The notebook for the site: its pictures as files, its links, and the hints of its exercises."""
    cells, pictures = [], 0
    for cell in notebook.cells:
        if "launch" in cell.metadata.get("tags", []):
            continue
        cells.append(cell)
        if cell.cell_type == "markdown":
            cell.source = relinked(cell.source, page, known)
            continue
        for output in cell.get("outputs", []):
            if picture := _picture(output, page, pictures):
                if explorable := output.data.get(MIME):  # it computes in the page
                    picture = f"{page_html(explorable)}<noscript>{picture}</noscript>"
                output.data, output.metadata, pictures = {"text/html": picture}, {}, pictures + 1
        if asked := re.match(r"ex\.(\w+)\.check\(", cell.source):
            cell.outputs = []  # "not tried yet"
            cells.append(nbformat.v4.new_markdown_cell(_hints(notebook, asked[1])))
    notebook.cells = cells
    return notebook


def _picture(output: nbformat.NotebookNode, page: Path, number: int) -> str | None:
    """The HTML of a picture, which is written as a file; None for an output without one."""
    data = output.get("data", {})
    twin = data.get("text/plain", "")
    name = f"{page.parent.name}-{page.stem}-{number}"
    if "image/png" in data:
        image = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
        width = output.metadata.get("image/png", {}).get("width") or image.width
        height = round(width * image.height / image.width)
        name += ".webp"
        image.save(SOURCE / "_extra" / "pictures" / name, lossless=True, method=4)
    elif "image/svg+xml" in data:
        svg = data["image/svg+xml"]
        sizes = re.search(r'width="([\d.]+)\w*" height="([\d.]+)', svg)
        width, height = (round(float(size) * 4 / 3) for size in sizes.groups()) if sizes else (600, 300)
        name += ".svg"
        (SOURCE / "_extra" / "pictures" / name).write_text(svg, encoding="utf-8")
    else:
        return None
    src = os.path.relpath(f"pictures/{name}", page.parent).replace(os.sep, "/")
    alt = html.escape(twin.partition("\n")[0][:200] or "a figure", quote=True)
    return FIGURE.format(src=src, width=width, height=height, alt=alt, text=html.escape(twin))


def _hints(notebook: nbformat.NotebookNode, name: str) -> str:
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    [lesson] = re.findall(r"^from zth_helpers\.exercises import (\w+) as ex", code, re.M)
    exercise = getattr(importlib.import_module(f"zth_helpers.exercises.{lesson}"), name)
    return "\n\n".join(HINT.format(number=i, hint=hint) for i, hint in enumerate(exercise.hints, 1))


def bundle() -> None:
    """Copies MathJax and mermaid, as docs/package.json names them, into the staged sources."""
    wanted = (ROOT / "docs" / "package.json").read_bytes()
    stamp = MODULES / "package.json"
    if not stamp.exists() or stamp.read_bytes() != wanted:
        BUILD.mkdir(exist_ok=True)
        shutil.copy(ROOT / "docs" / "package.json", BUILD / "package.json")
        quiet = ["--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"]
        try:
            subprocess.run(["npm", "install", *quiet], cwd=BUILD, check=True, shell=os.name == "nt")
        except FileNotFoundError:
            raise SystemExit("✗ make site needs npm for MathJax and mermaid: install Node.js") from None
        except subprocess.CalledProcessError:
            raise SystemExit("✗ npm could not install MathJax and mermaid; see above") from None
        stamp.write_bytes(wanted)
    for file, folder in (("mathjax/es5/tex-svg.js", "mathjax"), ("mermaid/dist/mermaid.min.js", "mermaid")):
        (SOURCE / "_static" / folder).mkdir(parents=True, exist_ok=True)
        shutil.copy(MODULES / file, SOURCE / "_static" / folder)


def build() -> Path:
    """Stages, bundles, runs Sphinx, and puts the notebooks themselves behind the download buttons."""
    stage()
    bundle()
    shutil.rmtree(SITE, ignore_errors=True)
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-E"]
    done = subprocess.run([*command, "-d", BUILD / "doctrees", SOURCE, SITE], cwd=ROOT)
    if done.returncode:
        raise SystemExit("✗ Sphinx had something to say, see above; the site must build without a warning")
    for path in sources():
        if path.suffix == ".ipynb":
            nbformat.write(lighter(nbformat.read(ROOT / path, as_version=4)), SITE / "_sources" / path)
    for path in [*SITE.rglob("*.map"), *SITE.glob("_static/locales/*/LC_MESSAGES/*.po")]:
        path.unlink()
    return SITE


def lighter(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook for the download button, with its pictures in 256 colours: less than half as large."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                image = Image.open(io.BytesIO(base64.b64decode(output.data["image/png"])))
                buffer = io.BytesIO()
                image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(
                    buffer, "PNG", optimize=True
                )
                if buffer.tell() * 4 < len(output.data["image/png"]) * 3:
                    output.data["image/png"] = base64.b64encode(buffer.getvalue()).decode() + "\n"
    return notebook


class Mermaid(Directive):
    """A ```mermaid fence: mermaid draws it in the page."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        text = html.escape("\n".join(self.content))
        code = f'<pre class="mermaid" role="img" aria-label="The map of the lessons">{text}</pre>'
        return [nodes.raw("", code, format="html")]


def plain_docstring(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Our docstrings are plain text: signs with a meaning in reStructuredText are escaped, `code` is code."""
    out: list[str] = []
    for paragraph in re.split(r"\n\s*\n", "\n".join(lines)):
        rows = paragraph.splitlines()
        indented = [row.startswith(" ") for row in rows]
        if rows and all(indented):  # code
            out += ["::", "", *rows, ""]
            continue
        for row, continues in zip(rows, indented):
            parts = row.split("`")
            parts[::2] = [re.sub(r"([\\*|_])", r"\\\1", part) for part in parts[::2]]
            bullet = "" if not any(indented) else "  " if continues else "- "
            out.append(bullet + "``".join(parts).strip())
        out.append("")
    lines[:] = out


def finish_page(app: Any, page: str, template: str, context: dict, doctree: Any) -> None:
    """Sizes and lazy loading for the pictures that Sphinx has put in; mermaid only where there is a map."""
    body = context.get("body") or ""
    if 'class="mermaid"' in body:
        app.add_js_file("mermaid/mermaid.min.js", priority=100)

    def with_size(match: re.Match) -> str:
        file = SOURCE / "figs" / Path(match[1]).name
        if "loading=" in match[0] or not file.exists() or file.suffix == ".svg":
            return match[0]
        with Image.open(file) as image:
            width, height = image.size
        size = "" if "width" in match[0] else f' width="{width // 2}" height="{height // 2}"'
        return match[0].replace("<img", f'<img loading="lazy" decoding="async"{size}', 1)

    context["body"] = re.sub(r'<img[^>]*src="([^"]+)"[^>]*>', with_size, body)


def setup(app: Any) -> dict:
    app.add_directive("mermaid", Mermaid)
    app.connect("autodoc-process-docstring", plain_docstring)
    app.connect("html-page-context", finish_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


if __name__ == "__main__":
    folder = build()
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"✓ {folder.relative_to(ROOT)}/index.html, {size / 1e6:.1f} MB in all")
