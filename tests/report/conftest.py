"""A page opened in a browser, and what must not happen there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => violations.push(event.violatedDirective));
"""


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Open a report and wait until it is ready; whatever a page complains of or asks for fails the test."""
    contexts, complaints = [], list[str]()

    def asked(request: Any) -> None:
        if not request.url.startswith(("file:", "blob:")):
            complaints.append(f"asked for {request.url}")

    def opened(file: Path, *, width: int = 1280, **more: Any) -> Page:
        context = browser.new_context(viewport={"width": width, "height": 900}, **more)
        contexts.append(context)
        context.add_init_script(WATCH)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
        page.on("request", asked)
        page.goto(file.as_uri())
        page.wait_for_selector("html[data-ready]")
        return page

    yield opened
    violations = [
        one for context in contexts for page in context.pages for one in page.evaluate("violations")
    ]
    for context in contexts:
        context.close()
    assert complaints + violations == []
