"""What does not learn, is not used or gets no gradient, in made-up numbers: each rule and where it ends."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

from tests.helpers.made_up import ALWAYS, healthy, only_first
from zth_helpers.monitor import Finding, diagnose

# -- what does not learn ----------------------------------------------------------------------------------


def test_an_optimizer_without_any_of_the_parameters():
    mon = healthy()
    mon.not_in_optimizer = list(mon.parameter_names)
    remedy = (
        "make the optimizer from this model's parameters(), after it was copied, moved or loaded; it now has "
        "those of another model"
    )
    what = "the optimizer has none of these parameters:"
    assert diagnose(mon) == [Finding("error", "", what, "0 of 8", "all that train", remedy, **ALWAYS)]
    mon.trainable[:2] = False
    mon.not_in_optimizer = mon.parameter_names[2:]
    assert [f.measured for f in diagnose(mon)] == ["0 of 6"]


def test_some_parameters_that_the_optimizer_does_not_have():
    mon = healthy()
    mon.not_in_optimizer = ["0.weight", "0.bias", "4.bias"]
    mon.moved[:, :2] = False  # they do not move, which needs no finding of its own
    mon.update_data[:, :2] = 0
    remedy = "give all of model.parameters() to the optimizer, or set requires_grad = False on purpose"
    what = "is not in the optimizer:"
    assert diagnose(mon) == [
        Finding("error", "0", what, "2 of its parameters", "none", remedy, **ALWAYS),
        Finding("error", "4", what, "1 of its parameters", "none", remedy, **ALWAYS),
    ]
    mon.parameter_names[:2] = ["0 Linear weight", "C"]  # a plain layer's, and one without a layer
    mon.not_in_optimizer = ["0 Linear weight", "C"]
    assert [f.layer for f in diagnose(mon)] == ["0 Linear", "C"]


@pytest.mark.parametrize(("steps", "found"), [(9, False), (10, True)])
def test_an_optimizer_that_never_steps(steps, found):
    mon = healthy()
    mon.optimizer_steps, mon.losses = 0, mon.losses[:steps]
    mon.update_data, mon.update_steps, mon.update_rates = (
        mon.update_data[:0],
        mon.update_steps[:0],
        mon.update_rates[:0],
    )
    what = "the parameters move, and not by this optimizer's step():"
    remedy = "for update ratios, give the Monitor the optimizer whose step() your loop calls"
    measured = "0 steps in 10 calls of mon.step"
    mon.moved[2:] = False
    assert diagnose(mon) == [Finding("note", "", what, measured, "one each", remedy, **ALWAYS)] * found
    mon.moved[1:] = False  # the first sample has nothing to compare with
    what, remedy = "the optimizer never steps:", "call optimizer.step() between backward and zero_grad"
    expected = Finding("error", "", what, measured, "one", remedy, **ALWAYS)
    findings = diagnose(mon)
    assert findings == [expected] if found else [f.what for f in findings] == ["does not learn:"]


def test_a_learning_rate_that_stays_zero():
    mon = healthy()
    mon.learning_rates, mon.update_rates[:] = [0.0, 0.0], 0.0
    mon.update_data[:], mon.moved[1:] = 0.0, False
    remedy = "raise the learning rate; look at the schedule"
    assert diagnose(mon) == [Finding("error", "", "learning rate", "0", "above 0", remedy, **ALWAYS)]
    mon.learning_rates = [0.0, 0.1]  # now it is not
    assert "learning rate" not in [f.what for f in diagnose(mon)]
    mon.learning_rates, mon.update_rates[2] = [0.0], 0.1  # or once it was not
    assert "learning rate" not in [f.what for f in diagnose(mon)]


@pytest.mark.parametrize(
    ("losses", "updates", "found"), [(9, 1, 0), (10, 1, 1), (9, 2, 1), (2, 2, 1), (1, 1, 0)]
)
def test_a_learning_rate_of_zero_is_sure_after_ten_steps_or_two_updates(losses, updates, found):
    mon = only_first(healthy(), updates)
    mon.losses = np.linspace(3.0, 2.0, losses)
    mon.learning_rates, mon.update_rates[:] = [0.0], 0.0
    mon.update_data[:], mon.moved[1:] = 0.0, False
    assert [f.what for f in diagnose(mon)].count("learning rate") == found


def test_parameters_that_stay_as_they_are():
    mon = healthy()
    mon.moved[1:, 2:5] = False
    remedy = "look for a step that is left out, a learning rate of 0, or a copy that is trained instead"
    what, measured = "does not learn:", "3 parameters with a gradient stay as they are"
    assert diagnose(mon) == [Finding("error", "2.weight", what, measured, "a change", remedy, **ALWAYS)]
    mon.grad_data[:, 2] = 1e-6  # no more than rounding: this one gets no gradient to speak of
    measured = "2 parameters with a gradient stay as they are"
    assert diagnose(mon) == [Finding("error", "2.bias", what, measured, "a change", remedy, **ALWAYS)]
    mon.trainable[3] = False  # frozen on purpose
    assert [f.measured[:1] for f in diagnose(mon)] == ["1"]
    mon.moved[1, 4] = True  # it has moved once
    assert diagnose(mon) == []
    mon.moved[1:] = False  # all of them: of the whole network
    assert [(f.layer, f.measured[:1]) for f in diagnose(mon)] == [("", "6")]


def test_updates_of_zero_are_as_telling_as_bits():
    mon = healthy()
    mon.update_data[:, 2:4] = 0.0
    assert [(f.layer, f.measured[:1]) for f in diagnose(mon)] == [("2.weight", "2")]
    mon.optimizer_steps = None  # then they are those of lr * grad, and say nothing of what was done
    assert diagnose(mon) == []
    mon.optimizer_steps, mon.update_data[1, 2:4] = 60, 1e-3
    assert diagnose(mon) == []
    mon.update_data[:, 2:4] = math.nan  # unknown is not unmoved
    assert diagnose(mon) == []


@pytest.mark.parametrize(
    ("losses", "updates", "found"), [(9, 1, 0), (10, 1, 1), (9, 2, 1), (1, 1, 0), (2, 2, 1)]
)
def test_one_update_of_zero_is_sure_after_ten_steps(losses, updates, found):
    mon = only_first(healthy(), updates)
    mon.losses, mon.update_data[:, 2] = np.linspace(3.0, 2.0, losses), 0.0
    assert [f.what for f in diagnose(mon)] == ["does not learn:"] * found
    mon.update_rates[:] = 0.0  # a warm-up, or a step that a GradScaler left out: nothing was to move
    mon.learning_rates = [0.1]
    assert diagnose(mon) == []


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_updates_that_are_lost_to_rounding(dtype):
    mon = healthy()
    mon.moved[1:, 2:5] = False
    mon.parameter_dtypes[3:5] = [dtype] * 2
    lost = "keep the parameters in float32 (autocast the forward pass), or raise the learning rate"
    others = "look for a step that is left out, a learning rate of 0, or a copy that is trained instead"
    measured = f"2 parameters in {dtype} stay as they are"
    what = "updates are lost to rounding:"
    assert diagnose(mon) == [
        Finding("error", "2.bias", what, measured, "a change at each step", lost, **ALWAYS),
        Finding(
            "error",
            "2.weight",
            "does not learn:",
            "1 parameters with a gradient stay as they are",
            "a change",
            others,
            **ALWAYS,
        ),
    ]


# -- what is not used -------------------------------------------------------------------------------------


def unused(mon: SimpleNamespace, i: int, name: str) -> SimpleNamespace:
    mon.calls[i] = 0
    own = [j for j, p in enumerate(mon.parameter_names) if p.startswith(f"{name}.")]
    mon.grad_data[:, own], mon.update_data[:, own], mon.moved[1:, own] = math.nan, math.nan, False
    return mon


def test_a_layer_that_never_ran():
    mon = unused(healthy(), 2, "2")
    remedy = "use it in forward, or remove it"
    expected = Finding("warning", "2", "never ran", "0 calls", "a call each step", remedy, **ALWAYS)
    assert diagnose(mon) == [expected]
    mon.parameter_names[2:4] = ["2 weight", "2 bias"]  # a plain layer's
    assert diagnose(mon) == [expected]
    mon.without_gradients, mon.trainable[2:4] = ["2"], False  # a teacher
    assert diagnose(mon) == []


def test_layer_1_is_not_held_for_layer_10():
    mon = healthy(*["Linear"] * 11)
    unused(mon, 1, "1")  # 10 learns: that does not mean that 1 was bypassed, nor that it runs between
    assert [(f.layer, f.what) for f in diagnose(mon)] == [("1", "never ran")]


def test_a_layer_that_was_bypassed():
    mon = healthy()
    mon.calls[2] = 0
    remedy = "call the layer itself, not its forward() or a functional twin, for it to be seen"
    expected = Finding("note", "2", "was bypassed", "0 calls", "a call each step", remedy, **ALWAYS)
    assert diagnose(mon) == [expected]
    mon.parameter_names[2:4] = ["2 weight", "2 bias"]
    assert diagnose(mon) == [expected]


def test_a_layer_that_runs_between_the_samples():
    mon = unused(healthy(), 2, "2")
    mon.moved[1, 3] = True  # its bias has changed
    remedy = "give another every=, such as one more, so that samples come at steps that use it"
    expected = Finding("note", "2", "runs at other steps", "0 calls", "some calls", remedy, **ALWAYS)
    assert diagnose(mon) == [expected]
    mon.moved[1, 3], mon.moved[0, 3] = False, True  # at the first sample there is nothing to compare with
    assert [f.what for f in diagnose(mon)] == ["never ran"]


def test_an_activation_runs_between_the_samples_where_its_block_does():
    mon = healthy("Linear", "Linear", "Tanh", "Linear")
    mon.layer_names = ["body", "head.0", "head.1", "last"]
    mon.parameter_names = [f"{layer}.{p}" for layer in ("body", "head.0", "last") for p in ("weight", "bias")]
    unused(mon, 1, "head.0").calls[2] = 0
    assert [(f.layer, f.what) for f in diagnose(mon)] == [("head.0", "never ran"), ("head.1", "never ran")]
    mon.moved[1:, 2:4] = True
    assert [(f.layer, f.what) for f in diagnose(mon)] == [
        ("head.0", "runs at other steps"),
        ("head.1", "runs at other steps"),
    ]
    mon.calls[1] = 6  # the block runs at the samples, so its activation is left out for good
    mon.grad_data[:, 2:4] = mon.update_data[:, 2:4] = 1e-3
    assert [(f.layer, f.what) for f in diagnose(mon)] == [("head.1", "never ran")]


def test_a_parameter_without_a_gradient():
    mon = healthy()
    mon.grad_data[:, 2] = math.nan
    mon.grad_data[3, 2] = 0.0
    remedy = "look for zeros that block the way, .detach() or .data in forward, or a layer left out"
    what = "gets no gradient"
    assert diagnose(mon) == [Finding("error", "2.weight", what, "0", "a gradient above 0", remedy, **ALWAYS)]
    mon.skipped = {"2.weight": "a DTensor"}
    assert diagnose(mon) == []
    mon.skipped, mon.trainable[2] = {}, False
    assert diagnose(mon) == []
    mon.trainable[2], mon.grad_data[4, 2] = True, 1e-9  # once is enough
    assert diagnose(mon) == []
    mon.grad_data[:, 2] = math.nan
    mon.gradients.nonfinite[:, 3] = 1.0  # every sample overflowed, which says nothing of parameters
    assert diagnose(mon) == []
    mon.gradients.nonfinite[0, 3] = 0.0
    assert [f.what for f in diagnose(mon)] == [what]


def test_a_parameter_behind_a_gate_that_starts_at_zero():
    mon = only_first(healthy())
    mon.grad_data[0, 2], mon.grad_data[0, 4] = 0.0, math.inf  # the gate is 0, and its gradient is not
    remedy = "wait a few steps: something after it is initialised to 0, and lets no gradient through yet"
    what = "gets no gradient yet"
    assert diagnose(mon) == [Finding("note", "2.weight", what, "0", "a gradient above 0", remedy)]
    mon.grad_data[0, 4] = 1e-2
    assert [f.what for f in diagnose(mon)] == ["gets no gradient"]
    mon = only_first(healthy(), 2)
    mon.grad_data[:, 2], mon.grad_data[0, 4] = 0.0, math.inf  # by the second sample it should have come
    assert [f.what for f in diagnose(mon)] == ["gets no gradient"]


def test_gradients_of_outputs_that_were_not_recorded():
    mon = healthy()
    mon.gradients.std[:] = math.nan
    mon.gradients.hist[:] = 0
    remedy = (
        "of plain layers, call mon.retain_grads() between forward and backward; of modules, call "
        "loss.backward(), for torch.autograd.grad counts as a look aside"
    )
    what = "gradients of outputs"
    assert diagnose(mon) == [Finding("note", "", what, "not recorded", "one a layer", remedy, **ALWAYS)]
    for seen in (mon.outputs, mon.gradients):  # all of them nan: that is another matter
        seen.nonfinite[2, 1] = 3
        assert what not in [f.what for f in diagnose(mon)]
        seen.nonfinite[2, 1] = 0
    mon.gradients.std[3, 2] = 1e-3
    assert diagnose(mon) == []
