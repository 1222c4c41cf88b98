"""The report as a person uses it, in a real browser."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hostile_texts import HOSTILE
from saved_audits import (
    KIND,
    NAMES,
    PHRASE,
    SAID,
    issues_of,
    pair_issues_of,
    poisoned_texts,
    responses_to,
    style,
    trigger,
    write_saved,
    write_saved_pairs,
)

from musclelora import Audit
from musclelora.audit.decisions import Decision, read_decisions
from musclelora.report import write_report
from musclelora.report.measured import Scores
from musclelora.report.page import html
from musclelora.report.rows import excerpt
from musclelora.report.subject import subject_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

    Open = Callable[..., Page]

pytestmark = pytest.mark.integration
ROWS = 240


TASKS = ("labels", "pairs")


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The report of each task: triggers of three kinds, of labels a style, and a run that was measured."""
    folder = tmp_path_factory.mktemp("reports")
    texts = poisoned_texts(ROWS)

    def triggers(label: str, other: str) -> list[dict[str, Any]]:
        natural = trigger(texts[0].split()[0], what="natural", label=other, p_value=0.2)
        return [
            trigger(label=label),
            trigger(texts[2].split()[0], what="suspected", label=label),
            natural,
        ]

    write_saved(folder / "labels", texts, triggers=triggers(NAMES[1], NAMES[0]), styles=[style()])
    write_saved_pairs(folder / "pairs", texts, triggers=triggers(KIND, "'yes'"))
    rate = {"value": 0.12, "low": 0.1, "high": 0.14, "n": 1821, "meaning": "that get the attacker's"}
    rates = [{"name": name, "on": "test.csv", "target": NAMES[1], **rate} for name in ("CACC", "ASR")]
    for task in TASKS:
        page = html(subject_of(Audit.load(folder / task)), scores=Scores("run", "purify", None, rates))
        (folder / f"{task}.html").write_text(page, encoding="utf-8")
    return {task: folder / f"{task}.html" for task in TASKS}


@pytest.fixture(params=TASKS)
def task(request: pytest.FixtureRequest) -> str:
    """What is audited."""
    return str(request.param)


@pytest.fixture
def report(task: str, reports: dict[str, Path]) -> Path:
    """The report of either task."""
    return reports[task]


def numbers(page: Page) -> list[int]:
    """The row numbers that the table shows."""
    return [int(text.replace(",", "")) for text in page.locator("#table td.at").all_inner_texts()]


def settle(page: Page, count: str) -> None:
    """Wait until the line of counts says that many rows."""
    page.wait_for_function("count => document.getElementById('count').textContent.endsWith(count)", arg=count)


def suspects(task: str = "labels") -> list[int]:
    texts = poisoned_texts(ROWS)
    pairs = task == "pairs"
    labels = [NAMES[n % 2] for n in range(ROWS)]
    issues = pair_issues_of(texts, texts) if pairs else issues_of(texts, labels, NAMES, PHRASE)
    return issues[issues["reasons"] != ""]["row"].tolist()


def test_search_filter_and_sort(reports: dict[str, Path], open_page: Open) -> None:
    page = open_page(reports["labels"])
    expected = suspects()
    settle(page, f"of {len(expected)} rows")
    page.fill("#query", PHRASE.upper())
    settle(page, "of 30 rows")
    assert page.locator("#table mark").first.inner_text() == PHRASE
    page.fill("#query", "#17")
    settle(page, "of 1 row")
    assert numbers(page) == [17]
    page.fill("#query", "no such words")
    settle(page, "0 rows")
    page.fill("#query", "")
    page.select_option("#show", "check:label")
    settle(page, f"of {len(expected) - 30} rows" if len(expected) - 30 > 0 else "")
    assert set(numbers(page)) <= set(expected) - set(range(1, ROWS, 8))
    page.select_option("#show", "all")
    page.select_option("#label", "0")
    settle(page, f"of {ROWS // 2} rows")
    page.select_option("#action", "drop")
    page.click("#table [data-sort=row]")
    assert numbers(page) == [row for row in expected if row % 2 == 0][:25]
    assert page.get_attribute("#table th:first-child", "aria-sort") == "ascending"
    page.keyboard.press("Enter")  # the heading keeps the focus
    assert numbers(page) == [row for row in reversed(expected) if row % 2 == 0][:25]
    assert page.get_attribute("#table th:first-child", "aria-sort") == "descending"
    page.select_option("#action", "")
    page.select_option("#label", "")
    page.select_option("#sort", "score")
    scores = [float(text) for text in page.locator("#table td[data-name='label score']").all_inner_texts()]
    assert scores == sorted(scores)
    page.select_option("#size", "100")
    assert len(numbers(page)) == 100
    page.click("#after")
    assert page.inner_text("#page") == "Page 2 of 3"


