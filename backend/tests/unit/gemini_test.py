"""One request to the Gemini API, and what each response means."""

import itertools
import json
import socket
import threading
import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from email.message import Message
from typing import Any

import pytest
from tests.support import gemini as api
from tests.support.gemini import KEY, MODEL, Gemini, Reply

from app.models import CaptionStatus
from app.services import gemini
from app.services.gemini import LOST, PROMPT, UNREADABLE, Answer, GeminiRules, Postponed, one_line

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
PICTURE = bytes(range(256)) * 100


@pytest.fixture
def server() -> Iterator[Gemini]:
    with api.gemini() as made:
        yield made


def rules(url: str, *, timeout: float = 10, **changed: Any) -> GeminiRules:
    return replace(GeminiRules(url=url, model=MODEL, key=KEY, timeout=timeout), **changed)


def ask(url: str, **changed: Any) -> Answer | Postponed | None:
    return gemini.ask(PICTURE, rules=rules(url, **changed), before_sending=lambda: True)


def test_picture_and_prompt_are_sent_and_nothing_else(server: Gemini) -> None:
    assert ask(server.url) == Answer(CaptionStatus.DONE, text="A car drives by.")
    ((headers, body),) = server.requests
    assert server.pictures() == [PICTURE]
    picture, prompt = body["contents"][0]["parts"]
    assert prompt == {"text": PROMPT}
    assert body == {
        "contents": [{"role": "user", "parts": [picture, prompt]}],
        "generationConfig": {"maxOutputTokens": gemini.MAX_TOKENS},
    }
    assert headers == {
        "host": server.url.removeprefix("http://"),
        "content-type": "application/json",
        "content-length": headers["content-length"],
        "accept-encoding": "identity",
        "x-goog-api-key": KEY,
    }


def test_nothing_is_sent_unless_it_could_be_recorded(server: Gemini) -> None:
    assert gemini.ask(PICTURE, rules=rules(server.url), before_sending=lambda: False) is None
    with pytest.raises(RuntimeError, match="database"):
        gemini.ask(PICTURE, rules=rules(server.url), before_sending=fail)
    assert server.requests == []


def fail() -> bool:
    raise RuntimeError("the database is down")


def test_key_is_neither_in_the_url_nor_in_the_rules_as_text(server: Gemini) -> None:
    assert KEY not in repr(rules(server.url))
    found = ask(server.url, key="wrong")
    assert isinstance(found, Postponed)
    assert "API key not valid" in found.cause


def test_base_url_may_have_a_path(server: Gemini) -> None:
    found = ask(f"{server.url}/gateway")
    assert isinstance(found, Postponed)
    assert f"/gateway/v1beta/models/{MODEL}:generateContent is not found" in found.cause


REFUSALS = ["SAFETY", "PROHIBITED_CONTENT", "BLOCKLIST", "SPII", "RECITATION", "IMAGE_SAFETY"]

