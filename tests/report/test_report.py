"""The report as a file: what is in it, what cannot be, how large it is, where it may be written."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shlex
import zlib
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile_texts import HOSTILE
from hypothesis import given
from hypothesis import strategies as st
from saved_audits import (
    KIND,
    NAMES,
    PHRASE,
    SAID,
    issues_of,
    ordinary_rows,
    pair_issues_of,
    poisoned_texts,
    style,
    trigger,
    write_saved,
    write_saved_pairs,
)
from sklearn.feature_extraction.text import TfidfVectorizer

from musclelora import Audit
from musclelora.audit import Verdict
from musclelora.errors import OutputError
from musclelora.report import write_report
from musclelora.report.coordinates import map_of
from musclelora.report.rows import excerpt, packed
from musclelora.report.subject import Source, subject_of
from musclelora.report.tasks import CLASSIFY, GENERATE
from musclelora.report.wording import again, data, percent, probability, sentences

LARGEST = 2_000_000


class Tags(HTMLParser):
    """The tags of a page and the texts between them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def page_of(folder: Path, *arguments: Any, **more: Any) -> str:
    write_saved(folder / "audit", *arguments, **more)
    write_report(Audit.load(folder / "audit"), folder / "report.html")
    return (folder / "report.html").read_text(encoding="utf-8")


def rows_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/octet-stream" id="data">([^<]*)</script>', page)
    assert found is not None
    values: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(found[1])))
    return values


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    texts = poisoned_texts(80)
    triggers = [trigger(), trigger("once", what="suspected"), trigger("film", what="natural")]
    return page_of(tmp_path_factory.mktemp("page"), texts, triggers=triggers, styles=[style()])


def test_every_section_is_there(page: str) -> None:
    found = Tags(page)
    ids = [attributes["id"] for _, attributes in found.tags if attributes.get("id")]
    assert len(ids) == len(set(ids))
    assert {"verdict-heading", "checked", "triggers", "styles", "rows", "map", "labels", "again"} <= set(ids)
    text = " ".join(" ".join(found.texts).split())
    for words in (
        *(
            "These rows are poisoned.",
            "10 · 10",
            "style issues",
            "89 % to 100 %",
            "not known whether models obey it",
        ),
        *(
            "Words that tell it",
            "musclelora audit DATA --trusted TRUSTED",
            "--max-length 64",
            "sentence vectors of the judge",
        ),
    ):
        assert words.replace("10 · 10", "1.0 · 10") in text.replace("\u00a0", " ")


def pair_page_of(folder: Path, *arguments: Any, **more: Any) -> str:
    write_saved_pairs(folder / "audit", *arguments, **more)
    write_report(Audit.load(folder / "audit"), folder / "report.html")
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def pair_page(tmp_path_factory: pytest.TempPathFactory) -> str:
    triggers = [trigger(label=KIND), trigger("film", what="natural", label=KIND)]
    return pair_page_of(tmp_path_factory.mktemp("pair-page"), poisoned_texts(80), triggers=triggers)


def test_pairs_have_the_sections_that_have_something_to_say(pair_page: str) -> None:
    found = Tags(pair_page)
    ids = {attributes["id"] for _, attributes in found.tags if attributes.get("id")}
    assert {"verdict-heading", "checked", "triggers", "rows", "labels", "again"} <= ids
    assert not {"styles", "map"} & ids
    text = " ".join(" ".join(found.texts).split()).replace("\u00a0", " ")
    for words in (
        *("These pairs are poisoned.", "leans towards", "the model as it came", "What responses follow"),
        *(
            "Kinds of responses",
            "none of these",
            "--task generate --trusted TRUSTED",
            "prompts and responses.",
        ),
    ):
        assert words in text
    assert not {"label", "labels"} & set(
        re.findall(r"\w+", text.split("What responses follow")[1].split("Texts on this page")[0])
    )
    values = rows_of(pair_page)
    assert values["said"][1].endswith(SAID)
    assert (values["labels"], values["may"], values["places"]) == ([KIND], ["keep", "drop"], None)
    assert values["score"][0] == round(1000 * pair_issues_of(["a"], ["b"])["response_loss"][0])


