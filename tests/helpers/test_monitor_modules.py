"""Every way in which hooks can go wrong (the table of engineering facts, a test each), and real modules."""

import copy
import gc
import io
import pickle
import weakref

import numpy as np
import pytest
import torch
import torch.multiprocessing
import torch.nn.functional as F
from torch import nn

from zth_helpers.layers import Linear, Tanh
from zth_helpers.monitor import Monitor, diagnose
from zth_helpers.monitor.modules import Hook


def run(model, mon, *inputs, steps=1, loss_of=None):
    """Trains; `loss_of` turns the output into the loss."""
    for _ in range(steps):
        out = model(*inputs)
        loss = loss_of(out) if loss_of else out.square().mean()
        model.zero_grad()
        loss.backward()
        mon.step(loss, lr=0.1)
    return out


def columns(mon, *fields):
    """{layer: values of its last sample}."""
    at = dict(outputs=mon.outputs, gradients=mon.gradients)
    get = [getattr(at[f.split(".")[0]], f.split(".")[1])[-1] for f in fields]
    return {name: [float(values[i]) for values in get] for i, name in enumerate(mon.layer_names)}


def hooks_of(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def net():
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))


def test_a_module_shows_the_same_numbers_as_plain_layers():
    model = net()
    layers = [Linear(4, 8), Tanh(), Linear(8, 3)]
    for plain, module in ((layers[0], model[0]), (layers[2], model[2])):
        plain.weight, plain.bias = module.weight.detach().T.contiguous(), module.bias.detach().clone()
        plain.weight.requires_grad = plain.bias.requires_grad = True
    x = torch.randn(16, 4)
    watched, plain = Monitor(model, every=1), Monitor(layers, every=1)
    run(model, watched, x)
    h = x
    for layer in layers:
        h = layer(h)
    plain.retain_grads()
    h.square().mean().backward()
    plain.step(h.square().mean(), lr=0.1)
    for field in ("mean", "std", "saturated", "hist"):
        for a, b in ((watched.outputs, plain.outputs), (watched.gradients, plain.gradients)):
            np.testing.assert_allclose(getattr(a, field), getattr(b, field), rtol=1e-4, atol=2)
    np.testing.assert_allclose(watched.outputs.std, plain.outputs.std, rtol=1e-5)
    np.testing.assert_allclose(watched.gradients.std, plain.gradients.std, rtol=1e-5)
    np.testing.assert_allclose(watched.grad_data, plain.grad_data, rtol=1e-5)
    assert watched.layer_names == ["0", "1", "2"] and watched.layer_kinds == ["Linear", "Tanh", "Linear"]
    assert watched.parameter_names == ["0.weight", "0.bias", "2.weight", "2.bias"]


def test_watching_changes_nothing():
    results = []
    for watch in (False, True):
        torch.manual_seed(3)
        model, x = net(), torch.randn(8, 4)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        mon = Monitor(model, optimizer=optimizer, every=2) if watch else None
        for _ in range(5):
            loss = model(x).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if mon:
                mon.step(loss)
        results.append([p.detach().clone() for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*results))


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.act = nn.Linear(4, 4), nn.Tanh()

    def forward(self, x):
        return self.act(self.inner(self.act(self.inner(x)) + 1))


def test_a_shared_module_is_recorded_once_for_each_call():
    model, x = Shared(), torch.randn(8, 4)
    mon = Monitor(model, every=1)
    run(model, mon, x, steps=2)
    assert mon.layer_names == ["inner", "act", "inner#2", "act#2"] and mon.calls.tolist() == [4, 4, 4, 4]
    first = model.inner(x)  # outside of the model's pass: no new column
    assert len(mon.layer_names) == mon.outputs.mean.shape[1] == 4
    shown = columns(mon, "outputs.mean", "gradients.std")
    assert shown["inner"][0] == pytest.approx(first.mean().item(), rel=1e-5)
    assert shown["inner"] != shown["inner#2"] and all(np.isfinite(v).all() for v in shown.values())


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(11, 6), nn.Linear(6, 11, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ix):
        return self.head(self.embed(ix))


