"""load_names("lecture") for real, from a server on loopback: what is kept, and what a failure says."""

from __future__ import annotations

import hashlib
import http.server
import os
import re
import socket
import threading
from pathlib import Path

import pooch
import pytest
import tqdm

from zth_helpers import name_lists
from zth_helpers.name_lists import load_names
from zth_helpers.settings import ROOT

LIST = "\n".join(f"name{'abcdefgh'[i % 8] * (i // 8 % 9)}" for i in range(5000)).encode()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests += 1
        status, length, body = self.server.answer
        self.send_response(status)
        if length:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.requests = 0
        server.answer = 200, len(LIST), LIST
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(server, tmp_path, monkeypatch) -> Path:
    """An empty cache that does not exist yet; LIST stands for the lecture's list."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(name_lists, "LECTURE_URL", f"http://127.0.0.1:{server.server_port}/names.txt")
    monkeypatch.setattr(name_lists, "LECTURE_SHA256", hashlib.sha256(LIST).hexdigest())
    monkeypatch.setattr(name_lists, "_keep", lambda: tmp_path / "cache" / "lecture")
    return tmp_path / "cache" / "lecture"


def kept(cache: Path) -> list[str]:
    return sorted(os.listdir(cache)) if cache.exists() else []


def refused(error: type[Exception]) -> str:
    """What load_names says; every refusal must name the address and the way out."""
    with pytest.raises(error) as caught:
        load_names("lecture")
    text = str(caught.value)
    assert name_lists.LECTURE_URL in text
    assert "Put a copy of it anywhere and name that instead: ZTH_NAMES=/path/to/names.txt" in text
    assert caught.value.__cause__ is None and caught.value.__suppress_context__  # one error, not a chain
    return text


def test_good_file_is_kept_and_used_without_a_network(server, cache, monkeypatch, capsys):
    monkeypatch.setenv("ZTH_NAMES", "lecture")
    monkeypatch.setenv("ZTH_QUIET", "0")
    assert load_names() == LIST.decode().split("\n") and load_names().source == "lecture"
    assert kept(cache) == ["names_lecture.txt"]
    assert (cache / "names_lecture.txt").read_bytes() == LIST
    server.answer = 500, 0, b""
    capsys.readouterr()
    assert len(load_names("lecture")) == 5000
    assert server.requests == 1
    assert capsys.readouterr() == ("", "")  # and without a bar


def test_file_named_by_the_user_counts_and_needs_no_server(server, tmp_path):
    copy = tmp_path / "copy.txt"
    copy.write_bytes(LIST.replace(b"\n", b"\r\n") + b"\r\n")
    assert load_names(copy).source == "lecture" and server.requests == 0


def test_once_fetched_it_is_the_default(server, monkeypatch):
    monkeypatch.delenv("ZTH_NAMES")
    assert load_names().source == "shipped" and server.requests == 0  # never fetched unasked
    name_lists.lecture_list()
    assert load_names().source == "lecture" and load_names("shipped").source == "shipped"


def test_a_checkout_keeps_it_beside_its_own_list_where_git_ignores_it(monkeypatch):
    monkeypatch.undo()
    kept_in = name_lists._keep().relative_to(ROOT)
    assert kept_in == Path("data/lecture")
    assert f"{kept_in}/" in (ROOT / ".gitignore").read_text().splitlines()


def test_damaged_cache_is_loaded_again(cache):
    cache.mkdir(parents=True)
    (cache / "names_lecture.txt").write_bytes(LIST[:100])
    assert len(load_names("lecture")) == 5000
    assert kept(cache) == ["names_lecture.txt"]


def test_wrong_hash(server, cache):
    server.answer = 200, len(LIST), LIST.replace(b"a", b"b")
    assert "arrived changed or cut short: its sha256" in refused(ConnectionError)
    assert kept(cache) == []


@pytest.mark.parametrize("announced", [len(LIST), 0])
def test_truncated(server, cache, announced):
    server.answer = 200, announced, LIST[:9000]
    reason = (
        "downloaded: IncompleteRead(9000 bytes read, 35919 more expected)\n" if announced else "cut short"
    )
    assert reason in refused(ConnectionError)
    assert kept(cache) == []


@pytest.mark.parametrize("status", [404, 503])
def test_error_status(server, cache, status):
    server.answer = status, 3, b"sad"
    assert f"cannot be downloaded: {status}" in refused(ConnectionError)
    assert kept(cache) == []


def test_refused_connection(cache, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setattr(
            name_lists, "LECTURE_URL", f"http://127.0.0.1:{closed.getsockname()[1]}/names.txt"
        )
    assert re.search(r"refused\S*\n", refused(ConnectionError))
    assert kept(cache) == []


def test_cache_that_cannot_be_made(cache):
    cache.parent.write_text("a file where a folder is needed")  # holds for root too
    text = refused(OSError)
    assert f"cannot be kept in {cache}" in text
    assert "pooch" not in text


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_cache_without_write_permission(cache):
    cache.mkdir(parents=True)
    cache.chmod(0o500)
    assert f"cannot be kept in {cache}" in refused(OSError)


def test_cache_that_fills_up(cache, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.move", full)
    assert f"cannot be kept in {cache}: No space left on device" in refused(OSError)
    assert kept(cache) == []


def test_interrupted_download_leaves_nothing(cache, monkeypatch):
    def interrupt(self, n=1):
        raise KeyboardInterrupt

    monkeypatch.setattr(tqdm.tqdm, "update", interrupt)
    with pytest.raises(KeyboardInterrupt):
        load_names("lecture")
    assert kept(cache) == []


@pytest.mark.parametrize("quiet", ["0", "1"])
def test_progress_bar(cache, monkeypatch, capsys, caplog, quiet):
    pooch.get_logger().setLevel("INFO")  # as it is at first
    pooch.get_logger().addHandler(caplog.handler)
    monkeypatch.setenv("ZTH_QUIET", quiet)
    load_names("lecture")
    pooch.get_logger().removeHandler(caplog.handler)
    out, err = capsys.readouterr()
    assert out == ""
    assert ("the lecture's names" in err) == (quiet == "0")
    assert quiet == "0" or err == ""
    assert caplog.text == ""  # no log line either: it would be stored in the notebook


def test_the_address_is_a_fixed_commit(monkeypatch):
    monkeypatch.undo()
    assert name_lists.LECTURE_URL.startswith("https://")
    assert len(name_lists.LECTURE_URL.split("/")[-2]) == 40  # a commit, not a branch
