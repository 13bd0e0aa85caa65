"""Lists of names: the course's own, the lecture's (fetched once), or any list of yours."""

from __future__ import annotations

import codecs
import hashlib
import os
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from zth_helpers import settings

SHIPPED = settings.course_folder("_data", "data") / "names.txt"
SHIPPED_SHA256 = "08f76e22272fe63b298e3aa53a33e50d34d36253214dc1b9f61adcb0f8a13734"
LECTURE_SHA256 = "0a30b5557f192f32ab962680889aac5f6fda0f4cecf40a6d0b5694f58ea8cc4d"
LECTURE_URL = (
    "https://raw.githubusercontent.com/karpathy/makemore/988aa59e4d8fefa526d06f3b453ad116258398d4/names.txt"
)
_JOINERS = "\u200c\u200d"  # invisible, but part of the spelling in Persian, Hindi and Sinhala


class Names(list[str]):
    """A list of names that knows where it comes from: `source` is "shipped", "lecture" or "own"."""

    def __init__(self, words: Iterable[str], source: str):
        super().__init__(words)
        self.source = source

    @property
    def about(self) -> str:
        """One sentence for the reader: which list this is, and how to take another."""
        whose = {
            "lecture": "the lecture's list; ZTH_NAMES=shipped takes the course's own",
            "shipped": "the course's own list; ZTH_NAMES=lecture takes the lecture's",
        }.get(self.source, "your list")
        return f"{len(self):,} names from {whose}"

    @property
    def differs(self) -> str:
        """For compare(): "" when a number made with this list is the lecture's to compare with."""
        return "" if self.source == "lecture" else "its list"


def load_names(which: str | os.PathLike | None = None) -> Names:
    """The names in the order of their file: "shipped", "lecture" (fetched once), or the path of a list.

    Without an argument the environment variable ZTH_NAMES decides; without that it is the lecture's list if
    `make lab` has fetched it, else the shipped one. A list is text, one name of letters a line; capitals
    become small, blank lines fall away, duplicates stay. Content decides what a list is: a copy of the
    lecture's list, wherever it lies, counts as the lecture's.
    Raises OSError (no such file, a directory, no download) and ValueError (with the line number).
    """
    which = which or settings.names_wanted() or ("lecture" if fetched() else "shipped")
    if which == "lecture":
        path = lecture_list()
    else:
        path = SHIPPED if which == "shipped" else Path(which).expanduser()
    words = _parse(_read(path), path)
    text = "\n".join(words)
    if _sha256(text.encode()) == LECTURE_SHA256:  # its file has no newline at its end
        return Names(words, "lecture")
    return Names(words, "shipped" if _sha256(f"{text}\n".encode()) == SHIPPED_SHA256 else "own")


def fetched() -> Path | None:
    """The lecture's list if it lies where `lecture_list` keeps it, unchanged; else None."""
    path = _keep() / "names_lecture.txt"
    return path if path.is_file() and file_sha256(path) == LECTURE_SHA256 else None


def lecture_list(timeout: float = 20) -> Path:
    """The lecture's list: as kept, else downloaded (with a progress bar), always checked by its sha256.

    It is kept in data/lecture/, which git ignores, or in the user's cache where the package is installed
    without the course. `timeout` is in seconds, for each try to connect.
    Raises ConnectionError when it cannot be had and OSError when it cannot be kept; nothing half is kept.
    """
    if path := fetched():
        return path
    try:
        import pooch
        import requests
        from tqdm import tqdm
    except ImportError:
        raise OSError("to fetch the lecture's list of names: pip install 'zth-helpers[course]'") from None
    keep = _keep()
    kind: type[OSError] = ConnectionError
    pooch.get_logger().setLevel("WARNING")  # the bar says it; a log line would be stored in the notebook
    look = {"unit": "B", "unit_scale": True, "leave": False, "disable": settings.quiet()}
    with tqdm(total=228_145, desc="the lecture's names", **look) as bar:
        fetch = pooch.HTTPDownloader(progressbar=bar, timeout=timeout)
        try:
            name = "names_lecture.txt"
            return Path(pooch.retrieve(LECTURE_URL, LECTURE_SHA256, name, keep, downloader=fetch))
        except requests.HTTPError as error:
            reason = f"cannot be downloaded: {error.response.status_code}"
        except requests.RequestException as error:  # its last clause tells; addresses and quotes surround it
            clause = re.split("""['"][,)]""", str(error).rsplit(": ", 1)[-1])[0]
            reason = f"cannot be downloaded: {clause}"
        except ValueError:  # pooch: the hash differs
            reason = "arrived changed or cut short: its sha256 is not the expected one"
        except OSError as error:
            kind, reason = OSError, f"cannot be kept in {keep}: {error.strerror or error}"
    remedy = "Put a copy of it anywhere and name that instead: ZTH_NAMES=/path/to/names.txt"
    raise kind(f"the lecture's list of names {reason}\n  from {LECTURE_URL}\n{remedy}") from None


def _keep() -> Path:
    """The folder for what is fetched."""
    if SHIPPED.parent == settings.ROOT / "data":
        return SHIPPED.parent / "lecture"
    return Path.home() / ".cache" / "zth_helpers"


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def file_sha256(path: str | os.PathLike) -> str:
    return _sha256(Path(path).read_bytes())


def _read(path: Path) -> str:
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


def _parse(text: str, path: Path) -> list[str]:
    """One word a line, small letters (accents and other scripts stay); raises ValueError with the line."""
    words, refused = [], []
    for number, line in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), 1):
        # "İ".lower() is an i and a combining dot; in Turkish the small letter is a plain i.
        word = unicodedata.normalize("NFC", line.strip().replace("İ", "i").lower())
        odd = next((letter for letter in word if not _belongs(letter)), None)
        if odd is None and word.strip(_JOINERS) != word:
            odd = word[0] if word[0] in _JOINERS else word[-1]  # a joiner joins two letters
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


def _belongs(letter: str) -> bool:
    """Is it a letter, a mark that belongs to one (the vowel signs of Hindi), or an invisible joiner?"""
    return unicodedata.category(letter)[0] in "LM" or letter in _JOINERS