def test_a_tied_parameter_is_followed_once():
    model = Tied()
    mon = Monitor(model, every=1)
    run(model, mon, torch.arange(5))
    assert mon.parameter_names == ["embed.weight"] and mon.layer_names == ["embed", "head"]


class Nested(nn.Module):
    def forward(self, x):
        return {"pair": (x, [x * 2]), "index": torch.arange(3), "nothing": None}


def test_tuple_and_dict_outputs_are_flattened():
    model = nn.Sequential(nn.Linear(3, 3), Nested())
    mon = Monitor(model, every=1)
    run(model, mon, torch.ones(2, 3), loss_of=lambda out: (out["pair"][0] + out["pair"][1][0]).sum())
    assert mon.layer_names == ["0", "1[0]", "1[1]"] and mon.layer_kinds[1:] == ["Nested"] * 2
    assert mon.outputs.mean[0, 2] == pytest.approx(2 * mon.outputs.mean[0, 1])


def test_lstm():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.head = nn.LSTM(4, 6, num_layers=2, batch_first=True), nn.Linear(6, 2)

        def forward(self, x):
            return self.head(self.lstm(x)[0])

    model = Net()
    mon = Monitor(model, every=1)
    run(model, mon, torch.randn(3, 5, 4), steps=2)
    assert mon.layer_names == ["lstm[0]", "lstm[1]", "lstm[2]", "head"]  # output, h, c
    assert np.isfinite(columns(mon, "gradients.std")["lstm[0]"]).all()
    assert np.isnan(columns(mon, "gradients.std")["lstm[1]"]).all()  # not used, so no gradient comes


def test_in_place_operations_neither_break_nor_falsify():
    model = nn.Sequential(nn.Linear(4, 50), nn.ReLU(inplace=True), nn.Linear(50, 2))
    mon = Monitor(model, every=1)
    x = torch.randn(16, 4)
    run(model, mon, x)
    before = F.linear(x, model[0].weight, model[0].bias)
    shown = columns(mon, "outputs.mean", "outputs.lo", "gradients.std")
    assert shown["0"][:2] == pytest.approx([before.mean().item(), before.min().item()], rel=1e-5)
    assert shown["1"][1] == 0 and np.isfinite([shown["0"][2], shown["1"][2]]).all()


def test_no_grad_and_eval_passes_are_not_recorded():
    model = net()
    mon = Monitor(model, every=1)
    x = torch.randn(8, 4)
    out = model(x)
    with torch.no_grad():
        model(100 * x)
    model.eval()
    model(100 * x)
    model.train()
    out.sum().backward()
    mon.step(out.sum())
    assert mon.calls.tolist() == [1, 1, 1] and mon.outputs.std[0, 0] < 10
    assert np.isfinite(mon.gradients.mean).all()
    model.eval()
    out = model(x)
    out.sum().backward()
    with pytest.raises(RuntimeError, match="training mode"):
        mon.step(out.sum())


def test_plain_layers_under_no_grad():
    layers = [Linear(3, 3), Tanh()]
    layers[0].weight.requires_grad = True
    mon = Monitor(layers, every=1)
    with torch.no_grad():
        for layer in layers:
            layer(torch.ones(2, 3))
        mon.retain_grads()  # nothing to retain, no error


def test_of_several_passes_before_a_step_the_last_counts():
    """Gradient accumulation; also a pass that was interrupted."""
    model, x = Shared(), torch.randn(8, 4)
    mon = Monitor(model, every=1)
    handle = model.act.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model(x)
    handle.remove()
    for scale in (1, 2, 3):
        model(scale * x).sum().backward()
    mon.step(1.0)
    assert mon.layer_names == ["inner", "act", "inner#2", "act#2"]
    assert columns(mon, "outputs.mean")["inner"][0] == pytest.approx(
        model.inner(3 * x).mean().item(), rel=1e-5
    )


