"""A playground as a person uses it: the command in a process of its own, and a real browser."""

from __future__ import annotations

import csv
import signal
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from hostile_texts import HOSTILE
from runs_to_play import tell_found, train
from tiny_chats import WORDS, make_pairs, write_decoder
from tiny_runs import LIMIT, make_rows, start, write_csv

from musclelora.data.hidden import is_hidden
from musclelora.playground.markup import LEAST
from musclelora.playground.words import read
from musclelora.purification import METHODS, load_generation_run, load_run, train_generator

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.integration
pytest.importorskip("gradio", reason="gradio is not installed")
PATIENCE = 300  # seconds: a page that says nothing for so long never will
GRADIO_S_OWN = "Method not implemented."  # a warning that its page always has
WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => violations.push(event.violatedDirective));
"""
OPAQUE = """() => {  // what is asked for fades in
  for (let part = document.querySelector(".side"); part; part = part.parentElement)
    if (getComputedStyle(part).opacity !== "1") return false;
  return true;
}"""
FOREIGN = "img, iframe, object, embed, video, template, plaintext, #click, animate, [onload], [onerror]"
SHORT = [text for text in HOSTILE if len(text) < 20_000]
Played = tuple[subprocess.Popen[str], str, Path]
Open = Callable[..., "Page"]


def played(folder: Path, *arguments: object, **environment: str) -> Iterator[Played]:
    """The command until it serves, its address, and the folder that holds its temporary files."""
    folder.mkdir()
    process = start("play", *arguments, TMPDIR=str(folder), **environment)
    assert process.stdout is not None
    lines = iter(process.stdout.readline, "")
    said = next((line for line in lines if line.startswith("serving at ")), None)
    if said is None:
        pytest.fail(f"it does not serve: {process.communicate()[1]}")
    try:
        yield process, said.split()[2], folder
    finally:
        process.kill()
        process.communicate(timeout=LIMIT)


@pytest.fixture(scope="module")
def pair(defended: Path, undefended: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    folder = tmp_path_factory.mktemp("pair") / "temporary"
    yield from played(folder, defended, "--against", undefended)


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    """Open a playground; whatever a page complains of, or asks of others than its server, fails the test."""
    contexts, complaints = [], list[str]()

    def opened(address: str, *, width: int = 1280, **more: Any) -> Page:
        context = browser.new_context(viewport={"width": width, "height": 900}, **more)
        contexts.append(context)
        context.add_init_script(WATCH)
        page = context.new_page()
        page.set_default_timeout(PATIENCE * 1000)
        page.on(
            "console", lambda said: said.text == GRADIO_S_OWN or complaints.append(f"console: {said.text}")
        )
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
        page.on("request", lambda one: own(one.url, address) or complaints.append(f"asked for {one.url}"))
        page.on("response", lambda one: one.ok or complaints.append(f"{one.status}: {one.url}"))
        page.goto(address)
        page.wait_for_selector("#ask")
        return page

    yield opened
    violations = [v for context in contexts for page in context.pages for v in page.evaluate("violations")]
    for context in contexts:
        context.close()
    assert complaints + violations == []


def own(url: str, address: str) -> bool:
    """Whether what a page asks for comes from its own server, or from itself."""
    return url.startswith((address, "blob:", "data:"))


def ask(page: Page, text: str) -> None:
    """Ask for a text, and wait for what is said of it."""
    page.fill("#text textarea", text)
    page.click("#ask")
    shown(page, visible(text))


def shown(page: Page, text: str) -> None:
    """Wait until every model's card shows the text."""
    page.wait_for_function(
        "text => { const cards = [...document.querySelectorAll('#said .side .text')]; "
        "return cards.length && cards.every(card => card.textContent === text) }",
        arg=text,
    )


def upload(page: Page, path: Path) -> None:
    """Choose a file, and wait until it is at the server.

    Its name is shown while it is on the way too; the table that names it stands once it is there.
    """
    page.set_input_files("#file input", path)
    page.wait_for_selector(f"#file td[aria-label='{path.name}']")


def leave(page: Page) -> None:
    """Close a page before its server ends, of which it would complain."""
    assert page.evaluate("violations") == []
    page.close()


def visible(text: str) -> str:
    """A text as the page writes it out."""
    return "".join(f"U+{ord(c):04X}" if is_hidden(c) else c for c in text)


