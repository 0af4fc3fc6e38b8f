"""Every unexpected error: still a response with request id and security headers, and a log line.

A real server runs the application with routes that fail in every place where something can.
"""

import contextlib
import json
import socket
import sys
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from tests.support import servers, web
from tests.support.servers import Process, eventually, service_environment
from tests.support.web import check_security_headers

_FAILING = """
import asyncio

from fastapi import Depends, Request
from main import app
from starlette.background import BackgroundTask
from starlette.responses import JSONResponse, Response, StreamingResponse


def fail():
    raise RuntimeError("hunter2")


@app.api_route("/fail/sync", methods=["GET", "POST"])
def sync():
    fail()


@app.api_route("/fail/async", methods=["GET", "POST"])
async def in_loop():
    fail()


@app.api_route("/fail/dependency", methods=["GET", "POST"], dependencies=[Depends(fail)])
def dependency():
    pass


@app.api_route("/fail/answer", methods=["GET", "POST"])
def answer() -> int:
    return "text"


@app.api_route("/fail/encoding", methods=["GET", "POST"])
def encoding():
    return Response(content=object())


@app.api_route("/fail/header", methods=["GET", "POST"])
def header():
    return Response(headers={"x": "\\u2028"})


@app.api_route("/fail/group", methods=["GET", "POST"])
async def group():
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(asyncio.to_thread(fail))


@app.get("/fail/first")
def first():
    async def parts():
        fail()
        yield b""

    return StreamingResponse(parts())


@app.get("/fail/later")
def later():
    async def parts():
        yield b"begin"
        fail()

    return StreamingResponse(parts())


@app.get("/fail/background")
def background():
    return JSONResponse("done", background=BackgroundTask(fail))


@app.get("/hang")
async def hang():
    await asyncio.sleep(3600)
"""
BEFORE = ("sync", "async", "dependency", "answer", "encoding", "header", "group")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Process]]:
    home = tmp_path_factory.mktemp("errors")
    (home / "failing.py").write_text(_FAILING)
    environment = service_environment(
        home / "data",
        UVICORN_HTTP="app.connection:Connection",
        UVICORN_TIMEOUT_GRACEFUL_SHUTDOWN="1",
        REQUEST_TIMEOUT="2",
    )
    environment["PYTHONPATH"] += f":{home}"
    port = servers.free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "uvicorn", "failing:app", "--port", str(port)]
    with servers.running(command, log=home / "log", environment=environment) as process:

        def responds() -> bool:
            with contextlib.suppress(httpx2.TransportError):
                return bool(web.get(f"{url}/health", timeout=5).is_success)
            assert process.popen.poll() is None, process.output()
            return False

        eventually(responds)
        yield url, process


def logged(process: Process, request_id: str) -> dict[str, Any]:
    """Return the line of a request that has ended."""

    def find() -> dict[str, Any] | None:
        for text in process.output().splitlines():
            line: dict[str, Any] = json.loads(text)
            if line.get("request_id") == request_id and "status" in line:
                return line
        return None

    return eventually(find, timeout=10)


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
@pytest.mark.parametrize("place", [*BEFORE, "first"])
def test_unexpected_error_has_id_headers_and_log(
    place: str, method: str, service: tuple[str, Process]
) -> None:
    if (place, method) == ("first", "POST"):
        method = "GET"
    url, process = service
    with web.Client() as client:
        reply = client.request(method, f"{url}/fail/{place}")
        # The connection is still good.
        assert client.get(f"{url}/health/live").status_code == 200
    assert reply.status_code == 500
    check_security_headers(reply.headers)
    assert reply.headers["content-type"] == "application/problem+json"
    request_id = reply.headers["x-request-id"]
    if method == "HEAD":
        assert reply.content == b""
    else:
        assert reply.json() == {
            "type": "urn:problem:internal-error", "title": "Internal error", "status": 500,
            "request_id": request_id,
        }  # fmt: skip
    line = logged(process, request_id)
    assert (line["event"], line["status"], line["client"]) == ("request.ended", 500, "127.0.0.1")
    assert "Traceback" in line["exception"]


def test_response_that_fails_halfway_is_visibly_incomplete(service: tuple[str, Process]) -> None:
    url, process = service
    with web.stream("GET", f"{url}/fail/later") as reply:
        check_security_headers(reply.headers)
        with pytest.raises(httpx2.RemoteProtocolError):
            reply.read()
    line = logged(process, reply.headers["x-request-id"])
    assert "RuntimeError: hunter2" in line["exception"]


def test_failure_after_the_response_is_logged_with_its_request(
    service: tuple[str, Process],
) -> None:
    url, process = service
    reply = web.get(f"{url}/fail/background")
    assert reply.json() == "done"
    assert "RuntimeError: hunter2" in logged(process, reply.headers["x-request-id"])["exception"]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost localhost\r\n\r\n", 400),
        (b"GET http:// HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", 421),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 70_000, 431),
        (b"GET / HTTP/1.1\r\nX: y", 408),
        (b"POST /api/v1/imports HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n", 408),
    ],
)  # fmt: skip
def test_requests_refused_before_any_route_have_id_headers_and_log(
    sent: bytes, status: int, service: tuple[str, Process]
) -> None:
    url, process = service
    address = ("127.0.0.1", int(url.rpartition(":")[2]))
    with socket.create_connection(address, timeout=30) as connection:
        connection.sendall(sent)
        received = connection.recv(65536)
    head, _, _ = received.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    assert first.split(" ")[1] == str(status)
    headers = httpx2.Headers([tuple(line.split(": ", 1)) for line in lines])  # type: ignore[misc]
    check_security_headers(headers)
    line = logged(process, headers["x-request-id"])
    assert (line["status"], line["client"]) == (status, "127.0.0.1")


def test_request_cut_off_by_the_stop_of_the_service_is_told_so(
    service: tuple[str, Process],
) -> None:
    url, process = service
    address = ("127.0.0.1", int(url.rpartition(":")[2]))
    with socket.create_connection(address, timeout=30) as connection:
        connection.sendall(b"GET /hang HTTP/1.1\r\nHost: localhost\r\n\r\n")

        def hangs() -> bool:
            return "http_requests_in_progress 2.0" in web.get(f"{url}/metrics").text

        eventually(hangs)
        process.stop()
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    assert received.startswith(b"HTTP/1.1 503 ")
    assert b"urn:problem:stopping" in received
    assert b"x-request-id: " in received
    assert b"cross-origin-resource-policy: same-origin" in received