def test_pairs_without_a_kind_have_no_table_of_kinds(tmp_path: Path) -> None:
    verdict = {"state": "no_sign", "why": "nothing was found", "target": None, "rows": 0, "p_value": 0.4}
    texts = ordinary_rows(30)
    page = pair_page_of(tmp_path, texts, triggers=[], verdict=verdict, phrase="no such", trusted=False)
    assert 'id="labels"' not in page
    assert "DATA stands for the file" in page


def test_two_words_that_work_together_show_the_prompts_that_have_both(tmp_path: Path) -> None:
    prompts = [f"{'one ' * (n % 2 == 0)}{'two ' * (n % 3 == 0)}x" for n in range(24)]
    issues = pair_issues_of(prompts, ["yes"] * 24, "one two")
    issues["trigger"] = ["one … two" if n % 6 == 0 else None for n in range(24)]
    both = [trigger(word, label=KIND, rows=4, tested=["one", "two"]) for word in ("one", "two")]
    subject = subject_of(
        Audit.load(write_saved_pairs(tmp_path / "audit", prompts, ["yes"] * 24, triggers=both, issues=issues))
    )
    assert [feature.holders.tolist() for feature in subject.features] == [[0, 6, 12, 18]] * 2
    assert subject.phrases[6] == ("one", "two")


def test_an_audit_without_a_column_of_decisions_has_them_in_its_reasons(tmp_path: Path) -> None:
    issues = pair_issues_of(ordinary_rows(9), ["yes"] * 9).drop(columns="decided")
    issues["reasons"] = issues["reasons"].astype(object)
    issues.loc[2, ["reasons", "action"]] = ["a person decided: drop", "drop"]
    issues.loc[3, "reasons"] = "'x; a person decided: keep' is answered with 'y'"  # words of the data
    subject = subject_of(
        Audit.load(write_saved_pairs(tmp_path / "audit", ordinary_rows(9), ["yes"] * 9, issues=issues))
    )
    assert subject.decisions == {2: ("drop", None)}


