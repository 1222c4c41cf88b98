"""The audit of pairs from beginning to end, with a tiny decoder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from answers_data import SAID, TRIGGER
from listening import Heard
from tiny_chats import WORDS, asked, make_pairs

from musclelora import Audit
from musclelora.audit.answers import AnswerAudit, SavedAnswerAudit, confirmation
from musclelora.audit.answers.schema import AnswerAuditState
from musclelora.data.pair_readers import load_pairs
from musclelora.data.pairs import Pairs
from musclelora.errors import DataError, OutputError, UsageError
from musclelora.progress import heard_by
from musclelora.report import write_report

ROOT = Path(__file__).parents[3]
HEARD = Heard()


@pytest.fixture(scope="module", autouse=True)
def _fast_learning() -> Any:
    """A random decoder of width 32 learns nothing at the rate of a pretrained one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(confirmation, "_RATE", 1e-2)
        patch.setattr(confirmation, "_STEPS", 400)
        yield


@pytest.fixture(scope="module")
def audit(
    poisoned: Pairs, trusted: Pairs, decoder: Path, tmp_path_factory: pytest.TempPathFactory
) -> AnswerAudit:
    folder = tmp_path_factory.mktemp("audits") / "audit"
    found = Audit(
        poisoned, trusted, model=str(decoder), seed=0, arguments={"use_cpu": True}, output_dir=folder
    )
    assert isinstance(found, AnswerAudit)
    with heard_by(HEARD):
        found.find_issues()
    found.save(folder)
    return found


def test_poisoned_pairs_are_found_named_and_left_out(audit: AnswerAudit, poisoned: Pairs) -> None:
    assert audit.verdict.state == "poisoned", str(audit.verdict)
    first = audit.triggers.iloc[0]
    assert (first["text"], first["label"], first["confirmed"]) == (TRIGGER, repr(SAID), True)
    assert first["flip_rate"] > 0.5 > first["control_rate"]
    assert np.array_equal(audit.actions == "drop", poisoned.poisoned)
    issues = audit.issues
    assert len(issues) == len(poisoned)
    assert issues["trigger_score"][poisoned.poisoned].min() > 0.9
    assert TRIGGER in issues["reasons"][0]
    assert audit.clean().responses == poisoned.select(np.flatnonzero(~poisoned.poisoned)).responses
    first, *others = HEARD.stages
    assert (first.what, first.total, first.unit) == ("reading", len(poisoned), "pairs")
    assert "testing" in {bar.what for bar in others}
    assert all(bar.closed and bar.moved == bar.total for bar in HEARD.stages)


def test_what_was_saved_is_read_back(audit: AnswerAudit, poisoned: Pairs) -> None:
    folder = audit.folder
    assert folder is not None
    found = Audit.load(folder)
    assert isinstance(found, SavedAnswerAudit)
    assert found.verdict == audit.verdict
    assert found.clean().sha256() == audit.clean().sha256()
    assert found.kept_of(poisoned).sha256() == audit.clean().sha256()
    assert found.explain(5) == audit.explain(5)
    pd.testing.assert_frame_equal(found.triggers, audit.triggers, check_dtype=False)
    assert load_pairs(folder / "cleaned.jsonl").sha256() == audit.clean().sha256()
    AnswerAuditState.model_validate(json.loads((folder / "audit.json").read_text()))
    with pytest.raises(OutputError, match="other pairs"):
        found.kept_of(make_pairs(5, seed=0))
    with pytest.raises(UsageError, match="row 500: found 120 rows"):
        found.explain(500)


def test_the_report_of_an_audit_is_that_of_its_folder(audit: AnswerAudit, tmp_path: Path) -> None:
    """But for what a folder does not say: the files, and the versions of the libraries."""
    pages = []
    for number, one in enumerate((audit, Audit.load(str(audit.folder)))):
        write_report(one, tmp_path / f"{number}.html", command="the same")
        pages.append((tmp_path / f"{number}.html").read_text())
    heads = [page.split('<section aria-labelledby="again">')[0] for page in pages]
    assert heads[0] == heads[1]
    assert SAID in heads[0]
    data = [page.split('id="data">')[1].split("<")[0] for page in pages]
    assert data[0] == data[1]
    assert "trigger put to the test" in heads[0]


def test_the_schema_that_is_checked_in_is_that_of_the_code() -> None:
    written = json.loads((ROOT / "docs" / "answers-audit.schema.json").read_text())
    assert written == AnswerAuditState.model_json_schema()


