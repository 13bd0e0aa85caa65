"""Loss, activations, depth and updates at their limits: a little more is a finding, as much is none."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.helpers.made_up import ALWAYS, deep, geometric, healthy, less, more, only_first
from zth_helpers.monitor import Finding, diagnose

DEAD = "lower the learning rate, scale its inputs (Kaiming), or put batch norm before it"
SHRINK = "shrink the weights before it (Kaiming), or put batch norm before it"
RAISE = "raise the gain of the weights (5/3 for tanh, √2 for ReLU), or use batch norm"
LOWER = "lower the gain of the weights (1 for linear layers, 5/3 for tanh), or use batch norm"


def test_healthy_numbers_are_no_finding():
    for mon in (healthy(), only_first(healthy()), healthy(*["Linear"] * 6), healthy("Linear")):
        assert diagnose(mon) == [] and diagnose(mon, 27) == []


# -- the loss ---------------------------------------------------------------------------------------------


def test_the_first_loss():
    mon, limit = healthy(), 1.2 * math.log(27)
    mon.losses[0] = limit
    assert diagnose(mon, 27) == []
    mon.losses[0] = more(limit)
    expected = Finding("warning", "", "first loss", "3.96", "ln 27 = 3.30", "shrink the last layer")
    assert diagnose(mon, 27) == [expected]
    assert diagnose(mon) == diagnose(mon, None) == []
    for classes, findings in ((27, [expected]), (1, []), (None, [])):
        mon.classes = classes
        assert diagnose(mon) == findings
    mon.classes, mon.losses[0] = 2, 1.5 * math.log(2)
    mon.losses[1:] = 0.1
    assert [f.what for f in diagnose(mon)] == ["first loss"]


def test_a_loss_that_is_no_number():
    mon = healthy()
    mon.losses[40:43] = math.nan, 1.0, math.inf
    remedy = "start again from a state before that step"
    assert diagnose(mon) == [
        Finding("error", "", "loss", "nan or inf from step 40", "a finite loss", remedy, 40, 2)
    ]
    mon.losses[:] = math.nan
    mon.classes = 27  # there is no late loss to be judged
    assert [(f.what, f.since, f.samples) for f in diagnose(mon)] == [("loss", 0, 60)]


@pytest.mark.parametrize(("step", "samples"), [(20, 4), (0, 6), (50, 1), (23, 1)])
def test_the_first_value_that_is_not_finite(step, samples):
    """At a sample, or, since the table was thinned out afterwards, between two of them."""
    mon = healthy()
    mon.nonfinite_first = (step, "2")
    remedy = "lower the learning rate, clip gradients, look for log(0), 0/0 or exp of a large number there"
    expected = Finding(
        "error", "2", "nan or inf", f"first at step {step}", "finite values", remedy, step, samples
    )
    assert diagnose(mon) == [expected]


def test_a_loss_that_has_grown():
    mon = healthy()
    mon.classes = 10
    limit = 1.2 * 3.0  # of the first loss, which is worse than guessing
    mon.losses[:-6] = 3.0
    mon.losses[-6:] = limit
    assert diagnose(mon, None) == []
    mon.losses[-6:] = 0, 0, more(limit), more(limit), 9, 9  # the median of the last tenth counts
    expected = Finding(
        "error",
        "",
        "loss has grown to",
        "3.60",
        "below ln 10 = 2.30, which guessing reaches",
        "lower the learning rate",
    )
    assert diagnose(mon, None) == [expected]
    mon.losses[:-6] = 1.0
    mon.losses[-6:] = 2.7  # less than 1.2 times guessing
    assert diagnose(mon, None) == []
    mon.losses[-6:] = 2.8
    assert [f.measured for f in diagnose(mon, None)] == ["2.80"]
    mon.losses[-7:] = 9, 2.8, 2.8, 2.8, 2.8, math.nan, 2.8  # what is no number does not count
    assert [f.measured for f in diagnose(mon, None) if "grown" in f.what] == ["2.80"]
    for classes in (None, 1):
        mon.classes = classes
        assert not [f for f in diagnose(mon, None) if "grown" in f.what]


@pytest.mark.parametrize(("steps", "found"), [(9, 0), (10, 1), (19, 1)])
def test_a_loss_has_to_be_known_for_ten_steps(steps, found):
    mon = healthy()
    mon.classes = 2
    mon.losses, mon.loss_steps = mon.losses[:steps], mon.loss_steps[:steps]
    mon.losses[:-1], mon.losses[-1] = 0.1, 5.0  # the last tenth of 10 to 19 losses is one of them
    assert [f.measured for f in diagnose(mon, None)] == ["5.00"] * found


# -- activations ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["Tanh", "Sigmoid"])
def test_saturated(kind):
    mon = healthy("Linear", kind, "Linear")
    mon.outputs.saturated[:, 1] = 0.3
    assert diagnose(mon) == []
    mon.outputs.saturated[2:, 1] = 0.312
    expected = Finding("warning", "1", "saturated outputs", "31%", "at most 30%", SHRINK, 20, 4)
    assert diagnose(mon) == [expected]
    mon.outputs.saturated[3, 1] = 0.3
    assert [(f.since, f.samples) for f in diagnose(mon)] == [(40, 2)]
    mon.outputs.saturated[-1, 1] = 0.3
    assert diagnose(mon) == []
    mon.outputs.saturated[:, 1] = 0.9
    mon.output_layers = ["1"]
    assert diagnose(mon) == []
    mon.output_layers, mon.calls[1] = [], 0
    assert [f.what for f in diagnose(mon)] == ["never ran"]


def test_a_relu_is_not_called_saturated():
    mon = healthy("Linear", "ReLU", "Linear")
    mon.outputs.saturated[:, 1] = 0.9
    mon.outputs.dead[:, 1] = 0.5
    assert diagnose(mon) == []


@pytest.mark.parametrize(
    ("kind", "units", "limit", "measured", "allowed"),
    [
        ("Tanh", 100, 0.10, "10%", "at most 10%"),
        ("Sigmoid", 100, 0.10, "10%", "at most 10%"),
        ("ReLU", 0, 0.50, "50%", "at most 50%"),
        ("ReLU", 100, 0.60, "60%", "at most 60%"),  # two deviations of a hundred units that toss a coin
        ("ReLU", 2, 0.999, "100%", "below 100%"),
    ],
)
def test_dead(kind, units, limit, measured, allowed):
    mon = healthy("Linear", kind, "Linear")
    mon.units[1] = units
    mon.outputs.dead[:, 1] = limit
    assert diagnose(mon) == []
    mon.outputs.dead[:, 1] = more(limit)
    expected = Finding("error", "1", "dead units", measured, allowed, DEAD, **ALWAYS)
    assert diagnose(mon) == [expected]
    mon.outputs.saturated[:, 1] = 0.9  # that is what dead means: no second finding
    assert diagnose(mon) == [expected]


def test_dead_is_the_least_of_three_samples():
    mon = healthy("Linear", "Tanh", "Linear")
    mon.outputs.dead[:, 1] = 0.0, 0.0, 0.2, 0.3, 0.4, 0.5
    expected = Finding("error", "1", "dead units", "30%", "at most 10%", DEAD, 40, 2)
    assert diagnose(mon) == [expected]
    mon.outputs.dead[:, 1] = 0.4, 0.2, math.nan, math.nan, math.nan, 0.3  # it did not run in all of them
    assert [(f.measured, f.since, f.samples) for f in diagnose(mon)] == [("30%", 50, 1)]
    mon.outputs.dead[-3:, 1] = math.nan
    assert diagnose(mon) == []


# -- trends over depth ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "overall", "found"),
    [
        (4, 4.9, False),
        (4, 5.1, True),  # 1.72 a layer
        (8, 1.45**7, False),  # 13, but less than 1.5 a layer
        (8, 1.55**7, True),
        (13, 99.0, False),  # 1.47 a layer
        (13, 100.5, True),  # beyond 100 at any pace
        (3, 99.0, False),  # three make no trend, however steep,
        (3, 100.5, True),  # but for that
        (2, 1e6, False),
    ],
)
def test_trends_of_outputs(layers, overall, found):
    pace = overall ** (1 / (layers - 1))
    for grows in (True, False):
        mon = deep(layers)
        mon.outputs.std[:, 1::2] = geometric(layers, overall if grows else 1 / overall)
        what, rate, remedy = (
            ("exploding outputs", pace, LOWER) if grows else ("vanishing outputs", 1 / pace, RAISE)
        )
        towards, measured = str(2 * layers - 1), f"×{rate:.2f} a layer"
        expected = Finding("warning", towards, what, measured, "about ×1 a layer", remedy, **ALWAYS)
        assert diagnose(mon) == [expected] * found


@pytest.mark.parametrize("norms, limit", [(1, 5.0), (2, 100.0)])
def test_trends_of_gradients(norms, limit):
    """They run from the loss to the input; where half of the layers are normalised, there is more leeway."""
    for factor, found in ((0.98, False), (1.02, True)):
        for grows in (True, False):
            overall = limit * factor
            mon = healthy(*("Linear", "Tanh") * 4, *["BatchNorm1d"] * norms, "Linear")
            mon.gradients.std[:, 1:8:2] = geometric(4, 1 / overall if grows else overall)
            pace = overall ** (1 / 3)
            what, rate, remedy = (
                ("exploding gradients", pace, LOWER) if grows else ("vanishing gradients", 1 / pace, RAISE)
            )
            measured = f"×{rate:.2f} a layer"
            expected = Finding("warning", "1", what, measured, "about ×1 a layer", remedy, **ALWAYS)
            assert diagnose(mon) == [expected] * found
            mon.gradients.std[:] = 1e-3
            mon.outputs.std[:, 1:8:2] = geometric(4, overall)  # outputs have no such leeway
            assert bool(diagnose(mon)) == (overall > 5)


@pytest.mark.parametrize(("norms", "found"), [(0, 1), (2, 1), (3, 0)])
def test_half_of_the_layers_have_to_be_normalised(norms, found):
    mon = healthy(*("Linear", "Tanh") * 6, *["LayerNorm"] * norms, "Linear")
    mon.gradients.std[:, 1:12:2] = geometric(6, 1 / 20)
    assert [f.what for f in diagnose(mon)] == ["exploding gradients"] * found


def test_a_trend_is_dated():
    mon = deep(4)
    mon.outputs.std[:, 1:8:2] = geometric(4, 1 / 20)
    mon.outputs.std[2, 1:8:2] = geometric(4, 20)  # in between it was the other way round
    assert [(f.since, f.samples) for f in diagnose(mon)] == [(30, 3)]
    mon.outputs.std[3, 1:8:2] = 0.6
    assert [(f.since, f.samples) for f in diagnose(mon)] == [(40, 2)]
    mon.outputs.std[-1, 1:8:2] = 0.6
    assert diagnose(mon) == []


def test_a_trend_needs_to_be_steady():
    mon = deep(4)
    mon.outputs.std[:, 1:8:2] = np.exp([0.0, 2.0, 1.8, 3.0])  # correlation 0.93 with depth
    assert [f.measured for f in diagnose(mon)] == [f"×{math.exp(0.88):.2f} a layer"]
    mon.outputs.std[:, 1:8:2] = np.exp([0.0, 2.4, 1.4, 3.0])  # 0.87
    assert diagnose(mon) == []


def test_where_nothing_arrives():
    mon = deep(3)
    mon.gradients.std[:, 1] = 0.0
    expected = Finding("warning", "1", "vanishing gradients", "0", "about ×1 a layer", RAISE, **ALWAYS)
    assert diagnose(mon) == [expected]
    mon.gradients.std[:, 1::2] = 0.0  # nowhere at all: no trend
    assert diagnose(mon) == []
    mon = only_first(deep(3))
    mon.gradients.std[:, 1] = 0.0
    mon.grad_data[0, 0] = math.inf  # a gate that starts at zero: it lets nothing through at the first step
    assert diagnose(mon) == []
    mon = only_first(deep(3), 2)
    mon.gradients.std[:, 1] = 0.0
    mon.grad_data[0, 0] = math.inf
    assert [f.what for f in diagnose(mon)] == ["vanishing gradients"]


def test_which_layers_make_a_trend():
    mon = deep(3)
    mon.outputs.std[:, ::2] = geometric(
        4, 1e4
    )  # the Linears, but the activations count where there are three
    assert diagnose(mon) == []
    mon = healthy(*["Linear"] * 5)
    mon.outputs.std[:, :4] = geometric(4, 20)
    assert [(f.layer, f.what) for f in diagnose(mon)] == [("3", "exploding outputs")]
    mon.outputs.std[:] = 0.6
    mon.outputs.std[:, 4] = 1e4  # the last may put out what it likes
    assert diagnose(mon) == []
    mon = healthy("Linear", "Tanh", "Linear", "Tanh", "Linear", "Linear", "Linear")
    mon.outputs.std[:, [0, 2, 4, 5]] = geometric(4, 20)
    assert [f.layer for f in diagnose(mon)] == ["5"]
    mon.calls[5] = 0
    mon.without_gradients = ["5"]  # what did not run is no part of it, and three make no trend
    assert diagnose(mon) == []
    mon = deep(4)
    mon.outputs.std[:, 1:8:2] = geometric(4, 20)
    mon.output_layers = ["7"]
    assert diagnose(mon) == []
    mon.output_layers, mon.networks = [], ["0", "1", "2", "3"]  # several networks, each with few layers
    assert diagnose(mon) == []


def test_gradients_are_compared_by_their_norms():
    """An image's gradient is spread over its positions: four times as many have half the size each."""
    mon = deep(4)
    for k, i in enumerate((1, 3, 5, 7)):
        mon.gradients.hist[:, i] = 4**k
        mon.gradients.std[:, i] = 0.1 / 2**k
    assert diagnose(mon) == []
    mon.gradients.std[:, 1:8:2] = 0.1  # the same size at more places is a larger norm
    assert [(f.what, f.measured) for f in diagnose(mon)] == [("vanishing gradients", "×0.50 a layer")]
    mon.gradients.hist[3:] = 0  # samples without histograms are taken to have as many values
    assert [(f.what, f.samples) for f in diagnose(mon)] == [("vanishing gradients", 6)]
    mon = deep(4)
    mon.gradients.mean[:, 1:8:2] = geometric(4, 20)  # a constant gradient has a norm, too
    assert [f.what for f in diagnose(mon)] == ["vanishing gradients"]
    mon.gradients.hist[:] = 0  # no histogram at all: all layers are taken to be alike
    assert [f.what for f in diagnose(mon)] == []