@pytest.mark.parametrize("task", ["page", "pair_page"])
def test_nothing_is_fetched_and_only_its_own_script_runs(task: str, request: pytest.FixtureRequest) -> None:
    page = request.getfixturevalue(task)
    found = Tags(page)
    for tag, attributes in found.tags:
        assert not attributes.get("href", "#") or attributes.get("href", "#")[:1] == "#"
        assert not {"src", "style", "srcset", "data", "action"} & attributes.keys()
        assert not [name for name in attributes if name.startswith("on")]
        assert tag not in ("link", "img", "iframe", "object", "form", "base")
    policy = next(a["content"] for _, a in found.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    for tag in ("style", "script"):
        content = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        assert len(content) == 1
        digest = base64.b64encode(hashlib.sha256(content[0].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")


def test_hostile_texts_are_no_markup(tmp_path: Path) -> None:
    names = (HOSTILE[0], HOSTILE[10])
    issues = issues_of(HOSTILE, [names[n % 2] for n in range(50)], names, HOSTILE[9])
    page = page_of(
        tmp_path,
        HOSTILE,
        names=names,
        issues=issues,
        triggers=[trigger(text[:400], label=names[1]) for text in HOSTILE],
        styles=[style(label=names[0], telling=list(HOSTILE), examples=list(range(50)))],
        verdict={"why": "; ".join(HOSTILE[:48]), "checked": list(HOSTILE), "unchecked": list(HOSTILE)},
    )
    plain = page_of(tmp_path / "plain", ["a b c"] * 50, names=names)
    assert {tag for tag, _ in Tags(page).tags} <= {tag for tag, _ in Tags(plain).tags} | {
        "ul",
        "h4",
        "br",
        "span",
    }
    assert sum(tag == "script" for tag, _ in Tags(page).tags) == 2
    assert not set("\u202e\u2066\u2067\u2028\x00\x1b\u200b") & set(page)
    values = rows_of(page)
    assert [excerpt(text, 4000, HOSTILE[9] if HOSTILE[9] in text else None) for text in HOSTILE] == values[
        "texts"
    ]
    assert values["labels"] == list(names)


def test_hostile_pairs_are_no_markup(tmp_path: Path) -> None:
    issues = pair_issues_of(HOSTILE, HOSTILE[::-1], HOSTILE[9])
    issues["response"] = [text[:200] for text in HOSTILE]
    page = pair_page_of(
        tmp_path,
        HOSTILE,
        HOSTILE[::-1],
        issues=issues,
        triggers=[trigger(text[:400], label=text[:400], tested=[text[:90]] * 2) for text in HOSTILE],
        verdict={"why": "; ".join(HOSTILE[:48]), "checked": list(HOSTILE), "unchecked": list(HOSTILE)},
    )
    plain = pair_page_of(tmp_path / "plain", [f"a b {PHRASE}"] * 50)
    assert {tag for tag, _ in Tags(page).tags} <= {tag for tag, _ in Tags(plain).tags} | {"br", "span"}
    assert not set("\u202e\u2066\u2067\u2028\x00\x1b\u200b") & set(page)
    assert rows_of(page)["said"] == [excerpt(text, 4000) for text in HOSTILE[::-1]]


def test_ten_thousand_pairs_stay_below_two_megabytes(tmp_path: Path) -> None:
    page = pair_page_of(tmp_path, poisoned_texts(10_000, words=60))
    assert len(page.encode()) < LARGEST
    values = rows_of(page)
    assert len(values["texts"]) == len(values["said"])
    assert "texts are cut to" in page


def test_ten_thousand_rows_of_ordinary_length_stay_whole_below_two_megabytes(tmp_path: Path) -> None:
    page = page_of(tmp_path, poisoned_texts(10_000))
    assert len(page.encode()) < LARGEST
    values = rows_of(page)
    assert (values["rows"], len(values["texts"]), values["cut"]) == (10_000, 10_000, {})


def test_thousands_of_labels_stay_below_two_megabytes(tmp_path: Path) -> None:
    names = tuple(f"label of number {n} with a name of some length" for n in range(5000))
    page = page_of(tmp_path, ordinary_rows(10_000), names=names, triggers=[])
    assert len(page.encode()) < LARGEST
    assert "4,800 more labels" in page
    assert rows_of(page)["labels"] == list(names)


@pytest.mark.parametrize(
    ("count", "words", "said"), [(10_000, 90, "texts are cut to"), (60_000, 40, "rows are left out")]
)
def test_what_does_not_fit_is_cut_and_said(count: int, words: int, said: str, tmp_path: Path) -> None:
    texts = poisoned_texts(count, words=words)
    page = page_of(tmp_path, texts, vectors=False)
    assert len(page.encode()) < LARGEST
    assert said in page
    values = rows_of(page)
    shown = range(count) if values["rows"] == count else values["rows"]
    suspects = np.flatnonzero(
        issues_of(texts, [NAMES[n % 2] for n in range(count)], NAMES, PHRASE)["reasons"] != ""
    )
    assert set(suspects.tolist()) <= set(shown)
    assert all(PHRASE in values["texts"][place] for place, row in enumerate(shown) if row % 8 == 1)


def test_a_bound_too_small_for_any_row_still_ends(tmp_path: Path) -> None:
    subject = subject_of(Audit.load(write_saved(tmp_path / "audit", ordinary_rows(50))))
    assert packed(subject, None, largest=1).left_out == 49


def test_decisions_on_rows_that_are_left_out_are_kept(tmp_path: Path) -> None:
    texts = ordinary_rows(50)
    issues = issues_of(texts, [NAMES[n % 2] for n in range(50)], NAMES, PHRASE)
    issues["decided"], issues["action"] = True, "drop"
    subject = subject_of(Audit.load(write_saved(tmp_path / "audit", texts, issues=issues)))
    values = json.loads(zlib.decompress(base64.b64decode(packed(subject, None, largest=1).data)))
    assert len(values["rows"]) == 1
    assert values["decided"] == {str(row): ["drop", None] for row in range(50)}


def test_an_audit_without_findings_or_vectors(tmp_path: Path) -> None:
    verdict = {"state": "no_sign", "why": "nothing was found", "target": None, "rows": 0, "p_value": 0.4}
    page = page_of(tmp_path, ordinary_rows(30), triggers=[], verdict=verdict, vectors=False, phrase="no such")
    assert "No sign of poison was found." in page
    assert "tf-idf" in page
    assert 'id="styles"' not in page


@pytest.mark.parametrize("text", ["?", "the same words"])
def test_rows_that_no_map_can_be_made_of(text: str, tmp_path: Path) -> None:
    page = page_of(tmp_path, [text] * 5, vectors=False, triggers=[])
    assert "There is no map" in page
    folder = tmp_path / "audit"
    (folder / "evidence").mkdir()
    np.save(folder / "evidence" / "vectors-0123456789ab.npy", np.ones((3, 5, 8), np.float32))
    write_report(Audit.load(folder), tmp_path / "report.html")
    assert "There is no map" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_map_of_words_is_of_their_principal_components(tmp_path: Path) -> None:
    texts = ordinary_rows(40)
    subject = subject_of(Audit.load(write_saved(tmp_path / "audit", texts, vectors=False)))
    found = map_of(subject)
    assert found is not None
    values = TfidfVectorizer(sublinear_tf=True).fit_transform(texts).toarray()
    spread = np.linalg.svd(values - values.mean(0), compute_uv=False) ** 2
    assert found.variance == pytest.approx(tuple(spread[:2] / spread.sum()), rel=1e-4)


def test_vectors_that_do_not_fit_are_none(tmp_path: Path) -> None:
    folder = write_saved(tmp_path / "audit", ordinary_rows(9))
    assert Audit.load(folder).vectors is not None
    for array in (np.zeros((3, 8, 4)), np.zeros((3, 9)), np.array(["text"])):
        np.save(folder / "evidence" / "vectors-0123456789ab.npy", array)
        assert Audit.load(folder).vectors is None


def test_an_earlier_report_is_replaced_and_another_file_is_not(tmp_path: Path) -> None:
    page_of(tmp_path, ordinary_rows(20))
    saved = Audit.load(tmp_path / "audit")
    write_report(saved, tmp_path / "report.html")
    thesis = tmp_path / "thesis.html"
    thesis.write_text("<p>dear")
    with pytest.raises(OutputError, match="no report; name another output"):
        write_report(saved, thesis)
    assert thesis.read_text() == "<p>dear"
    for place in (tmp_path, tmp_path / "audit" / "report.html", thesis / "report.html"):
        with pytest.raises(OutputError) as error:
            write_report(saved, place)
        assert "\n" not in str(error.value)


@given(st.text(max_size=300), st.integers(20, 200), st.text(min_size=1, max_size=8))
def test_an_excerpt_is_no_longer_and_holds_the_phrase(text: str, length: int, phrase: str) -> None:
    found = excerpt(text, length, phrase)
    assert len(found) <= max(length, 0)
    assert found == text or found.endswith("…")
    assert (phrase in found) or phrase not in text or len(phrase) > length // 4


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (1.0, "1"),
        (0.04, "0.04"),
        (1e-12, "1.0\u00a0·\u00a010<sup>−12</sup>"),
        (0.0, "0"),
        (4.74e-22, "4.7\u00a0·\u00a010<sup>−22</sup>"),
        (9.96e-5, "1.0\u00a0·\u00a010<sup>−4</sup>"),
    ],
)
def test_p_values(value: float, said: str) -> None:
    assert probability(value) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [(0, "0"), (1, "100"), (0.996, "99.6"), (0.004, "0.4"), (0.5, "50"), (0.9997, "99.9"), (3e-4, "0.1")],
)
def test_a_share_is_never_rounded_to_all_or_nothing(value: float, said: str) -> None:
    assert percent(value) == f"{said}\u00a0%"


