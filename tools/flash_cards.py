"""The lessons' recall questions as flash cards: docs/_static/flash_cards.csv, for Anki or any other program.

python -m tools.flash_cards
"""

from __future__ import annotations

import csv
import html
import io
import re

from tools.lesson import ROOT, lessons, read

FILE = ROOT / "docs" / "_static" / "flash_cards.csv"
FOLDED = re.compile(
    r"(?:^(\d+\. .+?)\n\n)?<details><summary>(.*?)</summary>\s*(.*?)\s*</details>", re.M | re.S
)


def cards() -> list[tuple[str, str, str]]:
    """(question, answer, lesson) of each question at a lesson's end, as HTML with MathJax in Anki's way."""
    found = []
    for name in lessons():
        cells = read(name).cells
        text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
        for before, summary, answer in FOLDED.findall(text.partition("## Questions")[2]):
            question = re.sub(r"^\d+\. ", "", before or summary)
            found.append((as_html(question), as_html(answer), name))
    return found


def as_html(text: str) -> str:
    """The little Markdown of the questions as HTML."""
    text = html.escape(html.unescape(re.sub(r"</?code>", "`", text)), quote=False)
    text = re.sub(r"\$\$(.+?)\$\$", r"\\[\1\\]", text, flags=re.S)
    text = re.sub(r"\$(.+?)\$", r"\\(\1\\)", text)
    text = re.sub(r"`(.+?)`", r"<code>\1</code>", text)
    text = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", text)
    text = re.sub(r"\*(.+?)\*", r"<i>\1</i>", text)
    return re.sub(r"\n\n+", "<br><br>", text.strip()).replace("\n", " ")


def as_csv() -> str:
    """The file: three lines for Anki, then a card a line."""
    buffer = io.StringIO()
    buffer.write("#separator:Comma\n#html:true\n#columns:Front,Back,Tags\n")
    csv.writer(buffer, lineterminator="\n").writerows(cards())
    return buffer.getvalue()


if __name__ == "__main__":
    FILE.write_text(as_csv(), encoding="utf-8")
    print(f"✓ {len(cards())} cards in {FILE.relative_to(ROOT)}")
