"""The report as a person uses it, in a real browser."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hostile_texts import HOSTILE
from saved_audits import NAMES, PHRASE, issues_of, poisoned_texts, style, trigger, write_saved

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


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of rows with a trigger, a natural word and a style, and of a run that was measured."""
    folder = tmp_path_factory.mktemp("reports")
    texts = poisoned_texts(ROWS)
    natural = trigger(texts[0].split()[0], what="natural", label=NAMES[0], p_value=0.2)
    suspected = trigger(texts[2].split()[0], what="suspected")
    write_saved(folder / "audit", texts, triggers=[trigger(), suspected, natural], styles=[style()])
    rate = {"value": 0.12, "low": 0.1, "high": 0.14, "n": 1821, "meaning": "that get the attacker's"}
    rates = [{"name": name, "on": "test.csv", "target": NAMES[1], **rate} for name in ("CACC", "ASR")]
    page = html(subject_of(Audit.load(folder / "audit")), scores=Scores("run", "purify", None, rates))
    (folder / "report.html").write_text(page, encoding="utf-8")
    return folder / "report.html"


def numbers(page: Page) -> list[int]:
    """The row numbers that the table shows."""
    return [int(text.replace(",", "")) for text in page.locator("#table td.at").all_inner_texts()]


def settle(page: Page, count: str) -> None:
    """Wait until the line of counts says that many rows."""
    page.wait_for_function("count => document.getElementById('count').textContent.endsWith(count)", arg=count)


def suspects() -> list[int]:
    issues = issues_of(poisoned_texts(ROWS), [NAMES[n % 2] for n in range(ROWS)], NAMES, PHRASE)
    return issues[issues["reasons"] != ""]["row"].tolist()


def test_search_filter_and_sort(report: Path, open_page: Open) -> None:
    page = open_page(report)
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
    page.select_option("#sort", "label_score")
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


def test_a_trigger_opens_its_rows(report: Path, open_page: Open) -> None:
    page = open_page(report)
    page.click("article:first-of-type .show-rows")
    settle(page, "of 30 rows")
    assert page.inner_text("#chosen span") == f"Rows with {PHRASE}"
    assert set(numbers(page)) <= set(range(1, ROWS, 8))
    assert page.evaluate("document.activeElement.id") == "rows"
    page.click("#chosen button")
    settle(page, f"of {len(suspects())} rows")


def test_decisions_are_downloaded_survive_and_are_read_again(
    report: Path, open_page: Open, tmp_path: Path
) -> None:
    page = open_page(report)
    assert not page.is_visible("#decided")
    page.select_option("#show", "all")
    page.click("#table [data-sort=row]")
    page.click("[aria-label='Keep row 1']")
    page.click("[aria-label='Drop row 2']")
    page.select_option("[aria-label='Relabel row 3']", "0")
    page.click("[aria-label='Drop row 4']")
    page.click("[aria-label='Drop row 4']")  # taken back
    assert page.inner_text("#decisions") == "3 decisions: 1 to keep, 1 to drop, 1 to relabel"
    expected = [Decision(1, "keep"), Decision(2, "drop"), Decision(3, "relabel", NAMES[0])]
    assert read_decisions(downloaded(page, tmp_path / "first.csv"), ROWS, NAMES) == expected
    page.reload()
    page.wait_for_selector("html[data-ready]")
    page.select_option("#show", "decided")
    page.click("#table [data-sort=row]")
    assert numbers(page) == [1, 2, 3]
    assert page.get_attribute("[aria-label='Drop row 2']", "aria-pressed") == "true"
    assert page.input_value("[aria-label='Relabel row 3']") == "0"
    assert read_decisions(downloaded(page, tmp_path / "second.csv"), ROWS, NAMES) == expected
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
    issues.loc[3, ["reasons", "action", "suggested_label"]] = [
        "a person decided: relabel",
        "relabel",
        names[0],
    ]
    issues.loc[5, ["reasons", "action"]] = ["has 'x; a person decided: keep'", "keep"]  # words of the data
    write_saved(tmp_path / "audit", texts, names=names, issues=issues)
    write_report(Audit.load(tmp_path / "audit"), tmp_path / "report.html")
    page = open_page(tmp_path / "report.html")
    page.fill("#query", "#0")
    page.select_option("#show", "all")
    settle(page, "of 1 row")
    page.select_option("[aria-label='Relabel row 0']", "1")
    found = read_decisions(downloaded(page, tmp_path / "decisions.csv"), 20, names)
    assert found == [Decision(0, "relabel", names[1]), Decision(3, "relabel", names[0])]


