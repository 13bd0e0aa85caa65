"""The machinery under every exercise: what a learner is told, for each way to be wrong."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch

from zth_helpers.exercises.checks import call, expect, finite, told_apart
from zth_helpers.exercises.exercise import NotTried, Wrong, exercise


@exercise("Row means", hints=("Think of mean.", "x.mean(1)"))
def row_means(mean):
    for n, m in ((2, 3), (4, 5)):
        x = torch.randn(n, m, generator=torch.Generator().manual_seed(n))
        want = x.mean(1)
        mistakes = {"you forgot to divide by the number of columns": x.sum(1), "that is one mean": x.mean()}
        expect("means", call(mean, x), want, mistakes)
    return "equal to the means of every row"


WRONG = {
    "missing return": (lambda x: None, "got None"),
    "type": (lambda x: "no", "got str"),
    "list": (lambda x: x.mean(1).tolist(), "expected a tensor of shape (2,), got list"),
    "shape": (
        lambda x: x.mean(1, keepdim=True),
        "shape (2, 1), expected (2,): the number of values is right",
    ),
    "axis": (lambda x: x.mean(0), "shape (3,), expected (2,)"),
    "dtype": (lambda x: x.mean(1).long(), "dtype torch.int64"),
    "nan": (lambda x: x.mean(1) / 0 * 0, "nan or inf, the first at (0,)"),
    "values": (lambda x: x.mean(1) + torch.tensor([0.0, 2.0]), "largest difference at [1]"),
    "named": (lambda x: x.sum(1), "forgot to divide"),
    "named, other shape": (lambda x: x.mean(), "that is one mean"),
    "echo": (lambda x: x, "shape (2, 3)"),
    "in place": (lambda x: x.sub_(1).add(1).mean(1), "changed its argument 1"),
    "hard-wired": (lambda x: x.sum(1) / 3, "largest difference"),
    "exception": (lambda x: x.nonsense(), "your code raised AttributeError"),
    "arguments": (lambda: 1, "does it take these arguments?"),
    "not a function": (torch.zeros(2), "expected a function, got Tensor"),
    "none": (None, "got None"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_answer_is_told_what_is_wrong(case):
    answer, message = WRONG[case]
    verdict = row_means.check(answer)
    assert verdict.state == "wrong" and not verdict
    assert message in verdict.message
    assert "judging.py" not in verdict.message and "Traceback" not in verdict.message


def test_a_right_answer():
    verdict = row_means.check(lambda x: x.mean(1))
    assert verdict and str(verdict) == "✓ Row means: right\nequal to the means of every row"
    assert row_means.check(lambda x: torch.stack([row.mean() for row in x]))


def test_the_untouched_stub():
    def stub(x):
        raise NotImplementedError("your code here")

    for answer in (stub, ...):
        assert row_means.check(answer).state == "not tried yet"
    assert row_means.check().state == "not tried yet"

    def their_own(x):
        raise NotImplementedError("this op")

    assert row_means.check(their_own).state == "wrong"


def test_the_learners_exception_is_shown_with_their_line():
    def theirs(x):
        y = x.mean(1)
        return y @ x.T @ x @ x

    message = row_means.check(theirs).message
    assert "your code raised RuntimeError" in message
    assert "in theirs, line" in message and "return y @ x.T @ x @ x" in message


def test_the_number_of_answers_is_explained():
    assert "ex.row_means.check(mean)" in row_means.check(lambda x: x, 2).message


def test_check_leaves_the_learners_random_state_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    row_means.check(lambda x: torch.randn(2))
    assert torch.equal(before, torch.get_rng_state())


def test_hints_grow_and_end():
    assert "Think of mean" in str(row_means.hint())
    assert "x.mean(1)" in str(row_means.hint())
    assert "last hint" in str(row_means.hint())


def test_a_hint_can_be_read_again():
    fresh = exercise("Fresh", hints=("one", "two", "three"))(lambda answer: "")
    assert "one" in fresh.hint().message and "two" in fresh.hint(2).message
    assert "one" in fresh.hint(1).message and "three" in fresh.hint().message
    assert "there are hints 1 to 3" in fresh.hint(4).message and "hints 1 to 3" in fresh.hint(0).message


def test_a_cell_that_runs_again_does_not_spend_the_next_hint(monkeypatch):
    from zth_helpers.exercises import exercise as module

    fresh = exercise("Fresh", hints=("one", "two", "three"))(lambda answer: "")
    said = []
    for cell, run in (("a", 1), ("a", 2), ("b", 3), ("a", 4), ("b", 5), ("c", 6), ("c", 6)):
        monkeypatch.setattr(module, "_cell", lambda cell=cell, run=run: (cell, run))
        said.append(fresh.hint().message.split()[0])
    assert said == ["one", "one", "two", "one", "two", "three", "That"]


def test_a_stub_below_the_work_is_named():
    def left(x):
        """Docstring."""
        x = x.mean(1)
        raise NotImplementedError("your code here")

    def above(x):
        raise NotImplementedError("your code here")
        return x.mean(1)

    def documented(x):
        """Untouched."""
        raise NotImplementedError("your code here")

    for answer in (left, above):
        verdict = row_means.check(answer)
        assert verdict.state == "wrong" and f"still stands in {answer.__name__}, line" in verdict.message
    assert row_means.check(documented).state == "not tried yet"
    assert "calls documented, which is still a stub" in row_means.check(lambda x: documented(x)).message


def test_enough_digits_to_see_a_difference():
    with pytest.raises(Wrong, match=r"got -12\.35\d+, expected -12\.35\d+, a difference of") as wrong:
        expect("x", -12.353553, -12.353553 * (1 + 1e-8), rtol=1e-12, atol=0)
    got, want = str(wrong.value).split("got ")[1].split(", a diff")[0].split(", expected ")
    assert got != want


def test_a_small_difference_has_its_sign():
    text = told_apart(1.0, 1.0 + 2**-30)
    assert text == "got 1, expected 1.0000000009, a difference of -9.3e-10"
    assert told_apart(1.0 + 2**-30, 1.0).endswith("a difference of 9.3e-10")


@pytest.mark.parametrize(
    ("value", "said"),
    [(math.nan, "is nan"), (torch.tensor(math.inf), "is inf"), (torch.zeros(2), "got shape (2,)")],
)
def test_one_finite_number_is_asked_for(value, said):
    assert finite("the loss", torch.tensor([1.5])) == 1.5
    with pytest.raises(Wrong, match=f"the loss: .*{re.escape(said)}"):
        finite("the loss", value)


def test_the_arguments_are_asked_about_for_type_errors_alone():
    assert "does it take these arguments?" in row_means.check(lambda: 1).message
    assert "does it take" not in row_means.check(torch.linalg.inv).message


def test_numpy_is_as_good():
    assert row_means.check(lambda x: x.numpy().mean(1))
    assert row_means.check(lambda x: x.mean(1).numpy())
    for got, want in [
        (np.float32(1.5), 1.5),
        (np.int64(2), 2),
        (np.array(2.0), 2.0),
        (np.array([1, 2]), [1.0, 2.0]),
        ([np.float32(1), np.int32(2)], (1, 2)),
        (np.bool_(True), True),
        (np.arange(4, dtype=np.uint8), torch.arange(4)),
        (np.arange(4, dtype=np.float16), torch.arange(4.0)),
    ]:
        expect("x", got, want)
    with pytest.raises(Wrong, match="nan or inf"):
        expect("x", np.array([np.nan, 1.0]), [1.0, 1.0])


def test_html_escapes_what_the_learner_wrote():
    html = row_means.check(lambda x: "<script>")._repr_html_()
    assert "<script>" not in html


@pytest.mark.filterwarnings("error")  # a warning of torch's would be shown to the learner
@pytest.mark.parametrize(
    ("got", "want", "message"),
    [
        (1.0, 1.0, None),
        (torch.tensor(1.0), 1.0, None),
        (2, 2, None),
        (2.0, 2, None),
        ([1.0, 2.0], (1.0, 2.0), None),
        ((torch.ones(2), torch.ones(3)), [torch.ones(2), torch.ones(3)], None),
        (1.1, 1.0, "got 1.1, expected 1"),
        (math.nan, 1.0, "nan or inf"),
        (True, 1.0, "got bool"),
        ([1.0], (1.0, 2.0), "expected 2 values, got 1"),
        (5, (1.0, 2.0), "expected 2 values, got int"),
        (torch.ones(2, 3), torch.ones(3, 2), "transposed"),
        ((torch.ones(2), torch.zeros(3)), [torch.ones(2), torch.ones(3)], r"x[1]"),
        ("a", "b", "got 'a', expected 'b'"),
        (["a"], [1.0], "cannot be read as numbers"),
        ([torch.ones(3), torch.zeros(3)], torch.zeros(2, 3), "a tensor of shape (2, 3), got list"),
        ([[torch.ones(1, requires_grad=True)], [2]], torch.ones(2, 1), "a tensor of shape (2, 1), got list"),
        ({}, 1.0, "got dict"),
    ],
)
def test_expect(got, want, message):
    if message is None:
        expect("x", got, want)
    else:
        with pytest.raises(Wrong) as wrong:
            expect("x", got, want)
        assert message in str(wrong.value)


def test_call_gives_copies():
    x = torch.zeros(2, requires_grad=True)
    with pytest.raises(NotTried):
        call(..., x)
    g = torch.Generator().manual_seed(1)
    call(lambda a, b: torch.rand(1, generator=b), x, g)
    assert torch.equal(torch.rand(1, generator=g), torch.rand(1, generator=torch.Generator().manual_seed(1)))


def test_an_exception_is_shown_where_it_was_raised():
    """In the innermost line of the learner's own, not where their function calls another of theirs."""
    space: dict = {}
    cell = "def helper(x):\n    return x.nonsense()\n\ndef mean(x):\n    return helper(x)\n"
    exec(compile(cell, "<cell of a learner>", "exec"), space)
    message = row_means.check(space["mean"]).message
    assert "in helper, line 2 of its cell" in message and "line 5" not in message


