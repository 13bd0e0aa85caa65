"""Sick and healthy networks, seen by Monitor with diagnose and by torchmortem: caught, missed, false alarms.

    python -m benchmarks.speed.verdict      (about a minute; torchmortem takes part if it can be imported)

Each sick network has one fault, made on purpose; it is caught when a finding of at least "warning" names its
kind. The healthy ones are what people train, unmodified; a finding of at least "warning" is a false alarm.
fastai's ActivationStats and wandb.watch record and draw, and leave the verdict to the reader; what a step
costs with wandb is in monitor.py. The time of a step is the median over the networks, against bare.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn
from tqdm import tqdm

from zth_helpers import Monitor, diagnose

STEPS, EVERY, SEEDS = 60, 5, 3
Case = tuple[nn.Module, torch.optim.Optimizer]


def net(act: type[nn.Module] = nn.Tanh, depth: int = 3, width: int = 32) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Linear(6, width), act()]
    for _ in range(depth - 1):
        layers += [nn.Linear(width, width), act()]
    for layer in layers[::2]:
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu" if act is nn.ReLU else "tanh")
    return nn.Sequential(*layers, nn.Linear(width, 4))


def changed(model: nn.Module, change: Callable[[nn.Module], object]) -> nn.Module:
    with torch.no_grad():
        change(model)
    return model


def sgd(model: nn.Module, lr: float = 0.1) -> Case:
    return model, torch.optim.SGD(model.parameters(), lr)


def scale(model: nn.Module, by: float) -> None:
    for layer in model:
        if isinstance(layer, nn.Linear):
            layer.weight.mul_(by)


# name -> (how to make it, words of which one must stand in a finding)
SICK: dict[str, tuple[Callable[[], Case], tuple[str, ...]]] = {
    "dead ReLU layer": (lambda: sgd(changed(net(nn.ReLU), lambda m: m[2].bias.fill_(-100))), ("dead",)),
    "saturated tanh": (lambda: sgd(changed(net(), lambda m: scale(m, 20))), ("saturat", "dead")),
    "vanishing sigmoid": (lambda: sgd(net(nn.Sigmoid, depth=12)), ("vanish",)),
    "exploding linear": (
        lambda: sgd(changed(net(nn.Identity, depth=8), lambda m: scale(m, 2)), 1e-9),
        ("explod",),
    ),
    "learning rate 100 times too high": (lambda: sgd(net(), 10.0), ("update", "nan", "diverg", "saturat")),
    "learning rate 10,000 times too low": (lambda: sgd(net(), 1e-5), ("update",)),
    "optimizer of an older copy": (
        lambda: (m := net(), torch.optim.SGD(copy.deepcopy(m).parameters(), 0.1)),
        ("optimizer", "learn", "stagn"),
    ),
    "one layer not in the optimizer": (
        lambda: (m := net(), torch.optim.SGD([*m[0].parameters(), *m[4].parameters()], 0.1)),
        ("optimizer", "learn", "stagn"),
    ),
    "all zeros": (lambda: sgd(changed(net(), lambda m: scale(m, 0))), ("gradient", "learn")),
    "nan in a weight": (lambda: sgd(changed(net(), lambda m: m[2].weight[0].fill_(torch.nan))), ("nan",)),
}
HEALTHY: dict[str, Callable[[], Case]] = {
    "tanh, SGD": lambda: sgd(net()),
    "ReLU, SGD with momentum": lambda: (
        m := net(nn.ReLU),
        torch.optim.SGD(m.parameters(), 0.02, momentum=0.9),
    ),
    "ReLU, Adam": lambda: (m := net(nn.ReLU), torch.optim.Adam(m.parameters(), 1e-3)),
    "GELU, AdamW": lambda: (m := net(nn.GELU), torch.optim.AdamW(m.parameters(), 1e-3)),
    "frozen first layer": lambda: (
        m := net().requires_grad_(True),
        m[0].requires_grad_(False),
        torch.optim.SGD([p for p in m.parameters() if p.requires_grad], 0.1),
    )[::2],
}


def train(case: Case, step: Callable[[torch.Tensor], object]) -> float:
    """Seconds of STEPS steps."""
    (model, optimizer), seconds = case, time.process_time()
    for _ in range(STEPS):
        x = torch.randn(64, 6)
        loss = F.cross_entropy(model(x), x[:, :4].argmax(1))
        model.zero_grad()
        loss.backward()
        optimizer.step()
        step(loss)
    return time.process_time() - seconds


def ours(case: Case) -> tuple[float, list[str]]:
    mon = Monitor(case[0], optimizer=case[1], every=EVERY)
    seconds = train(case, mon.step)
    found = diagnose(mon, vocab_size=None)
    return seconds, [str(f) for f in found if f.severity != "note"]


def torchmortem(case: Case) -> tuple[float, list[str]]:
    from torchmortem import Autopsy, Severity

    with Autopsy(case[0], optimizer=case[1]) as autopsy:
        seconds = train(case, lambda loss: autopsy.step(loss=loss.item()))
    report, serious = autopsy.get_report(), (Severity.WARNING, Severity.CRITICAL)
    found = report.findings if report else []
    return seconds, [f"{f.title} {f.summary}" for f in found if f.severity in serious]


def measure(seeds: int = SEEDS) -> list[dict]:
    """A row per tool: caught of sick, false alarms of healthy, and a step against bare."""
    tools: dict[str, Callable[[Case], tuple[float, list[str]]]] = {"Monitor + diagnose": ours}
    try:
        import torchmortem as _  # noqa: F401

        tools["torchmortem"] = torchmortem
    except ImportError:
        pass
    rows = []
    for tool, look in tools.items():
        caught, alarms, ratios, missed = 0, 0, [], []
        for seed in tqdm(range(seeds), desc=tool, leave=False):
            for name, (make, words) in SICK.items():
                torch.manual_seed(seed)
                found = " ".join(look(make())[1]).lower()
                hit = any(word in found for word in words)
                caught += hit
                missed += [] if hit or name in missed else [name]
            for make in HEALTHY.values():
                torch.manual_seed(seed)
                bare = train(make(), lambda loss: loss.item())
                torch.manual_seed(seed)
                seconds, found = look(make())
                alarms += bool(found)
                ratios.append(seconds / bare)
        rows.append(
            dict(
                tool=tool,
                caught=caught,
                sick=seeds * len(SICK),
                false_alarms=alarms,
                healthy=seeds * len(HEALTHY),
                missed=missed,
                ratio=statistics.median(ratios),
            )
        )
    return rows


def table(rows: list[dict]) -> str:
    lines = ["| | caught | false alarms | a step against bare | missed |", "|---|--:|--:|--:|---|"]
    for row in rows:
        lines.append(
            f"| {row['tool']} | {row['caught']} of {row['sick']} | {row['false_alarms']} of {row['healthy']} "
            f"| ×{row['ratio']:.2f} | {', '.join(row['missed'])} |"
        )
    return "\n".join([*lines, "| fastai's ActivationStats, wandb.watch | no verdict | no verdict | | |"])


if __name__ == "__main__":
    print(table(measure()))
