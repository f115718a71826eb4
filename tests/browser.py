"""Debian's chromium as the tests drive it; a developer's machine may be without it, CI may not."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

_FLAGS = (
    "headless",
    "no-sandbox",
    "disable-gpu",
    "disable-quic",
    "no-first-run",
    "disable-background-networking",
    "disable-component-update",
    "disable-sync",
    "disable-dev-shm-usage",
    "window-size=1280,2400",
)


@contextmanager
def browser(profile: Path, log: str = "browser") -> Iterator[Chrome]:
    """A browser with an empty profile; it keeps what ``log`` names (browser: the console, performance: requests)."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        assert not os.environ.get("CI"), "CI must have chromium and chromedriver"
        pytest.skip("no chromium here")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in _FLAGS:
        options.add_argument(f"--{flag}")
    options.add_argument(f"--user-data-dir={profile}")
    options.set_capability("goog:loggingPrefs", {log: "ALL"})
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        yield chrome
    finally:
        chrome.quit()


def log_in(chrome: Chrome, url: str, key: str) -> None:
    """Through the form, as a person with a key."""
    from selenium.webdriver.common.by import By

    chrome.get(f"{url}/login")
    chrome.find_element(By.NAME, "key").send_keys(key)
    chrome.find_element(By.TAG_NAME, "form").submit()
    wait(lambda: "Projects" in chrome.title)


def wait(condition: Any) -> None:
    """Until ``condition()`` holds, for 20 s."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "the browser did not get there"
        time.sleep(0.1)