def test_a_judge_that_fails_is_never_the_learners_fault():
    @exercise("Broken", hints=())
    def broken(answer):
        call(answer, 1)
        return {}["missing"]

    verdict = broken.check(lambda x: x)
    assert verdict.state == "could not be judged" and not verdict
    assert (
        str(verdict).startswith("! Broken: could not be judged") and "not of your answer" in verdict.message
    )
    assert "broken: KeyError: 'missing' (test_exercise.py, line" in verdict.message


def test_hints_in_a_notebook_follow_its_cells():
    """As JupyterLab asks: the id of the cell comes with each request; without one the cell's text
    stands for it."""
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(kernel_name="python3", startup_timeout=120)
    try:

        def run(code, cell=None):
            content = {"code": code, "silent": False, "store_history": True, "stop_on_error": True}
            content |= {"allow_stdin": False, "user_expressions": {}}
            metadata = {"cellId": cell} if cell else {}
            asked = client.session.msg("execute_request", content, metadata=metadata)
            client.shell_channel.send(asked)
            while True:
                message = client.get_iopub_msg(timeout=120)
                if message["parent_header"].get("msg_id") != asked["header"]["msg_id"]:
                    continue
                if message["msg_type"] == "execute_result":
                    return message["content"]["data"]["text/plain"]
                if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                    return ""

        run("from zth_helpers.exercises import mlp as ex")
        ask = "ex.exact_floor.hint()"
        said = [
            run(ask, "a"),
            run(ask, "a"),
            run(ask, "b"),
            run(ask, "a"),
            run("ex.exact_floor.hint(1)", "c"),
        ]
        numbers = [text.partition("\n(")[2][0] for text in (line.split("hint\n")[1] for line in said)]
        assert numbers == ["1", "1", "2", "1", "1"]
        again = [run("ex.uniform_loss.hint()"), run("ex.uniform_loss.hint()")]
        assert again[0] == again[1] and "ex.uniform_loss.hint(2)" in again[0]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
