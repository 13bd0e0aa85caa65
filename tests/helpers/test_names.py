"""zth_helpers.names: lists of the user, vocabulary, split, and context windows against the lecture's loop."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zth_helpers import name_lists
from zth_helpers.name_lists import SHIPPED, load_names
from zth_helpers.names import Vocabulary, context_windows, split_words

LETTERS = st.characters(categories=["Lu", "Ll", "Lo"])
WORDS = st.lists(st.text(st.sampled_from("abcñж中😀"), max_size=9), min_size=1, max_size=30)


def lecture_windows(words, vocab, block_size):
    """The loop of lecture 3: the oracle."""
    X, Y = [], []
    for word in words:
        context = [0] * block_size
        for letter in word + ".":
            X.append(context)
            Y.append(vocab.stoi[letter])
            context = context[1:] + [vocab.stoi[letter]]
    return torch.tensor(X), torch.tensor(Y)


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    monkeypatch.delenv("ZTH_NAMES", raising=False)


@pytest.fixture(scope="module")
def lecture_file() -> Path:
    import pooch

    given_file = os.environ.get("ZTH_LECTURE_LIST")
    path = Path(given_file or pooch.os_cache("zth_helpers") / "names_lecture.txt")
    if not path.is_file():
        pytest.skip("the lecture's list is not here: ZTH_LECTURE_LIST=/path/to/names.txt, or load it once")
    return path


# ---- loading


def test_shipped_list_is_the_default():
    words = load_names()
    assert words == SHIPPED.read_text().splitlines() == load_names("shipped")
    assert words.source == "shipped" and words.differs == "its list"
    assert words.about == "22,527 names from the course's own list; ZTH_NAMES=lecture takes the lecture's"


def test_environment_names_the_list(tmp_path, monkeypatch):
    (tmp_path / "mine.txt").write_text("anna\nbo\n")
    monkeypatch.setenv("ZTH_NAMES", str(tmp_path / "mine.txt"))
    assert load_names() == ["anna", "bo"] and load_names().source == "own"
    assert load_names().about == "2 names from your list"
    assert len(load_names("shipped")) > 20_000  # an argument wins
    monkeypatch.setenv("ZTH_NAMES", "")
    assert load_names().source == "shipped"


def test_home_is_understood(tmp_path, monkeypatch):
    (tmp_path / "mine.txt").write_text("anna\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert load_names("~/mine.txt") == ["anna"]


def test_content_decides_which_list_it_is(tmp_path):
    copy = tmp_path / "copy.txt"
    copy.write_bytes(b"\xef\xbb\xbf" + SHIPPED.read_bytes().replace(b"\n", b"\r\n"))
    assert load_names(copy).source == "shipped"
    copy.write_bytes(SHIPPED.read_bytes() + b"zz\n")
    assert load_names(copy).source == "own"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"Anna\nBOB\n", ["anna", "bob"]),
        ("René\nÅsa\nΓιώργος\n".encode(), ["rené", "åsa", "γιώργος"]),
        ("İbrahim\nIŞIK\n".encode(), ["ibrahim", "işik"]),  # a small i, and no letter more
        ("ශ්\u200dරී\nمی\u200cنا\n".encode(), ["ශ්\u200dරී", "می\u200cنا"]),  # joiners are spelling
        ("rene\u0301\n".encode(), ["rené"]),  # letter and accent apart, as macOS writes them
        ("हिन्दी\n".encode(), ["हिन्दी"]),
        (b"\n\nanna\n  \n\tbo \n\n", ["anna", "bo"]),
        (b"anna\r\nbo\r\n", ["anna", "bo"]),
        (b"anna\rbo", ["anna", "bo"]),
        (b"anna\nanna\nbo", ["anna", "anna", "bo"]),  # duplicates stay: the lecture's list has them too
        (b"\xef\xbb\xbfanna\nbo\n", ["anna", "bo"]),
        ("anna\nbo\n".encode("utf-16"), ["anna", "bo"]),  # "Unicode" of Windows Notepad
    ],
)
def test_own_list(tmp_path, data, words):
    path = tmp_path / "mine.txt"
    path.write_bytes(data)
    assert load_names(path) == words


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"anna\nmary-jane\n", r"line 2: 'mary-jane' has '-' \(U\+002D\); .*change or remove"),
        (b"anna\r\n\r\nbo2\r\n", r"line 3: 'bo2' has '2'"),
        (b"anna maria\n", r"line 1: 'anna maria' has ' '"),
        (b"a.b\n", r"line 1: 'a\.b' has '\.'.*marks its ends"),
        (b"a,b\nc,d\ne,f\n", r"line 1: 'a,b' has ','.*and 2 more lines"),
        ("an\u200bna\n".encode(), r"line 1: .*U\+200B"),
        (b"", "holds no names: write one name a line"),
        (b"\n \r\n", "holds no names"),
        ("anna\nrené\n".encode("latin-1"), "line 2: not text in UTF-8"),
        (b"\x89PNG\r\n\x1a\n\0\0", "line 1: not text in UTF-8"),
        (b"anna\nb\0o\n", "line 2: binary data"),
    ],
)
def test_refused_list(tmp_path, data, message):
    path = tmp_path / "mine.txt"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message) as error:
        load_names(path)
    assert str(error.value).startswith(str(path))


def test_directory_and_missing_file(tmp_path, monkeypatch):
    with pytest.raises(OSError, match="is a directory" if os.name != "nt" else "cannot be read"):
        load_names(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no file .*nowhere\.txt: check the path \(and ZTH_NAMES"):
        load_names("nowhere.txt")
    monkeypatch.setattr(name_lists, "SHIPPED", tmp_path / "names.txt")
    with pytest.raises(FileNotFoundError, match="git checkout data/names"):
        load_names()


# ---- vocabulary


def test_vocabulary_follows_the_list():
    assert len(Vocabulary(load_names())) == 27
    vocab = Vocabulary(["ñu", "жa", "ñ"])
    assert vocab.stoi == {".": 0, "a": 1, "u": 2, "ñ": 3, "ж": 4}
    assert vocab.itos == {0: ".", 1: "a", 2: "u", 3: "ñ", 4: "ж"}
    assert repr(vocab) == "Vocabulary of 5: .auñж"


@given(st.lists(st.text(LETTERS, min_size=1), min_size=1))
def test_decoding_undoes_encoding(words):
    vocab = Vocabulary(words)
    assert len(vocab) == 1 + len(set("".join(words)))
    for word in words:
        ids = vocab.encode(word)
        assert len(ids) == len(word) and all(0 < i < len(vocab) for i in ids)
        assert vocab.decode(ids) == vocab.decode(torch.tensor(ids)) == word


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Vocabulary([]), ValueError, "no letters"),
        (lambda: Vocabulary([""]), ValueError, "no letters"),
        (lambda: Vocabulary(["a.b"]), ValueError, "marks the ends of words"),
        (lambda: Vocabulary("anna"), TypeError, r"write \['anna'\]"),
        (lambda: Vocabulary(None), TypeError, "a list of words is needed, not a NoneType"),
        (lambda: Vocabulary(["anna", 3]), TypeError, "a list of words is needed: a int is among them"),
        (
            lambda: context_windows(["anna"], {"a": 1}),
            TypeError,
            r"vocab is a dict: give Vocabulary\(words\)",
        ),
        (lambda: split_words(7), TypeError, "not a int"),
        (lambda: Vocabulary(["anna"]).encode("rené"), ValueError, "'r' in 'rené' .* 3 letters '.an'"),
        (lambda: Vocabulary(["anna"]).decode([1, 3]), ValueError, "number 3: they go from 0 to 2"),
        (lambda: Vocabulary(["anna"]).decode([-1]), ValueError, "number -1"),
    ],
)
def test_vocabulary_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


# ---- split


@given(st.integers(10, 3000), st.integers(0, 99))
@settings(deadline=None)
def test_split_equals_the_lectures(n, seed):
    words = [str(i) for i in range(n)]
    shuffled = words.copy()
    random.Random(seed).shuffle(shuffled)
    n1, n2 = int(0.8 * n), int(0.9 * n)
    assert split_words(words, seed) == (shuffled[:n1], shuffled[n1:n2], shuffled[n2:])
    assert words == [str(i) for i in range(n)]  # not in place
    assert split_words(words, seed) == split_words(tuple(words), seed)


def test_split_sizes():
    words = [str(i) for i in range(32_033)]  # as many as the lecture's
    assert [len(part) for part in split_words(words)] == [25_626, 3_203, 3_204]
    assert [len(p) for p in split_words(words[:30], fractions=(0.7, 0.2, 0.1))] == [21, 6, 3]
    assert [len(p) for p in split_words(words[:9], fractions=(0.5, 0.5))] == [4, 5]
    random.seed(1)
    split_words(words[:10])
    after = random.random()
    random.seed(1)
    assert random.random() == after  # the global generator is left alone


@pytest.mark.parametrize("fractions", [(0.8, 0.1), (0.9, 0.2, -0.1), (1.0, 0.0), (), (0.5, float("nan"))])
def test_bad_fractions(fractions):
    with pytest.raises(ValueError, match="positive and add up to 1"):
        split_words(["a"] * 100, fractions=fractions)


def test_too_few_words():
    with pytest.raises(ValueError, match=r"3 words are too few .* parts of 2/0/1 words"):
        split_words(["a", "b", "c"])
    with pytest.raises(ValueError, match="0 words are too few"):
        split_words([])
    with pytest.raises(TypeError, match="not one string"):
        split_words("maria and ivan")


# ---- context windows


@given(WORDS, st.integers(1, 10))
@settings(deadline=None)
def test_windows_equal_the_lectures_loop(words, block_size):
    vocab = Vocabulary([*words, "abcñж中😀"])
    X, Y = context_windows(words, vocab, block_size)
    expected = lecture_windows(words, vocab, block_size)
    assert torch.equal(X, expected[0]) and torch.equal(Y, expected[1])


@pytest.mark.parametrize("block_size", [1, 3, 8])
def test_windows_on_the_shipped_list(block_size):
    words = load_names()
    vocab = Vocabulary(words)
    X, Y = context_windows(words, vocab, block_size)
    expected = lecture_windows(words, vocab, block_size)
    assert torch.equal(X, expected[0]) and torch.equal(Y, expected[1])
    N = sum(map(len, words)) + len(words)
    assert X.shape == (N, block_size) and Y.shape == (N,)
    assert X.dtype == Y.dtype == torch.int64
    assert X.is_contiguous() and Y.is_contiguous()


def test_windows_of_many_letters():
    """More letters than an int8 holds."""
    words = ["".join(chr(0x4E00 + i) for i in range(start, start + 50)) for start in range(0, 400, 50)]
    vocab = Vocabulary(words)
    X, Y = context_windows(words, vocab, 4)
    expected = lecture_windows(words, vocab, 4)
    assert torch.equal(X, expected[0]) and torch.equal(Y, expected[1])


@pytest.mark.parametrize("n", [126, 127, 128, 129])
def test_windows_at_the_edge_of_a_byte(n):
    word = "".join(chr(0x4E00 + i) for i in range(n))
    X, Y = context_windows([word], Vocabulary([word]), 1)
    assert Y.tolist() == [*range(1, n + 1), 0] and X[:, 0].tolist() == [0, *range(1, n + 1)]


@pytest.mark.parametrize(
    ("words", "block_size", "error", "message"),
    [
        (["anna", "bob"], 3, ValueError, "'b' in 'bob' is not one of the 3 letters"),
        (["anna", "naß"], 3, ValueError, "'ß' in 'naß'"),
        (["anna", "an.na"], 3, ValueError, "'.' in 'an.na': it marks the ends"),
        ([], 3, ValueError, "no words"),
        ("anna", 3, TypeError, r"not one string: write \['anna'\]"),
        (["anna"], 0, ValueError, "positive int, got 0"),
        (["anna"], 1.5, ValueError, "positive int, got 1.5"),
    ],
)
def test_window_errors(words, block_size, error, message):
    with pytest.raises(error, match=message):
        context_windows(words, Vocabulary(["anna"]), block_size)


# ---- the lecture's list, where there is a copy


def test_the_lectures_list(lecture_file):
    words = load_names(lecture_file)
    assert words.source == "lecture" and words.differs == ""
    assert (len(words), len(set(words)), len(Vocabulary(words))) == (32_033, 29_494, 27)
    parts = split_words(words)
    assert [len(part) for part in parts] == [25_626, 3_203, 3_204]
    vocab = Vocabulary(words)
    assert [len(context_windows(part, vocab)[1]) for part in parts] == [182_625, 22_655, 22_866]


@pytest.mark.parametrize("block_size", [3, 8])
def test_windows_on_the_lectures_list(lecture_file, block_size):
    words = load_names(lecture_file)
    vocab = Vocabulary(words)
    X, Y = context_windows(words, vocab, block_size)
    expected = lecture_windows(words, vocab, block_size)
    assert torch.equal(X, expected[0]) and torch.equal(Y, expected[1])
