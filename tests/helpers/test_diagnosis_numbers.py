"""Each rule of diagnose at its limits, on made-up numbers: a little more is a finding, as much is none."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

from zth_helpers.monitor import Finding, diagnose
from zth_helpers.monitor.findings import Findings

SAMPLES, EVERY = 6, 10
DEAD = "lower the learning rate, scale its inputs (Kaiming), or put batch norm before it"
SHRINK = "shrink the weights before it (Kaiming), or put batch norm before it"
RAISE = "raise the gain of the weights (5/3 for tanh, √2 for ReLU), or use batch norm"
LOWER = "lower the gain of the weights (1 for linear layers, 5/3 for tanh), or use batch norm"
ALWAYS = {"since": 0, "samples": SAMPLES}


def shown(count: int, std: float) -> SimpleNamespace:
    """Statistics of `count` layers that are all alike, each of 32 examples and 50 units."""
    fields = {name: np.zeros((SAMPLES, count)) for name in ("mean", "saturated", "dead", "nonfinite")}
    hist = np.full((SAMPLES, count, 50), 32)
    return SimpleNamespace(std=np.full((SAMPLES, count), std), hist=hist, **fields)


def healthy(*kinds: str) -> SimpleNamespace:
    """What diagnose reads of a Monitor: 60 steps of a network with a weight and a bias in each Linear.

    By default it has four Linears with three Tanhs between them. Samples come at steps 0, 10, …, 50.
    """
    kinds = kinds or ("Linear", "Tanh") * 3 + ("Linear",)
    linear = [i for i, kind in enumerate(kinds) if kind == "Linear"]
    parameters = [f"{i}.{name}" for i in linear for name in ("weight", "bias")]
    P = len(parameters)
    return SimpleNamespace(
        layer_names=[str(i) for i in range(len(kinds))],
        layer_kinds=list(kinds),
        output_layers=[],
        networks=[""],
        without_gradients=[],
        skipped={},
        calls=np.full(len(kinds), SAMPLES),
        units=np.full(len(kinds), 50),
        steps=np.arange(SAMPLES) * EVERY,
        outputs=shown(len(kinds), 0.6),
        gradients=shown(len(kinds), 1e-3),
        nonfinite_first=None,
        classes=None,
        losses=np.linspace(3.0, 2.0, 60),
        loss_steps=np.arange(60),
        parameter_names=parameters,
        parameter_shapes=[(50, 50), (50,)] * len(linear),
        parameter_dtypes=["float32"] * P,
        trainable=np.ones(P, bool),
        grad_data=np.full((SAMPLES, P), 1e-2),
        moved=np.ones((SAMPLES, P), bool),
        update_data=np.full((SAMPLES, P), 1e-3),
        update_steps=np.arange(SAMPLES) * EVERY,
        update_rates=np.full(SAMPLES, 0.1),
        optimizer_steps=60,
        not_in_optimizer=[],
        learning_rates=[0.1],
    )


def only_first(mon: SimpleNamespace, samples: int = 1) -> SimpleNamespace:
    """The same run after its first samples, and as many losses and updates."""
    for seen in (mon.outputs, mon.gradients):
        vars(seen).update({name: values[:samples] for name, values in vars(seen).items()})
    for name in ("steps", "losses", "loss_steps", "grad_data", "moved"):
        setattr(mon, name, getattr(mon, name)[:samples])
    for name in ("update_data", "update_steps", "update_rates"):
        setattr(mon, name, getattr(mon, name)[:samples])
    mon.optimizer_steps = samples
    return mon


def more(limit: float) -> float:
    return float(np.nextafter(limit, math.inf))


def less(limit: float) -> float:
    return float(np.nextafter(limit, -math.inf))


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
    ("kind", "units", "limit", "percent"),
    [
        ("Tanh", 100, 0.10, "10%"),
        ("Sigmoid", 100, 0.10, "10%"),
        ("ReLU", 0, 0.50, "50%"),
        ("ReLU", 100, 0.60, "60%"),  # two standard deviations of a hundred units that toss a coin
        ("ReLU", 2, 0.999, "100%"),
    ],
)
def test_dead(kind, units, limit, percent):
    mon = healthy("Linear", kind, "Linear")
    mon.units[1] = units
    mon.outputs.dead[:, 1] = limit
    assert diagnose(mon) == []
    mon.outputs.dead[:, 1] = more(limit)
    expected = Finding("error", "1", "dead units", percent, f"at most {percent}", DEAD, **ALWAYS)
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


def geometric(count: int, overall: float) -> np.ndarray:
    """`count` values that grow by `overall` from the first to the last."""
    return 0.1 * overall ** (np.arange(count) / (count - 1))


def deep(count: int) -> SimpleNamespace:
    return healthy(*("Linear", "Tanh") * count, "Linear")


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


# -- causes -----------------------------------------------------------------------------------------------


def causes(mon: SimpleNamespace) -> dict[str, list[str]]:
    """{a cause: what follows from it}"""
    found = diagnose(mon)
    assert isinstance(found, Findings) and len({f.title for f in found}) == len(found)
    return {cause.title: [f.title for f in found.following(cause)] for cause in found.causes}


def test_what_follows_from_a_value_that_is_not_finite():
    mon = healthy()
    mon.nonfinite_first, mon.losses[30:] = (30, "2"), math.nan
    mon.grad_data[:, 4], mon.moved[1:, 6], mon.outputs.saturated[:, 1] = 0.0, False, 0.9
    assert causes(mon) == {
        "nan or inf, 2": ["loss", "does not learn:, 6.weight", "gets no gradient, 4.weight"],
        "saturated outputs, 1": [],
    }


@pytest.mark.parametrize("share", [0.99, 0.995])
def test_what_follows_from_a_layer_that_is_dead(share):
    """Weights before it, and the next behind it, get no gradient; only where all of it is dead."""
    mon = healthy(*("Linear", "ReLU") * 4, "Linear")
    mon.outputs.dead[:, 3], mon.outputs.dead[:, 5], mon.outputs.dead[:, 1] = 0.9, 0.9, 0.9
    mon.outputs.dead[-1, 3] = share
    mon.grad_data[:, [0, 2, 4, 6]] = 0.0  # of layers 0, 2, 4, 6: the last is out of reach
    mon.gradients.std[:, 1:8:2] = 0.0, 0.0, 1e-3, 1e-3
    mon.outputs.std[:, 1:8:2] = 0.6, 0.6, 0.0, 0.0
    found = causes(mon)
    if share > 0.99:
        assert found == {
            "dead units, 1": [],
            "dead units, 3": [
                "gets no gradient, 0.weight",
                "gets no gradient, 2.weight",
                "gets no gradient, 4.weight",
                "dead units, 5",
                "vanishing outputs, 7",
                "vanishing gradients, 1",
            ],
            "gets no gradient, 6.weight": [],
        }
    else:
        assert "dead units, 5" in found and found["dead units, 3"] == []


def test_a_dead_layer_reaches_past_what_only_passes_on():
    mon = healthy("Linear", "ReLU", "Flatten", "Dropout", "Linear", "Linear")
    mon.outputs.dead[:, 1] = 1.0
    mon.grad_data[:, [2, 4]] = 0.0
    assert causes(mon) == {"dead units, 1": ["gets no gradient, 4.weight"], "gets no gradient, 5.weight": []}
    mon = healthy("Linear", "Linear", "ReLU")  # and nothing is behind it
    mon.outputs.dead[:, 2] = 1.0
    mon.grad_data[:, 0] = 0.0
    assert causes(mon) == {"dead units, 2": ["gets no gradient, 0.weight"]}


def test_of_a_way_that_is_blocked_the_nearest_to_the_loss_is_the_cause():
    mon = healthy()
    mon.grad_data[:, [0, 2, 5]] = 0.0
    assert causes(mon) == {
        "gets no gradient, 4.bias": ["gets no gradient, 0.weight", "gets no gradient, 2.weight"]
    }
    mon = only_first(healthy())
    mon.grad_data[0, [0, 2]], mon.grad_data[0, 4] = 0.0, math.inf
    assert causes(mon) == {"gets no gradient yet, 2.weight": ["gets no gradient yet, 0.weight"]}


def test_of_saturated_layers_the_nearest_to_the_input_is_the_cause():
    mon = healthy()
    mon.outputs.saturated[:, [1, 3, 5]] = 0.9
    assert causes(mon) == {"saturated outputs, 1": ["saturated outputs, 3", "saturated outputs, 5"]}


def test_gradients_follow_from_outputs():
    for what, overall in (("exploding", 20), ("vanishing", 1 / 20)):
        mon = deep(4)
        mon.outputs.std[:, 1:8:2], mon.gradients.std[:, 1:8:2] = geometric(4, overall), geometric(4, 1 / 20)
        assert causes(mon) == {f"{what} outputs, 7": ["exploding gradients, 1"]}


def test_findings_are_sorted_by_their_severity_and_else_as_they_came():
    mon = healthy()
    mon.calls[2] = 0  # a note
    mon.outputs.saturated[:, 1], mon.moved[1:, 6] = 0.9, False
    assert [(f.severity, f.what) for f in diagnose(mon)] == [
        ("error", "does not learn:"),
        ("warning", "saturated outputs"),
        ("note", "was bypassed"),
    ]


def test_how_findings_read():
    one = Finding("error", "3", "dead units", "90%", "at most 10%", "lower the rate", 20, 2)
    network = Finding("warning", "", "first loss", "9.00", "ln 27 = 3.30", "shrink the last layer")
    assert str(one) == "3: dead units 90%, expected at most 10%: lower the rate"
    assert (one.seen, one.title) == ("2 samples from step 20", "dead units, 3")
    assert str(network) == "first loss 9.00, expected ln 27 = 3.30: shrink the last layer"
    assert (network.seen, network.title) == ("1 sample from step 0", "first loss")
    followers = [
        Finding("error", str(i), "gets no gradient", "0", "some", "look", cause=one.title) for i in range(2)
    ]
    followers.append(Finding("error", "", "loss", "nan", "a number", "look", cause=one.title))
    lines = str(Findings([one, *followers, network])).splitlines()
    assert [line.split("  ")[0] for line in lines] == ["severity", "error", "", "warning"]
    assert lines[2] == "  and so: gets no gradient (2: 0, 1); loss"
    assert "(network)" in lines[3] and lines[1].endswith("lower the rate")
    assert Findings([one, *followers, network]).sentences.splitlines() == [
        f"{one} (2 samples from step 20)",
        f"{network} (1 sample from step 0)",
    ]
