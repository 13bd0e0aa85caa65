"""Trains one model of the lessons and leaves a record of it.

    python -m experiments.train --model wavenet --steps 20000 --seed 42

All that can vary is an argument; what you leave out is as in the lesson. A run lives in runs/NAME, where NAME
follows from its arguments: the same command goes on after a kill (a checkpoint is written every 30 seconds),
and says what came out when the run is complete. Ctrl-C ends a run early and keeps its result. Each run adds
one line of JSON to runs/runs.jsonl: arguments, losses, what a Monitor found, how long it took, on what.

Two processes for one model, the same losses as one process with the same whole batch (but for the statistics
of batch norm, which each process takes over its own half):
    torchrun --nproc-per-node 2 -m experiments.train --model gru --steps 2000
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from experiments.data import SKIP, Data
from experiments.models import MODELS, SIZES, build
from zth_helpers import Monitor, diagnose, load_names, settings

CHECKPOINT_EVERY = 30.0  # seconds
RUNS = settings.ROOT / "runs"
Report = Callable[[int, float], object]
CHOICES = {"optimizer": ("sgd", "adamw"), "schedule": ("drop", "cycle")}
# Each number's least value, and the one that it has to stay below.
RANGES = {name: (1, math.inf) for name in ("steps", "checks", "batch", *SIZES)}
RANGES |= {"seconds": (0, math.inf), "seed": (0, 2**32), "dropout": (0, 1)}
RANGES |= {"lr": (0, math.inf), "weight_decay": (0, math.inf)}


def complete(**given: Any) -> dict[str, Any]:
    """All values of a run: those given, the others as the model's lesson has them.

    Raises ValueError for an unknown model, for a value that the model does not have, and for one that no run
    can have.
    """
    model = given.get("model", "wavenet")
    if not isinstance(model, str) or model not in MODELS:
        raise ValueError(f"model={model}: there are {', '.join(MODELS)}")
    base = {"model": model, "steps": 20_000, "seconds": 0.0, "seed": 42, "checks": 10, **MODELS[model][1]}
    given = {name: value for name, value in given.items() if value is not None}
    if unknown := sorted(given.keys() - base.keys()):
        raise ValueError(f"the model {model} has no {', '.join(unknown)}; it has {', '.join(base)}")
    for name, value in given.items():
        if name in CHOICES and value not in CHOICES[name]:
            raise ValueError(f"{name}={value}: there are {', '.join(CHOICES[name])}")
        if name in RANGES:
            _check(name, value, whole=isinstance(base[name], int))
    return base | given


def _check(name: str, value: Any, whole: bool) -> None:
    low, high = RANGES[name]
    kind = int if whole else int | float
    if isinstance(value, bool) or not isinstance(value, kind) or not low <= value < high:
        asked = f"a {'whole number' if whole else 'number'} of {low} or more"
        raise ValueError(f"{name}={value}: give {asked}" + (f", below {high}" if high < math.inf else ""))


def name_of(config: dict[str, Any]) -> str:
    """The folder of a run: its model, its seed, and a hash of all its values."""
    text = json.dumps(config, sort_keys=True)
    return f"{config['model']}-{config['seed']}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


@torch.no_grad()
def split_loss(net: nn.Module, X: Tensor, Y: Tensor) -> float:
    """The mean loss over a whole split in nats a character, in evaluation mode."""
    net.eval()
    total = sum(
        F.cross_entropy(net(x).flatten(0, -2), y.flatten(), reduction="sum", ignore_index=SKIP).item()
        for x, y in zip(X.split(5_000), Y.split(5_000))
    )
    net.train()
    return total / int((Y != SKIP).sum())


def learning_rate(config: dict[str, Any], done: float) -> float:
    """At the share `done` of the run. "drop" is the lecture's: a tenth for the last quarter. "cycle": up in
    the first tenth, then a cosine down to nothing."""
    if config["schedule"] == "drop":
        return config["lr"] * (1 if done < 0.75 else 0.1)
    return config["lr"] * min(done / 0.1, 1) * (0.5 + 0.5 * math.cos(math.pi * max(0, done - 0.1) / 0.9))


class Run:
    """One run: its net, its optimizer, its data, and how far it has come."""

    def __init__(self, config: dict[str, Any], folder: Path, device: str, rank: int, world: int):
        self.config, self.folder, self.device = config, folder, device
        self.rank, self.world = rank, world
        self.words = load_names()
        self.data = Data(self.words, config, device)
        torch.manual_seed(config["seed"])
        self.net = build(config, len(self.data.vocab)).to(device)
        kind = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}[config["optimizer"]]
        more = {"betas": (0.9, 0.98), "fused": True} if config["optimizer"] == "adamw" else {}
        self.optimizer = kind(
            self.net.parameters(), lr=config["lr"], weight_decay=config["weight_decay"], **more
        )
        self.step, self.spent = 0, 0.0
        self.curve: list[list] = []  # [step, seconds, dev]
        self.losses: list[float] = []  # means over stretches of steps

    @property
    def done(self) -> float:
        """The share of the run that is behind us: by the clock, if it has a time, else by the steps."""
        by_time = self.spent / self.config["seconds"] if self.config["seconds"] else 0.0
        return by_time or self.step / self.config["steps"]

    def save(self) -> None:
        """Writes the checkpoint; a kill in the middle leaves the one before."""
        if self.rank:
            return
        state = {"config": self.config, "letters": "".join(self.data.vocab.stoi), "step": self.step}
        state |= {"spent": self.spent, "curve": self.curve, "losses": self.losses}
        state |= {"net": self.net.state_dict(), "optimizer": self.optimizer.state_dict()}
        state["random"] = torch.get_rng_state()
        part = self.folder / "checkpoint.part"
        torch.save(state, part)
        os.replace(part, self.folder / "checkpoint.pt")

    def restore(self) -> None:
        """Goes on where the checkpoint was written, if there is one."""
        path = self.folder / "checkpoint.pt"
        if not path.exists():
            return
        state = torch.load(path, map_location=self.device, weights_only=True)
        if state["letters"] != "".join(self.data.vocab.stoi):
            raise ValueError(f"{path} was trained on another list of names: choose another --out")
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.spent = state["step"], state["spent"]
        self.curve, self.losses = state["curve"], state["losses"]
        torch.set_rng_state(state["random"].cpu())

    def one_step(self, net: nn.Module, mon: Monitor | None) -> Tensor:
        """Forward, backward, update. Each process takes every world-th example of the same batch, and the
        sum of their losses is divided by the targets of the whole batch, as one process would."""
        x, y = self.data.batch(self.step)
        targets = int((y != SKIP).sum())
        x, y = x[self.rank :: self.world], y[self.rank :: self.world]
        logits = net(x).flatten(0, -2)
        loss = F.cross_entropy(logits, y.flatten(), reduction="sum", ignore_index=SKIP) / targets
        self.optimizer.zero_grad()
        (loss * self.world).backward()  # DistributedDataParallel takes the mean over the processes
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.config, self.done)
        self.optimizer.step()
        if mon:
            mon.step(loss * self.world)
        if self.world > 1:
            loss = loss.detach().clone()
            dist.all_reduce(loss)
        self.step += 1
        return loss.detach()

    def train(self, report: Report | None, tensorboard: bool, watch: bool) -> tuple[str, Monitor | None]:
        """To the end, to a loss that is no number, or to Ctrl-C: "done", "diverged" or "interrupted"."""
        config, net = self.config, self.net
        if self.world > 1:
            net = DistributedDataParallel(self.net)
        every = 200 if config["seconds"] else max(1, config["steps"] // 50)
        watching = watch and self.rank == 0
        state, saved, mean, count = "done", time.monotonic(), torch.zeros((), device=self.device), 0
        due = math.floor(self.done * config["checks"]) + 1
        bar = tqdm(total=100, unit="%", desc=self.folder.name, disable=settings.quiet() or self.rank > 0)
        clock = time.process_time if self.device == "cpu" else time.monotonic
        with Monitor(self.net, optimizer=self.optimizer, every=every) if watching else nullcontext() as mon:
            writer = self._tensorboard(mon) if tensorboard and self.rank == 0 else None
            started = clock() - self.spent
            try:
                while self.done < 1:
                    mean, count = mean + self.one_step(net, mon), count + 1
                    self.spent = clock() - started
                    if self.done * config["checks"] >= due or self.done >= 1:
                        due = math.floor(self.done * config["checks"]) + 1
                        loss, dev = mean.item() / count, split_loss(self.net, *self.data.dev)
                        self.losses.append(loss)
                        self.curve.append([self.step, round(self.spent, 2), dev])
                        mean, count, started = torch.zeros_like(mean), 0, clock() - self.spent
                        bar.set_postfix(loss=f"{loss:.4f}", dev=f"{dev:.4f}")
                        if writer:
                            writer.add_scalar("dev", dev, self.step)
                        if not math.isfinite(loss) or not math.isfinite(dev):
                            state = "diverged"
                            break
                        if report:
                            report(self.step, dev)
                    if time.monotonic() - saved > CHECKPOINT_EVERY:
                        self.save()
                        saved = time.monotonic()
                    bar.update(min(100, math.floor(100 * self.done)) - bar.n)
            except KeyboardInterrupt:
                state = "interrupted"
            finally:
                bar.close()
                if writer:
                    writer.close()
        return state, mon

    def _tensorboard(self, mon: Monitor | None) -> Any:
        from torch.utils.tensorboard import SummaryWriter

        from zth_helpers.monitor import tensorboard, write_to

        writer = SummaryWriter(str(self.folder / "tensorboard"))
        if mon:
            write_to(mon, tensorboard(writer))
        return writer

    def record(self, state: str, mon: Monitor | None) -> dict[str, Any]:
        """The run's line of JSON."""
        verdict: list[str] = []
        if mon is not None and len(mon.steps):
            verdict = [str(finding) for finding in diagnose(mon, vocab_size=len(self.data.vocab)).causes]
        train, dev = (split_loss(self.net, *part) for part in (self.data.train, self.data.dev))
        return {
            "name": self.folder.name,
            "state": state,
            "config": self.config,
            "parameters": sum(p.numel() for p in self.net.parameters()),
            "steps": self.step,
            "seconds": round(self.spent, 2),
            "train": train if math.isfinite(train) else None,
            "dev": dev if math.isfinite(dev) else None,
            "curve": self.curve if state != "diverged" else self.curve[:-1],
            "losses": [loss for loss in self.losses if math.isfinite(loss)],
            "verdict": verdict,
            "list": self.words.source,
            "device": self.device,
            "processes": self.world,
            "torch": torch.__version__,
        }


