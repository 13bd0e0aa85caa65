"""Batches that depend on the seed and the number of the step alone, so that a run can go on anywhere."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from zth_helpers.name_lists import Names
from zth_helpers.names import Vocabulary, context_windows, split_words

SKIP = -100  # the target of padding, which cross_entropy leaves out


class Data:
    """The splits of a list of names as a model reads them; `batch(step)` gives x and y of that step.

    config: the values of a run; with a `block` it is windows, (N, block) and (N,), else rows of padded names,
    (N, T) and (N, T). Both hold the same targets, so their losses can be compared.
    """

    def __init__(self, words: Names, config: dict[str, Any], device: str = "cpu"):
        self.vocab, self.device = Vocabulary(words), device
        self.size, self.seed, self.epoch = config["batch"], config["seed"], -1
        train, dev, test = split_words(words, seed=42)  # one split for all runs, whatever their seed
        longest = max(map(len, words)) + 1

        def read(part: list[str]) -> tuple[Tensor, Tensor]:
            if "block" in config:
                X, Y = context_windows(part, self.vocab, config["block"])
            else:
                X, Y = padded(part, self.vocab, longest)
            return X.to(device), Y.to(device)

        self.train, self.dev, self.test = read(train), read(dev), read(test)
        self.lengths = None if "block" in config else (self.train[1] != SKIP).sum(1).cpu()

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Windows: `size` of them, drawn at random. Rows: names of about the same length, `size` letters in
        all.
        """
        X, Y = self.train
        if self.lengths is None:
            g = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
            ix = torch.randint(len(X), (self.size,), generator=g).to(self.device)
            return X[ix], Y[ix]
        if self.epoch < 0 or not self.first <= step < self.first + len(self.batches):
            self._shuffle(step)
        rows = self.batches[step - self.first]
        longest = int(self.lengths[rows].max())
        rows = rows.to(self.device)
        return X[rows, :longest], Y[rows, :longest]

    def _shuffle(self, step: int) -> None:
        assert self.lengths is not None
        count = int(self.lengths.sum() - 1) // self.size + 1  # batches in an epoch
        self.epoch = step // count
        g = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = (self.lengths + torch.rand(len(self.lengths), generator=g)).argsort()
        which = (self.lengths[order].cumsum(0) - 1) // self.size
        sizes = which.bincount(minlength=count).clamp(min=0)
        batches = [rows for rows in order.split(sizes.tolist()) if len(rows)]
        self.batches = [batches[i] for i in torch.randperm(len(batches), generator=g).tolist()]
        while len(self.batches) < count:  # a name longer than a whole batch leaves a gap
            self.batches.append(self.batches[0])
        self.first = self.epoch * count


def padded(words: list[str], vocab: Vocabulary, length: int) -> tuple[Tensor, Tensor]:
    """One name a row, int64 (N, length): X with a dot in front, Y with a dot behind; padding 0 and SKIP."""
    X = torch.zeros((len(words), length), dtype=torch.long)
    Y = torch.full((len(words), length), SKIP)
    for i, word in enumerate(words):
        ids = torch.tensor([*vocab.encode(word), 0])
        X[i, 1 : len(ids)], Y[i, : len(ids)] = ids[:-1], ids
    return X, Y