STRANGE: list[Any] = [
    {}, "text", [[]], [{"content": []}], [{"content": {"parts": {}}}],
    [{"content": {"parts": [None, {"text": 7}, {"functionCall": {}}]}}],
]  # fmt: skip


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        *((api.blocked(reason), Answer(CaptionStatus.REFUSED, reason=reason))
          for reason in ("SAFETY", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT")),
        *((api.candidate(finishReason=reason), Answer(CaptionStatus.REFUSED, reason=reason))
          for reason in REFUSALS),
        (api.caption("Half of", finish="SAFETY"), Answer(CaptionStatus.REFUSED, reason="SAFETY")),
        (api.blocked("<b>new</b>"), Answer(CaptionStatus.REFUSED, reason="OTHER")),
        (api.caption("A dog", finish="MAX_TOKENS"), Answer(CaptionStatus.DONE, text="A dog")),
        (api.candidate(content={"role": "model"}, finishReason="MAX_TOKENS"),
         Answer(CaptionStatus.EMPTY, reason="MAX_TOKENS")),
        (api.caption(" \n\t"), Answer(CaptionStatus.EMPTY, reason="STOP")),
        (api.caption("I wonder", thought=True), Answer(CaptionStatus.EMPTY, reason="STOP")),
        (Reply({"candidates": []}), Answer(CaptionStatus.EMPTY, reason="STOP")),
        *((Reply(body), Answer(CaptionStatus.FAILED, reason=UNREADABLE))
          for body in (b"", b"<html>hello</html>", b'{"candidates": [', b"[]", b"null", b"{}",
                       b"\xff\xfe", b"[" * 100_000, b'{"candidates":[' + b" " * 2_000_000 + b"]}")),
        *((Reply({"candidates": found}), Answer(CaptionStatus.EMPTY, reason="STOP"))
          for found in STRANGE),
        (Reply(b"", 204), Answer(CaptionStatus.FAILED, reason=UNREADABLE)),
        (api.error(400, "INVALID_ARGUMENT"), Answer(
            CaptionStatus.FAILED,
            reason="The Gemini API refuses the request: HTTP 400 INVALID_ARGUMENT.")),
        (Reply(b"too big", 413), Answer(
            CaptionStatus.FAILED, reason="The Gemini API refuses the request: HTTP 413.")),
        *((Reply(b"<html>gateway</html>", status), Answer(CaptionStatus.FAILED, reason=LOST))
          for status in (500, 502, 504)),
        (api.error(504, "DEADLINE_EXCEEDED"), Answer(CaptionStatus.FAILED, reason=LOST)),
    ],
)  # fmt: skip
def test_answers_are_final(server: Gemini, reply: Reply, expected: Answer) -> None:
    server.answer = lambda: reply
    assert ask(server.url) == expected


SETUP = {"@type": f"{api.TYPE}ErrorInfo", "reason": "API_KEY_INVALID"}


@pytest.mark.parametrize(
    ("reply", "cause", "delay", "blames"),
    [
        (api.error(429, "RESOURCE_EXHAUSTED", {"@type": "x"}, api.retry_info("37.5s")),
         "HTTP 429 RESOURCE_EXHAUSTED: An error.", 37.5, False),
        (api.error(429, "RESOURCE_EXHAUSTED", api.retry_info("7s"), headers={"Retry-After": "30"}),
         "HTTP 429 RESOURCE_EXHAUSTED: An error.", 30.0, False),
        (Reply(b"slow down", 429, {"Retry-After": "12"}), "HTTP 429", 12.0, False),
        (Reply(b"", 503, {"Retry-After": "Fri, 27 Nov 2026 12:01:00 GMT"}), "HTTP 503", 60.0,
         False),
        *((Reply(b"", 429, {"Retry-After": text}), "HTTP 429", None, False)
          for text in ("soon", "-5", "1e9", "9" * 400, "Fri, 99 Nov 2026 12:01:00 GMT", "nan")),
        (api.error(429, "RESOURCE_EXHAUSTED", api.retry_info("99999999999s")),
         "HTTP 429 RESOURCE_EXHAUSTED: An error.", None, False),
        (Reply({"error": {"details": {"a": 1}, "status": 7}}, 429), "HTTP 429", None, False),
        (api.error(500, "INTERNAL"), "HTTP 500 INTERNAL: An error.", None, True),
        (api.error(503, "UNAVAILABLE"), "HTTP 503 UNAVAILABLE: An error.", None, False),
        (api.error(400, "INVALID_ARGUMENT", SETUP), "HTTP 400 INVALID_ARGUMENT: An error.", None,
         False),
        (api.error(400, "FAILED_PRECONDITION"), "HTTP 400 FAILED_PRECONDITION: An error.", None,
         False),
        (api.error(403, "PERMISSION_DENIED", message=f"No <b>\x1b[1m\n{KEY} " + "x" * 500),
         "HTTP 403 PERMISSION_DENIED: No <b> [1m [key] " + "x" * 182 + "…", None, False),
        (Reply(b"", 302, {"Location": "https://elsewhere.example/"}), "HTTP 302", None, False),
    ],
)  # fmt: skip
def test_errors_of_the_api_are_not_paid_for_and_postpone(
    reply: Reply, cause: str, delay: float | None, *, blames: bool
) -> None:
    headers = Message()
    for name, value in reply.headers.items():
        headers[name] = value
    content = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
    content = content.replace(KEY.encode(), b"[key]")
    found = gemini.judge(reply.status, headers, content, now=NOW)
    assert found == Postponed(cause, delay=delay, blames_picture=blames)