def run(
    config: dict[str, Any],
    out: Path = RUNS,
    device: str = "cpu",
    report: Report | None = None,
    *,
    tensorboard: bool = False,
    watch: bool = True,
    restart: bool = False,
) -> dict[str, Any]:
    """Trains, or goes on, or finds it done; returns the line of JSON. `report(step, dev)` is called at each
    check and may raise to end the run. Raises ValueError and OSError."""
    world, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    folder = out / name_of(config)
    result = folder / "result.json"
    if restart and rank == 0:
        for path in (result, folder / "checkpoint.pt"):
            path.unlink(missing_ok=True)
    if result.exists() and (line := json.loads(result.read_text("utf-8")))["state"] != "interrupted":
        return line
    folder.mkdir(parents=True, exist_ok=True)
    this = Run(config, folder, device, rank, world)
    this.restore()
    state, mon = this.train(report, tensorboard, watch)
    line = this.record(state, mon)
    if rank == 0:
        this.save()
        text = json.dumps(line, ensure_ascii=False)
        part = folder / "result.part"
        part.write_text(text + "\n", encoding="utf-8")
        os.replace(part, result)
        with open(out / "runs.jsonl", "a", encoding="utf-8") as file:
            file.write(text + "\n")  # one write of one line: several runs may add to the file
    return line


