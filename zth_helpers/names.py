"""Words as numbers: a vocabulary, a split into train, dev and test, context windows (lectures 2, 3)."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

BOUNDARY = "."  # the start and the end of a word; number 0 in every vocabulary


class Vocabulary:
    """The letters of some words and their numbers: '.' is 0, then the letters in order.

    `stoi` maps letter to int, `itos` int to letter. Raises ValueError when there are no letters, or when
    '.' is one of them, and TypeError for what is no list of words.
    """

    def __init__(self, words: Iterable[str]):
        letters = sorted(set("".join(_check_words(words))))
        if not letters:
            raise ValueError("the words hold no letters: give at least one word that is not empty")
        if BOUNDARY in letters:
            raise ValueError(f"{BOUNDARY!r} stands in a word, but it marks the ends of words: remove it")
        self.stoi = {letter: i for i, letter in enumerate([BOUNDARY, *letters])}
        self.itos = {i: letter for letter, i in self.stoi.items()}

    def __len__(self) -> int:
        return len(self.stoi)

    def __repr__(self) -> str:
        return f"Vocabulary of {len(self)}: {''.join(self.stoi)}"

    def encode(self, word: str) -> list[int]:
        """The numbers of a word's letters; raises ValueError for a letter that is not in the vocabulary."""
        unknown = next((letter for letter in word if letter not in self.stoi), None)
        if unknown is not None:
            raise ValueError(
                f"{unknown!r} in {word!r} is not one of the {len(self)} letters {''.join(self.stoi)!r}: "
                "build the Vocabulary from a list that has it, or leave the word out"
            )
        return [self.stoi[letter] for letter in word]

    def decode(self, ids: Iterable[int] | Tensor) -> str:
        """The letters of some numbers; raises ValueError for a number outside 0..len-1."""
        numbers = [int(i) for i in ids]
        unknown = next((i for i in numbers if i not in self.itos), None)
        if unknown is not None:
            raise ValueError(f"no letter has the number {unknown}: they go from 0 to {len(self) - 1}")
        return "".join(self.itos[i] for i in numbers)


def _check_words(words: Iterable[str]) -> list[str]:
    if isinstance(words, str):
        raise TypeError(f"a list of words is needed, not one string: write [{words[:20]!r}]")
    if not isinstance(words, Iterable):
        raise TypeError(f"a list of words is needed, not a {type(words).__name__}")
    words = list(words)
    if strange := sorted(kind.__name__ for kind in set(map(type, words)) if not issubclass(kind, str)):
        raise TypeError(f"a list of words is needed: a {strange[0]} is among them")
    return words


def check_vocabulary(vocab: object) -> None:
    """Raises TypeError for anything else, such as the dict of a lecture's notebook."""
    if not (hasattr(vocab, "stoi") and hasattr(vocab, "itos")):
        raise TypeError(f"vocab is a {type(vocab).__name__}: give Vocabulary(words)")


def split_words(
    words: Sequence[str], seed: int = 42, fractions: Sequence[float] = (0.8, 0.1, 0.1)
) -> tuple[list[str], ...]:
    """Shuffles a copy of the words and cuts it: train, dev and test (lecture 3's split, on its list).

    Whole words go to one part, so that no part has seen the beginning of another's word. Raises ValueError
    for fractions that are not positive or do not add up to 1, and when a part would be empty.
    """
    if not all(fraction > 0 for fraction in fractions) or abs(sum(fractions) - 1) > 1e-9:
        raise ValueError(f"fractions must be positive and add up to 1, got {tuple(fractions)}")
    shuffled = _check_words(words)
    random.Random(seed).shuffle(shuffled)
    # Rounded, because .7 + .2 is a little less than .9 in floating point.
    ends = [int(round(share * len(shuffled), 9)) for share in accumulate(fractions)][:-1] + [len(shuffled)]
    parts = tuple(shuffled[start:end] for start, end in zip([0, *ends], ends))
    if not all(parts):
        sizes = "/".join(str(len(part)) for part in parts)
        raise ValueError(
            f"{len(shuffled)} words are too few for {tuple(fractions)}, which leaves parts of {sizes} words: "
            "give a longer list"
        )
    return parts


def context_windows(words: Sequence[str], vocab: Vocabulary, block_size: int = 3) -> tuple[Tensor, Tensor]:
    """Each letter Y (N,) and the block_size letters before it, X (N, block_size); int64, N = letters + words.

    The same as lecture 3's loop, a column instead of a letter at a time. Raises ValueError for letters that
    the vocabulary lacks, no words, or a block_size that is not a positive int; TypeError for what is no list
    of words or no vocabulary.
    """
    if not isinstance(block_size, int) or block_size < 1:
        raise ValueError(f"block_size must be a positive int, got {block_size!r}")
    check_vocabulary(vocab)
    words = _check_words(words)
    if not words:
        raise ValueError("no words: give at least one")
    ids = _encode_joined(words, vocab)
    X = np.empty((len(ids) - 1, block_size), dtype=np.int64)
    column = ids[:-1]  # the letter just before each letter; 0 at the start of a word
    X[:, -1] = column
    for j in range(block_size - 2, -1, -1):
        # One letter further back is what the row above had, unless the word began in between.
        further = np.zeros_like(column)
        np.multiply(column[:-1], column[1:] != 0, out=further[1:])
        X[:, j] = column = further
    return torch.from_numpy(X), torch.from_numpy(ids[1:].astype(np.int64))


def _encode_joined(words: list[str], vocab: Vocabulary) -> np.ndarray:
    """The numbers of ".anna.bo." in the smallest int type, looked up in a table of code points."""
    joined = BOUNDARY + BOUNDARY.join(words) + BOUNDARY
    codes = np.frombuffer(joined.encode("utf-32-le"), dtype="<u4")
    known = np.array([ord(letter) for letter in vocab.stoi])
    table = np.full(max(codes.max(), known.max()) + 1, -1, dtype=np.min_scalar_type(-len(vocab)))
    table[known] = list(vocab.stoi.values())
    ids = table[codes]
    if ids.min() < 0 or np.count_nonzero(ids == 0) != len(words) + 1:
        for word in words:
            vocab.encode(word)  # raises for the letter that is unknown
        dotted = next(word for word in words if BOUNDARY in word)
        raise ValueError(f"{BOUNDARY!r} in {dotted!r}: it marks the ends of words, so remove it")
    return ids
