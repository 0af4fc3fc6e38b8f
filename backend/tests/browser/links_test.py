"""Links, uploads, deletion of several videos, areas, and videos that the browser cannot play."""

import json
import re
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
from selenium.webdriver import ActionChains, Keys
from tests.support import clips, servers
from tests.support.browser import DESKTOP, PHONE, Browser
from tests.support.servers import eventually

VIDEOS = "/api/v1/videos"


def stored(service: str, path: Path) -> str:
    """Store a video and wait for its analysis; return its id."""
    with path.open("rb") as file:
        reply = httpx2.post(service + VIDEOS, files={"file": (path.name, file)}, timeout=60)
    assert reply.status_code in (200, 201), reply.text
    video_id: str = reply.json()["id"]

    def done() -> bool:
        analysis = httpx2.get(f"{service}{VIDEOS}/{video_id}").json()["analysis"]
        return bool(analysis["status"] == "done")

    eventually(done)
    return video_id


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a service for the tests of this file."""
    home = tmp_path_factory.mktemp("links")
    with servers.api(home / "data", log=home / "log") as (url, _):
        yield url


@pytest.fixture(scope="module")
def video(service: str, clip_dir: Path) -> str:
    """Return the id of an analysed video with two events."""
    return stored(service, clips.yard(clip_dir / "linked.mp4", name="linked"))


def at(browser: Browser, seconds: float) -> bool:
    return bool(abs(browser.script("return player.currentTime") - seconds) < 0.3)


def override(**fields: object) -> str:
    """Return a script that changes fields of each video that the page reads."""
    script = """(() => {
      const read = Response.prototype.json;
      Response.prototype.json = async function () {
        const found = await read.call(this);
        if (/videos\\/[^/]+$/.test(this.url)) Object.assign(found, FIELDS);
        return found;
      };
    })()"""
    return script.replace("FIELDS", json.dumps(fields))


def test_links_lead_to_an_event_and_to_a_time(browser: Browser, service: str, video: str) -> None:
    browser.open(f"{service}/#video={video}&t=6.5")
    browser.until(lambda: at(browser, 6.5), "the time in the link")
    browser.until_text("2 events", "#events-note")
    assert browser.find("#timeline").get_attribute("aria-valuenow") == "6.5"
    browser.all("#events button")[1].click()
    browser.until(lambda: "event=" in browser.driver.current_url, "the event in the address")
    link = browser.driver.current_url
    browser.open(link)
    browser.until(lambda: browser.script("return player.currentTime > 7"), "the event in the link")
    browser.until_text("0:0", "#events [aria-current='true']")
    moment = str(browser.find("#moment").get_attribute("href"))
    assert re.search(rf"#video={video}&t=[78]\.\d$", moment)
    browser.open(f"{service}/#video={video}&event={uuid.uuid4()}")
    browser.until_text("This event does not exist", "#notice")
    browser.until_text("linked.mp4", "#detail h2")


def test_link_to_a_missing_video_says_so(browser: Browser, service: str, video: str) -> None:
    for size in (DESKTOP, PHONE):
        browser.resize(size)
        browser.open(f"{service}/#video={uuid.uuid4()}")
        browser.until_text("This video does not exist", "#notice")
        assert urlsplit(browser.driver.current_url).fragment == ""
        browser.until_text("linked.mp4", "#videos")
        browser.screenshot(f"missing-{size[0]}")
        browser.click(f"#videos a[href='#video={video}']")
        browser.until_text("linked.mp4", "#detail h2")
        assert not browser.find("#notice").is_displayed()


def test_uploads_do_not_take_the_page_away_from_who_watches(
    browser: Browser, service: str, video: str, clip_dir: Path
) -> None:
    browser.open(f"{service}/#video={video}")
    browser.until_text("2 events", "#events-note")
    browser.script("window.changes = 0; addEventListener('hashchange', () => { changes += 1 })")
    paths = [clips.brightness(clip_dir / f"{name}.mp4", colour=name) for name in ("red", "blue")]
    browser.choose_files(*paths)
    browser.until(lambda: len(browser.all("#uploads a")) == 2, "links to both videos")
    assert browser.script("return window.changes") == 0
    assert browser.text("#detail h2") == "linked.mp4"
    assert "Stored." in browser.text("#uploads li")
    browser.screenshot("uploads-stored")
    browser.click("#uploads a")
    browser.until_text("red.mp4", "#detail h2")
    assert len(browser.all("#uploads li")) == 1


def test_interrupted_upload_continues_where_it_was(
    browser: Browser, service: str, clip_dir: Path
) -> None:
    path = clips.pattern(clip_dir / "resumed.mp4", seconds=3)
    with browser.before_load(
        """(() => {
          const send = XMLHttpRequest.prototype.send;
          let lost = false;
          XMLHttpRequest.prototype.send = function (body) {
            if (!body || lost) return send.call(this, body);
            lost = true;  // only a part arrives, then the connection is lost
            this.addEventListener("load", () => { throw new Error("unreachable"); });
            Object.defineProperty(this, "status", { value: 0 });
            return send.call(this, body.slice(0, 10000));
          };
        })()"""
    ):
        browser.open(service)
        browser.choose_files(path)
        browser.until_text("resumed.mp4", "#detail h2")
    assert browser.script("return Object.keys(localStorage).length") == 0
    asked = [url for url in browser.requests() if "/uploads/" in url]
    assert len(asked) >= 4  # a part, the offset, the rest, the result


def test_several_videos_are_selected_and_deleted(
    browser: Browser, service: str, video: str, clip_dir: Path
) -> None:
    for colour in ("green", "gray"):
        stored(service, clips.brightness(clip_dir / f"{colour}.mp4", colour=colour))
    browser.open(f"{service}/#video={video}")
    browser.until_text("green.mp4", "#videos")
    browser.click("#select")
    browser.click("#select-all")
    boxes = browser.all("#videos input")
    assert [box.is_selected() for box in boxes] == [True] * len(boxes)
    browser.click("#select")
    assert browser.all("#videos input") == []
    browser.click("#select")
    for name in ("green.mp4", "gray.mp4"):
        browser.click(f"#videos input[aria-label='Select {name}']")
    browser.screenshot("selection-desktop-light")
    browser.click("#delete-selected")
    browser.until_text("Delete 2 videos", "#confirm")
    browser.click("#confirm button[value=yes]")
    browser.until(lambda: "green.mp4" not in browser.text("#videos"), "the videos to be gone")
    browser.until(lambda: not browser.all("#videos input"), "the selection to end")
    assert "gray.mp4" not in browser.text("#videos")
    assert "linked.mp4" in browser.text("#videos")
    assert browser.text("#detail h2") == "linked.mp4"


def test_videos_are_filtered_by_day(browser: Browser, service: str, video: str) -> None:
    browser.open(service)
    browser.until_text("linked.mp4", "#videos")
    set_day = """const field = document.querySelector(arguments[0]);
    const day = new Date(Date.now() + arguments[1] * 86400000);
    field.value = [day.getFullYear(), day.getMonth() + 1, day.getDate()]
      .map((part) => String(part).padStart(2, "0")).join("-");
    field.dispatchEvent(new Event("input", {bubbles: true}))"""
    browser.script(set_day, "[name=created_from]", 1)
    browser.until_text("No matching videos", "#empty")
    browser.script(set_day, "[name=created_from]", 0)
    browser.script(set_day, "[name=created_before]", 0)
    browser.until_text("linked.mp4", "#videos")
    browser.script(set_day, "[name=created_from]", -2)
    browser.script(set_day, "[name=created_before]", -1)
    browser.until_text("No matching videos", "#empty")


def test_pictures_keep_their_shape(browser: Browser, service: str, video: str) -> None:
    for size in (DESKTOP, PHONE):
        browser.resize(size)
        browser.open(service if size == PHONE else f"{service}/#video={video}")
        pictures = "#videos img" if size == PHONE else "#videos img, #events img"
        browser.until(partial(browser.all, pictures), "pictures")
        if size == DESKTOP:
            browser.until_text("2 events", "#events-note")
        for image in browser.all(pictures):
            assert image.size["width"] / image.size["height"] == pytest.approx(16 / 9, abs=0.05)
            assert image.value_of_css_property("object-fit") == "contain"


def test_video_that_the_browser_cannot_play_is_shown_as_stills(
    browser: Browser, service: str, clip_dir: Path
) -> None:
    video = stored(service, clips.hevc_with_audio(clip_dir / "hevc.mp4"))
    with browser.before_load(override(playable=True, has_preview=False)):
        browser.open(f"{service}/#video={video}")
        browser.until_text("cannot play the original", "#unplayable")
    assert "still pictures" in browser.text("#unplayable")
    assert browser.script("return player.paused && !player.getAttribute('src')")
    timeline = browser.find("#timeline")
    browser.until(timeline.is_displayed, "the timeline")
    timeline.send_keys(Keys.HOME)
    browser.until(
        lambda: "thumbnail?time=0.0" in browser.script("return player.poster"), "a still picture"
    )
    browser.click("#events button")
    browser.until(lambda: browser.script("return player.videoWidth > 0"), "the clip of the event")
    browser.screenshot("stills-desktop-light")


def test_video_that_the_browser_cannot_play_is_shown_as_its_preview(
    browser: Browser, service: str, clip_dir: Path
) -> None:
    video = stored(service, clips.hevc_with_audio(clip_dir / "hevc.mp4"))
    browser.open(f"{service}/#video={video}")
    browser.until(
        lambda: browser.script(
            "return player.currentSrc.endsWith('/preview') && player.videoWidth > 0"
        ),
        "the preview to play",
    )
    assert not browser.find("#unplayable").is_displayed()


def test_areas_are_drawn_and_sent(browser: Browser, service: str, video: str) -> None:
    # The service may know only one rectangle; the page then offers no more.
    several = """(() => {
      const read = Response.prototype.json;
      Response.prototype.json = async function () {
        const found = await read.call(this);
        for (const each of found.analyses ?? [found.analysis]) {
          if (each) Object.assign(each.parameters, {zones: [], masks: []});
        }
        return found;
      };
      const fetched = window.fetch;
      window.fetch = (url, options) => {
        if (options?.body && url.endsWith("/analyses")) window.sent = JSON.parse(options.body);
        return fetched(url, options);
      };
    })()"""
    with browser.before_load(several):
        browser.open(f"{service}/#video={video}")
        browser.until_text("2 events", "#events-note")
        browser.click("#again-box summary")
        browser.until(
            lambda: browser.script(
                "return document.getElementById('canvas-picture')?.naturalWidth"
            ),
            "the picture",
        )
        canvas = browser.find("#canvas")
        browser.script("arguments[0].scrollIntoView({block: 'center'})", canvas)
        width, height = canvas.size["width"], canvas.size["height"]

        def point(x: float, y: float) -> tuple[int, int]:
            """Return an offset from the middle of the picture."""
            return round((x - 0.5) * width), round((y - 0.5) * height)

        mouse = ActionChains(browser.driver, duration=20)
        mouse.move_to_element_with_offset(canvas, *point(0.1, 0.2)).click_and_hold()
        mouse.move_to_element_with_offset(canvas, *point(0.6, 0.9)).release().perform()
        browser.click("#again [name=kind][value=mask]")
        browser.click("#again [name=shape][value=polygon]")
        browser.script("arguments[0].scrollIntoView({block: 'center'})", canvas)
        for corner in ((0.5, 0.1), (0.9, 0.1), (0.9, 0.5)):
            ActionChains(browser.driver, duration=20).move_to_element_with_offset(
                canvas, *point(*corner)
            ).click().perform()
        browser.click("#close-area")
        assert len(browser.all("#area-list li")) == 2
        browser.screenshot("areas-desktop-light")
        browser.theme("dark")
        browser.screenshot("areas-desktop-dark")
        browser.resize(PHONE)
        browser.script("arguments[0].scrollIntoView()", browser.find("#area-list"))
        assert browser.overflow() == []
        browser.screenshot("areas-phone-dark")
        browser.resize(DESKTOP)
        browser.click("#again button.main")
        sent = browser.until(lambda: browser.script("return window.sent"), "the request")
    (zone,), (mask,) = sent["zones"], sent["masks"]
    assert "region" not in sent
    assert [zone[name] for name in ("x", "y", "width", "height")] == pytest.approx(
        [0.1, 0.2, 0.5, 0.7], abs=0.02
    )
    assert [pytest.approx(found, abs=0.02) for found in mask["points"]] == [
        [0.5, 0.1], [0.9, 0.1], [0.9, 0.5]
    ]  # fmt: skip


def test_events_are_saved_as_csv_and_json(browser: Browser, service: str, video: str) -> None:
    browser.open(f"{service}/#video={video}")
    browser.until_text("2 events", "#events-note")
    for kind, start in (("csv", "position,start,end"), ("json", '{"video": ')):
        link = str(browser.find(f"#export-{kind}").get_attribute("href"))
        reply = httpx2.get(link)
        assert reply.text.startswith(start)
        assert "linked%20events" in reply.headers["content-disposition"]


def test_screenshots_in_both_themes_on_both_sizes(
    browser: Browser, service: str, video: str
) -> None:
    for size, name in ((DESKTOP, "desktop"), (PHONE, "phone")):
        browser.resize(size)
        for theme in ("light", "dark"):
            browser.theme(theme)
            browser.open(service)
            browser.until_text("linked.mp4", "#videos")
            browser.click("#select")
            assert browser.overflow() == []
            browser.screenshot(f"list-{name}-{theme}")
            browser.open(f"{service}/#video={video}&t=3")
            browser.until_text("2 events", "#events-note")
            loaded = "return [...document.images].filter((each) => each.src && each.loading !== "
            loaded += "'lazy').every((each) => each.complete)"
            browser.until(partial(browser.script, loaded), "pictures")
            assert browser.overflow() == []
            browser.screenshot(f"video-{name}-{theme}")
