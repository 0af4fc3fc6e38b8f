"""Drive a real headless Chromium with chromedriver, and record its requests."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium.common.exceptions import (
    StaleElementReferenceException,
    TimeoutException,
    WebDriverException,
)
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait
from tests.support import programs

TIMEOUT_S = 30.0
DESKTOP = (1280, 900)
PHONE = (320, 640)
"""CSS pixels; 320 is the narrowest that WCAG 2.2 §1.4.10 (reflow) asks for."""

# No sandbox: the tests already run in a container, in which user namespaces are not available.
# Other flags keep Chromium from contacting its vendor's servers at every start.
_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--no-first-run",
    # Sites of tests, which are all on this machine.
    "--host-resolver-rules=MAP *.example 127.0.0.1",
    "--force-prefers-reduced-motion",
    "--lang=en-GB",
)


class Browser:
    """One browser tab."""

    def __init__(self, driver: Chrome) -> None:
        """Wrap a driver whose performance log is enabled."""
        self.driver = driver
        self._requests: list[str] = []
        self.errors: list[str] = []

    def open(self, url: str) -> None:
        """Load a page and clear the recorded requests."""
        self.driver.get("about:blank")
        self.requests()
        self._requests.clear()
        self.driver.get(url)

    @contextmanager
    def before_load(self, script: str) -> Iterator[None]:
        """Run JavaScript in each page that is opened in the block, before its own scripts."""
        added = self.driver.execute_cdp_cmd(
            "Page.addScriptToEvaluateOnNewDocument", {"source": script}
        )
        try:
            yield
        finally:
            self.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)

    def resize(self, size: tuple[int, int]) -> None:
        """Set the viewport size in CSS pixels."""
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size == PHONE},
        )

    def theme(self, name: str) -> None:
        """Emulate the system preference for the `light` or `dark` theme."""
        features = [{"name": "prefers-color-scheme", "value": name}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def requests(self) -> list[str]:
        """Return the URLs of all requests since `open`."""
        for entry in self.driver.get_log("performance"):  # type: ignore[no-untyped-call]
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                self._requests.append(message["params"]["request"]["url"])
        return self._requests

    def console(self) -> list[str]:
        """Return console messages: exceptions, blocked content, failed loads."""
        return [str(entry["message"]) for entry in self.driver.get_log("browser")]  # type: ignore[no-untyped-call]

    def find(self, selector: str) -> WebElement:
        """Return the first element that matches a CSS selector; it must exist."""
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        """Return all elements that match a CSS selector."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def click(self, selector: str) -> None:
        """Click on the first element that matches, as soon as there is one."""

        def click() -> bool:
            self.find(selector).click()
            return True

        self.until(click, f"an element {selector}")

    def text(self, selector: str = "body") -> str:
        """Return the visible text of an element."""
        return self.find(selector).text

    def script(self, code: str, *arguments: object) -> Any:
        """Run JavaScript in the page and return its result."""
        return self.driver.execute_script(code, *arguments)

    def until(self, poll: Callable[[], Any], what: str, *, timeout: float = TIMEOUT_S) -> Any:
        """Wait until `poll` returns something true, and return it.

        An element that the page replaces while it is read is read again.

        Raises:
            TimeoutException: nothing true within `timeout` seconds.
        """

        def condition(_driver: object) -> Any:
            return poll()

        wait = WebDriverWait(
            self.driver,
            timeout,
            poll_frequency=0.1,
            ignored_exceptions=[StaleElementReferenceException],
        )
        try:
            return wait.until(condition)
        except TimeoutException as error:
            raise TimeoutException(f"expected {what}; the page shows:\n{self.text()}") from error

    def until_text(self, text: str, selector: str = "body", *, timeout: float = TIMEOUT_S) -> None:
        """Wait until an element shows a text."""
        self.until(lambda: text in self.text(selector), f"the text {text!r}", timeout=timeout)

    def choose_files(self, *paths: Path) -> None:
        """Select files for upload, as the file dialog does."""
        self.find("#files").send_keys("\n".join(map(str, paths)))

    def accessible(self) -> list[tuple[str, str]]:
        """Return (role, name) of the accessibility tree's nodes, in order."""
        nodes = self.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
        return [
            (str(node["role"]["value"]), str(node.get("name", {}).get("value", "")))
            for node in nodes
            if not node["ignored"]
        ]

    def overflow(self) -> list[str]:
        """Return the elements that overflow the page on the right."""
        found: list[str] = self.script(
            """return [...document.querySelectorAll("body *")]
              .filter((each) => each.getClientRects().length
                && each.getBoundingClientRect().right > document.documentElement.clientWidth + 1
                && !each.closest(".unseen, .skip, svg"))
              .map((each) => each.tagName + "#" + each.id + "." + each.className)"""
        )
        return found

    def screenshot(self, name: str) -> None:
        """Save a screenshot as an output of the test."""
        folder = Path(os.environ.get("TEST_UNDECLARED_OUTPUTS_DIR", "."))
        self.driver.save_screenshot(str(folder / f"{name}.png"))


def _launcher(directory: Path) -> str:
    """Write a launcher that opens a page: chromedriver waits for one, headless shell opens none."""
    program = programs.find("chromium-headless-shell", variable="CHROMIUM")
    launcher = directory / "chromium"
    launcher.write_text(f'#!/bin/sh\nexec "{program}" "$@" about:blank\n')
    launcher.chmod(0o755)
    return str(launcher)


@contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """Run Chromium with an empty profile until the block ends."""
    options = ChromeOptions()
    options.binary_location = _launcher(profile)
    for flag in (*_FLAGS, f"--user-data-dir={profile / 'data'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    log = profile / "driver.log"
    service = ChromeService(
        executable_path=programs.find("chromedriver", variable="CHROMEDRIVER"),
        log_output=str(log),
    )
    try:
        driver = Chrome(options=options, service=service)
    except WebDriverException as error:
        output = log.read_text(errors="replace")
        raise AssertionError(f"Chromium did not start: {error.msg}\n{output}") from error
    driver.set_script_timeout(TIMEOUT_S)
    try:
        browser = Browser(driver)
        browser.resize(DESKTOP)
        yield browser
    finally:
        driver.quit()
