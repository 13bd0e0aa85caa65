"""The names: load a list, number its letters, split it, cut it into context windows (lectures 2 and 3)."""

from __future__ import annotations

import codecs
import hashlib
import os
import random
import re
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

SHIPPED = Path(__file__).resolve().parents[1] / "data" / "names.txt"
SHIPPED_SHA256 = "08f76e22272fe63b298e3aa53a33e50d34d36253214dc1b9f61adcb0f8a13734"
LECTURE_SHA256 = "0a30b5557f192f32ab962680889aac5f6fda0f4cecf40a6d0b5694f58ea8cc4d"
LECTURE_URL = (
    "https://raw.githubusercontent.com/karpathy/makemore/988aa59e4d8fefa526d06f3b453ad116258398d4/names.txt"
)
BOUNDARY = "."  # the start and the end of a word; number 0 in every vocabulary

source: str | None = None  # what load_names gave last: "shipped", "lecture" or "own"; the ledger asks


def load_names(which: str | os.PathLike | None = None) -> list[str]:
    """The names in the order of their file: "shipped", "lecture" (downloaded once), or the path of a list.

    Without an argument the environment variable ZTH_NAMES decides, else it is the shipped list. A list is
    text, one name of letters a line; capitals become small, blank lines fall away, duplicates stay. Content
    decides what a list is: a copy of the lecture's list, wherever it lies, counts as the lecture's.
    Raises OSError (no such file, a directory, no download) and ValueError (with the line number).
    """
    global source
    which = which or os.environ.get("ZTH_NAMES") or "shipped"
    if which == "lecture":
        path = lecture_list()
    else:
        path = SHIPPED if which == "shipped" else Path(which).expanduser()
    words = parse(read(path), path)
    text = "\n".join(words)
    if sha256(text.encode()) == LECTURE_SHA256:  # a file without a newline at its end
        source = "lecture"
    else:
        source = "shipped" if sha256(f"{text}\n".encode()) == SHIPPED_SHA256 else "own"
    return words


def lecture_list() -> Path:
    """The lecture's list: from the cache, else downloaded (with a progress bar), always checked by sha256.

    Raises ConnectionError when it cannot be had and OSError when it cannot be kept; nothing half is kept.
    """
    import pooch
    import requests
    from tqdm import tqdm

    cache = Path(pooch.os_cache("zth_helpers"))
    target = cache / "names_lecture.txt"
    if target.is_file() and file_sha256(target) == LECTURE_SHA256:
        return target  # no bar for what is there already
    pooch.get_logger().setLevel("WARNING")  # the bar says it; a log line would be stored in the notebook
    look = {"unit": "B", "unit_scale": True, "leave": False, "disable": switched_on("ZTH_QUIET")}
    with tqdm(total=228_145, desc="the lecture's names", **look) as bar:
        fetch = pooch.HTTPDownloader(progressbar=bar, timeout=20)
        try:
            return Path(pooch.retrieve(LECTURE_URL, LECTURE_SHA256, target.name, cache, downloader=fetch))
        except requests.HTTPError as error:
            kind, reason = ConnectionError, f"cannot be downloaded: {error.response.status_code}"
        except requests.RequestException as error:  # its last clause tells; addresses and quotes surround it
            clause = re.split("""['"][,)]""", str(error).rsplit(": ", 1)[-1])[0]
            kind, reason = ConnectionError, f"cannot be downloaded: {clause}"
        except ValueError:  # pooch: the hash differs
            kind, reason = ConnectionError, "arrived changed or cut short: its sha256 is not the expected one"
        except OSError as error:
            kind, reason = OSError, f"cannot be kept in {cache}: {error.strerror or error}"
    remedy = "Put a copy of it anywhere and name that instead: ZTH_NAMES=/path/to/names.txt"
    raise kind(f"the lecture's list of names {reason}\n  from {LECTURE_URL}\n{remedy}") from None


def switched_on(variable: str) -> bool:
    return os.environ.get(variable, "") not in ("", "0")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def file_sha256(path: str | os.PathLike) -> str:
    return sha256(Path(path).read_bytes())