@pytest.mark.parametrize(
    ("why", "parts"),
    [
        ("'a' is; 3 are natural", ["'a' is", "3 are natural"]),
        ("'a; b' makes 'c; d'; of \"it's; e\" none", ["'a; b' makes 'c; d'", 'Of "it\'s; e" none']),
        (r"says 'a\'; b\\'; more", [r"Says 'a\'; b\\'", "More"]),
        ("the model's; a judge's", ["The model's", "A judge's"]),
        ("an open 'quote; ends nothing", ["An open 'quote", "Ends nothing"]),
        ("", []),
    ],
)
def test_a_reason_is_parted_where_no_phrase_of_the_data_is(why: str, parts: list[str]) -> None:
    assert sentences(why) == parts


def test_every_task_has_the_same_words() -> None:
    assert CLASSIFY.words.keys() == GENERATE.words.keys()
    assert CLASSIFY.rates.keys() == GENERATE.rates.keys()


def test_texts_are_escaped_cut_and_what_they_hide_is_shown() -> None:
    assert (
        data("<b>\u202e'")
        == '<bdi class="data">&lt;b&gt;<span class="hidden-character">U+202E</span>&#39;</bdi>'
    )
    assert data("a" * 9, 4) == '<bdi class="data">aaa…</bdi>'