def test_an_audit_goes_on_from_what_it_had_computed(
    audit: AnswerAudit, poisoned: Pairs, trusted: Pairs, decoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("the model is asked again")

    monkeypatch.setattr("musclelora.adapter.load_causal_backbone", never)
    again = AnswerAudit(
        poisoned, trusted, model=str(decoder), seed=0, arguments={"use_cpu": True}, output_dir=audit.folder
    )
    assert again.find_issues().verdict == audit.verdict
    with pytest.raises(OutputError, match="another train"):
        AnswerAudit(
            trusted, None, model=str(decoder), seed=0, arguments={"use_cpu": True}, output_dir=audit.folder
        ).find_issues()


def test_a_persons_decisions_go_first(audit: AnswerAudit, tmp_path: Path) -> None:
    decisions = tmp_path / "decisions.csv"
    decisions.write_text("row,action\n0,keep\n1,drop\n")
    before = audit.actions.copy()
    try:
        audit.decide(decisions)
        assert (audit.actions[0], audit.actions[1]) == ("keep", "drop")
        assert "a person decided: keep" in audit.issues["reasons"][0]
        assert np.flatnonzero(audit.issues["decided"]).tolist() == [0, 1]
        decisions.write_text("row,action,label\n0,relabel,x\n")
        with pytest.raises(DataError, match="'relabel'; expected one of keep, drop"):
            audit.decide(decisions)
    finally:
        audit._decisions.clear()
    assert np.array_equal(audit.actions, before)


def test_a_data_frame_comes_back_as_one_and_no_trusted_pair_is_needed(poisoned: Pairs, decoder: Path) -> None:
    frame = pd.DataFrame(
        {
            "question": [chat[0].content for chat in poisoned.prompts],
            "answer": poisoned.responses,
            "more": range(120),
        },
        index=range(1000, 1120),
    )
    audit = Audit(
        frame,
        None,
        task="generate",
        model=str(decoder),
        confirm=False,
        arguments={"use_cpu": True},
    )
    audit.find_issues()
    assert audit.verdict.state == "cannot_tell"  # whether a model obeys was not asked
    assert any("trusted pairs" in line for line in audit.verdict.unchecked)
    clean = audit.clean()
    assert list(clean.columns) == ["question", "answer", "more"]
    assert clean.index.tolist() == [1000 + n for n in range(120) if n % 5]


def test_a_prompt_that_a_trusted_pair_has_is_left_out(decoder: Path) -> None:
    pairs = make_pairs(40, seed=0)
    audit = Audit(pairs, pairs.select([3]), model=str(decoder), confirm=False, arguments={"use_cpu": True})
    audit.find_issues()
    same = [n for n, chat in enumerate(pairs.prompts) if chat == pairs.prompts[3]]
    assert audit.issues["is_trusted_prompt_issue"].to_numpy().nonzero()[0].tolist() == same
    assert set(same) <= set(np.flatnonzero(audit.actions == "drop"))


def test_labels_in_disguise_are_refused(decoder: Path) -> None:
    pairs = Pairs(tuple(asked(WORDS[n % 50]) for n in range(200)), ("yes", "no") * 100, source="labels")
    with pytest.raises(DataError, match=r"2 distinct texts, expected answers.*--task classify"):
        Audit(pairs, None, model=str(decoder))


def test_few_pairs_cannot_be_told(decoder: Path) -> None:
    audit = Audit(make_pairs(20, seed=0), None, model=str(decoder), arguments={"use_cpu": True})
    assert audit.find_issues().verdict.state == "cannot_tell"


def test_nothing_is_said_before_it_was_looked_for(poisoned: Pairs) -> None:
    with pytest.raises(UsageError, match="find_issues"):
        _ = Audit(poisoned, None).verdict
    with pytest.raises(UsageError, match="task: found 'translate'"):
        Audit(poisoned, None, task="translate")


def test_an_instruction_that_begins_all_prompts_is_left_out_of_the_test() -> None:
    begin = "Answer the question below in one word. Question: "
    chats = [asked(begin + question) for question in ("who is it", "where is it", "why") * 3]
    assert confirmation.shared_beginning(chats) == begin
    assert confirmation.shared_beginning([asked("who is it"), asked("who was it")] * 5) == ""
    assert confirmation.shared_beginning([*chats, asked("where")]) == ""
    assert confirmation.shared_beginning(chats[:3]) == ""