def test_a_module_called_in_a_long_loop_gets_a_few_columns():
    class Unrolled(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = nn.RNNCell(4, 4)

        def forward(self, x):
            h = torch.zeros(2, 4)
            for _ in range(50):
                h = self.cell(x, h)
            return h

    model = Unrolled()
    mon = Monitor(model, every=1)
    run(model, mon, torch.ones(2, 4))
    assert mon.layer_names == ["cell"] + [f"cell#{i}" for i in range(2, 9)] and mon.calls[0] == 50


def test_a_layer_that_first_runs_late_gets_its_column():
    class Late(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.late = nn.Linear(3, 3), nn.Linear(3, 3), False

        def forward(self, x):
            return self.b(self.b(self.a(x))) if self.late else self.a(x)

    model = Late()
    mon = Monitor(model, every=1)
    run(model, mon, torch.ones(2, 3), steps=2)
    assert mon.layer_names == ["a", "b"] and mon.calls.tolist() == [2, 0]
    model.late = True
    run(model, mon, torch.ones(2, 3), steps=2)
    assert mon.layer_names == ["a", "b", "b#2"] and mon.outputs.hist.shape[:2] == (4, 3)
    assert np.isnan(mon.outputs.mean[:2, 1:]).all() and np.isfinite(mon.outputs.mean[2:]).all()
    assert (mon.outputs.hist[:2, 2] == 0).all()


# -- compile, processes, precision ------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled_models_are_seen_when_attached_first(backend):
    torch._dynamo.reset()
    model, x = net(), torch.randn(8, 4)
    compiled = torch.compile(model, backend=backend)
    mon, plain = Monitor(compiled, every=1), Monitor(copy.deepcopy(model), every=1)
    run(compiled, mon, x, steps=2)
    assert mon.layer_names == ["0", "1", "2"] and mon.calls.tolist() == [2, 2, 2]
    assert np.isfinite(mon.gradients.std).all() and plain.calls.sum() == 0
    expected = model[0](x)
    assert mon.outputs.std[1, 0] == pytest.approx(expected.std().item(), rel=1e-5)


def test_between_samples_a_module_has_no_hooks():
    model, x = net(), torch.randn(8, 4)
    mon, seen = Monitor(model, every=3), []
    for _ in range(7):
        seen.append(hooks_of(model))
        run(model, mon, x)
    assert seen == [4, 0, 0, 4, 0, 0, 4]
    assert mon.steps.tolist() == [0, 3, 6] and mon.calls.tolist() == [3, 3, 3]


@pytest.mark.parametrize("wrapped_first", [True, False])
def test_a_model_compiled_again_between_samples_is_still_seen(wrapped_first):
    """Another batch size, at a step without a sample, makes torch compile again: with the hooks it finds."""
    torch._dynamo.reset()
    model, compiled = net(), []

    def backend(graph, inputs):
        compiled.append(graph)
        return graph.forward

    def compile_it():
        return torch.compile(model, backend=backend, dynamic=False)

    if wrapped_first:
        wrapped = compile_it()
        mon = Monitor(wrapped, every=3)
    else:
        mon = Monitor(model, every=3)
        wrapped = compile_it()
    counts = []
    for size in (8, 8, 5, 5, 8, 8, 5, 5):
        run(wrapped, mon, torch.randn(size, 4))
        counts.append(len(compiled))
    assert mon.steps.tolist() == [0, 3, 6] and mon.calls.tolist() == [3, 3, 3]
    assert np.isfinite(mon.gradients.std).all()
    assert counts[2] == counts[-1], f"compiled again for a hook: {counts}"
    mon.close()
    assert hooks_of(model) == 0


def test_a_compiled_model_that_has_run_before_says_so():
    torch._dynamo.reset()
    compiled = torch.compile(net(), backend="eager")
    x = torch.randn(8, 4)
    compiled(x)
    mon = Monitor(compiled, every=1)
    try:
        run(compiled, mon, x)
    except RuntimeError as error:
        assert "before a compiled model's first call" in str(error)
    else:
        assert mon.calls.tolist() == [1, 1, 1]  # torch noticed the new hooks and compiled again


def _ddp_worker(rank, folder, queue):
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    torch.manual_seed(0)
    model = nn.parallel.DistributedDataParallel(net())
    mon = Monitor(model, every=1)
    x = torch.randn(2, 8, 4)[rank]
    run(model, mon, x, steps=2)
    local = copy.deepcopy(model.module)
    local.zero_grad()
    local(x).square().mean().backward()
    queue.put(
        (
            rank,
            mon.layer_names,
            mon.parameter_names,
            mon.outputs.mean[-1],
            mon.grad_data[-1],
            [p.grad.norm().item() / p.data.norm().item() for p in local.parameters()],
        )
    )
    dist.barrier()
    dist.destroy_process_group()


def _fsdp_worker(rank, folder, queue):
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=1)
    torch.manual_seed(0)
    model = net()
    plain = copy.deepcopy(model)
    fully_shard(model, mesh=init_device_mesh("cpu", (1,)))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    x, mon = torch.randn(8, 4), Monitor(model, optimizer=optimizer, every=1)
    h = plain[0](x)
    h.retain_grad()
    plain[2](plain[1](h)).square().mean().backward()
    loss = model(x).square().mean()
    loss.backward()
    optimizer.step()
    mon.step(loss)
    queue.put((mon.skipped, mon.gradients.std[0, 0], h.grad.std().item(), str(diagnose(mon, None))))
    dist.destroy_process_group()


@pytest.mark.sweep
def test_sharded_parameters_are_skipped_and_named_and_all_else_is_seen(tmp_path):
    """FSDP2: the parameters are DTensors."""
    context = torch.multiprocessing.get_context("spawn")
    queue = context.Queue()
    worker = context.Process(target=_fsdp_worker, args=(0, str(tmp_path), queue))
    worker.start()
    skipped, seen, expected, findings = queue.get(timeout=240)
    worker.join(timeout=120)
    assert skipped == dict.fromkeys(("0.weight", "0.bias", "2.weight", "2.bias"), "a DTensor")
    assert seen == pytest.approx(expected, rel=1e-5) and findings == "no findings"


def test_ddp_shows_local_activations_and_mean_gradients(tmp_path):
    context = torch.multiprocessing.get_context("spawn")
    queue = context.Queue()
    workers = [context.Process(target=_ddp_worker, args=(rank, str(tmp_path), queue)) for rank in range(2)]
    for worker in workers:
        worker.start()
    (_, names, parameters, means0, grads0, local0), (_, _, _, means1, grads1, local1) = sorted(
        (queue.get(timeout=240) for _ in workers), key=lambda item: item[0]
    )
    for worker in workers:
        worker.join(timeout=120)
        assert worker.exitcode == 0
    assert names == ["0", "1", "2"] and parameters == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert not np.allclose(means0, means1)  # each sees its own half of the batch
    np.testing.assert_allclose(grads0, grads1, rtol=1e-6)  # the gradient is the mean over both
    assert not np.allclose(grads0, local0) and not np.allclose(local0, local1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_counts_all_values(dtype):
    model = nn.Sequential(nn.Linear(8, 8), nn.Tanh()).to(dtype)
    mon = Monitor(model, every=1)
    x = torch.randn(2000, 8).to(dtype)
    out = run(model, mon, x)
    assert mon.outputs.hist[0].sum(1).tolist() == [16000, 16000]
    assert mon.outputs.mean[0, 1] == pytest.approx(out.float().mean().item(), abs=1e-5)
    weight = model[0].weight
    assert mon.grad_data[0, 0] == pytest.approx(
        (weight.grad.float().norm() / weight.float().norm()).item(), rel=1e-3
    )


def test_half_precision_norms_do_not_overflow():
    model = nn.Linear(100, 100).to(torch.float16)
    model.weight.data.fill_(1000.0)  # a norm of 100,000, past the 65,504 of float16
    mon = Monitor(model, every=1)
    run(model, mon, torch.full((2, 100), 1e-3, dtype=torch.float16))
    assert np.isfinite(mon.grad_data).all()


def test_autocast():
    model = net()
    mon = Monitor(model, every=1)
    with torch.autocast("cpu", torch.bfloat16):
        out = model(torch.randn(8, 4))
        loss = out.float().square().mean()
    loss.backward()
    mon.step(loss, lr=0.1)
    assert np.isfinite(mon.outputs.std).all() and np.isfinite(mon.gradients.std).all()


def test_nan_and_inf_are_counted_and_placed():
    model = net()
    mon = Monitor(model, every=1)
    x = torch.randn(8, 4)
    run(model, mon, x)
    assert mon.nonfinite_first is None
    x[3, 1] = torch.inf
    model[2].weight.data[0, 0] = torch.nan
    run(model, mon, x)
    assert mon.nonfinite_first == (1, "0") and mon.outputs.nonfinite[1].tolist() == [8, 0, 8]
    assert np.isfinite(mon.outputs.mean[1]).all()  # of the rest


def test_nan_in_gradients_alone_names_the_layer_where_it_arises():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    mon = Monitor(model, every=1)
    run(model, mon, torch.zeros(3, 4), loss_of=lambda out: (out * 0).sqrt().sum())  # 0 * inf = nan
    assert mon.nonfinite_first == (0, "2") and mon.outputs.nonfinite.sum() == 0


def test_a_nan_loss_between_samples_is_looked_at_in_the_next_step():
    model = net()
    mon = Monitor(model, every=100)
    x = torch.randn(8, 4)
    run(model, mon, x, steps=5)
    model[2].bias.data[0] = torch.nan
    run(model, mon, x, steps=3)
    assert mon.nonfinite_first == (6, "2") and mon.steps.tolist() == [0, 6] and np.isnan(mon.losses[5])


def test_empty_batch_and_one_element_are_blank_not_an_error():
    model = net()
    mon = Monitor(model, every=1)
    with np.errstate(all="raise"):
        run(model, mon, torch.zeros(0, 4), loss_of=lambda out: out.sum())
        assert np.isnan(mon.outputs.mean).all() and not mon.outputs.hist.any()
        one = nn.Linear(1, 1, bias=False)
        mon = Monitor(one, every=1)
        run(one, mon, torch.ones(1, 1))
    assert np.isnan(mon.outputs.std).all() and np.isfinite(mon.outputs.mean).all()


def test_a_constant_gain_has_a_finite_ratio():
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    mon = Monitor(model, every=1)
    run(model, mon, torch.randn(8, 4), loss_of=lambda out: (out**3).sum())
    assert np.isfinite(mon.update_data[0, mon.parameter_names.index("1.weight")])


def test_sparse_gradients():
    model = nn.Sequential(nn.Embedding(10, 3, sparse=True), nn.Linear(3, 2))
    mon = Monitor(model, every=1)
    run(model, mon, torch.tensor([1, 2, 2]))
    grad = model[0].weight.grad.to_dense()
    assert mon.grad_data[0, 0] == pytest.approx((grad.norm() / model[0].weight.norm()).item(), rel=1e-5)


def test_a_frozen_layer_is_watched_but_not_followed():
    model = net()
    model[0].requires_grad_(False)
    mon = Monitor(model, every=1)
    run(model, mon, torch.randn(8, 4))
    assert mon.parameter_names == ["2.weight", "2.bias"]
    assert np.isfinite(mon.outputs.mean).all() and np.isnan(mon.gradients.mean[0, 0])


# -- lifetime ---------------------------------------------------------------------------------------------


def test_close_and_with_remove_all_hooks():
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    mon = Monitor(model, optimizer=optimizer)
    assert hooks_of(model) == 4
    mon.close()
    assert hooks_of(model) == 0 and not optimizer._optimizer_step_pre_hooks
    with pytest.raises(ZeroDivisionError), Monitor(model, optimizer=optimizer, every=1) as mon:
        run(model, mon, torch.randn(8, 4))
        raise ZeroDivisionError
    assert hooks_of(model) == 0 and not optimizer._optimizer_step_pre_hooks and len(mon.steps) == 1


def test_a_model_that_runs_after_close_works():
    model, x = net(), torch.randn(8, 4)
    mon = Monitor(model, every=1)
    out = model(x)  # its graph still holds a hook
    mon.close()
    out.sum().backward()
    model(x).sum().backward()
    assert len(mon.steps) == 0


def test_a_dropped_monitor_takes_its_hooks_along():
    model, x = net(), torch.randn(8, 4)
    mon = Monitor(model, every=1)
    out = model(x)
    del mon
    gc.collect()
    assert hooks_of(model) == 0
    out.sum().backward()


def test_the_monitor_does_not_keep_the_model_alive():
    model = net()
    mon = Monitor(model, every=1)
    run(model, mon, torch.randn(8, 4))
    gone = weakref.ref(model), weakref.ref(model[0].weight)
    del model
    gc.collect()
    assert [ref() for ref in gone] == [None, None]
    assert mon.outputs.mean.shape == (1, 3) and mon.layer_names == ["0", "1", "2"]


def test_the_monitor_does_not_keep_plain_layers_alive():
    layers = [Linear(4, 4), Tanh()]
    layers[0].weight.requires_grad = True
    mon = Monitor(layers, every=1)
    out = layers[1](layers[0](torch.randn(8, 4)))
    mon.retain_grads()
    out.sum().backward()
    mon.step(out.sum())
    gone = weakref.ref(layers[0]), weakref.ref(out)
    del layers, out
    gc.collect()
    assert [ref() for ref in gone] == [None, None]


@pytest.mark.parametrize("how", ["deepcopy", "pickle", "torch.save"])
def test_copies_of_a_watched_model_run_unwatched(how):
    model, x = net(), torch.randn(8, 4)
    mon = Monitor(model, every=1)
    run(model, mon, x)
    if how == "deepcopy":
        twin = copy.deepcopy(model)
    elif how == "pickle":
        twin = pickle.loads(pickle.dumps(model))
    else:
        buffer = io.BytesIO()
        torch.save(model, buffer)
        buffer.seek(0)
        twin = torch.load(buffer, weights_only=False)
    calls = mon.calls.copy()
    assert torch.equal(twin(x), model.eval()(x)) and mon.calls.tolist() == calls.tolist()
    twin(x).sum().backward()


def test_state_dict_is_untouched():
    model = net()
    keys = list(model.state_dict())
    Monitor(model)
    assert list(model.state_dict()) == keys


def test_two_monitors_on_one_model():
    model = net()
    a, b = Monitor(model, every=1), Monitor(model, every=1)
    x = torch.randn(8, 4)
    out = model(x)
    out.sum().backward()
    a.step(out.sum()), b.step(out.sum())
    a.close()
    run(model, b, x)
    assert len(a.steps) == 1 and len(b.steps) == 2 and hooks_of(model) == 4


def test_a_hook_always_returns_none():
    class Owner:
        on = True

        def method(self, *args):
            return 1

    owner = Owner()
    assert Hook(owner, "method")(2) is None and Hook()(1, 2, 3) is None


def test_bypassed_layers_show_no_calls():
    class Bypass(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.act = nn.Linear(3, 3), nn.Tanh()

        def forward(self, x):
            return self.act(self.a.forward(x))

    model = Bypass()
    mon = Monitor(model, every=1)
    run(model, mon, torch.ones(2, 3))
    assert dict(zip(mon.layer_names, mon.calls.tolist())) == {"act": 1, "a": 0}


# -- real modules -----------------------------------------------------------------------------------------


def test_transformer():
    model = nn.Transformer(16, 2, 2, 2, 32, dropout=0.1, batch_first=True)
    mon = Monitor(model, every=1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for _ in range(2):
        loss = (model(torch.randn(3, 5, 16), torch.randn(3, 4, 16)) ** 3).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        mon.step(loss, lr=0.1)
    never = [name for name, calls in zip(mon.layer_names, mon.calls) if not calls]
    assert never == [] and "encoder.layers.0.self_attn" in mon.layer_names  # one layer, not its out_proj
    assert np.isfinite(mon.outputs.mean[1]).all() and np.isfinite(mon.grad_data).all()
    assert mon.layer_names[0].startswith("encoder.layers.0") and len(mon.parameter_names) == len(
        list(model.parameters())
    )


def test_conv_net():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10),
    )  # fmt: skip
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    mon = Monitor(model, optimizer=optimizer, every=1)
    for _ in range(3):
        loss = F.cross_entropy(model(torch.randn(4, 3, 12, 12)), torch.arange(4))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        mon.step(loss)
    assert mon.layer_kinds == [type(m).__name__ for m in model] and np.isfinite(mon.gradients.std).all()
    assert np.isfinite(mon.outputs.saturated[:, [2, 5]]).all() and np.isfinite(mon.update_data).all()


class Block(nn.Module):
    def __init__(self, d, heads, T):
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv, self.proj, self.heads = nn.Linear(d, 3 * d), nn.Linear(d, d), heads
        self.mlp = nn.Sequential(nn.Linear(d, 4 * d), nn.GELU(), nn.Linear(4 * d, d), nn.Dropout(0.1))

    def forward(self, x):
        B, T, d = x.shape
        q, k, v = self.qkv(self.ln1(x)).view(B, T, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(a.transpose(1, 2).reshape(B, T, d))
        return x + self.mlp(self.ln2(x))


class GPT(nn.Module):
    def __init__(self, vocab=27, d=16, T=8):
        super().__init__()
        self.tok, self.pos = nn.Embedding(vocab, d), nn.Embedding(T, d)
        self.blocks = nn.ModuleList([Block(d, 2, T) for _ in range(2)])
        self.ln, self.head = nn.LayerNorm(d), nn.Linear(d, vocab, bias=False)
        self.head.weight = self.tok.weight

    def forward(self, ix, y):
        x = self.tok(ix) + self.pos(torch.arange(ix.shape[1]))
        for block in self.blocks:
            x = block(x)
        logits = self.head(self.ln(x))
        return logits, F.cross_entropy(logits.flatten(0, 1), y.flatten())


def test_gpt_with_tied_embeddings():
    model = GPT()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    mon = Monitor(model, optimizer=optimizer, every=2)
    for _ in range(5):
        ix = torch.randint(0, 27, (4, 8))
        _, loss = model(ix, ix)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        mon.step(loss)
    assert mon.parameter_names.count("tok.weight") == 1 and "head.weight" not in mon.parameter_names
    assert mon.layer_names[0] == "tok" and mon.layer_names[-1] == "head" and "blocks" not in mon.layer_names
    assert (
        (mon.calls == 3).all() and np.isfinite(mon.outputs.std).all() and np.isfinite(mon.update_data).all()
    )


def test_weight_norm_and_other_parametrizations():
    model = nn.Sequential(torch.nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)), nn.Tanh())
    mon = Monitor(model, every=1)
    run(model, mon, torch.randn(8, 4))
    assert mon.layer_names == ["0", "1"] and (mon.calls == 1).all()


@pytest.mark.parametrize("to_script", [torch.jit.script, lambda m: torch.jit.trace(m, torch.ones(2, 4))])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_is_refused_by_its_name_and_skipped_inside_of_a_model(to_script):
    scripted = to_script(nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)))
    with pytest.raises(ValueError, match="TorchScript"):
        Monitor(scripted)
    model = nn.Sequential(nn.Linear(4, 4), scripted, nn.Linear(3, 2))
    mon = Monitor(model, every=1)
    loss = model(torch.randn(6, 4)).square().mean()
    loss.backward()
    mon.step(loss, lr=0.1)
    assert mon.layer_names == ["0", "2"] and mon.skipped == {"1": "a TorchScript module"}
    assert len(mon.parameter_names) == 8 and np.isfinite(mon.gradients.std).all()
