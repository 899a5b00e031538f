"""A headless Chromium for tests of pages: the system's, since playwright's own is a download."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
from collections.abc import Iterator

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--no-sandbox",  # as root there is none
    "--use-angle=swiftshader",  # WebGL without a graphics card
    "--enable-unsafe-swiftshader",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # A page that is not in front would wait for its frames.
    "--disable-renderer-backgrounding",
)


def find_chromium() -> str | None:
    """Path of a Chromium: what CHROMIUM names, or the first on the PATH."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


@contextlib.contextmanager
def open_chromium(profile: pathlib.Path) -> Iterator:
    """A browser context with a profile of its own; skips where there is no browser."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="the page is tested with playwright: pip install '.[test]'"
    )
    path = find_chromium()
    if path is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} on the PATH, and CHROMIUM is not set")
    with playwright.sync_playwright() as driver:
        context = driver.chromium.launch_persistent_context(
            profile,
            executable_path=path,
            headless=True,
            args=list(ARGUMENTS),
            viewport={"width": 900, "height": 760},
            has_touch=True,
            reduced_motion="reduce",
        )
        with contextlib.closing(context):
            yield context
