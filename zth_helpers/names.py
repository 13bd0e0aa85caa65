"""The names: load a list, number its letters, split it, and cut it into context windows (lectures 2 and 3)."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

SHIPPED = Path(__file__).resolve().parents[1] / "data" / "names.txt"
LECTURE_SHA256 = "0a30b5557f192f32ab962680889aac5f6fda0f4cecf40a6d0b5694f58ea8cc4d"
LECTURE_COMMIT = "988aa59e4d8fefa526d06f3b453ad116258398d4"
LECTURE_URL = f"https://raw.githubusercontent.com/karpathy/makemore/{LECTURE_COMMIT}/names.txt"
BOUNDARY = "."  # start and end of a word; index 0 in every vocabulary

source: str | None = None  # which list load_names gave last: "shipped", "lecture", "own", or None


def load_names(which: str | os.PathLike | None = None) -> list[str]:
    """The list of names, one word each."""
    global source
    which = which or os.environ.get("ZTH_NAMES") or "shipped"
    path = SHIPPED if which == "shipped" else Path(which)
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() == LECTURE_SHA256:
        source = "lecture"
    else:
        source = "shipped" if path == SHIPPED else "own"
    return data.decode("utf-8-sig").split()


class Vocabulary:
    """The letters of a list of words and their numbers: '.' is 0, the sorted letters follow."""

    def __init__(self, words: Iterable[str]):
        letters = [BOUNDARY, *sorted(set("".join(words)) - {BOUNDARY})]
        self.stoi = {letter: i for i, letter in enumerate(letters)}
        self.itos = dict(enumerate(letters))

    def __len__(self) -> int:
        return len(self.stoi)

    def encode(self, word: str) -> list[int]:
        return [self.stoi[letter] for letter in word]

    def decode(self, ids: Iterable[int]) -> str:
        return "".join(self.itos[int(i)] for i in ids)


def split_words(
    words: Sequence[str], seed: int = 42, fractions: Sequence[float] = (0.8, 0.1, 0.1)
) -> tuple[list[str], ...]:
    """Shuffles a copy of the words and cuts it: train, dev and test by default (lecture 3)."""
    shuffled = list(words)
    random.Random(seed).shuffle(shuffled)
    ends = [int(sum(fractions[: i + 1]) * len(shuffled)) for i in range(len(fractions) - 1)]
    return tuple(shuffled[a:b] for a, b in zip([0, *ends], [*ends, len(shuffled)]))


def context_windows(words: Sequence[str], vocab: Vocabulary, block_size: int = 3) -> tuple[Tensor, Tensor]:
    """Every next letter Y (N,) with the block_size letters before it, X (N, block_size); both int64."""
    joined = (BOUNDARY * block_size).join(["", *words, ""])
    ids = torch.tensor(vocab.encode(joined))
    starts = torch.tensor([0, *(len(word) + block_size for word in words)]).cumsum(0)[:-1]
    counts = torch.tensor([len(word) + 1 for word in words])
    first = (starts - (counts.cumsum(0) - counts)).repeat_interleave(counts)
    at = first + torch.arange(len(first))
    windows = ids.unfold(0, block_size + 1, 1)[at]
    return windows[:, :-1].contiguous(), windows[:, -1].contiguous()
