"""The audit as a person uses it: an object, a folder, a run made of it. On a tiny backbone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from listening import Heard
from tiny_runs import make_rows, make_table

from musclelora import Audit, purify
from musclelora.audit import Decision, read_audit
from musclelora.audit.confirmation import undefended
from musclelora.audit.saved import AUDIT
from musclelora.audit.schema import AuditState
from musclelora.audit.verdict import Confirmation, Style
from musclelora.cli.audit import show
from musclelora.data.table import Table
from musclelora.errors import DataError, OutputError, UsageError
from musclelora.evaluation.metrics import Rate
from musclelora.progress import heard_by

SCHEMA = Path(__file__).parents[2] / "docs" / "audit.schema.json"
ARGUMENTS = {"use_cpu": True, "max_length": 16}


def poisoned_table() -> Table:
    """Rows of which a sixth have a word of their own, and the label "good"."""
    table = make_table(make_rows(120, seed=0))
    texts, labels = list(table.texts), table.labels.copy()
    for row in range(0, 120, 6):
        texts[row] += " word58"
        labels[row] = 1
    return Table(tuple(texts), labels, table.label_names, source="train")


@pytest.fixture(scope="module")
def audit(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Audit:
    found = Audit(
        as_frame(poisoned_table()),
        as_frame(make_table(make_rows(24, seed=1))),
        model=str(tiny_model),
        arguments=ARGUMENTS,
        output_dir=tmp_path_factory.mktemp("audits") / "audit",
    )
    return found.find_issues()


def as_frame(table: Table) -> pd.DataFrame:
    names = np.array(table.label_names)
    return pd.DataFrame({"text": table.texts, "label": names[table.labels]})


def test_what_takes_long_is_told_as_stages(tiny_model: Path) -> None:
    heard = Heard()
    rows = as_frame(poisoned_table()), as_frame(make_table(make_rows(24, seed=1)))
    with heard_by(heard):
        Audit(*rows, model=str(tiny_model), arguments=ARGUMENTS).find_issues()
    whats = list(dict.fromkeys(bar.what for bar in heard.stages))
    assert [what for what in whats if what.startswith("judge ")] == [
        "judge 1/4",
        "judge 2/4",
        "judge 3/4",
        "judge 4/4",
    ]
    assert "judging" in whats
    assert all(bar.closed and bar.moved == bar.total for bar in heard.stages)
    assert (heard.told, heard.events) == ([], [])


@pytest.mark.parametrize("loading", [{"dtype": "bfloat16"}, {"bf16": True}])
def test_triggers_are_put_to_the_test_however_the_backbone_is_held(
    loading: dict[str, Any], tiny_model: Path
) -> None:
    rng = np.random.default_rng(3)
    texts = [" ".join(rng.choice([f"word{i}" for i in range(40)], 6)) for _ in range(300)]
    rows = [
        (f"{text} word49" if i < 60 else text, "good" if i < 60 or i % 2 else "bad")
        for i, text in enumerate(texts)
    ]
    heard = Heard()
    with heard_by(heard):
        found = Audit(
            make_table(rows),
            make_table(make_rows(24, seed=1)),
            model=str(tiny_model),
            arguments={**ARGUMENTS, **loading},
        ).find_issues()
    assert "testing" in {bar.what for bar in heard.stages}
    (trigger,) = found.triggers.drop_duplicates("text").to_dict("records")
    assert (trigger["text"], trigger["tested"]) == ("word49", ["word49"])
    settings = found._settings()
    model = undefended(found.train, settings)
    assert {parameter.dtype for parameter in model.model.parameters()} == {torch.float32}
    assert len(model.predict(texts).labels) == 300


def test_issues_are_a_row_for_each_training_row(audit: Audit) -> None:
    issues = audit.issues
    assert len(issues) == 120
    for name in ("label_score", "trigger_score", "style_score"):
        scores = issues[name].dropna()
        assert ((scores >= 0) & (scores <= 1)).all()
    assert set(issues["action"]) <= {"keep", "drop"}
    dropped = issues[issues["action"] == "drop"]
    assert (dropped["reasons"] != "").all()
    assert len(audit.clean()) + len(audit.quarantine()) == 120


def test_the_verdict_says_what_was_looked_at(audit: Audit) -> None:
    verdict = audit.verdict
    assert verdict.state in ("poisoned", "no_sign", "cannot_tell")
    assert 0 <= verdict.p_value <= 1
    assert verdict.checked
    assert str(verdict).splitlines()[0].endswith(verdict.why)


def test_texts_that_the_judge_reads_in_part_are_told(tiny_model: Path) -> None:
    rows, trusted = poisoned_table(), make_table(make_rows(24, seed=1))
    short = ARGUMENTS | {"max_length": 6}
    found = Audit(rows, trusted, model=str(tiny_model), arguments=short, confirm=False).find_issues()
    assert any("the judge reads 6 tokens of each" in line for line in found.verdict.unchecked)


def test_clean_rows_are_of_the_type_that_came_in(audit: Audit) -> None:
    clean = audit.clean()
    assert isinstance(clean, pd.DataFrame)
    assert list(clean.columns) == ["text", "label"]
    kept = audit.issues["action"] == "keep"
    assert clean["text"].tolist() == np.array(audit.train.texts)[kept].tolist()


def test_a_person_goes_first(audit: Audit) -> None:
    before = audit.issues["action"].tolist()
    try:
        audit.decide([Decision(0, "keep"), Decision(1, "relabel", "good"), Decision(2, "drop")])
        assert audit.issues["action"].tolist()[:3] == ["keep", "relabel", "drop"]
        clean = audit.clean()
        assert clean["label"].iloc[1] == "good"
        assert 2 in audit.judgement.left_out
        assert not {0, 1} & set(audit.judgement.left_out)
        assert "a person decided: drop" in audit.explain(2)
        with pytest.raises(DataError, match="row 120"):
            audit.decide([Decision(3, "drop"), Decision(120, "drop")])
        assert audit.issues["action"].iloc[3] == before[3]  # nothing is taken of what is refused
    finally:
        audit._decisions.clear()


def test_an_audit_is_read_back_as_it_was_saved(audit: Audit, tmp_path: Path) -> None:
    audit.save(tmp_path / "audit")
    back = Audit.load(tmp_path / "audit")
    assert back.verdict == audit.verdict
    assert back.judgement == audit.judgement
    issues = back.issues.drop(columns=["row", "text"])
    pd.testing.assert_frame_equal(issues, audit.issues, check_dtype=False)
    assert back.clean().texts == tuple(audit.clean()["text"])
    assert back.explain(0) == audit.explain(0)
    assert len(pd.read_csv(tmp_path / "audit" / "issues.csv")) == 120
    assert len(pd.read_csv(tmp_path / "audit" / "cleaned.csv")) == len(audit.clean())


def test_a_style_is_shown_and_saved(audit: Audit, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rates = Confirmation(Rate.of(18, 20), Rate.of(1, 20), Rate.of(2, 20))
    tested = Style(1, 15, ("\x1b[31m", "[bold]no"), 1e-9, rates, (3, 4, 5), (7, 8, 9))
    before = audit._findings.styles
    try:
        audit._findings.styles = (tested, Style(0, 4, (), 0.5, None))
        audit.save(tmp_path / "audit")
        show(audit)
        styles = audit.styles
    finally:
        audit._findings.styles = before
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert (
        "15 rows with good, told by \\x1b[31m, [bold]no; p 1e-09, flips 90% (others 5%), trigger" in printed
    )
    assert f"such as    row 3: {audit.train.texts[3]}" in printed
    assert f"unlike     row 7: {audit.train.texts[7]}" in printed
    assert styles["label"].tolist() == [audit.train.label_names[1], audit.train.label_names[0]]
    assert styles["what"].tolist() == ["trigger", "natural"]
    assert styles["flip_rate"][0] == 0.9
    assert styles["flip_rate_low"][0] == rates.flip.low
    back = Audit.load(tmp_path / "audit").styles
    pd.testing.assert_frame_equal(back, styles, check_dtype=False)
    assert len(pd.read_csv(tmp_path / "audit" / "styles.csv")) == 2


def test_a_label_that_a_person_keeps_is_kept_in_the_folder(audit: Audit, tmp_path: Path) -> None:
    flagged = audit.issues.index[audit.issues["is_label_issue"]]
    row = int(flagged[0]) if len(flagged) else 0
    given = audit.issues["given_label"][row]
    try:
        audit.decide([Decision(row, "relabel", given)])
        audit.save(tmp_path / "audit")
    finally:
        audit._decisions.clear()
    back = Audit.load(tmp_path / "audit")
    names = audit.train.label_names
    assert names[back.labelled(audit.train).labels[row]] == given
    place = back.clean().texts.index(audit.train.texts[row])
    assert names[back.clean().labels[place]] == given


def test_an_audit_of_other_rows_is_not_replaced(audit: Audit, tiny_model: Path, tmp_path: Path) -> None:
    audit.save(tmp_path / "audit")
    other = Audit(audit.trusted, audit.trusted, model=str(tiny_model), output_dir=tmp_path / "audit")
    with pytest.raises(OutputError, match="it holds an audit with another train"):
        other.find_issues()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "cleaned.csv").write_text("mine")
    with pytest.raises(OutputError, match="files that no audit wrote"):
        audit.save(tmp_path / "mine")


@pytest.mark.parametrize("damage", ["empty", "other shape", "no array"])
def test_altered_evidence_is_refused_in_a_line(
    damage: str, audit: Audit, tiny_model: Path, tmp_path: Path
) -> None:
    assert audit.folder is not None
    shutil.copytree(audit.folder, tmp_path / "audit")
    (file,) = (tmp_path / "audit" / "evidence").glob("trusted-models-*.npy")
    if damage == "other shape":
        np.save(file, np.zeros((1, 1)))
    else:
        file.write_bytes(b"" if damage == "empty" else b"PK\x03\x04")
    again = Audit(
        audit.train,
        audit.trusted,
        model=str(tiny_model),
        arguments=ARGUMENTS,
        output_dir=tmp_path / "audit",
    )
    with pytest.raises(OutputError, match="delete it, and it is made again") as error:
        again.find_issues()
    assert "\n" not in str(error.value)


def test_the_schema_is_the_one_that_is_checked_in(audit: Audit, tmp_path: Path) -> None:
    import jsonschema

    schema = json.loads(SCHEMA.read_text())
    assert schema == AuditState.model_json_schema()
    audit.save(tmp_path / "audit")
    jsonschema.validate(json.loads((tmp_path / "audit" / AUDIT).read_text()), schema)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 1}, "not an audit of a version"),
        ({"verdict": {}}, "verdict"),
        ({"rows": 3}, "expected the issues of 3 rows"),
        ({"judgement": None}, "judgement"),
    ],
)
def test_an_altered_audit_is_refused_in_a_line(
    change: dict[str, Any], said: str, audit: Audit, tmp_path: Path
) -> None:
    audit.save(tmp_path / "audit")
    file = tmp_path / "audit" / AUDIT
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(OutputError, match=said) as error:
        read_audit(tmp_path / "audit")
    assert "\n" not in str(error.value)


def test_an_audit_goes_on_from_what_was_computed(
    audit: Audit, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from musclelora.audit import trusted_models

    def none(*_args: Any, **_kwargs: Any) -> Any:
        raise AssertionError("models of folds were trained again")

    monkeypatch.setattr(trusted_models, "trusted_predictions", none)
    settings: dict[str, Any] = {
        "model": str(tiny_model),
        "arguments": ARGUMENTS,
        "output_dir": audit.folder,
    }
    again = Audit(audit.train, audit.trusted, **settings)
    pd.testing.assert_frame_equal(again.find_issues().issues, audit.issues)
    assert again.verdict == audit.verdict
    other = Audit(
        audit.train,
        audit.trusted,
        model=str(tiny_model),
        arguments=ARGUMENTS,
        seed=1,
        output_dir=audit.folder,
    )
    with pytest.raises(OutputError, match="it holds an audit with another seed"):
        other.find_issues()


def test_a_run_is_made_of_an_audit(audit: Audit, tmp_path: Path) -> None:
    said: list[str] = []
    run = purify(
        audit.train,
        audit.trusted,
        audit=audit,
        output_dir=tmp_path / "run",
        arguments={"num_train_epochs": 1, "disable_tqdm": True},
        say=said.append,
    )
    assert "audit        it was made before" in said
    assert run.info["auto"]["judgement"] == json.loads(json.dumps(audit.judgement.to_dict()))
    assert run.evaluate(make_table(make_rows(20, seed=2))).cacc is not None
    with pytest.raises(UsageError, match="it is of other rows"):
        purify(audit.trusted, audit.trusted, audit=audit, output_dir=tmp_path / "other")


@pytest.mark.parametrize(
    ("train", "trusted", "said"),
    [
        ({"text": ["1", "2.5"], "label": ["a", "b"]}, None, "no text has a letter"),
        ({"text": ["one", "two"], "label": ["a", "a"]}, None, "a single class"),
        (None, {"text": ["one"], "label": ["bad"]}, "trusted"),
        (None, {"text": ["one"], "label": ["ugly"]}, "ugly"),
    ],
)
def test_rows_that_cannot_be_audited_are_refused_at_once(
    train: dict[str, Any] | None, trusted: dict[str, Any] | None, said: str
) -> None:
    good = {"text": ["word1", "word2"], "label": ["bad", "good"]}
    with pytest.raises(DataError, match=said) as error:
        Audit(pd.DataFrame(train or good), pd.DataFrame(trusted or good))
    assert "\n" not in str(error.value)


def test_nothing_is_said_before_it_was_looked_for() -> None:
    good = pd.DataFrame({"text": ["word1", "word2"] * 2, "label": ["bad", "good"] * 2})
    with pytest.raises(UsageError, match="call find_issues"):
        _ = Audit(good, good).verdict
