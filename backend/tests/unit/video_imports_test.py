"""Imports: what may be copied from where, against a real server and a real folder."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from app.errors import (
    AppError,
    ForbiddenImportError,
    ImportFailedError,
    ImportFileError,
    NotAVideoError,
    UploadTooLargeError,
)
from app.services import fetch, imports
from app.services.fetch import FetchRules
from app.services.imports import ImportRules
from app.services.storage import Storage

CONTENT = bytes(range(256)) * 1000
Answer = Callable[[BaseHTTPRequestHandler], None]


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    storage = Storage(tmp_path / "data")
    storage.prepare()
    return storage


@pytest.fixture
def rules(tmp_path: Path) -> ImportRules:
    (tmp_path / "shared").mkdir()
    fetching = FetchRules(hosts=("localhost", "127.0.0.1"), private_addresses=True, timeout=5)
    return ImportRules(directory=tmp_path / "shared", fetching=fetching, limit=len(CONTENT))


@contextmanager
def answering(answer: Answer) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://localhost:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def content(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("content-length", str(len(CONTENT)))
    handler.end_headers()
    handler.wfile.write(CONTENT)


def leading(target: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        if handler.path == "/end.mp4":
            content(handler)
            return
        handler.send_response(302)
        handler.send_header("location", target)
        handler.end_headers()

    return answer


def taken(url: str, rules: ImportRules, storage: Storage) -> tuple[bytes, str]:
    with imports.from_url(url, rules=rules, storage=storage) as upload:
        assert upload.size == upload.path.stat().st_size
        return upload.path.read_bytes(), upload.filename


def left(storage: Storage) -> list[Path]:
    return list((storage.root / "incoming").iterdir())


def test_what_an_allowed_address_answers_with_is_copied(
    rules: ImportRules, storage: Storage
) -> None:
    with answering(content) as url:
        assert taken(f"{url}/a/clip.mp4?x=1", rules, storage) == (CONTENT, "clip.mp4")
    assert left(storage) == []


def test_redirects_are_followed_as_long_as_they_stay_allowed(
    rules: ImportRules, storage: Storage
) -> None:
    with answering(leading("/end.mp4")) as url:
        assert taken(f"{url}/start", rules, storage)[0] == CONTENT
    with answering(leading("/again")) as url, pytest.raises(ImportFailedError, match="5 times"):
        taken(f"{url}/start", rules, storage)
    for target, words in (
        ("http://elsewhere.example/x", "does not name elsewhere.example"),
        ("file:///etc/passwd", "Only plain http"),
        ("gopher://localhost/", "Only plain http"),
    ):
        with answering(leading(target)) as url, pytest.raises(ForbiddenImportError, match=words):
            taken(f"{url}/start", rules, storage)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://localhost/x", "Only plain http"),
        ("file:///etc/passwd", "Only plain http"),
        ("/etc/passwd", "Only plain http"),
        ("http://", "Only plain http"),
        ("http://[::1", "no address"),
        ("http://localhost:99999/", "no address"),
        ("http://user:secret@localhost/", "user name or password"),
        ("http://localhost\r\nx: y/", "Only plain http|no address"),
        ("http://evil.example/x", "does not name evil.example"),
        ("http://localhost.evil.example/x", "does not name localhost.evil.example"),
    ],
)
def test_other_addresses_are_refused(
    url: str, words: str, rules: ImportRules, storage: Storage
) -> None:
    with pytest.raises(ForbiddenImportError, match=words):
        taken(url, rules, storage)


def test_an_allowed_name_at_a_private_address_is_refused_unless_allowed_too(
    rules: ImportRules, storage: Storage
) -> None:
    fetching = replace(rules.fetching, private_addresses=False, hosts=("*",))
    strict = replace(rules, fetching=fetching)
    with answering(content) as url:
        for host in ("localhost", "127.0.0.1", "2130706433", "[::ffff:127.0.0.1]"):
            with pytest.raises(ForbiddenImportError, match="not public"):
                taken(url.replace("localhost", host), strict, storage)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:10.0.0.1", False),
        ("2002:7f00:1::", False),
        ("64:ff9b::7f00:1", False),
    ],
)
def test_public_addresses_are_told_from_others(address: str, public: bool) -> None:
    assert fetch._public(address) == public


def failing(status: int) -> Answer:
    return lambda handler: handler.send_error(status)


def stopping(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("content-length", str(len(CONTENT)))
    handler.end_headers()
    handler.wfile.write(CONTENT[:1000])


def dripping(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(40):
        handler.wfile.write(b"x")
        handler.wfile.flush()
        time.sleep(0.05)


def endless(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    while True:
        try:
            handler.wfile.write(CONTENT)
        except OSError:
            return


def silent(handler: BaseHTTPRequestHandler) -> None:
    time.sleep(1.5)


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (failing(404), ImportFailedError, "answers 404"),
        (failing(500), ImportFailedError, "answers 500"),
        (stopping, ImportFailedError, "stops before the end|stops sending"),
        (dripping, ImportFailedError, "not sent all of it in time"),
        (silent, ImportFailedError, "does not answer: it takes too long"),
        (endless, UploadTooLargeError, f"up to {len(CONTENT)} bytes"),
    ],
)
def test_an_answer_that_is_wrong_is_told_and_leaves_nothing(
    answer: Answer, error: type[AppError], words: str, rules: ImportRules, storage: Storage
) -> None:
    hurried = replace(rules, fetching=replace(rules.fetching, timeout=1))
    with answering(answer) as url, pytest.raises(error, match=words):
        taken(url, hurried, storage)
    assert left(storage) == []


def test_nobody_listening_is_told(rules: ImportRules, storage: Storage) -> None:
    with pytest.raises(ImportFailedError, match="localhost cannot be reached"):
        taken("http://localhost:9/", rules, storage)


def test_a_file_below_the_folder_is_copied(rules: ImportRules, storage: Storage) -> None:
    assert rules.directory is not None
    (rules.directory / "yard").mkdir()
    (rules.directory / "yard" / "a.mp4").write_bytes(CONTENT)
    with imports.from_path("yard/a.mp4", rules=rules, storage=storage) as upload:
        assert (upload.path.read_bytes(), upload.filename) == (CONTENT, "a.mp4")
    assert (rules.directory / "yard" / "a.mp4").exists()
    assert left(storage) == []


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/etc/passwd", ForbiddenImportError),
        ("../data/secret", ForbiddenImportError),
        ("a/../../data", ForbiddenImportError),
        ("", ForbiddenImportError),
        (".", ForbiddenImportError),
        ("a\0b", ForbiddenImportError),
        ("link.mp4", ForbiddenImportError),
        ("linked/a.mp4", ForbiddenImportError),
        ("folder", ForbiddenImportError),
        ("pipe", ForbiddenImportError),
        ("absent.mp4", ImportFileError),
        ("x" * 300, ImportFileError),
        ("empty", NotAVideoError),
    ],
)
def test_no_path_leads_out_of_the_folder_or_to_what_is_no_file(
    path: str, error: type[AppError], rules: ImportRules, storage: Storage, tmp_path: Path
) -> None:
    assert rules.directory is not None
    (tmp_path / "a.mp4").write_bytes(CONTENT)
    (rules.directory / "folder").mkdir()
    (rules.directory / "empty").touch()
    (rules.directory / "link.mp4").symlink_to(tmp_path / "a.mp4")
    (rules.directory / "linked").symlink_to(tmp_path)
    os.mkfifo(rules.directory / "pipe")
    with pytest.raises(error), imports.from_path(path, rules=rules, storage=storage):
        pass
    assert left(storage) == []


def test_without_the_settings_nothing_can_be_imported(rules: ImportRules, storage: Storage) -> None:
    closed = replace(rules, directory=None, fetching=replace(rules.fetching, hosts=()))
    with (
        pytest.raises(ForbiddenImportError, match="IMPORT_DIR is not set"),
        imports.from_path("a.mp4", rules=closed, storage=storage),
    ):
        pass
    with pytest.raises(ForbiddenImportError, match="IMPORT_HOSTS is empty"):
        taken("http://localhost/", closed, storage)
