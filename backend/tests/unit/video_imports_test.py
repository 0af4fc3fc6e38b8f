"""Importing videos from a real server and a real directory."""

import contextlib
import os
import socket
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
Handler = Callable[[BaseHTTPRequestHandler], None]


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    storage = Storage(tmp_path / "data")
    storage.prepare()
    return storage


@pytest.fixture
def rules(tmp_path: Path) -> ImportRules:
    (tmp_path / "shared").mkdir()
    fetch_rules = FetchRules(hosts=("localhost", "127.0.0.1"), private_addresses=True, timeout=5)
    return ImportRules(directory=tmp_path / "shared", fetch=fetch_rules, limit=len(CONTENT))


@contextmanager
def serving(handle: Handler) -> Iterator[str]:
    class RequestHandler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            handle(self)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), RequestHandler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://localhost:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def send_content(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("content-length", str(len(CONTENT)))
    handler.end_headers()
    handler.wfile.write(CONTENT)


def redirect(target: str) -> Handler:
    def handle(handler: BaseHTTPRequestHandler) -> None:
        if handler.path == "/end.mp4":
            send_content(handler)
            return
        handler.send_response(302)
        handler.send_header("location", target)
        handler.end_headers()

    return handle


def import_url(url: str, rules: ImportRules, storage: Storage) -> tuple[bytes, str]:
    with imports.from_url(url, rules=rules, storage=storage) as upload:
        assert upload.size == upload.path.stat().st_size
        return upload.path.read_bytes(), upload.filename


def leftovers(storage: Storage) -> list[Path]:
    return list((storage.root / "incoming").iterdir())


def test_content_of_an_allowed_url_is_copied(rules: ImportRules, storage: Storage) -> None:
    with serving(send_content) as url:
        assert import_url(f"{url}/a/clip.mp4?x=1", rules, storage) == (CONTENT, "clip.mp4")
    assert leftovers(storage) == []


def test_only_allowed_redirects_are_followed(rules: ImportRules, storage: Storage) -> None:
    with serving(redirect("/end.mp4")) as url:
        assert import_url(f"{url}/start", rules, storage)[0] == CONTENT
    with (
        serving(redirect("/again")) as url,
        pytest.raises(ImportFailedError, match="More than 5 redirects"),
    ):
        import_url(f"{url}/start", rules, storage)
    for target, words in (
        ("http://elsewhere.example/x", "elsewhere.example is not in IMPORT_HOSTS"),
        ("file:///etc/passwd", "Only plain http"),
        ("gopher://localhost/", "Only plain http"),
    ):
        with serving(redirect(target)) as url, pytest.raises(ForbiddenImportError, match=words):
            import_url(f"{url}/start", rules, storage)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://localhost/x", "Only plain http"),
        ("file:///etc/passwd", "Only plain http"),
        ("/etc/passwd", "Only plain http"),
        ("http://", "Only plain http"),
        ("http://[::1", "Not a valid"),
        ("http://localhost:99999/", "Not a valid"),
        ("http://user:secret@localhost/", "user name or password"),
        ("http://localhost\r\nx: y/", "Only plain http|Not a valid"),
        ("http://evil.example/x", "^evil.example is not in IMPORT_HOSTS"),
        ("http://localhost.evil.example/x", "localhost.evil.example is not in IMPORT_HOSTS"),
    ],
)
def test_disallowed_urls_are_rejected(
    url: str, words: str, rules: ImportRules, storage: Storage
) -> None:
    with pytest.raises(ForbiddenImportError, match=words):
        import_url(url, rules, storage)


def test_allowed_host_with_a_private_address_is_rejected(
    rules: ImportRules, storage: Storage
) -> None:
    fetch_rules = replace(rules.fetch, private_addresses=False, hosts=("*",))
    strict = replace(rules, fetch=fetch_rules)
    with serving(send_content) as url:
        for host in ("localhost", "127.0.0.1", "2130706433", "[::ffff:127.0.0.1]"):
            with pytest.raises(ForbiddenImportError, match="resolves to a non-public address"):
                import_url(url.replace("localhost", host), strict, storage)


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
def test_public_addresses_are_recognised(address: str, public: bool) -> None:
    assert fetch._is_public(address) == public


def fail_with(status: int) -> Handler:
    return lambda handler: handler.send_error(status)