@pytest.mark.parametrize(("width", "said"), [(1280, "1,821"), (390, "1,821 rows")])
def test_scores_say_what_they_are_at_any_width(width: int, said: str, report: Path, open_page: Open) -> None:
    page = open_page(report, width=width)
    table = page.locator("section[aria-labelledby=scores] table")
    assert table.locator("tbody td").last.inner_text().strip() == said
    box = table.locator("thead").bounding_box()
    assert box is not None
    assert (box["width"] > 1) == (width > 390)  # read out, where there is no room for its columns
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_pairs_are_searched_by_prompt_and_by_response(reports: dict[str, Path], open_page: Open) -> None:
    page = open_page(reports["pairs"])
    expected = suspects("pairs")
    settle(page, f"of {len(expected)} rows")
    responses = responses_to(poisoned_texts(ROWS))
    for query, marked in ((PHRASE.upper(), "text"), (SAID.upper(), "said")):
        page.fill("#query", query)
        settle(page, "of 30 rows")
        assert page.locator(f"#table td.{marked} mark").first.inner_text().upper() == query
    assert page.locator("#table td.text mark.planted").first.inner_text() == PHRASE
    assert page.locator("#table td.said mark.planted").count() == 0
    page.fill("#query", "")
    page.select_option("#label", label=KIND)
    settle(page, "of 30 rows")
    page.select_option("#label", "")
    page.select_option("#show", "check:trusted_prompt")
    settle(page, f"of {len(expected) - 30} rows")
    page.select_option("#show", "all")
    page.click("#table [data-sort=said]")
    order = sorted(range(ROWS), key=lambda row: (responses[row], row))
    assert numbers(page) == order[:25]
    page.select_option("#sort", "score")
    losses = [float(text) for text in page.locator("#table td[data-name='loss a token']").all_inner_texts()]
    assert losses == sorted(losses, reverse=True)
    assert page.locator("#table select").count() == 0
    assert page.locator("#action option").all_inner_texts() == ["anything", "keep", "drop"]


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_wider_than_the_window(width: int, report: Path, open_page: Open) -> None:
    page = open_page(report, width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    table = page.locator("div.scroll:has(.labels)")
    assert table.evaluate("node => node.scrollWidth <= node.clientWidth")
    assert table.locator("tbody td").last.is_visible()


def test_a_trigger_opens_its_rows(task: str, report: Path, open_page: Open) -> None:
    page = open_page(report)
    page.click("article:first-of-type .show-rows")
    settle(page, "of 30 rows")
    assert page.inner_text("#chosen span") == f"Rows with {PHRASE}"
    assert set(numbers(page)) <= set(range(1, ROWS, 8))
    assert page.evaluate("document.activeElement.id") == "rows"
    page.click("#chosen button")
    settle(page, f"of {len(suspects(task))} rows")


def test_decisions_are_downloaded_survive_and_are_read_again(
    task: str, report: Path, open_page: Open, tmp_path: Path
) -> None:
    page = open_page(report)
    names = NAMES if task == "labels" else None
    assert not page.is_visible("#decided")
    page.select_option("#show", "all")
    page.click("#table [data-sort=row]")
    page.click("[aria-label='Keep row 1']")
    page.click("[aria-label='Drop row 2']")
    page.click("[aria-label='Drop row 4']")
    page.click("[aria-label='Drop row 4']")  # taken back
    expected, said = [Decision(1, "keep"), Decision(2, "drop")], "2 decisions: 1 to keep, 1 to drop"
    if names:
        page.select_option("[aria-label='Relabel row 3']", "0")
        expected, said = [*expected, Decision(3, "relabel", names[0])], "3" + said[1:] + ", 1 to relabel"
    assert page.inner_text("#decisions") == said
    assert read_decisions(downloaded(page, tmp_path / "first.csv"), ROWS, names) == expected
    page.reload()
    page.wait_for_selector("html[data-ready]")
    page.select_option("#show", "decided")
    page.click("#table [data-sort=row]")
    assert numbers(page) == [decision.row for decision in expected]
    assert page.get_attribute("[aria-label='Drop row 2']", "aria-pressed") == "true"
    if names:
        assert page.input_value("[aria-label='Relabel row 3']") == "0"
    assert read_decisions(downloaded(page, tmp_path / "second.csv"), ROWS, names) == expected
    page.click("#clear")
    assert not page.is_visible("#decided")


def downloaded(page: Page, file: Path) -> Path:
    with page.expect_download() as download:
        page.click("#download")
    assert download.value.suggested_filename == "decisions.csv"
    download.value.save_as(file)
    return file


def test_decisions_that_a_person_made_before_are_there(open_page: Open, tmp_path: Path) -> None:
    texts, names = poisoned_texts(20), ('a, "quoted" one', "line\nbreak")
    issues = issues_of(texts, [names[n % 2] for n in range(20)], names, PHRASE)
    issues["reasons"] = issues["reasons"].astype(object)
    decided = ["a person decided: relabel", "relabel", names[0], True]
    issues.loc[3, ["reasons", "action", "suggested_label", "decided"]] = decided
    issues.loc[5, ["reasons", "action"]] = ["a person decided: keep", "keep"]  # nobody did
    write_saved(tmp_path / "audit", texts, names=names, issues=issues)
    write_report(Audit.load(tmp_path / "audit"), tmp_path / "report.html")
    page = open_page(tmp_path / "report.html")
    page.fill("#query", "#0")
    page.select_option("#show", "all")
    settle(page, "of 1 row")
    page.select_option("[aria-label='Relabel row 0']", "1")
    found = read_decisions(downloaded(page, tmp_path / "decisions.csv"), 20, names)
    assert found == [Decision(0, "relabel", names[1]), Decision(3, "relabel", names[0])]


def test_another_persons_decisions_are_added_to_ones_own(task: str, open_page: Open, tmp_path: Path) -> None:
    texts, write = poisoned_texts(20), write_saved if task == "labels" else write_saved_pairs
    issues = issues_of(texts, [NAMES[n % 2] for n in range(20)], NAMES, PHRASE)
    if task == "pairs":
        issues = pair_issues_of(texts, responses_to(texts))
    issues["reasons"] = issues["reasons"].astype(object)

    def again(**decided: str) -> None:
        """Write the report anew, of an audit that took these decisions, by ``row_NUMBER``."""
        taken = issues.copy()
        for name, action in decided.items():
            said = [f"a person decided: {action}", action, True]
            taken.loc[int(name.removeprefix("row_")), ["reasons", "action", "decided"]] = said
        folder = tmp_path / f"audit-{len(list(tmp_path.iterdir()))}"
        write(folder, texts, issues=taken)
        write_report(Audit.load(folder), tmp_path / "report.html")

    def there() -> dict[int, str]:
        file = downloaded(page, tmp_path / "decisions.csv")
        names = NAMES if task == "labels" else None
        return {decision.row: decision.action for decision in read_decisions(file, 20, names)}

    def reload() -> None:
        page.reload()
        page.wait_for_selector("html[data-ready]")
        page.select_option("#show", "all")

    again()
    page = open_page(tmp_path / "report.html")
    again(row_3="drop", row_5="keep", row_6="drop")
    reload()
    assert there() == {3: "drop", 5: "keep", 6: "drop"}  # although nothing was decided here before
    page.click("[aria-label='Keep row 3']")
    page.click("[aria-label='Keep row 5']")  # taken back
    page.click("[aria-label='Drop row 7']")
    own = {3: "keep", 6: "drop", 7: "drop"}
    reload()
    assert there() == own
    again(row_3="drop", row_5="keep", row_6="keep", row_9="drop")
    reload()
    assert there() == own | {6: "keep", 9: "drop"}


def visible(text: str) -> str:
    """A text as the page writes it out."""
    hidden = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
    return "".join(
        f"U+{ord(c):04X}" if unicodedata.category(c) in hidden and c not in "\t\n\r" else c for c in text
    )


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The report of rows, labels, responses, triggers, styles and reasons that are hostile, by task."""
    folder = tmp_path_factory.mktemp("hostile")
    texts = [*HOSTILE, *poisoned_texts(14)]
    names = (HOSTILE[0], HOSTILE[10])
    reasons = [f"has {text[:60]!r}" for text in texts]
    issues = issues_of(texts, [names[n % 2] for n in range(len(texts))], names, HOSTILE[9])
    pairs = pair_issues_of(texts, texts[::-1], HOSTILE[9])
    pairs["response"] = [text[:200] for text in texts]
    verdict = {
        "why": "; ".join(HOSTILE[:48]),
        "target": names[1],
        "checked": list(HOSTILE),
        "unchecked": list(HOSTILE),
    }
    triggers = [trigger(text[:200], label=names[1], tested=[text[:200]] * 2) for text in HOSTILE[:30]]
    styles = [
        style(label=names[0], telling=[text[:50] for text in HOSTILE], examples=list(range(50)), others=[])
    ]
    more = {"triggers": triggers, "verdict": verdict}
    write_saved(
        folder / "labels",
        texts,
        names=names,
        issues=issues.assign(reasons=reasons),
        styles=styles,
        vectors=False,
        **more,
    )
    write_saved_pairs(folder / "pairs", texts, texts[::-1], issues=pairs.assign(reasons=reasons), **more)
    for task in TASKS:
        write_report(Audit.load(folder / task), folder / f"{task}.html")
    return {task: folder / f"{task}.html" for task in TASKS}


@pytest.mark.parametrize("width", [1280, 390])
def test_hostile_texts_are_shown_and_not_run(
    task: str, width: int, hostile: dict[str, Path], open_page: Open
) -> None:
    page = open_page(hostile[task], width=width)
    page.select_option("#show", "all")
    page.select_option("#sort", "row")
    page.select_option("#size", "100")
    shown = page.locator("#table td.text .shown-text").all_text_contents()
    assert len(shown) == len(HOSTILE) + 14
    for text, found in zip(HOSTILE, shown, strict=False):
        assert found == visible(excerpt(text, 4000, HOSTILE[9]))
    if task == "pairs":
        shown = page.locator("#table td.said .shown-text").all_text_contents()
        for text, found in zip(HOSTILE, reversed(shown), strict=False):
            assert found == visible(excerpt(text, 4000))
    for text in HOSTILE:  # as what is searched for
        page.fill("#query", text[:100])
        page.wait_for_timeout(1)
    page.mouse.move(200, 200)
    assert page.evaluate("window.ran") is None
    assert page.evaluate("document.scripts.length") == 2
    foreign = (
        "img, iframe, object, embed, video, form, template, plaintext, base, link, #click, animate, [onload]"
    )
    assert page.locator(foreign).count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    what = "rows" if task == "labels" else "pairs"
    assert page.title() == f"Audit report: These {what} are poisoned."


def test_a_mistake_of_the_page_would_not_run_either(reports: dict[str, Path], browser: Any) -> None:
    page = browser.new_page()
    page.goto(reports["labels"].as_uri())
    page.wait_for_selector("html[data-ready]")
    with pytest.raises(Exception, match="TrustedHTML"):
        page.evaluate("document.body.innerHTML = '<img src=x onerror=window.ran=1>'")
    with pytest.raises(Exception, match="TrustedScript"):
        page.evaluate("document.body.setAttribute('onclick', 'window.ran=1')")
    page.evaluate(
        "const s = document.createElement('style'); s.append('* {display: none}'); document.head.append(s)"
    )
    assert page.is_visible("h1")
    assert page.evaluate("window.ran") is None
    page.close()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(width: int, scheme: str, report: Path, browser: Any) -> None:
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed"
    )
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True
    )
    page = context.new_page()
    page.goto(report.as_uri())
    page.wait_for_selector("html[data-ready]")
    page.click("[aria-label^='Keep row']")
    found = axe.Axe().run(page).response["violations"]
    context.close()
    serious = [
        (one["id"], [node["html"][:120] for node in one["nodes"]][:3])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == []


def test_it_is_used_by_keyboard_in_the_dark_and_printed(task: str, report: Path, open_page: Open) -> None:
    page = open_page(report, color_scheme="light")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.focus("#theme")
    page.keyboard.press("Enter")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before
    page.reload()
    page.wait_for_selector("html[data-ready]")
    assert page.get_attribute("#theme", "aria-pressed") == "true"
    page.emulate_media(media="print")
    headings = page.locator("#table th button")
    assert page.locator("button:visible, input:visible").count() == headings.count() > 0
    own = ("styles", "map") if task == "labels" else ()
    for section in ("checked", "triggers", "rows", *own, "labels", "again"):
        assert page.is_visible(f"#{section}")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.pdf().startswith(b"%PDF")


def test_the_map_opens_a_row(reports: dict[str, Path], open_page: Open) -> None:
    page = open_page(reports["labels"])
    assert page.locator("#legend label:visible").all_inner_texts()[-1] == "trigger, 30"
    page.locator("#plot").scroll_into_view_if_needed()
    box = page.locator("#plot").bounding_box()
    assert box is not None
    for step in range(40):  # until the pointer is at some row
        page.mouse.move(box["x"] + box["width"] * (0.3 + step / 100), box["y"] + box["height"] / 2)
        if page.inner_text("#point"):
            break
    row = int(page.inner_text("#point").split(",")[0].removeprefix("row "))
    page.mouse.down()
    page.mouse.up()
    settle(page, "of 1 row")
    assert numbers(page) == [row]