# -- updates ----------------------------------------------------------------------------------------------

WEIGHTS = slice(0, None, 2)


def ratio(layer: str, measured: float, remedy: str, since: int = 30, samples: int = 3) -> Finding:
    what = "update : data ratio" if layer else "update : data ratio of the weights"
    return Finding("warning", layer, what, f"{measured:.1e}", "about 1e-03", remedy, since, samples)


def test_the_middle_of_the_weights():
    mon = healthy()
    mon.update_data[:] = 1.0  # biases are no weights, and the first half of the run does not count
    for limit in (1e-4, 5e-2):
        mon.update_data[3:, WEIGHTS] = limit
        assert diagnose(mon) == []
    mon.update_data[3:, WEIGHTS] = less(1e-4)
    assert diagnose(mon) == [ratio("", 1e-4, "raise the learning rate")]
    mon.update_data[3:, WEIGHTS] = more(5e-2)
    assert diagnose(mon) == [ratio("", 5e-2, "lower the learning rate")]


def test_a_single_weight():
    mon = healthy()
    for limit in (1e-6, 0.3):
        mon.update_data[:, 2] = limit
        assert diagnose(mon) == []
    mon.update_data[:, 2] = less(1e-6)
    remedy = "raise the learning rate, or shrink this weight's scale"
    assert diagnose(mon) == [ratio("2.weight", 1e-6, remedy)]
    mon.update_data[:, 2] = more(0.3)
    remedy = "lower the learning rate, or enlarge this weight's scale"
    assert diagnose(mon) == [ratio("2.weight", 0.3, remedy)]


