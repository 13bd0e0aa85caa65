"""`progress`: which exercises in work/ are solved. Only answers that have changed are run again.

An answer is the cell that defines what a check gets, with the cells that this one needs in turn; so an error
or an endless loop in one of them costs its own exercise and no other. Verdicts are kept in
work/.verdicts.json under a digest of these cells and of the course's own checks.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Empty
from typing import Any

from zth_helpers.settings import PACKAGE, ROOT
from zth_helpers.settings import progress as bar

KEPT = ".verdicts.json"
SECONDS = 20  # for a cell; a check ends by itself after as many
MARK = {"right": "✓", "wrong": "✗", "not tried yet": "·", "could not be judged": "!"}
_CHECK = re.compile(r"\b(\w+)\.check\(")


@dataclass
class _Answer:
    """One exercise in a learner's notebook: its name, the call of its check, and the cells it needs."""

    name: str
    call: str
    cells: list[str]

    def digest(self, course: str) -> str:
        return hashlib.sha256(json.dumps([course, self.call, self.cells]).encode()).hexdigest()


def lectures(which: str, root: Path = ROOT) -> list[Path]:
    """The notebooks of one lecture ("3", "03", "mlp" or "03_mlp") or of "all": lesson and exercises.

    Raises ValueError that lists what there is.
    """
    lessons = sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    wanted = which.strip().lower().removesuffix(".ipynb")
    chosen = [p for p in lessons if wanted == "all" or wanted in _spellings(p.stem)]
    if not chosen:
        there = ", ".join(f"{int(p.name[:2])} ({p.stem[3:]})" for p in lessons)
        raise ValueError(f"there is no lecture {which!r}; there are {there}, and `all`")
    return [q for p in chosen for q in (p, p.parent / "exercises" / p.name) if q.exists()]


def _spellings(stem: str) -> set[str]:
    number, _, name = stem.partition("_")
    return {stem, number, str(int(number)), name, name.replace("_", " "), name.replace("_", "-")}


def progress(which: str = "all", root: Path = ROOT) -> int:
    """Prints which exercises of a lesson, or of all, are solved, and which comes next.

    Gives 2 where there is no such lesson.
    """
    try:
        chosen = {path.stem for path in lectures(which, root)}
    except ValueError as error:
        print(f"✗ {error}", file=sys.stderr)
        return 2
    folder = root / "work" / "exercises"
    paths = [path for path in sorted(folder.glob("*.ipynb")) if path.stem in chosen]
    if not paths:
        print(f"· no exercises in work/ yet: python -m zth_helpers start {which if which != 'all' else 1}")
        return 0
    kept = _read(root / "work" / KEPT)
    course = _course_digest()
    lines: list[str] = []
    following = ""
    for path in bar(paths, "running your answers"):
        try:
            cells = _code(path)
        except (OSError, ValueError, KeyError, TypeError) as error:
            lines.append(f"{path.stem}: cannot be read ({type(error).__name__}: {error})")
            continue
        answers = _answers(cells)
        known = kept.setdefault(path.stem, {})
        stale = [a for a in answers.values() if known.get(a.name, {}).get("digest") != a.digest(course)]
        if stale:
            for answer, verdict in zip(stale, _judge(stale, path.parent)):
                known[answer.name] = verdict | {"digest": answer.digest(course)}
            _write(root / "work" / KEPT, kept)
        names = _names(root / "notebooks" / "exercises" / path.name) or list(answers)
        for gone in set(known) - set(names):
            del known[gone]
        verdicts = {name: known.get(name) if name in answers else None for name in names}
        right = sum(v is not None and v["state"] == "right" for v in verdicts.values())
        lines.append(f"{path.stem}: {right} of {len(names)} solved")
        for name, found in verdicts.items():
            state = found["state"] if found else "not tried yet"
            title = found["title"] if found else f"{name} (its check is not in your notebook)"
            said = found["message"].splitlines() if found and state == "wrong" else []
            lines.append(f"  {MARK[state]} {title}: {state}" + (f", {said[0]}" if said else ""))
            if not following and state != "right":
                following = f"next: {title}, in {path.relative_to(root)}"
    _write(root / "work" / KEPT, kept)
    print("\n".join([*lines, following or "all solved"]))
    return 0


def solved(root: Path = ROOT) -> dict[str, int]:
    """{lesson: how many of its exercises were right when they were last looked at}."""
    kept = _read(root / "work" / KEPT)
    return {
        name: sum(one["state"] == "right" for one in verdicts.values()) for name, verdicts in kept.items()
    }


def _code(path: Path) -> list[str]:
    """The sources of the code cells."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def _names(path: Path) -> list[str]:
    """The exercises of the course's own notebook, in its order."""
    if not path.exists():
        return []
    return [m[1] for source in _code(path) if (m := _CHECK.search(source))]


def _answers(cells: Sequence[str]) -> dict[str, _Answer]:
    """Each exercise that is checked in the cells, with what it needs; the last check of each counts."""
    checks = {m[1]: source for source in cells if (m := _CHECK.search(source))}
    plain = [source for source in cells if not _CHECK.search(source) and not _only_asks(source)]
    defined = [_defined(source) for source in plain]
    used = [_used(source) for source in plain]
    found = {}
    for name, source in checks.items():
        call = _call(name, source)
        needed: set[int] = set()
        wanted = _used(call)
        while True:
            more = {i for i, names in enumerate(defined) if names & wanted} - needed
            if not more:
                break
            needed |= more
            wanted = wanted.union(*(used[i] for i in more))
        found[name] = _Answer(name, call, [plain[i] for i in sorted(needed)])
    return found


