"""Every defence keeps the one protocol, with two classes and with three, and is measured."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from tiny_runs import make_rows, make_table, write_model
from tiny_settings import ARGUMENTS, TARGET

from musclelora.data.table import Table
from musclelora.defenses import DEFENSES, Answers, Defense, Measured, Setting, get_defense, measure
from musclelora.errors import UsageError

NAMES = tuple(DEFENSES)


@pytest.fixture(scope="session")
def language_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random GPT-2 of width 32, with the tiny tokenizer."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = write_model(tmp_path_factory.mktemp("models") / "lm")
    with torch.random.fork_rng():
        torch.manual_seed(1)
        config = GPT2Config(
            vocab_size=64, n_embd=32, n_layer=1, n_head=2, n_positions=64, bos_token_id=2, eos_token_id=3
        )
        GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def parameters(name: str, language_model: Path) -> dict[str, object]:
    return {"language_model": str(language_model)} if name == "onion" else {}


class Fitted(NamedTuple):
    """A defence after it was measured, which no test may change."""

    defense: Defense
    found: Measured


@pytest.fixture(scope="module")
def fitted(
    request: pytest.FixtureRequest,
    poisoned: Table,
    trusted: Table,
    clean: Table,
    triggered: Table,
    tiny_model: Path,
    shared: Path,
    language_model: Path,
) -> Fitted:
    setting = Setting(poisoned, trusted, model=str(tiny_model), arguments=ARGUMENTS, folder=shared)
    defense = get_defense(request.param, **parameters(request.param, language_model))
    flags = poisoned.poisoned
    found = measure(defense, setting, clean=clean, triggered=triggered, target=TARGET, poisoned=flags)
    return Fitted(defense, found)


every_fitted = pytest.mark.parametrize("fitted", NAMES, indirect=True, scope="module")


@every_fitted
def test_a_defence_is_fitted_and_measured(fitted: Fitted, clean: Table, triggered: Table) -> None:
    defense, found = fitted
    assert 0 <= found.cacc.low <= found.cacc.value <= found.cacc.high <= 1
    assert found.cacc.n == len(clean)
    assert found.asr.n == len(triggered)
    assert found.fit_seconds > 0
    assert found.peak_memory > 10_000_000
    assert (found.auroc is not None) == (defense.kind == "inference")
    assert (found.dropped_poisoned is not None) == (defense.kind == "filtering")


@every_fitted
def test_an_empty_text_gets_an_answer(fitted: Fitted) -> None:
    answers = fitted.defense.predict(["", "word1"])
    assert len(answers.labels) == 2
    assert answers.scores is None or np.isfinite(answers.scores).all()


@pytest.mark.parametrize("name", NAMES)
def test_three_classes_are_fine_and_the_same_seed_gives_the_same_answers(
    name: str, tiny_model: Path, shared: Path, language_model: Path
) -> None:
    names = ("bad", "good", "so-so")
    tables = [make_table(make_rows(30, seed, names), names) for seed in (0, 1)]
    quick = {**ARGUMENTS, "num_train_epochs": 1}

    def answers(folder: Path | None) -> Answers:
        setting = Setting(*tables, model=str(tiny_model), arguments=quick, folder=folder)
        defense = get_defense(name, **parameters(name, language_model))
        return defense.fit(setting).predict(tables[1].texts)

    first = answers(shared)
    assert first.labels.shape == first.rejected.shape == (30,)
    assert set(first.labels.tolist()) <= {0, 1, 2}
    again = answers(None)  # nothing that was trained before is of use here
    assert np.array_equal(first.labels, again.labels)
    assert np.array_equal(first.rejected, again.rejected)


def test_poison_flags_are_out_of_reach(setting: Setting) -> None:
    assert setting.train.poisoned is None
    assert setting.trusted.poisoned is None


def test_the_undefended_model_is_trained_once(
    poisoned: Table, trusted: Table, tiny_model: Path, tmp_path: Path
) -> None:
    def new() -> Setting:
        return Setting(poisoned, trusted, model=str(tiny_model), arguments=ARGUMENTS, folder=tmp_path)

    first, second = new(), new()
    get_defense("vanilla").fit(first)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    get_defense("strip").fit(second)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")} == written
    assert len(written) == 1
    assert first.reused_seconds == 0
    assert second.reused_seconds > 0
    assert second.reused_memory > 0


def test_trusted_only_is_trained_once_whatever_the_poison(
    poisoned: Table, trusted: Table, clean: Table, tiny_model: Path, tmp_path: Path
) -> None:
    for rows in (poisoned, clean):
        setting = Setting(rows, trusted, model=str(tiny_model), arguments=ARGUMENTS, folder=tmp_path)
        get_defense("trusted-only").fit(setting)
    assert len(list(tmp_path.rglob("*.safetensors"))) == 1


def test_other_rows_are_another_model(
    poisoned: Table, trusted: Table, tiny_model: Path, tmp_path: Path
) -> None:
    for rows in (poisoned, poisoned.select(range(40))):
        setting = Setting(rows, trusted, model=str(tiny_model), arguments=ARGUMENTS, folder=tmp_path)
        get_defense("vanilla").fit(setting)
    assert len(list(tmp_path.rglob("*.safetensors"))) == 2


@pytest.mark.parametrize(
    ("name", "parameters", "said"),
    [
        ("vanila", {}, "did you mean vanilla?"),
        ("strip", {"repeats": 3}, "did you mean repeat?"),
        ("strip", {"repeat": 0}, "expected a whole number from 1 to"),
        ("strip", {"frr": 2}, "expected a number from 0 to 1"),
        ("rap", {"low": 0.5, "high": 0.2}, "low < high"),
        ("cube", {"min_cluster": 0}, "expected a number above 0, at most 0.5"),
        ("bki", {"keywords": 0}, "expected a whole number from 1 to"),
        ("onion", {"max_drop": -1}, "expected a number from 0 to 1"),
        ("prefix", {"num_virtual_tokens": 0}, "expected a whole number from 1 to"),
        ("adapter", {"bottleneck": 0}, "expected a whole number from 1 to"),
        ("musclelora", {"rank": 4}, "found no parameter 'rank'"),
        ("musclelora", {"max_raw_ratio": 3}, "max_raw_ratio"),
    ],
)
def test_what_does_not_exist_is_refused(name: str, parameters: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        get_defense(name, **parameters)
