"""A server on loopback that answers as the reference of the Gemini API says, and its faults.

It checks each request as the API does: path, key, model, and a body of one picture and one text.
What it does with a valid one is decided by `Gemini.answer`, which tests replace.
"""

import base64
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "AIzaSyTestKeyOfNobody-0123456789abcdefg"
MODEL = "gemini-3.5-flash-lite"
TYPE = "type.googleapis.com/google.rpc."


@dataclass(frozen=True)
class Reply:
    """A response. Bytes are sent as they are, anything else as JSON."""

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


def caption(text: str, *, finish: str = "STOP", **part: Any) -> Reply:
    """Return the response with a text."""
    content = {"role": "model", "parts": [{"text": text, **part}]}
    return candidate(content=content, finishReason=finish)


def candidate(**fields: Any) -> Reply:
    """Return a response with one candidate."""
    usage = {"promptTokenCount": 300, "candidatesTokenCount": 12, "totalTokenCount": 312}
    return Reply(
        {"candidates": [{"index": 0, **fields}], "usageMetadata": usage, "modelVersion": MODEL}
    )


def blocked(reason: str) -> Reply:
    """Return the response to a prompt that is blocked: it has no candidates."""
    return Reply({"promptFeedback": {"blockReason": reason}, "modelVersion": MODEL})


def error(
    code: int,
    status: str,
    *details: dict[str, Any],
    message: str = "An error.",
    headers: dict[str, str] | None = None,
) -> Reply:
    """Return an error of the API (google.rpc.Status)."""
    body = {"error": {"code": code, "message": message, "status": status, "details": [*details]}}
    return Reply(body, code, headers or {})


def retry_info(delay: str) -> dict[str, Any]:
    """Return the detail that says when to try again."""
    return {"@type": f"{TYPE}RetryInfo", "retryDelay": delay}


def _refusal(path: str, key: str | None, body: bytes) -> Reply | None:
    """Return the API's error for an invalid request."""
    if key != KEY:
        detail = {"@type": f"{TYPE}ErrorInfo", "reason": "API_KEY_INVALID"}
        return error(400, "INVALID_ARGUMENT", detail, message="API key not valid.")
    if path != f"/v1beta/models/{MODEL}:generateContent":
        return error(404, "NOT_FOUND", message=f"{path} is not found for API version v1beta.")
    document = json.loads(body)
    ((content),) = document["contents"]
    picture, prompt = content["parts"]
    known = {"contents", "generationConfig"}
    if set(document) != known or content["role"] != "user" or set(prompt) != {"text"}:
        return error(400, "INVALID_ARGUMENT", message="Invalid JSON payload received.")
    if picture["inlineData"]["mimeType"] != "image/jpeg":
        return error(400, "INVALID_ARGUMENT", message="Unsupported MIME type.")
    return None


@dataclass
class Gemini:
    """The server: what it received, and what it answers."""

    url: str = ""
    answer: Callable[[], Reply | None] = lambda: caption("A car drives by.")
    """Called for each valid request; None closes the connection without a response."""
    requests: list[tuple[dict[str, str], dict[str, Any]]] = field(default_factory=list)
    """Headers in lower case, and body, of valid requests."""
    refused: list[Reply] = field(default_factory=list)

    def pictures(self) -> list[bytes]:
        """Return the pictures that were received."""
        return [
            base64.b64decode(body["contents"][0]["parts"][0]["inlineData"]["data"], validate=True)
            for _, body in self.requests
        ]

    def variables(self) -> dict[str, str]:
        """Return the settings of a service that uses this server."""
        return {"GEMINI_API_KEY": KEY, "GEMINI_URL": self.url}


@contextmanager
def gemini() -> Iterator[Gemini]:
    """Run a server."""
    made = Gemini()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            reply = _refusal(self.path, self.headers["x-goog-api-key"], body)
            if reply is not None:
                made.refused.append(reply)
            else:
                headers = {name.lower(): value for name, value in self.headers.items()}
                made.requests.append((headers, json.loads(body)))
                reply = made.answer()
            self.close_connection = True
            if reply is not None:
                with suppress(OSError):
                    self.send(reply)

        def send(self, reply: Reply) -> None:
            content = (
                reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            )
            self.send_response(reply.status)
            headers = {"content-type": "application/json", "content-length": str(len(content))}
            for name, value in (headers | reply.headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    made.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def speaking(data: bytes) -> Iterator[str]:
    """Run a server that answers one request with these bytes, whatever they are."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                received = b""
                while b"\r\n\r\n" not in received:
                    received += connection.recv(65536)
                head, _, rest = received.partition(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                while len(rest) < length:
                    rest += connection.recv(65536)
                connection.sendall(data)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join(10)