def test_the_first_update():
    """It says nothing about a single weight, and less about their middle."""
    for value, found in ((1e-5, 0), (less(1e-5), 1), (0.15, 0), (more(0.15), 1)):
        mon = only_first(healthy())
        mon.update_data[0, WEIGHTS] = value
        findings = diagnose(mon)
        assert len(findings) == found
        assert not found or (findings[0].since, findings[0].samples, findings[0].layer) == (0, 1, "")
    mon = only_first(healthy())
    mon.update_data[0, 2] = 0.9
    assert diagnose(mon) == []


def test_updates_that_did_not_come():
    mon = healthy()
    mon.update_data[3:, 0] = 0, 1e-3, 0  # zero, nan and inf are left out: what remains is 1e-3,
    mon.update_data[3:, 2] = 1e-3, math.nan, math.inf  # and 1e-3,
    mon.update_data[3:, 4] = 1.0, 2e-5, 2e-5  # and 2e-5;
    mon.update_data[3:, 6] = math.nan  # and nothing at all
    assert diagnose(mon) == []
    mon.update_data[3:, [0, 2]] = 2e-5
    assert diagnose(mon) == [ratio("", 2e-5, "raise the learning rate")]
    mon.update_data[:] = math.nan
    assert diagnose(mon) == []


def test_small_steps_are_no_fault_at_the_end():
    mon = healthy()
    mon.update_data[:, WEIGHTS] = 1e-5
    mon.losses[:-6], mon.losses[-6:] = 2.0, 0.2  # a tenth of the first loss, and no less
    assert [f.remedy for f in diagnose(mon)] == ["raise the learning rate"]
    mon.losses[-6:] = less(0.2)
    assert diagnose(mon) == []
    mon.update_data[:, WEIGHTS] = 0.2
    assert [f.remedy for f in diagnose(mon)] == ["lower the learning rate"]


def test_a_warm_up_may_begin_with_small_steps():
    for rates, found in (
        ([1, 2, 3, 4, 5, 6], 0),
        ([1, 2, 3, 3, 3, 3], 0),
        ([1, 2, 7, 4, 5, 6], 1),  # it is past its height
        ([6, 5, 4, 4, 5, 6], 1),  # it is as it was
        ([3, 3, 3, 3, 3, 3], 1),
    ):
        mon = healthy()
        mon.update_rates = np.array(rates) * 1e-3
        mon.update_data[:, WEIGHTS] = 1e-5
        assert [f.remedy for f in diagnose(mon)] == ["raise the learning rate"] * found
        mon.update_data[:, WEIGHTS] = 0.1  # large ones are large, in a warm-up or not
        assert [f.remedy for f in diagnose(mon)] == ["lower the learning rate"]
