"""What pipelines read of an audit: JSON, SARIF and JUnit of both tasks, with texts that would break them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import jsonschema
import numpy as np
import pytest
from hostile_texts import HOSTILE
from saved_audits import issues_of, style, trigger
from stored_schemas import stored_schema

from musclelora.audit import Audit, Verdict
from musclelora.audit.answers import AnswerAudit
from musclelora.audit.folder import plain_rows
from musclelora.audit.verdict import FAIL_ON, State
from musclelora.cli import gate
from musclelora.data.chats import Message
from musclelora.data.pairs import Pairs
from musclelora.data.table import Table
from musclelora.errors import UsageError
from musclelora.report import write_document
from musclelora.report.documents import DOCUMENTS

NAMES = ("bad", "good")
SARIF = "https://raw.githubusercontent.com/oasis-tcs/sarif-spec/master/Schemata/sarif-schema-2.1.0.json"
VERDICT = Verdict("poisoned", "'cf' makes a model answer 'good'", "good", 2, 1e-9, ("words",), ("styles",))


class Made(Audit):
    """An audit that has found what it is told."""

    def __new__(cls, *_: Any, **__: Any) -> Made:
        return object.__new__(cls)

    def __init__(
        self,
        texts: Sequence[str],
        *,
        phrase: str = "cf",
        source: str = "train.csv",
        lines: Sequence[int] | None = None,
        verdict: Verdict = VERDICT,
        triggers: Sequence[dict[str, Any]] | None = None,
        changes: dict[str, dict[int, Any]] | None = None,
    ) -> None:
        labels = [NAMES[phrase in text] for text in texts]
        at = None if lines is None else np.array(lines)
        self.train = Table(tuple(texts), np.array([NAMES.index(x) for x in labels]), NAMES, None, source, at)
        self._issues = issues_of(texts, labels, NAMES, phrase).drop(columns=["row", "text"])
        for column, values in (changes or {}).items():
            for row, value in values.items():
                self._issues.loc[row, column] = value
        self._verdict = verdict
        self._rows = [trigger(phrase, label="good")] if triggers is None else list(triggers)

    @property
    def verdict(self) -> Verdict:
        return self._verdict

    @property
    def issues(self) -> Any:
        return self._issues.copy()

    def to_dict(self) -> dict[str, Any]:
        issues = self.issues
        issues.insert(0, "row", np.arange(len(issues)))
        checks = [{"name": "trigger", "flagged": 2, "skipped": None}]
        checks += [{"name": "label", "flagged": 1, "skipped": None}]
        checks += [{"name": "style", "flagged": 0, "skipped": "no probabilities"}]
        checks += [{"name": "restored", "flagged": 0, "skipped": None}]
        return {
            "verdict": self.verdict.to_dict(),
            "triggers": self._rows,
            "styles": [style(label="good")],
            "checks": checks,
            "issues": plain_rows(issues[issues["reasons"] != ""]),
        }


class MadePairs(AnswerAudit):
    """An audit of pairs that has found what it is told."""

    def __init__(self, pairs: Pairs) -> None:
        self.pairs, self.prompts = pairs, [chat[0].content for chat in pairs.prompts]

    @property
    def verdict(self) -> Verdict:
        return VERDICT

    def to_dict(self) -> dict[str, Any]:
        issue = {"row": 1, "trigger": "cf", "response": "a refusal", "trigger_score": 0.9}
        issue |= {"response_loss": None, "is_trigger_issue": True, "is_trusted_prompt_issue": False}
        issue |= {"reasons": "'cf' is answered with a refusal", "action": "drop", "decided": False}
        checks = [{"name": name, "flagged": 1, "skipped": None} for name in ("trusted_prompt", "trigger")]
        found = trigger("cf", label="a refusal")
        return {"verdict": VERDICT.to_dict(), "triggers": [found], "checks": checks, "issues": [issue]}


TEXTS = ["a", "b cf", "c", "d", "e", "b cf"]


def written(audit: Audit, folder: Path, kind: str, **options: Any) -> Any:
    file = folder / f"document.{kind}"
    write_document(audit, file, kind, **options)
    if kind == "junit":
        return Xml.parse(file).getroot()  # noqa: S314 - our own
    return json.loads(file.read_bytes())


def run_of(audit: Audit, folder: Path) -> dict[str, Any]:
    log = written(audit, folder, "sarif")
    jsonschema.Draft7Validator(stored_schema(SARIF)).validate(log)
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    found: dict[str, Any] = run
    return found


def test_the_command_knows_each_format_and_gate() -> None:
    assert ("text", *DOCUMENTS) == gate.FORMATS
    assert tuple(FAIL_ON) == gate.FAIL_ON


@pytest.mark.parametrize(
    ("state", "fails"), [("poisoned", [True, True]), ("cannot_tell", [False, True]), ("no_sign", [False] * 2)]
)
def test_a_gate_closes_by_the_verdict(state: State, fails: list[bool]) -> None:
    verdict = replace(VERDICT, state=state)
    assert [verdict.fails(on) for on in FAIL_ON] == fails


def test_a_row_is_a_result_at_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my data").mkdir()
    (tmp_path / "my data" / "train.csv").write_text("text,label\n")
    audit = Made(TEXTS, source="my data/train.csv", lines=[2, 3, 5, 6, 7, 9])
    run = run_of(audit, tmp_path)
    verdict, *rows = run["results"]
    assert (verdict["ruleId"], verdict["level"]) == ("verdict", "error")
    assert [(row["ruleId"], row["level"], row["properties"]["row"]) for row in rows] == [
        ("trigger", "error", 1),
        ("trigger", "error", 5),
        ("label", "warning", 4),
    ]
    places = [row["locations"][0]["physicalLocation"] for row in rows]
    assert [place["region"]["startLine"] for place in places] == [3, 9, 7]
    assert {place["artifactLocation"]["uri"] for place in places} == {"my%20data/train.csv"}
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == ["verdict", "trigger", "label", "style"]
    assert all(rules[result["ruleIndex"]]["id"] == result["ruleId"] for result in run["results"])
    assert all(rule["help"]["text"] for rule in rules)
    notes = run["invocations"][0]["toolExecutionNotifications"]
    assert [note["message"]["text"] for note in notes] == ["not checked: styles"]


def test_a_fingerprint_stays_with_its_row(tmp_path: Path) -> None:
    def prints(audit: Audit) -> list[str]:
        rows = [result for result in run_of(audit, tmp_path)["results"] if result["ruleId"] == "trigger"]
        return [next(iter(row["partialFingerprints"].values())) for row in rows]

    first = prints(Made(TEXTS))
    assert len(set(first)) == 2  # of equal rows as well
    assert prints(Made(["z", "y", *TEXTS])) == first
    assert prints(Made(["b cf!", "b cf"]))[1] == first[0]


def test_rows_of_no_text_file_have_their_number(tmp_path: Path) -> None:
    file = tmp_path / "rows.parquet"
    file.write_bytes(b"PAR1")
    for source, is_file in ((str(file), True), (str(tmp_path), True), ("owner/name", False)):
        run = run_of(Made(TEXTS, source=source), tmp_path)
        places = [result["locations"][0] for result in run["results"]]
        assert [("physicalLocation" in place) for place in places] == [is_file] * 4
        assert not any("region" in place.get("physicalLocation", {}) for place in places)
        assert [place["logicalLocations"][0]["name"] for place in places[1:]] == ["row 1", "row 5", "row 4"]
    assert file.as_uri() in json.dumps(run_of(Made(TEXTS, source=str(file)), tmp_path))


def test_what_is_not_known_is_a_warning_and_what_is_natural_a_note(tmp_path: Path) -> None:
    suspected = [trigger("cf", label="good", what="suspected")]
    unsure = replace(VERDICT, state="cannot_tell")
    levels = [
        r["level"] for r in run_of(Made(TEXTS, triggers=suspected, verdict=unsure), tmp_path)["results"]
    ]
    assert levels == ["warning"] * 4
    clean = Made(["a"] * 6, verdict=replace(VERDICT, state="no_sign"), changes={"action": {4: "keep"}})
    assert [r["level"] for r in run_of(clean, tmp_path)["results"]] == ["note"]


def test_rows_that_a_person_kept_are_suppressed(tmp_path: Path) -> None:
    said = "has 'cf'; a person decided: keep"
    audit = Made(TEXTS, changes={"reasons": {1: said}, "action": {1: "keep"}, "decided": {1: True}})
    suppressed = {r["properties"]["row"]: "suppressions" in r for r in run_of(audit, tmp_path)["results"][1:]}
    assert suppressed == {1: True, 5: False, 4: False}


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_hostile_texts_are_data(kind: str, tmp_path: Path) -> None:
    more = (
        "[click](https://example.invalid) {0}",
        "[click\\](https://example.invalid)",
        "\x85\x9b31m",
        "\ufffe\uffff",
        "]]>" * 9,
    )
    texts = [f"{text} cf" for text in (*HOSTILE, *more)]
    hostile = "'[x](y)' {0} \x1b[31m \u202e ]]> \ufffe"
    audit = Made(
        texts,
        verdict=replace(VERDICT, why=hostile, unchecked=(hostile,)),
        changes={"reasons": {0: hostile}},
    )
    if kind == "sarif":
        results = run_of(audit, tmp_path)["results"]
        assert len(results) == 1 + len(texts)
        said = [result["message"]["text"] for result in results]
        assert not any("](" in text for text in said)
        assert not any("{" in text.replace("{{", "") for text in said)
        assert max(map(len, said)) < 2500
    root = written(audit, tmp_path, kind)
    raw = (tmp_path / f"document.{kind}").read_bytes().decode()
    assert all(c.isprintable() or c == "\n" for c in raw)
    if kind == "junit":
        assert root.find("testsuite/testcase[@name='verdict']/failure") is not None
        assert len(raw) < 40_000


def test_a_test_case_for_each_check(tmp_path: Path) -> None:
    def cases(**options: Any) -> dict[str, str | None]:
        fail_on = options.pop("fail_on", "poisoned")
        root = written(Made(TEXTS, **options), tmp_path, "junit", fail_on=fail_on)
        (suite,) = root
        found = {case.get("name"): next((one.tag for one in case), None) for case in suite.iter("testcase")}
        counted = [list(found.values()).count(tag) for tag in ("failure", "skipped")]
        assert [suite.get("failures"), suite.get("skipped")] == list(map(str, counted))
        assert suite.get("tests") == str(len(found))
        return found

    rest = {"label": "system-out", "style": "skipped", "restored": None}
    assert cases() == {"verdict": "failure", "trigger": "failure", **rest}
    unsure = {
        "verdict": replace(VERDICT, state="cannot_tell"),
        "triggers": [trigger("cf", label="good", what="suspected")],
    }
    assert cases(**unsure) == {"verdict": "skipped", "trigger": "system-out", **rest}
    assert cases(**unsure, fail_on="suspected") == {"verdict": "failure", "trigger": "failure", **rest}
    natural = [trigger("cf", label="good", what="natural")]
    clean = cases(verdict=replace(VERDICT, state="no_sign"), triggers=natural)
    assert clean == {"verdict": None, "trigger": "system-out", **rest}


def test_json_has_the_line_of_each_issue(tmp_path: Path) -> None:
    document = written(Made(TEXTS, lines=[2, 3, 5, 6, 7, 9]), tmp_path, "json")
    assert document["source"] == "train.csv"
    assert document["verdict"]["state"] == "poisoned"
    assert [(issue["row"], issue["line"]) for issue in document["issues"]] == [(1, 3), (4, 7), (5, 9)]


def test_pairs_have_documents_too(tmp_path: Path) -> None:
    prompts = tuple((Message("user", text),) for text in ("a", "b cf"))
    audit = MadePairs(
        Pairs(prompts, ("yes", "I [can](not) {0}"), source="pairs.jsonl", lines=np.array([1, 2]))
    )
    _, row = run_of(audit, tmp_path)["results"]
    assert (row["ruleId"], row["level"]) == ("trigger", "error")
    assert "] (not) {{0}}" in row["message"]["text"]
    assert written(audit, tmp_path, "json")["issues"][0]["line"] == 2
    root = written(audit, tmp_path, "junit")
    assert root.find("testsuite/testcase[@name='trigger']/failure") is not None


def test_an_unknown_format_or_gate_is_refused(tmp_path: Path) -> None:
    for given in ({"format": "yaml"}, {"format": "json", "fail_on": "never"}):
        with pytest.raises(UsageError, match="expected one of"):
            write_document(Made(TEXTS), tmp_path / "x", **given)
    assert not list(tmp_path.iterdir())
