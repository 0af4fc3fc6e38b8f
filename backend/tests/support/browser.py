"""Drives a real headless Chromium by its own driver, and remembers everything it asked for."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium.common.exceptions import WebDriverException
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait
from tests.support import programs

TIMEOUT_S = 30.0
DESKTOP = (1280, 900)
PHONE = (320, 640)
"""CSS pixels; 320 is the narrowest that WCAG 2.2 §1.4.10 (reflow) asks for."""

# No sandbox: the container that the tests run in already is one, and has no user namespaces left.
# The others keep Chromium from asking hosts of its maker's at every start.
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
    "--force-prefers-reduced-motion",
    "--lang=en-GB",
)


class Browser:
    """One tab. Elements are found as people find them: by what they are called."""

    def __init__(self, driver: Chrome) -> None:
        """Wrap a driver whose performance log is on."""
        self.driver = driver
        self._requests: list[str] = []
        self.errors: list[str] = []

    def open(self, url: str) -> None:
        """Load a page and forget what was asked for before."""
        self.driver.get("about:blank")
        self.requests()
        self._requests.clear()
        self.driver.get(url)

    def resize(self, size: tuple[int, int]) -> None:
        """Give the page a size in CSS pixels, as a phone or a window would."""
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size == PHONE},
        )

    def theme(self, name: str) -> None:
        """Ask for the `light` or the `dark` theme, as the system's setting does."""
        features = [{"name": "prefers-color-scheme", "value": name}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def requests(self) -> list[str]:
        """Return the address of everything asked for since `open`."""
        for entry in self.driver.get_log("performance"):  # type: ignore[no-untyped-call]
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                self._requests.append(message["params"]["request"]["url"])
        return self._requests

    def console(self) -> list[str]:
        """Return what the page complained of: exceptions, refused content, failed loads."""
        return [str(entry["message"]) for entry in self.driver.get_log("browser")]  # type: ignore[no-untyped-call]

    def find(self, selector: str) -> WebElement:
        """Return the first element that a CSS selector matches; it must be there."""
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        """Return all elements that a CSS selector matches."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector: str = "body") -> str:
        """Return the text of an element as it is shown."""
        return self.find(selector).text

    def script(self, code: str, *arguments: object) -> Any:
        """Run JavaScript in the page and return what it returns."""
        return self.driver.execute_script(code, *arguments)

    def until(self, ask: Callable[[], Any], what: str, *, timeout: float = TIMEOUT_S) -> Any:
        """Wait until `ask` gives something true, and return it. Raises TimeoutException."""

        def answer(_driver: object) -> Any:
            return ask()

        wait = WebDriverWait(self.driver, timeout, poll_frequency=0.1)
        return wait.until(answer, f"{what}; the page says:\n{self.text()}")

    def until_text(self, text: str, selector: str = "body", *, timeout: float = TIMEOUT_S) -> None:
        """Wait until an element shows a text."""
        self.until(lambda: text in self.text(selector), f"wanted {text!r}", timeout=timeout)

    def choose_files(self, *paths: Path) -> None:
        """Choose files for the upload, as the system's dialogue does."""
        self.find("#files").send_keys("\n".join(map(str, paths)))

    def accessible(self) -> list[tuple[str, str]]:
        """Return (role, name) of everything that is told to assistive technology, in order."""
        nodes = self.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
        return [
            (str(node["role"]["value"]), str(node.get("name", {}).get("value", "")))
            for node in nodes
            if not node["ignored"]
        ]

    def overflow(self) -> list[str]:
        """Return the elements that stick out of the page to the right."""
        found: list[str] = self.script(
            """return [...document.querySelectorAll("body *")]
              .filter((each) => each.getClientRects().length
                && each.getBoundingClientRect().right > document.documentElement.clientWidth + 1
                && !each.closest(".unseen, .skip, svg"))
              .map((each) => each.tagName + "#" + each.id + "." + each.className)"""
        )
        return found

    def screenshot(self, name: str) -> None:
        """Keep a picture of the page as an output of the test."""
        folder = Path(os.environ.get("TEST_UNDECLARED_OUTPUTS_DIR", "."))
        self.driver.save_screenshot(str(folder / f"{name}.png"))


def _with_a_page(directory: Path) -> str:
    """Write a launcher that opens a first page: the driver waits for one, the shell opens none."""
    program = programs.find("chromium-headless-shell", variable="CHROMIUM")
    launcher = directory / "chromium"
    launcher.write_text(f'#!/bin/sh\nexec "{program}" "$@" about:blank\n')
    launcher.chmod(0o755)
    return str(launcher)


@contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """Start Chromium with an empty profile; it ends after the block."""
    options = ChromeOptions()
    options.binary_location = _with_a_page(profile)
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
        said = log.read_text(errors="replace")
        raise AssertionError(f"Chromium does not start: {error.msg}\n{said}") from error
    driver.set_script_timeout(TIMEOUT_S)
    try:
        browser = Browser(driver)
        browser.resize(DESKTOP)
        yield browser
    finally:
        driver.quit()
