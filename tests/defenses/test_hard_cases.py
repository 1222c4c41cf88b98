"""Defences on models, rows and folders that are not as they mostly are."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from tiny_runs import LABELS, write_model
from tiny_settings import ARGUMENTS, TARGET

from musclelora.data.table import Table
from musclelora.defenses import DEFENSES, Setting, get_defense, measure
from musclelora.defenses.adapter import Adapter
from musclelora.defenses.prefix import Prefix
from musclelora.errors import DataError, ModelError, UsageError

QUICK = {**ARGUMENTS, "num_train_epochs": 1}
LONG = " ".join(f"word{number % 59}" for number in range(300))
DISTILBERT = {"dim": 32, "hidden_dim": 48, "n_layers": 2, "n_heads": 4}
GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 40, "bos_token_id": 2, "eos_token_id": 3}


@pytest.mark.parametrize("name", ["adapter", "prefix"])
@pytest.mark.parametrize(
    ("architecture", "changes"),
    [("BertConfig", {}), ("RobertaConfig", {}), ("GPT2Config", GPT2), ("LlamaConfig", {"eos_token_id": 3})],
)
def test_a_text_that_is_longer_than_the_model_reads_is_cut(
    name: str, architecture: str, changes: dict[str, int], poisoned: Table, trusted: Table, tmp_path: Path
) -> None:
    write_model(tmp_path / "model", architecture, **changes)
    train = Table((LONG, *poisoned.texts[1:]), poisoned.labels, poisoned.label_names)
    setting = Setting(train, trusted, model=str(tmp_path / "model"), arguments=QUICK)
    assert len(get_defense(name).fit(setting).predict([LONG, "", "word1"]).labels) == 3


def test_a_model_that_takes_no_prefix_is_refused_in_one_line(
    poisoned: Table, trusted: Table, tmp_path: Path
) -> None:
    write_model(tmp_path / "model", "DistilBertConfig", **DISTILBERT)
    setting = Setting(poisoned, trusted, model=str(tmp_path / "model"), arguments=QUICK)
    with pytest.raises(ModelError, match=r"it takes no prefix .* choose another") as caught:
        Prefix().fit(setting)
    assert "\n" not in str(caught.value)


def test_a_prefix_that_leaves_no_room_is_refused(poisoned: Table, trusted: Table, tiny_model: Path) -> None:
    setting = Setting(poisoned, trusted, model=str(tiny_model), arguments=QUICK)
    with pytest.raises(UsageError, match="expected at most 28"):
        Prefix(num_virtual_tokens=30).fit(setting)


# ---- parameters -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["adapter", "prefix"])
def test_training_arguments_are_parameters(name: str) -> None:
    assert {"num_train_epochs", "learning_rate"} <= set(DEFENSES[name].parameters())
    assert not {"arguments", "seed", "alignment"} & set(DEFENSES[name].parameters())
    assert get_defense(name, num_train_epochs=3)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("adapter", {"learning_rate": -1}), ("prefix", {"learning_rate": "fast"}), ("vanilla", {"seed": 3})],
)
def test_a_value_that_cannot_be_is_refused_at_once(name: str, parameters: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=next(iter(parameters))):
        get_defense(name, **parameters)


def test_a_defences_own_arguments_go_before_the_settings(
    poisoned: Table, trusted: Table, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from musclelora.defenses import peft_training

    seen: list[float] = []

    class Watched(peft_training.Trainer):  # type: ignore[misc]
        """Notes the learning rate."""

        def __init__(self, **arguments: object) -> None:
            seen.append(arguments["args"].learning_rate)
            super().__init__(**arguments)

    monkeypatch.setattr(peft_training, "Trainer", Watched)
    setting = Setting(poisoned, trusted, model=str(tiny_model), arguments=QUICK)
    for defense in (Adapter(learning_rate=1e-5), Adapter(), Prefix()):
        defense.fit(setting)
    assert seen == [1e-5, QUICK["learning_rate"], 1e-2]


# ---- rows -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["onion", "strip", "rap"])
@pytest.mark.parametrize("texts", [(), ("",) * 8])
def test_a_detector_needs_trusted_texts(name: str, texts: tuple[str, ...], setting: Setting) -> None:
    trusted = Table(texts, np.arange(len(texts)) % 2, LABELS)
    bare = Setting(setting.train, trusted, model=setting.model, arguments=QUICK)
    with pytest.raises(DataError, match="no trusted row"):
        get_defense(name).fit(bare)


@pytest.mark.parametrize("name", ["strip", "rap", "bki", "cube"])
@pytest.mark.parametrize("words", [("word1 word2",) * 40, tuple(f"word{number}" for number in range(40))])
def test_texts_all_the_same_or_of_one_word_are_fine(
    name: str, words: tuple[str, ...], tiny_model: Path
) -> None:
    rows = Table(words, np.arange(40) % 2, LABELS)
    setting = Setting(rows, rows.select(range(20)), model=str(tiny_model), arguments=QUICK)
    answers = get_defense(name).fit(setting).predict(["word1", "word2 word1", ""])
    assert answers.scores is None or np.isfinite(answers.scores).all()


# ---- models that are shared -------------------------------------------------------------------------------


def test_what_a_killed_process_left_is_replaced(poisoned: Table, trusted: Table, tiny_model: Path) -> None:
    def fitted(folder: Path) -> np.ndarray:
        setting = Setting(poisoned, trusted, model=str(tiny_model), arguments=QUICK, folder=folder)
        return setting.vanilla().predict(trusted.texts).probabilities

    folder = tiny_model.parent / "killed"
    expected = fitted(folder)
    (run,) = (path for path in folder.iterdir() if path.is_dir())
    weights = run / "musclelora.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])  # a disk that was full, say
    assert np.array_equal(fitted(folder), expected)
    shutil.rmtree(run)
    (run / "checkpoints").mkdir(parents=True)  # all that there is when training is about to begin
    assert np.array_equal(fitted(folder), expected)


def test_waiting_for_another_process_is_not_time_to_fit(
    poisoned: Table, trusted: Table, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = [0.0]
    real = time.perf_counter

    class Slow(FileLock):
        """Another process has the lock for 1,000 seconds."""

        def acquire(self, *arguments: Any, **more: Any) -> Any:
            later[0] += 1000.0
            return super().acquire(*arguments, **more)

    monkeypatch.setattr(time, "perf_counter", lambda: real() + later[0])
    monkeypatch.setattr("musclelora.defenses.setting.FileLock", Slow)
    setting = Setting(poisoned, trusted, model=str(tiny_model), arguments=QUICK, folder=tmp_path)
    found = measure(get_defense("vanilla"), setting, clean=trusted, triggered=trusted, target=TARGET)
    assert setting.waited_seconds >= 1000
    assert 0 < found.fit_seconds < 500


def test_a_setting_that_serves_two_defences_counts_each_ones_time(
    poisoned: Table, trusted: Table, tiny_model: Path, shared: Path
) -> None:
    arguments = {"model": str(tiny_model), "arguments": ARGUMENTS, "folder": shared}
    Setting(poisoned, trusted, **arguments).vanilla()
    setting = Setting(poisoned, trusted, **arguments)
    setting.reused_seconds = 1000.0  # of earlier defences
    found = measure(get_defense("vanilla"), setting, clean=trusted, triggered=trusted, target=TARGET)
    assert found.fit_seconds < 500
