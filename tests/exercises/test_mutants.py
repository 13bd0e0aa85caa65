"""A master's answer with one operator or one number changed is a wrong answer, and each judge says so."""

from __future__ import annotations

import ast
import linecache
from collections.abc import Iterator

import pytest

from tests.exercises.answers import ROOT, TOPICS, answers, checks, code
from tests.exercises.test_all import EXERCISES, EXPENSIVE, exercise
from zth_helpers.exercises.exercise import BEGIN, END

OTHER = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult,
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip
# What is right as well: another smoothing, any start that is calm enough, padding that is cut off again, and
# another change of a letter.
RIGHT_AS_WELL = {
    "trigram_model": {"torch.tensor(2.0)"},
    "calm_start": {"/ (5 / 3)", "fan_in * 0.5", "1.5", "6 / 3", "5 / 4"},
    "causal_convolution": {"(0, 0, d, 1)"},
    "is_causal": {"(ids[:, t] - 1)", "(ids[:, t] + 2)"},
}


def mutants(source: str) -> Iterator[str]:
    """The cell with one place of its solution changed, for each place."""
    first, last = (source[: source.index(mark)].count("\n") + 1 for mark in (BEGIN, END))
    for i, node in enumerate(ast.walk(ast.parse(source))):
        if not first < getattr(node, "lineno", 0) <= last:
            continue
        for changed in _changes(i, source):
            yield ast.unparse(changed)


def _changes(i: int, source: str) -> Iterator[ast.AST]:
    tree = ast.parse(source)
    node = list(ast.walk(tree))[i]
    for field in ("op", "ops"):
        ops = getattr(node, field, None)
        if field == "op" and type(ops) in OTHER:
            node.op = OTHER[type(ops)]()
            yield tree
        elif field == "ops" and type(ops[0] if ops else None) in OTHER:
            node.ops[0] = OTHER[type(ops[0])]()
            yield tree
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        node.value = not node.value if isinstance(node.value, bool) else node.value + 1
        yield tree
    if isinstance(node, ast.UnaryOp):  # the sign, or the `not`, is gone
        node.op = ast.UAdd()
        yield tree


def cells(topic: str, wanted: tuple[str, ...]) -> list[str]:
    """The master's cells that define these answers."""
    sources = code(ROOT / "notebooks" / "solutions" / f"{TOPICS[topic]}.ipynb")
    begins = tuple(begin for name in wanted for begin in (f"def {name}(", f"class {name}", f"{name} = "))
    return [s for s in sources if BEGIN in s and any(line.startswith(begins) for line in s.splitlines())]


@pytest.mark.parametrize(("topic", "name"), [e for e in EXERCISES if e[1] not in EXPENSIVE])
def test_a_mutant_of_the_masters_answer_is_refused(topic, name):
    wanted, known = checks(topic)[name], RIGHT_AS_WELL.get(name, ())
    masters = cells(topic, wanted)
    assert masters and not any(part in ast.unparse(ast.parse(s)) for s in masters for part in known)
    tried = [mutant for source in masters for mutant in mutants(source)]
    passed, right_as_well = [], [mutant for mutant in tried if any(part in mutant for part in known)]
    assert len(right_as_well) == len(known)
    for number, mutant in enumerate(tried):
        file = f"<mutant {number} of {name}>"
        linecache.cache[file] = len(mutant), None, mutant.splitlines(True), file
        space = dict(answers(topic))
        try:
            exec(compile(mutant, file, "exec"), space)
        except Exception:
            continue  # it does not even run
        if exercise(topic, name).check(*(space[argument] for argument in wanted)).state == "right":
            passed.append(mutant)
    assert sorted(passed) == sorted(right_as_well), "\n\n".join(passed)


def test_there_are_mutants_of_nearly_all_exercises():
    numbers = [sum(1 for s in cells(t, checks(t)[n]) for _ in mutants(s)) for t, n in EXERCISES]
    assert sum(numbers) > 400 and numbers.count(0) < 5
