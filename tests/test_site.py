"""The documentation as a site: it builds without a warning, links lead somewhere, and it can be searched."""

from __future__ import annotations

import functools
import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` does."""
    for needed in ("sphinx", "furo", "myst_parser", "sphinx_click"):
        pytest.importorskip(needed, reason=f"{needed} is not installed: pip install 'musclelora[docs]'")
    folder = tmp_path_factory.mktemp("site")
    (recipe,) = [line for line in (ROOT / "Makefile").read_text().splitlines() if "-m sphinx" in line]
    options = recipe.split("-m sphinx ")[1].split(" -d ")[0].split()
    command = [sys.executable, "-m", "sphinx", *options, "-d", str(folder / "doctrees"), "docs", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


class Page(HTMLParser):
    """What a page links to, and what of it can be linked to."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors = {""}
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        for name, value in attrs:
            if name == "id":
                self.anchors.add(value or "")
            elif name in ("href", "src") and value is not None:
                self.links.append(value)


def test_every_link_leads_somewhere_in_the_site(site: Path) -> None:
    pages = {file: Page(file) for file in sorted(site.rglob("*.html"))}
    assert len(pages) > 30
    broken = []
    for file, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            known = target.is_file() and target.is_relative_to(site.resolve())
            if not known or (
                parts.fragment and target in pages and not anchored(pages[target], parts.fragment)
            ):
                broken.append(f"{file.relative_to(site)}: {link}")
    assert broken == []


def anchored(page: Page, fragment: str) -> bool:
    return unquote(fragment) in page.anchors


def test_the_reference_has_every_command_and_public_name(site: Path) -> None:
    import musclelora
    from musclelora.cli.main import cli

    commands = Page(site / "reference" / "commands.html").anchors
    assert [name for name in cli.list_commands(None) if f"musclelora-{name}" not in commands] == []  # type: ignore[arg-type]
    names = Page(site / "reference" / "musclelora.html").anchors
    assert [name for name in musclelora.__all__ if f"musclelora.{name}" not in names] == []


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing is said of requests."""


@pytest.fixture
def served(site: Path) -> Iterator[str]:
    """The site on a port of this machine, as `python -m http.server` serves it."""
    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("way", ["served", "file"])
def test_a_reader_opens_and_searches_it(
    way: str, site: Path, browser: Browser, request: pytest.FixtureRequest
) -> None:
    base = request.getfixturevalue("served") if way == "served" else site.resolve().as_uri()
    context = browser.new_context()
    page, complaints = context.new_page(), list[str]()
    page.on("console", lambda message: complaints.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
    page.on(
        "requestfailed",  # but for those that the browser gives up as the reader goes to another page
        lambda failed: None if failed.failure == "net::ERR_ABORTED" else complaints.append(failed.url),
    )
    page.on(
        "request",
        lambda asked: None if asked.url.startswith((base, "data:")) else complaints.append(asked.url),
    )
    page.goto(f"{base}/index.html")
    assert page.locator("h1").first.inner_text().startswith("musclelora")
    page.locator("input.sidebar-search").first.fill("trigger")
    page.keyboard.press("Enter")
    page.wait_for_selector("ul.search li a")
    page.wait_for_load_state("networkidle")  # the search reads the pages that it shows
    page.locator("ul.search li a").first.click()
    page.wait_for_load_state("load")
    assert "trigger" in page.locator("article").inner_text().lower()
    context.close()
    assert complaints == []
