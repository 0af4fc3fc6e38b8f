"""Captions in the page: text, whatever it says, shown as it arrives, and found by the search."""

import threading
from pathlib import Path

from tests.support import gemini as api
from tests.support import servers, web
from tests.support.browser import DESKTOP, PHONE, Browser
from tests.support.gemini import Reply

FRIENDLY = "A small red car drives from left to right across the yard."
HOSTILE = (
    '<img src=x onerror="window.hit = 1"> A <b>box</b> \u202edrifts\u202c\n through. ' + "W" * 90
)
SHOWN = '<img src=x onerror="window.hit = 1"> A <b>box</b> drifts through. ' + "W" * 90


def captions(browser: Browser) -> list[str]:
    return [each.text for each in browser.all("#events .caption")]


def test_captions_are_text_arrive_live_and_are_found(
    browser: Browser, tmp_path: Path, yard: Path
) -> None:
    released = threading.Event()
    # The last event is asked about first.
    replies = iter([api.caption(FRIENDLY), api.caption(HOSTILE),
                    api.blocked("SAFETY"), api.caption("")])  # fmt: skip

    def answer() -> Reply:
        reply = next(replies)
        if "onerror" in str(reply.body):
            released.wait(60)
        return reply

    with (
        api.gemini() as gemini,
        servers.api(tmp_path / "data", log=tmp_path / "log", variables=gemini.variables()) as (
            url,
            _,
        ),
    ):
        gemini.answer = answer
        browser.open(url)
        browser.choose_files(yard)
        browser.until_text("2 events", "#events-note", timeout=60)
        browser.until(lambda: captions(browser) == ["", FRIENDLY], "the first caption")
        released.set()  # the page is not loaded again
        browser.until(lambda: captions(browser) == [SHOWN, FRIENDLY], "the second caption")
        assert browser.all("#events .caption *") == []
        assert browser.script("return window.hit === undefined")
        browser.script("document.getElementById('events').scrollIntoView({block: 'center'})")
        browser.until(
            lambda: all(browser.script("return arguments[0].naturalWidth", image)
                        for image in browser.all("#events img")),
            "thumbnails of the events",
        )  # fmt: skip
        browser.screenshot("captions")
        browser.resize(PHONE)
        assert browser.overflow() == []
        browser.resize(DESKTOP)
        search = browser.find("#filters [name=caption]")
        search.send_keys("no such caption")
        browser.until_text("No matching videos", "#empty")
        search.clear()
        search.send_keys("red CAR")
        browser.until_text("yard.mp4", "#videos")
        # What is no caption says so, and why.
        (video,) = web.get(f"{url}/api/v1/videos").json()["videos"]
        web.post(f"{url}/api/v1/videos/{video['id']}/analyses", json={"sensitivity": 0.6})
        browser.open(f"{url}/#video={video['id']}")
        browser.until(
            lambda: captions(browser) == [
                "No caption: the answer was empty.", "No caption: declined (SAFETY).",
            ],
            "the reasons",
        )  # fmt: skip
        assert browser.console() == []


def test_page_without_captions_has_no_trace_of_them(browser: Browser, service: str) -> None:
    browser.open(service)
    browser.until(lambda: browser.text("#service"), "the page to be loaded")
    assert not browser.find("#filters [name=caption]").is_displayed()
    assert not any("caption=" in url for url in browser.requests())