def test_another_persons_decisions_are_added_to_ones_own(open_page: Open, tmp_path: Path) -> None:
    texts = poisoned_texts(20)
    issues = issues_of(texts, [NAMES[n % 2] for n in range(20)], NAMES, PHRASE)
    issues["reasons"] = issues["reasons"].astype(object)

    def again(**decided: str) -> None:
        """Write the report anew, of an audit that took these decisions, by ``row_NUMBER``."""
        taken = issues.copy()
        for name, action in decided.items():
            said = [f"a person decided: {action}", action]
            taken.loc[int(name.removeprefix("row_")), ["reasons", "action"]] = said
        folder = tmp_path / f"audit-{len(list(tmp_path.iterdir()))}"
        write_saved(folder, texts, issues=taken)
        write_report(Audit.load(folder), tmp_path / "report.html")

    def there() -> dict[int, str]:
        file = downloaded(page, tmp_path / "decisions.csv")
        return {decision.row: decision.action for decision in read_decisions(file, 20, NAMES)}

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
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of rows, labels, triggers, styles and reasons that are hostile."""
    folder = tmp_path_factory.mktemp("hostile")
    texts = [*HOSTILE, *poisoned_texts(14)]
    names = (HOSTILE[0], HOSTILE[10])
    issues = issues_of(texts, [names[n % 2] for n in range(len(texts))], names, HOSTILE[9])
    issues["reasons"] = [f"has {text[:60]!r}" for text in texts]
    write_saved(
        folder / "audit",
        texts,
        names=names,
        issues=issues,
        triggers=[trigger(text[:200], label=names[1], tested=[text[:200]] * 2) for text in HOSTILE[:30]],
        styles=[
            style(
                label=names[0], telling=[text[:50] for text in HOSTILE], examples=list(range(50)), others=[]
            )
        ],
        verdict={
            "why": "; ".join(HOSTILE[:48]),
            "target": names[1],
            "checked": list(HOSTILE),
            "unchecked": list(HOSTILE),
        },
        vectors=False,
    )
    write_report(Audit.load(folder / "audit"), folder / "report.html")
    return folder / "report.html"


@pytest.mark.parametrize("width", [1280, 390])
def test_hostile_texts_are_shown_and_not_run(width: int, hostile: Path, open_page: Open) -> None:
    page = open_page(hostile, width=width)
    page.select_option("#show", "all")
    page.select_option("#sort", "row")
    page.select_option("#size", "100")
    shown = page.locator("#table td.text .shown-text").all_text_contents()
    assert len(shown) == len(HOSTILE) + 14
    for text, found in zip(HOSTILE, shown, strict=False):
        assert found == visible(excerpt(text, 4000, HOSTILE[9]))
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
    assert page.title() == "Audit report: These rows are poisoned."


def test_a_mistake_of_the_page_would_not_run_either(report: Path, browser: Any) -> None:
    page = browser.new_page()
    page.goto(report.as_uri())
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


def test_it_is_used_by_keyboard_in_the_dark_and_printed(report: Path, open_page: Open) -> None:
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
    assert page.locator("button:visible, input:visible").count() <= page.locator("#legend input").count()
    for section in ("checked", "triggers", "styles", "rows", "map", "labels", "again"):
        assert page.is_visible(f"#{section}")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.pdf().startswith(b"%PDF")


def test_the_map_opens_a_row(report: Path, open_page: Open) -> None:
    page = open_page(report)
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