def test_key_in_an_error_is_not_repeated(server: Gemini) -> None:
    server.answer = lambda: api.error(403, "PERMISSION_DENIED", message=f"{KEY} may not.")
    found = ask(server.url)
    assert isinstance(found, Postponed)
    assert found.cause == "HTTP 403 PERMISSION_DENIED: [key] may not."


def test_what_was_not_sent_completely_is_postponed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        found = gemini.ask(
            b"x" * 12_000_000, rules=rules(url, timeout=0.5), before_sending=lambda: True
        )
        assert isinstance(found, Postponed)
        assert "Cannot send to 127.0.0.1: timed out" in found.cause
    assert ask(url) == Postponed("Cannot connect to 127.0.0.1: Connection refused.")


def test_nothing_is_sent_to_a_server_that_cannot_prove_who_it_is() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        received = []

        def take() -> None:
            connection, _ = listener.accept()
            with connection:
                received.append(connection.recv(1_000_000))
                connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

        thread = threading.Thread(target=take)
        thread.start()
        found = ask(f"https://127.0.0.1:{listener.getsockname()[1]}")
        thread.join()
    assert isinstance(found, Postponed)
    assert "Cannot connect to 127.0.0.1" in found.cause
    assert KEY.encode() not in received[0]


HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n"


@pytest.mark.parametrize(
    "data", [b"", b"HTTP/1.1 2", b"nonsense\r\n\r\n", HEAD, HEAD + b'{"candidates": [',
             b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
             b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000]
)  # fmt: skip
def test_what_may_have_been_paid_for_is_lost_and_not_asked_again(data: bytes) -> None:
    with api.speaking(data) as url:
        assert ask(url) == Answer(CaptionStatus.FAILED, reason=LOST)


def test_slow_answer_is_lost_after_the_time_out(server: Gemini) -> None:
    done = threading.Event()

    def hang() -> None:
        done.wait(5)

    server.answer = hang
    assert ask(server.url, timeout=0.5) == Answer(CaptionStatus.FAILED, reason=LOST)
    done.set()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=lambda: drip_slowly(listener))
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert ask(url, timeout=0.5) == Answer(CaptionStatus.FAILED, reason=LOST)
        thread.join()


def drip_slowly(listener: socket.socket) -> None:
    """Send a response of spaces, byte by byte, until the client is gone."""
    connection, _ = listener.accept()
    pause = threading.Event()
    with connection:
        connection.recv(1_000_000)
        for byte in itertools.chain(b"HTTP/1.1 200 OK\r\n\r\n", itertools.repeat(32)):
            try:
                connection.sendall(bytes([byte]))
            except OSError:
                return
            pause.wait(0.02)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  A  car\n\tdrives\r\nby.\0\x1b[31m ", "A car drives by. [31m"),
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),
        ("a\u2028b\u2029c\u00a0d\u3000e\x85f", "a b c d e f"),
        ("\u202eevil\u202c \u2066x\u2069 \ufeff\u200b\u00ad\U000e0041", "evil x"),
        ("می\u200cروم 👩\u200d🚗", "می\u200cروم 👩\u200d🚗"),
        ("\ud800 lone", "lone"),
        ("word " * 1000, "word " * 59 + "word…"),
        ("\u200b" * 10_000_000, ""),
    ],
)
def test_text_from_outside_becomes_one_plain_line(text: str, expected: str) -> None:
    line = one_line(text, limit=300)
    assert line == expected
    assert len(line) <= 300
    assert not {"Cc", "Cs", "Zl", "Zp"} & {unicodedata.category(each) for each in line}