def load(folder: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The trained net of a run, in evaluation mode, and its values. Raises OSError."""
    state = torch.load(folder / "checkpoint.pt", map_location="cpu", weights_only=True)
    net = build(state["config"], len(state["letters"]))
    net.load_state_dict(state["net"])
    return net.eval(), state["config"]


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--model", default="wavenet", choices=MODELS)
    add("--steps", type=int, help="20,000")
    add(
        "--seconds",
        type=float,
        help="train this long instead: processor time, so that other programs do not count",
    )
    add("--seed", type=int, help="42")
    add("--batch", type=int, help="windows in a batch; for gated and gru, characters")
    for name in SIZES:
        add(f"--{name}", type=float if name == "dropout" else int)
    add("--optimizer", choices=CHOICES["optimizer"])
    add("--lr", type=float, help="learning rate, at its highest")
    add("--weight-decay", type=float)
    add(
        "--schedule",
        choices=CHOICES["schedule"],
        help="drop: a tenth for the last quarter; cycle: up, then a cosine down",
    )
    add("--checks", type=int, help="how often the dev loss is measured: 10")
    add("--out", type=Path, default=RUNS, help="where runs are kept: runs/")
    add("--device", help="cpu, cuda or mps; by default what ZTH_DEVICE says")
    add("--tensorboard", action="store_true", help="also write runs/NAME/tensorboard")
    add("--no-monitor", action="store_true", help="do without the Monitor and its verdict")
    add("--restart", action="store_true", help="begin anew, even if there is something to go on with")
    return parser


def main() -> int:
    options = vars(arguments().parse_args())
    out, device, restart = options.pop("out"), options.pop("device"), options.pop("restart")
    tensorboard, watch = options.pop("tensorboard"), not options.pop("no_monitor")
    # As Ctrl-C, from `kill` or a scheduler; also where Ctrl-C itself is ignored, as behind `nohup … &`.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    torch.set_num_threads(1)  # networks this small gain nothing from a second thread
    if "WORLD_SIZE" in os.environ:
        dist.init_process_group("gloo")
    try:
        config, device = complete(**options), settings.device(device)
        line = run(config, out, device, tensorboard=tensorboard, watch=watch, restart=restart)
    except (ValueError, OSError) as error:
        print(f"✗ {error}", file=sys.stderr)
        return 1
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
    if int(os.environ.get("RANK", 0)) == 0:
        print(json.dumps(line, ensure_ascii=False))
    return 130 if line["state"] == "interrupted" else 0


if __name__ == "__main__":
    sys.exit(main())
