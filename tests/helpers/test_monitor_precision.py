"""Compiled models, several processes, half precision, nan and inf."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.multiprocessing
from torch import nn

from tests.helpers.loops import hooks_of, net, run
from zth_helpers.monitor import Monitor, diagnose


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