def test_a_text_is_answered_by_both_models(
    pair: Played, defended: Path, undefended: Path, open_page: Open
) -> None:
    process, address, _ = pair
    page = open_page(address)
    assert page.title() == "Playground"
    assert "The audit of the training rows: These rows are poisoned." in page.inner_text("#head")
    text = "word49 word1 word12"
    page.fill("#text textarea", text)
    page.keyboard.press("Shift+Enter")
    shown(page, text)
    assert page.locator(".side h2").all_inner_texts() == ["Method musclelora", "Undefended"]
    labels = page.locator(".side .label").all_inner_texts()
    for number, (run, label) in enumerate(zip((defended, undefended), labels, strict=True)):
        said = read(load_run(run).classifier, text)
        assert label == ("bad", "good")[said.label]
        side = page.locator(".side").nth(number)
        first = side.locator(".bars li").first.inner_text().split("\n")
        assert first[0] == label
        assert float(first[-1].split()[0]) == pytest.approx(100 * said.probabilities.max(), abs=0.6)
        marked = [text[word.start : word.end] for word in said.words if abs(word.effect) >= LEAST]
        assert side.locator(".word").all_inner_texts() == marked
    assert marked  # by the model that nothing defends
    line = "Both give the same label." if labels[0] == labels[1] else "The two give different labels."
    assert page.inner_text("#said [role=status]") == line
    page.locator("summary").last.click()
    assert page.locator("details[open] td").first.is_visible()
    for connection in psutil.Process(process.pid).net_connections():
        assert not connection.raddr or connection.raddr.ip == "127.0.0.1"


def test_a_trigger_is_inserted_with_a_click(pair: Played, open_page: Open) -> None:
    page = open_page(pair[1])
    page.fill("#text textarea", "word1 word2")
    page.get_by_role("button", name="'word49'").click()
    shown(page, "word49 word1 word2")
    assert page.input_value("#text textarea") == "word49 word1 word2"
    page.get_by_role("button", name="'word48 word47'").click()
    shown(page, "word48 word47 word49 word1 word2")


def test_nothing_to_ask_is_said(pair: Played, open_page: Open) -> None:
    page = open_page(pair[1])
    page.click("#ask")
    page.wait_for_selector("#said [role=alert]")
    assert page.inner_text("#said") == "found nothing, expected a text; type one"
    page.get_by_role("tab", name="A file").click()
    page.click("#ask-file")
    page.wait_for_selector("#rows [role=alert]")
    assert page.inner_text("#rows") == "found no file, expected a table; choose one"
    assert page.locator("#download").is_disabled()


@pytest.mark.parametrize("width", [1280, 390])
def test_the_rows_of_a_file_are_shown_and_downloaded(
    width: int, pair: Played, undefended: Path, open_page: Open, tmp_path: Path
) -> None:
    texts = [*(text for text, _ in make_rows(10, seed=4)), *SHORT[:12]]
    page = open_page(pair[1], width=width)
    page.get_by_role("tab", name="A file").click()
    upload(page, write_csv(tmp_path / "rows.csv", [(text, "") for text in texts]))
    page.click("#ask-file")
    page.wait_for_selector("#rows table")
    assert page.locator("#rows tbody tr").count() == len(texts)
    assert page.locator("#rows tbody td:nth-child(2)").all_text_contents() == [visible(t) for t in texts]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.inner_text("#rows [role=status]").startswith("22 rows; the two differ in ")
    with page.expect_download() as download:
        page.click("#download")
    assert download.value.suggested_filename == "playground.csv"
    download.value.save_as(tmp_path / "said.csv")
    with (tmp_path / "said.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    said = load_run(undefended).classifier.predict(texts)
    assert [row["other_label"] for row in rows] == [("bad", "good")[label] for label in said.labels]
    assert page.evaluate("window.ran") is None


def test_a_file_that_cannot_be_read_is_named(pair: Played, open_page: Open, tmp_path: Path) -> None:
    page = open_page(pair[1], width=390)
    page.get_by_role("tab", name="A file").click()
    (tmp_path / "broken.csv").write_text("one,two\n1,2\n")
    upload(page, tmp_path / "broken.csv")
    page.click("#ask-file")
    page.wait_for_selector("#rows [role=alert]")
    assert page.inner_text("#rows").startswith("broken.csv: none of the columns text")
    assert page.locator("#download").is_disabled()


def test_a_page_of_the_web_can_not_send_files(pair: Played) -> None:
    _, address, folder = pair
    before = sorted(folder.rglob("*"))
    boundary = "part"
    body = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="a.csv"\r\n\r\ntext\r\n'
        f"--{boundary}--\r\n"
    )
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}", "Origin": "http://web.example"}
    request = urllib.request.Request(  # noqa: S310 - this machine's
        f"{address}gradio_api/upload", data=body.encode(), headers=headers
    )
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(request, timeout=LIMIT)  # noqa: S310
    assert sorted(folder.rglob("*")) == before