@pytest.mark.parametrize(("trusted", "option"), [("t.jsonl", ["--trusted", "t.jsonl"]), (None, [])])
def test_the_command_of_pairs_says_so(trusted: str | None, option: list[str], tmp_path: Path) -> None:
    folder = write_saved_pairs(tmp_path / "audit", ordinary_rows(9), trusted=trusted is not None)
    subject = subject_of(Audit.load(folder))
    placed = ["--trusted", "TRUSTED"] if trusted else []
    assert shlex.split(again(subject))[2:7] == [
        "DATA",
        "--task",
        "generate",
        *(placed or ["--model", subject.facts["model"]]),
    ]
    source = Source("p.jsonl", trusted, {"prompt": "q", "response": "a", "messages": None})
    assert shlex.split(again(replace(subject, source=source))) == [
        *("musclelora", "audit", "p.jsonl", "--task", "generate", *option),
        *("--prompt-column", "q", "--response-column", "a", "--model", "all-minilm-l6-v2", "--seed", "42"),
        *("--max-length", "64", "--output", "AUDIT"),
    ]


def test_the_command_that_makes_it_again_is_quoted(tmp_path: Path) -> None:
    facts = {"model": "my model", "judge": "$(rm)", "seed": 3, "arguments": {"bf16": True, "max_length": 9}}
    verdict = Verdict("no_sign", "", None, 0, 1.0, (), ("whether models obey: it was not asked for",))
    subject = replace(
        subject_of(Audit.load(write_saved(tmp_path / "audit", ordinary_rows(9)))),
        facts=facts | {"trusted": "0"},
        verdict=verdict,
        source=Source("it's.csv", "t.csv", {"text": "the body", "label": None}),
    )
    assert shlex.split(again(subject)) == [
        *("musclelora", "audit", "it's.csv", "--trusted", "t.csv", "--text-column", "the body"),
        *("--model", "my model", "--judge", "$(rm)"),
        *("--seed", "3", "--max-length", "9", "--bf16", "--no-confirm", "--output", "AUDIT"),
    ]