def _only_asks(source: str) -> bool:
    """A cell with nothing but ex.NAME.hint() or solution()."""
    lines = [line for line in source.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return all(re.fullmatch(r"\s*\w+\.\w+\.(hint|solution)\(\d*\);?\s*", line) for line in lines)


def _tree(source: str) -> ast.Module | None:
    lines = ["pass" if line.lstrip().startswith(("%", "!")) else line for line in source.splitlines()]
    try:
        return ast.parse("\n".join(lines))
    except SyntaxError:
        return None


def _defined(source: str) -> set[str]:
    """The names that a cell gives a meaning: functions, classes, imports, variables, attributes of these."""
    tree = _tree(source)
    if tree is None:
        return set(re.findall(r"^\s*(?:def|class)\s+(\w+)", source, re.M)) | set(
            re.findall(r"^(\w+)\s*=", source, re.M)
        )
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if isinstance(node.value, ast.Name):  # Value.exp = exp
                names.add(node.value.id)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            function = node.value.func  # torch.set_num_threads(1): a setting of what it is called on
            if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
                names.add(function.value.id)
    return names


def _used(source: str) -> set[str]:
    tree = _tree(source)
    if tree is None:
        return set(re.findall(r"\w+", source))
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _call(name: str, source: str) -> str:
    """The last ex.NAME.check(…) of a cell; where the cell is no Python, one that will say so."""
    tree = _tree(source)
    calls = [
        ast.unparse(node)
        for node in (ast.walk(tree) if tree else ())
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "check"
        and ast.unparse(node.func.value).rpartition(".")[2] == name
    ]
    return calls[-1] if calls else source


_REPORT = """
import json as _json
_verdict = {call}
print("\\x02" + _json.dumps([_verdict.state, _verdict.title, _verdict.message]))
"""


def _judge(answers: Sequence[_Answer], folder: Path) -> list[dict[str, str]]:
    """The verdicts of these answers, from one kernel; it is started anew when a cell does not end."""
    kernel = _Kernel(folder)
    verdicts = []
    try:
        for answer in answers:
            problem = None
            for cell in answer.cells:
                problem = kernel.run(cell).problem or problem
            said = kernel.run(_REPORT.format(call=answer.call), 6 * SECONDS)
            line = next((x for x in reversed(said.text.splitlines()) if x.startswith("\x02")), None)
            if line is None:
                message = problem or said.problem or "the check said nothing"
                verdicts.append({"state": "wrong", "title": answer.name, "message": message})
            else:
                state, title, message = json.loads(line[1:])
                if problem and state != "right":
                    state, message = "wrong", problem
                verdicts.append({"state": state, "title": title, "message": message})
    finally:
        kernel.stop()
    return verdicts


@dataclass
class _Said:
    text: str
    problem: str | None


class _Kernel:
    """A kernel that runs cells one by one, each only once, and survives those that do not end."""

    def __init__(self, folder: Path):
        self.folder, self.done = folder, dict[str, _Said]()
        self._manager: Any = None
        self._client: Any = None

    def run(self, source: str, seconds: float = SECONDS) -> _Said:
        """What the cell printed, and its problem; a cell that ran before is not run again."""
        if source in self.done:
            return self.done[source]
        if self._manager is None:
            self._start()
        text: list[str] = []
        problem = None
        asked = self._client.execute(source, allow_stdin=False)
        end = time.monotonic() + seconds
        try:
            while True:
                message = self._client.get_iopub_msg(timeout=max(0.0, end - time.monotonic()))
                if message["parent_header"].get("msg_id") != asked:
                    continue
                kind, content = message["msg_type"], message["content"]
                if kind == "stream" and sum(map(len, text)) < 1_000_000:
                    text.append(content["text"])
                elif kind == "error":
                    problem = f"{content['ename']}: {content['evalue']}"
                elif kind == "status" and content["execution_state"] == "idle":
                    break
        except Empty:
            problem = f"this cell was stopped after {seconds:.0f} seconds: {source.strip().splitlines()[0]}"
            self.stop()
        said = _Said("".join(text), problem)
        if self._manager is None:  # what ran before is lost with the kernel; run it anew when it is needed
            self.done = {
                cell: old for cell, old in self.done.items() if old.problem and "stopped" in old.problem
            }
        self.done[source] = said
        return said

    def _start(self) -> None:
        from jupyter_client.manager import start_new_kernel

        environment = os.environ | {"ZTH_QUIET": "1"}
        self._manager, self._client = start_new_kernel(
            kernel_name="python3", cwd=str(self.folder), env=environment, startup_timeout=120
        )

    def stop(self) -> None:
        if self._manager is not None:
            self._client.stop_channels()
            self._manager.shutdown_kernel(now=True)
            self._manager = self._client = None


def _course_digest() -> str:
    """Of the checks: a verdict does not outlive a change of them."""
    digest = hashlib.sha256()
    for path in sorted((PACKAGE / "exercises").glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _read(path: Path) -> dict[str, dict[str, dict[str, str]]]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _write(path: Path, kept: dict) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(kept, indent=1, ensure_ascii=False), encoding="utf-8")