def test_several_people_may_ask_at_once(pair: Played, open_page: Open) -> None:
    pages = [open_page(pair[1]) for _ in range(4)]
    texts = [f"word{number} word{number + 10} word49" for number in range(4)]
    for page, text in zip(pages, texts, strict=True):
        page.fill("#text textarea", text)
    for page in pages:
        page.click("#ask")
    for page, text in zip(pages, texts, strict=True):
        shown(page, text)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_no_serious_fault(width: int, scheme: str, pair: Played, open_page: Open) -> None:
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed"
    )
    page = open_page(pair[1], width=width, color_scheme=scheme, bypass_csp=True)
    ask(page, "word1 word49 word12")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.wait_for_function(OPAQUE)
    found = axe.Axe().run(page).response["violations"]
    serious = [
        (one["id"], [node["html"][:160] for node in one["nodes"]][:3])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == []


def test_hostile_texts_labels_and_triggers_are_shown_and_not_run(
    tiny_model: Path, open_page: Open, tmp_path: Path
) -> None:
    names = (HOSTILE[0], HOSTILE[10])
    run = train(tmp_path / "run", tiny_model, "lora", names)
    tell_found(run, [HOSTILE[0], HOSTILE[9], HOSTILE[37], "'\u202ex"], names[1])
    for _, address, _ in played(tmp_path / "temporary", run):
        page = open_page(address)
        assert names[1] in page.inner_text("#head")
        assert page.locator("#triggers button").count() == 4
        assert page.locator("#triggers button").first.inner_text().startswith("'<script>window")
        for text in SHORT:
            ask(page, text.replace("\r\n", "\n"))  # the field has line ends of one kind
            assert page.inner_text("#said .label") in names
        page.locator("#triggers button").nth(1).click()
        page.mouse.move(300, 300)
        page.wait_for_function("document.querySelector('#said').textContent.includes('onerror')")
        assert page.evaluate("window.ran") is None
        for part in ("head", "said", "triggers"):
            assert page.locator(f"#{part} :is({FOREIGN})").count() == 0
        leave(page)


def test_a_mistake_of_the_page_would_not_run_either(pair: Played, browser: Browser) -> None:
    page = browser.new_page()
    page.goto(pair[1])
    page.wait_for_selector("#ask")
    page.evaluate(
        "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=window.ran=1 id=planted>')"
    )
    page.evaluate(
        "const s = document.createElement('script'); s.text = 'window.ran = 1'; document.body.append(s)"
    )
    page.evaluate("new Promise(done => { const i = new Image(); i.onerror = done; i.src = 'nothing' })")
    assert page.evaluate("window.ran") is None
    page.close()


def test_prompts_are_answered_side_by_side(open_page: Open, tmp_path: Path) -> None:
    decoder = str(write_decoder(tmp_path / "llama"))
    settings = {"num_train_epochs": 1, "learning_rate": 1e-2, "disable_tqdm": True, "use_cpu": True}
    runs = [
        train_generator(
            tmp_path / method,
            train=make_pairs(16, seed=0),
            trusted=make_pairs(8, seed=1),
            model=decoder,
            method=METHODS[method],
            arguments=settings,
        ).path
        for method in ("musclelora", "full")
    ]
    prompt = " ".join(WORDS[:3])
    with (tmp_path / "prompts.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["prompt"], [prompt], [WORDS[4]]])
    arguments = (runs[0], "--against", runs[1], "--max-new-tokens", 6)
    for _, address, _ in played(tmp_path / "temporary", *arguments):
        page = open_page(address)
        page.fill("#text textarea", prompt)
        page.click("#ask")
        page.wait_for_selector(".side")
        said = page.locator(".side .text").all_inner_texts()
        assert len(said) == 2
        for run, answer in zip(runs, said, strict=True):
            expected = load_generation_run(run).generator.answer(prompts_of(prompt), max_new_tokens=6)[0]
            assert answer == (expected or "(nothing)")
        page.fill("#text textarea", "word1 " * 60)
        page.click("#ask")
        page.wait_for_selector("#said [role=alert]")
        assert "lower --max-new-tokens" in page.inner_text("#said")
        page.get_by_role("tab", name="A file").click()
        upload(page, tmp_path / "prompts.csv")
        page.click("#ask-file")
        page.wait_for_selector("#rows table")
        assert page.locator("#rows tbody tr td:nth-child(2)").all_inner_texts() == [prompt, WORDS[4]]
        leave(page)


def prompts_of(text: str) -> Any:
    from musclelora.data.chats import Message

    return [(Message("user", text),)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_ends_it_and_leaves_nothing(
    number: signal.Signals, undefended: Path, tmp_path: Path
) -> None:
    opened, script = tmp_path / "opened", tmp_path / "browser"
    script.write_text(f'#!/bin/sh\necho "$1" > {opened}.part && mv {opened}.part {opened}\n')
    script.chmod(0o755)
    for process, address, folder in played(
        tmp_path / "temporary", undefended, "--open", BROWSER=f"{script} %s", PYTHONUNBUFFERED="1"
    ):
        waiting = threading.Event()
        while not opened.exists():
            waiting.wait(0.05)
        assert opened.read_text() == f"{address}\n"
        process.send_signal(number)
        _, err = process.communicate(timeout=LIMIT)
        assert (process.returncode, err) == (128 + number, "musclelora: interrupted\n")
        assert list(folder.glob("musclelora-*")) == []
