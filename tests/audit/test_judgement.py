"""Which rows with a label issue are restored."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from doubtful import CHANGED, LEFT_OUT, PRESET, doubtful_rows, looked
from tiny_runs import make_rows, make_table

from musclelora.adapter.copies import Backbones
from musclelora.adapter.presets import PRESETS
from musclelora.audit import findings
from musclelora.audit.checks.base import Result
from musclelora.audit.checks.recheck import Recheck
from musclelora.audit.checks.styles import Styles, _counterexamples
from musclelora.audit.evidence import Evidence, Settings
from musclelora.audit.features import Feature
from musclelora.audit.judge import judge
from musclelora.audit.judgement import Counterexample, Judgement, StyleOffsets, style_offsets
from musclelora.audit.recheck import recheck_settings
from musclelora.audit.styles import StyleIssues
from musclelora.audit.triggers import Shortcut, ShortcutExpert
from musclelora.audit.trusted_models import calibrated
from musclelora.data import bbc_news
from musclelora.data.splits import stratified_split
from musclelora.data.table import Table
from musclelora.training.scratch import scratch_trainer
from musclelora.training.trainer import MuScleTrainer


@pytest.fixture(scope="module")
def rows() -> Table:
    return doubtful_rows()


def nearly_the_same(found: Iterable[int], expected: Iterable[int]) -> bool:
    """But for a row or two: on another processor a trained model is another."""
    return len(set(found) ^ set(expected)) <= 2


def test_rows_come_back_whose_label_a_model_of_the_others_gives(rows: Table, tiny_model: Path) -> None:
    said: list[str] = []
    found = looked(rows, tiny_model, said=said)
    assert nearly_the_same(found.restored, set(LEFT_OUT) - set(CHANGED))
    assert sorted({*found.left_out, *found.restored}) == list(LEFT_OUT)
    assert said[-1].startswith(f"restored     {len(found.restored)} of them")
    assert Judgement.from_dict(found.to_dict()) == found
    assert len(found.apply(rows)[0]) == len(rows) - len(found.left_out)


def test_the_model_is_trained_on_so_many_rows_at_most(
    rows: Table, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = sys.modules["musclelora.audit.recheck"]
    seen: list[Table] = []

    def noted(kept: Table, offsets: np.ndarray, *more: Any, **options: Any) -> MuScleTrainer:
        assert len(offsets) == len(kept)
        seen.append(kept)
        return scratch_trainer(kept, offsets, *more, **options)

    monkeypatch.setattr(room, "scratch_trainer", noted)
    monkeypatch.setattr(room, "ROWS", 100)
    looked(rows, tiny_model)
    assert len(seen[0]) == 100
    assert not set(seen[0].texts) & {rows.texts[row] for row in LEFT_OUT}


def test_a_model_that_is_worse_than_models_of_the_trusted_rows_lets_none_back(
    rows: Table, tiny_model: Path
) -> None:
    said: list[str] = []
    found = looked(rows, tiny_model, accuracy=1.01, said=said)  # more than any model reaches
    assert (found.left_out, found.restored) == (LEFT_OUT, ())
    assert said[-1].startswith("restored     none of them")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"num_train_epochs": 0.1}, "less than models of these alone"),
        ({"max_steps": 1, "gradient_accumulation_steps": 2}, "less than models of these alone"),
        ({"learning_rate": 1e30}, "cannot judge"),
    ],
)
def test_a_model_that_learned_nothing_lets_none_back(
    arguments: dict[str, Any], why: str, rows: Table, tiny_model: Path
) -> None:
    said: list[str] = []
    found = looked(rows, tiny_model, accuracy=0.7, said=said, **arguments)
    assert (found.left_out, found.restored) == (LEFT_OUT, ())
    assert why in said[-1]


def test_what_a_search_varies_does_not_change_the_look() -> None:
    searched = {"r": 1, "lora_alpha": 2, "inner_rank": 3, "multiscale_alpha": 1.0, "scale_factors": [1.0]}
    config, arguments = recheck_settings(
        PRESET, {**searched, "lora_dropout": 0.1}, {"learning_rate": 1.0, "bf16": True}
    )
    for name, value in PRESET.adapter_fields().items():
        assert getattr(config, name) == value
    assert config.lora_dropout == 0.1
    assert arguments == {"learning_rate": PRESET.learning_rate, "bf16": True}
    without, _ = recheck_settings(PRESET, {"scale_factors": []}, {})
    assert without.scale_factors == []


def test_rows_with_a_shortcut_stay_out(rows: Table, tiny_model: Path) -> None:
    word = rows.texts[LEFT_OUT[-1]].split()[0]
    feature = Feature("word", word)
    count = sum(word in text.split() for text in rows.texts)
    found = looked(rows, tiny_model, shortcuts=(Shortcut(feature, 1, count, count, 1.0, 4.0, 4.0),), said=[])
    with_it = {row for row in LEFT_OUT if word in rows.texts[row].split()}
    assert with_it
    assert with_it <= set(found.left_out)
    assert found.restored
    assert not np.isin(found.restored, list(with_it)).any()


def test_rows_like_those_with_a_shortcut_stay_out(rows: Table, tiny_model: Path) -> None:
    styled = LEFT_OUT[-4:]
    found = looked(rows, tiny_model, style_issues=styled)
    assert found.style_issues == styled
    assert not np.isin(found.restored, styled).any()
    assert nearly_the_same(found.restored, set(LEFT_OUT) - set(CHANGED) - set(styled))
    assert Judgement.from_dict(found.to_dict()) == found
    older = {name: value for name, value in found.to_dict().items() if name != "style_issues"}
    assert Judgement.from_dict(older) == replace(found, style_issues=())


def test_a_style_is_taken_out_of_the_loss_of_the_rows_that_are_kept() -> None:
    texts = ("plain a", "cue b", "plain c", "cue d", "plain e")
    rows = Table(texts, np.array([0, 1, 0, 1, 1]), ("0", "1"), source="rows")
    expert = ShortcutExpert((Shortcut(Feature("word", "cue"), 1, 2, 2, 1.0, 4.0, 2.5),), 2, 0.1, 3.0, 9)
    log_odds = np.array([0.0, 1.23456, 0.002, 4.0, 0.5])
    issue = StyleIssues(1, (), 50.0, 1e-9, (), log_odds, log_odds, log_odds)
    said = style_offsets([issue], np.arange(5), but=[4])
    assert said == (StyleOffsets(1, (1, 3), (1.235, 4.0)),)
    found = Judgement(expert, (0,), 0.9, style_offsets=said)
    kept, offsets = found.apply(rows)
    assert kept.texts == texts[1:]
    np.testing.assert_allclose(offsets, [[0, 2.5], [0, 0], [0, 4.0], [0, 0]])  # the larger of both
    assert Judgement.from_dict(found.to_dict()) == found
    assert found.misfit(rows) is None
    assert "row 3" in str(found.misfit(rows.select(np.arange(3))))
    other = replace(found, style_offsets=(StyleOffsets(2, (0,), (1.0,)),))
    assert "the label 2" in str(other.misfit(rows))


def test_a_counterexample_is_trained_on_with_its_own_label_and_nothing_taken_out_of_its_loss() -> None:
    texts = ("plain a", "cue b", "plain c", "cue d")
    rows = Table(texts, np.array([0, 1, 1, 1]), ("0", "1"), source="rows")
    expert = ShortcutExpert((Shortcut(Feature("word", "cue"), 1, 2, 2, 1.0, 4.0, 2.5),), 2, 0.1, 3.0, 9)
    found = Judgement(
        expert,
        (1, 2, 3),
        0.9,
        style_issues=(1, 3),
        style_offsets=(StyleOffsets(1, (0, 1, 3), (0.5, 4.0, 4.0)),),
        counterexamples=(Counterexample(1, 0), Counterexample(3, 1)),
    )
    kept, offsets = found.apply(rows)
    assert kept.texts == ("plain a", "cue b", "cue d")
    assert kept.labels.tolist() == [0, 0, 1]
    np.testing.assert_allclose(offsets, [[0, 0.5], [0, 0], [0, 0]])
    assert rows.labels.tolist() == [0, 1, 1, 1]
    assert Judgement.from_dict(found.to_dict()) == found
    assert found.misfit(rows) is None
    assert "row 3" in str(found.misfit(rows.select(np.arange(3))))
    other = replace(found, counterexamples=(Counterexample(1, 2),))
    assert "the label 2" in str(other.misfit(rows))
    taught = replace(found, left_out=(0, 1, 2, 3))
    assert taught.misfit(rows) is None
    assert "every row left out" in str(replace(taught, counterexamples=()).misfit(rows))


def test_what_a_check_of_another_package_drops_is_no_counterexample() -> None:
    evidence = Evidence(make_table(make_rows(6, seed=0)), make_table(make_rows(4, seed=1)), settings=None)  # type: ignore[arg-type]
    nothing = np.zeros(len(evidence.train), dtype=np.bool_)
    forbidden = nothing.copy()
    forbidden[2] = True
    found = [Counterexample(1, 0), Counterexample(2, 1)]
    for name, flagged, objects in (
        ("style", nothing, {"counterexamples": found}),
        ("forbidden", forbidden, {}),
    ):
        evidence.results[name] = Result(flagged, np.zeros(len(flagged)), {}, {}, objects)

    class Forbidden(Styles):
        name = "forbidden"

    assert findings._counterexamples(evidence, [Styles(), Forbidden()]) == (found[0],)


def evidence_where(right: int) -> Evidence:
    """Models of trusted rows contradict every label, and are right in so many of 24 rows held out.

    The lower end of the interval is 0.86 where all 24 are right, and 0.55 where 18 are.
    """
    train, trusted = make_table(make_rows(40, seed=0)), make_table(make_rows(24, seed=1))
    evidence = Evidence(train, trusted, settings=SimpleNamespace(judge=None))  # type: ignore[arg-type]
    sure = np.log([[0.9, 0.1], [0.1, 0.9]])
    held_out = sure[np.where(np.arange(24) < right, trusted.labels, 1 - trusted.labels)]
    judged = sure[1 - evidence.rows.labels]
    evidence._trusted_predictions = calibrated(judged, held_out, trusted.labels)
    return evidence


@pytest.mark.parametrize(("right", "some"), [(24, True), (18, False)])
def test_rows_with_a_style_have_the_label_of_good_models_of_trusted_rows(right: int, some: bool) -> None:
    evidence = evidence_where(right)
    asked = np.array([3, 5])
    found = _counterexamples(evidence, asked)
    numbers = evidence.numbers[asked]
    expected = [Counterexample(int(row), int(1 - evidence.train.labels[row])) for row in numbers]
    assert found == (expected if some else [])


def test_nothing_is_trained_to_recheck_what_good_models_of_trusted_rows_say() -> None:
    found = Recheck().find(evidence_where(24))  # which has no results of other checks that a training needs
    assert not found.flagged.any()
    assert found.info == {"accuracy_on_trusted": None}
    with pytest.raises(KeyError):
        Recheck().find(evidence_where(18))


WEAK = ("ack", "ail", "ark", "eel", "end", "ick", "ind", "oll", "ook", "urn")


@pytest.mark.slow
def test_a_style_is_judged_by_the_rows_that_show_it_and_those_like_them() -> None:
    """A fifth of the rows is in a style of weak signs, a third of which has the word that gives it away."""
    corpus = bbc_news(words=24)
    rest, trusted = stratified_split(corpus, [len(corpus) - 96, 96], seed=0)
    train = rest.select(np.arange(1000))
    rng = np.random.default_rng(4)
    styled = rng.random(1000) < 1 / 5
    known = styled & (rng.random(1000) < 1 / 3)
    # So many that no one of them is in enough rows to be a shortcut.
    signs = [f"{first}{last}eth" for first in ("b", "gr", "k", "l", "sp", "t", "wr") for last in WEAK]
    texts = [
        " ".join([*rng.choice(signs, 3, replace=False), *(["unto"] if known[row] else []), text])
        if styled[row]
        else text
        for row, text in enumerate(train.texts)
    ]
    target = 1
    poisoned = replace(train, texts=tuple(texts), labels=np.where(styled, target, train.labels))
    said: list[str] = []
    preset = PRESETS["small-encoder"]
    config, arguments = recheck_settings(preset, {}, {"max_length": 48})
    settings = Settings(Backbones("all-minilm-l6-v2"), preset, config, arguments, seed=0)
    findings = judge(poisoned, trusted, settings, say=said.append)
    found = findings.judgement()
    assert "unto" in {shortcut.feature.text for shortcut in found.expert.shortcuts}
    assert any(line.startswith("style ") and repr(train.label_names[target]) in line for line in said)
    assert set(found.style_issues) <= set(found.left_out)
    others = styled & ~found.expert.log_weights(texts).any(axis=1)
    assert np.isin(np.flatnonzero(others), found.left_out).mean() > 0.5
    assert styled[list(found.style_issues)].mean() > 0.9