def close_early(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("content-length", str(len(CONTENT)))
    handler.end_headers()
    handler.wfile.write(CONTENT[:1000])


def trickle(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(40):
        handler.wfile.write(b"x")
        handler.wfile.flush()
        time.sleep(0.05)


def send_forever(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    while True:
        try:
            handler.wfile.write(CONTENT)
        except OSError:
            return


def stay_silent(handler: BaseHTTPRequestHandler) -> None:
    time.sleep(1.5)


@pytest.mark.parametrize(
    ("handle", "error", "words"),
    [
        (fail_with(404), ImportFailedError, "localhost responded with status 404"),
        (fail_with(500), ImportFailedError, "localhost responded with status 500"),
        (close_early, ImportFailedError, "closed the connection early|download from .* failed"),
        (trickle, ImportFailedError, "The download from localhost timed out"),
        (stay_silent, ImportFailedError, "No response from localhost: timed out"),
        (send_forever, UploadTooLargeError, f"exceeds the limit of {len(CONTENT)} bytes"),
    ],
)
def test_failed_download_is_reported_and_leaves_no_files(
    handle: Handler, error: type[AppError], words: str, rules: ImportRules, storage: Storage
) -> None:
    impatient = replace(rules, fetch=replace(rules.fetch, timeout=1))
    with serving(handle) as url, pytest.raises(error, match=words):
        import_url(url, impatient, storage)
    assert leftovers(storage) == []


def drip(handler: BaseHTTPRequestHandler, head: bytes, *, piece: bytes = b"x") -> None:
    """Send `head`, then a piece ten times a second as long as the other side listens."""
    handler.wfile.write(head)
    for _ in range(100):
        try:
            handler.wfile.write(piece)
        except OSError:
            return
        time.sleep(0.1)


def dripping(head: bytes, *, piece: bytes = b"x") -> Handler:
    return lambda handler: drip(handler, head, piece=piece)


def redirect_slowly(handler: BaseHTTPRequestHandler) -> None:
    time.sleep(0.4)
    redirect("/again")(handler)


_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("handle", "words"),
    [
        pytest.param(dripping(b"HTTP/1.1 "), "No response from", id="status"),
        pytest.param(dripping(b"HTTP/1.1 200 OK\r\nX-A: "), "No response from", id="header"),
        pytest.param(
            dripping(b"HTTP/1.1 200 OK\r\n", piece=b"X: y\r\n"), "No response from", id="headers"
        ),
        pytest.param(
            dripping(b"", piece=b"HTTP/1.1 100 Continue\r\n\r\n"), "No response from", id="100"
        ),
        pytest.param(dripping(_CHUNKED, piece=b"0"), "The download from", id="chunk size"),
        pytest.param(
            dripping(_CHUNKED + b"1;", piece=b"a"), "The download from", id="chunk extension"
        ),
        pytest.param(dripping(_CHUNKED, piece=b"1\r\nx\r\n"), "The download from", id="chunks"),
        pytest.param(
            dripping(_CHUNKED + b"1\r\nx\r\n0\r\n", piece=b"X: y\r\n"),
            "The download from",
            id="trailers",
        ),
        pytest.param(
            dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"),
            "The download from",
            id="body",
        ),
        pytest.param(redirect_slowly, "", id="redirects"),
    ],
)
def test_one_deadline_covers_whatever_a_server_drips(
    handle: Handler, words: str, rules: ImportRules, storage: Storage
) -> None:
    impatient = replace(rules, fetch=replace(rules.fetch, timeout=1))
    with serving(handle) as url:
        check_deadline(url, rf"{words}.*timed out\.", impatient, storage)
    assert leftovers(storage) == []


def test_deadline_covers_lookup_connection_and_handshake(
    rules: ImportRules, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient = replace(rules, fetch=replace(rules.fetch, timeout=1))
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]

        def drip_records() -> None:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                connection.sendall(b"\x16\x03\x03\x40\x00")  # a handshake record of 16 KiB
                for _ in range(100):
                    connection.sendall(b"\x02")
                    time.sleep(0.1)

        dripper = threading.Thread(target=drip_records)
        dripper.start()
        check_deadline(
            f"https://127.0.0.1:{port}/", "Cannot connect to .*timed out", impatient, storage
        )
        dripper.join()
        # The queue of connections that nobody accepts is full.
        waiting = [socket.socket() for _ in range(4)]
        for connection in waiting:
            connection.setblocking(False)
            connection.connect_ex(("127.0.0.1", port))
        check_deadline(f"http://127.0.0.1:{port}/", "timed out", impatient, storage)
        for connection in waiting:
            connection.close()
    done = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: done.wait(20))
    check_deadline(
        "http://localhost/", "localhost cannot be resolved: timed out", impatient, storage
    )
    done.set()


def check_deadline(url: str, words: str, rules: ImportRules, storage: Storage) -> None:
    began = time.monotonic()
    with pytest.raises(ImportFailedError, match=words):
        import_url(url, rules, storage)
    assert time.monotonic() - began < 2


def test_refused_connection_is_reported(rules: ImportRules, storage: Storage) -> None:
    with pytest.raises(ImportFailedError, match="Cannot connect to localhost: "):
        import_url("http://localhost:9/", rules, storage)


def test_file_below_the_directory_is_copied(rules: ImportRules, storage: Storage) -> None:
    assert rules.directory is not None
    (rules.directory / "yard").mkdir()
    (rules.directory / "yard" / "a.mp4").write_bytes(CONTENT)
    with imports.from_path("yard/a.mp4", rules=rules, storage=storage) as upload:
        assert (upload.path.read_bytes(), upload.filename) == (CONTENT, "a.mp4")
    assert (rules.directory / "yard" / "a.mp4").exists()
    assert leftovers(storage) == []


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
def test_path_outside_the_directory_or_not_a_regular_file_is_rejected(
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
    assert leftovers(storage) == []


def test_imports_are_disabled_by_default(rules: ImportRules, storage: Storage) -> None:
    closed = replace(rules, directory=None, fetch=replace(rules.fetch, hosts=()))
    with (
        pytest.raises(ForbiddenImportError, match="IMPORT_DIR is not set"),
        imports.from_path("a.mp4", rules=closed, storage=storage),
    ):
        pass
    with pytest.raises(ForbiddenImportError, match="IMPORT_HOSTS is empty"):
        import_url("http://localhost/", closed, storage)