def read(path: Path) -> str:
    """The text of a file in UTF-8 or, where its first bytes say so, UTF-16; raises OSError, ValueError."""
    try:
        data = path.read_bytes()
    except IsADirectoryError:
        raise IsADirectoryError(f"{path} is a directory: name a text file with one name a line") from None
    except FileNotFoundError:
        fix = "git checkout data/names.txt" if path == SHIPPED else "check the path (and ZTH_NAMES, if set)"
        raise FileNotFoundError(f"there is no file {path}: {fix}") from None
    except OSError as error:  # on Windows a directory is a PermissionError
        raise type(error)(f"{path} cannot be read: {error.strerror}") from None
    utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}, line {line}: not text in UTF-8; save the list as UTF-8 text") from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ValueError(f"{path}, line {line}: binary data; name a text file with one name a line")
    return text


def parse(text: str, path: Path) -> list[str]:
    """One word a line, small letters (accents and other scripts stay); raises ValueError with the line."""
    words, refused = [], []
    for number, line in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), 1):
        word = unicodedata.normalize("NFC", line.strip().lower())
        # M: marks that belong to a letter, such as the vowel signs of Hindi
        odd = next((letter for letter in word if unicodedata.category(letter)[0] not in "LM"), None)
        if odd:
            refused.append(f"line {number}: {word!r} has {odd!r} (U+{ord(odd):04X})")
        elif word:
            words.append(word)
    if refused:
        more = f", and {len(refused) - 1} more lines like it" if len(refused) > 1 else ""
        hint = "a name is one word of letters alone ('.' marks its ends): change or remove"
        raise ValueError(f"{path}, {refused[0]}{more}; {hint}")
    if not words:
        raise ValueError(f"{path} holds no names: write one name a line")
    return words


class Vocabulary:
    """The letters of some words and their numbers: '.' is 0, then the letters in order.

    `stoi` maps letter to int, `itos` int to letter. Raises ValueError when there are no letters, or when
    '.' is one of them.
    """

    def __init__(self, words: Iterable[str]):
        letters = sorted(set("".join(check_words(words))))
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


def check_words(words: Iterable[str]) -> list[str]:
    if isinstance(words, str):
        raise TypeError(f"a list of words is needed, not one string: write [{words[:20]!r}]")
    return list(words)


def split_words(
    words: Sequence[str], seed: int = 42, fractions: Sequence[float] = (0.8, 0.1, 0.1)
) -> tuple[list[str], ...]:
    """Shuffles a copy of the words and cuts it: train, dev and test (lecture 3's split, on its list).

    Whole words go to one part, so that no part has seen the beginning of another's word. Raises ValueError
    for fractions that are not positive or do not add up to 1, and when a part would be empty.
    """
    if not all(fraction > 0 for fraction in fractions) or abs(sum(fractions) - 1) > 1e-9:
        raise ValueError(f"fractions must be positive and add up to 1, got {tuple(fractions)}")
    shuffled = check_words(words)
    random.Random(seed).shuffle(shuffled)
    # Rounded, because .7 + .2 is a little less than .9 in floating point.
    ends = [int(round(share * len(shuffled), 9)) for share in accumulate(fractions)][:-1] + [len(shuffled)]
    parts = tuple(shuffled[start:end] for start, end in zip([0, *ends], ends))
    if not all(parts):
        sizes = "/".join(str(len(part)) for part in parts)
        raise ValueError(f"{len(shuffled)} words are too few for {tuple(fractions)}: parts of {sizes} words")
    return parts


def context_windows(words: Sequence[str], vocab: Vocabulary, block_size: int = 3) -> tuple[Tensor, Tensor]:
    """Each letter Y (N,) and the block_size letters before it, X (N, block_size); int64, N = letters + words.

    The same as lecture 3's loop, a column instead of a letter at a time. Raises ValueError for letters that
    the vocabulary lacks, no words, or a block_size that is not a positive int.
    """
    if not isinstance(block_size, int) or block_size < 1:
        raise ValueError(f"block_size must be a positive int, got {block_size!r}")
    words = check_words(words)
    if not words:
        raise ValueError("no words: give at least one")
    ids = encode_joined(words, vocab)
    X = np.empty((len(ids) - 1, block_size), dtype=np.int64)
    column = ids[:-1]  # the letter just before each letter; 0 at the start of a word
    X[:, -1] = column
    for j in range(block_size - 2, -1, -1):
        # One letter further back is what the row above had, unless the word began in between.
        further = np.zeros_like(column)
        np.multiply(column[:-1], column[1:] != 0, out=further[1:])
        X[:, j] = column = further
    return torch.from_numpy(X), torch.from_numpy(ids[1:].astype(np.int64))


def encode_joined(words: list[str], vocab: Vocabulary) -> np.ndarray:
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
