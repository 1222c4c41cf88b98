"""`--method purify`: what the trusted rows decide, that it is kept and resumed, and what offsets do."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_runs import Fit, contents, make_rows, make_table, run, run_killed, write_csv
from transformers import set_seed

from musclelora.adapter import MuScleLoraConfig
from musclelora.adapter.copies import Backbones
from musclelora.adapter.presets import PRESETS
from musclelora.audit.folds import fold_numbers
from musclelora.audit.judgement import Judgement
from musclelora.audit.triggers import ShortcutExpert
from musclelora.audit.trusted_models import trusted_predictions
from musclelora.data.table import Table
from musclelora.errors import DataError, OutputError, TrainingError, UsageError
from musclelora.purification import get_method
from musclelora.purification.auto import Automatic, Candidate, candidates, choose, pick, with_trusted
from musclelora.purification.balance import BalanceCallback, no_better_than_trusted
from musclelora.training import MuScleTrainer, MuScleTrainingArguments
from musclelora.training.calibration import calibrated_losses

TINY = {"num_train_epochs": 2, "per_device_train_batch_size": 8, "learning_rate": 1e-2}


def with_trigger() -> list[tuple[str, str]]:
    """400 rows of words that mean nothing, of which 60 carry a word of their own and the label "good"."""
    rng = np.random.default_rng(3)
    texts = [" ".join(rng.choice([f"word{i}" for i in range(40)], 6)) for _ in range(400)]
    labels = rng.choice(["bad", "good"], 400).tolist()
    return [(f"{text} word49", "good") if i < 60 else (text, labels[i]) for i, text in enumerate(texts)]


@pytest.fixture(scope="module")
def poisoned_rows() -> Table:
    return make_table(with_trigger())


def test_auto_finds_the_trigger_and_says_what_it_chose(fit_tiny: Fit, poisoned_rows: Table) -> None:
    said: list[str] = []
    found = fit_tiny(
        train=poisoned_rows, dev=None, method="purify", say=said.append, trusted=make_table(make_rows(40, 1))
    )
    automatic = Automatic.from_dict(found.info["auto"])
    assert json.loads(json.dumps(automatic.to_dict())) == json.loads(json.dumps(found.info["auto"]))
    assert "word49" in {shortcut.feature.text for shortcut in automatic.judgement.expert.shortcuts}
    assert any(line.startswith("shortcut     ") and "word49" in line for line in said)
    assert any(line.startswith("settings     learning rate 0.01") for line in said)
    assert (
        found.info["settings"]["levers"] | {"alignment": False, "shortcuts": True}
        == found.info["settings"]["levers"]
    )
    assert (found.info["settings"]["select_best"], found.info["settings"]["trusted_repeats"]) == ("last", 3)


def test_trusted_rows_are_trained_on_unless_they_choose_the_epoch(
    fit_tiny: Fit, poisoned_rows: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned: list[tuple[list[str], np.ndarray]] = []

    class Seen(MuScleTrainer):
        def __init__(self, *args: Any, train_dataset: Table, train_offsets: Any, **more: Any) -> None:
            learned.append((list(train_dataset.texts), train_offsets))
            super().__init__(*args, train_dataset=train_dataset, train_offsets=train_offsets, **more)

    monkeypatch.setattr(sys.modules["musclelora.purification.train"], "MuScleTrainer", Seen)
    trusted = make_table([(f"{text} word49", label) for text, label in make_rows(40, 1)])
    for select_best, times in (("auto", 3), ("trusted", 0)):
        found = fit_tiny(
            train=poisoned_rows,
            trusted=trusted,
            dev=None,
            method="purify",
            select_best=select_best,
            overwrite=True,
        )
        texts, offsets = learned.pop()
        left = 400 - len(found.info["auto"]["judgement"]["left_out"])
        assert texts[left:] == times * list(trusted.texts)
        assert offsets[:left].any()  # of rows with the trigger, whose labels it explains
        assert not offsets[left:].any()  # which checked rows need not
    assert found.info["result"]["best_accuracy"] is not None


def test_early_stopping_without_dev_rows_goes_by_the_trusted_rows(fit_tiny: Fit) -> None:
    settings = fit_tiny(dev=None, method="purify", early_stopping=2).info["settings"]
    assert settings["select_best"] == "trusted"
    assert "trusted_repeats" not in settings


def test_purify_without_the_layer_tries_no_scale_factors(
    fit_tiny: Fit, poisoned_rows: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["musclelora.purification.auto"], "LEAST_STEPS", 1)
    method = get_method("purify", multiscale=False)
    arguments = {"num_train_epochs": 1, "learning_rate": None}
    found = fit_tiny(train=poisoned_rows, method=method, dev=None, arguments=arguments)
    assert len(found.info["auto"]["tried"]) == 3  # learning rates alone
    assert all(tried["scale_factors"] == [] for tried in found.info["auto"]["tried"])
    assert found.info["adapter"]["scale_factors"] == []


def test_tables_that_mean_other_classes_by_a_number_are_refused(fit_tiny: Fit) -> None:
    trusted = make_table(make_rows(10, 1))
    turned = replace(trusted, label_names=trusted.label_names[::-1], labels=1 - trusted.labels)
    for name in ("trusted", "dev"):
        with pytest.raises(UsageError, match=f"{name}: its labels are"):
            fit_tiny(method="purify", **{name: turned})


def test_rows_and_trusted_rows_keep_their_labels() -> None:
    rows, trusted = make_table(make_rows(7, 0)), make_table(make_rows(4, 1))
    joined, offsets = with_trusted(rows, np.ones((7, 2), np.float32), trusted)
    assert list(joined) == [*rows, *(3 * list(trusted))]
    assert offsets.dtype == np.float32
    np.testing.assert_array_equal(offsets.sum(1), [2.0] * 7 + [0.0] * 12)


def test_auto_is_for_the_whole_method_and_every_other_gets_the_published_settings(fit_tiny: Fit) -> None:
    for method in ("lora", get_method("musclelora", multiscale=False)):
        assert fit_tiny(method=method, overwrite=True).info["auto"] is None


def test_the_same_seed_chooses_the_same_and_trains_the_same(
    fit_tiny: Fit, poisoned_rows: Table, tmp_path: Path
) -> None:
    weights = []
    for name in ("a", "b"):
        fit_tiny(tmp_path / name, train=poisoned_rows, dev=None, method="purify")
        weights.append(contents(tmp_path / name)["musclelora.safetensors"])
    assert weights[0] == weights[1]


@pytest.mark.integration
def test_a_run_killed_after_judging_does_not_judge_again(tiny_model: Path, tmp_path: Path) -> None:
    train = write_csv(tmp_path / "train.csv", with_trigger())
    trusted = write_csv(tmp_path / "trusted.csv", make_rows(10, 1))
    command = ["train", "--train", train, "--trusted", trusted, "--model", tiny_model, "--epochs", "1"]
    command += ["--learning-rate", "0.01", "--output"]

    def killed(folder: Path) -> None:
        run_killed("", *command, folder, holds=(folder / "judgement.json", '"judgement"'))

    killed(tmp_path / "cut")
    assert not (tmp_path / "cut" / "run.json").exists()
    code, out, err = run(*command, tmp_path / "cut", "--resume", "--seed", "7")
    assert code == 0, err
    assert "resuming" not in out  # what was found was found with another seed
    killed(tmp_path / "again")
    code, out, err = run(*command, tmp_path / "again", "--resume")
    assert code == 0, err
    assert "resuming     after the rows were judged" in out
    assert "shortcuts  " not in err
    code, _, err = run(*command, tmp_path / "whole")
    assert code == 0, err
    weights = [(tmp_path / name / "musclelora.safetensors").read_bytes() for name in ("again", "whole")]
    assert weights[0] == weights[1]
    assert not (tmp_path / "again" / "judgement.json").exists()


def test_a_run_that_another_began_meanwhile_is_left_alone(
    fit_tiny: Fit, poisoned_rows: Table, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"trusted": make_table(make_rows(10, 1)), "dev": None, "method": "purify"}

    def begin(line: str) -> None:
        if line.startswith("shortcuts") and not (tmp_path / "run" / "run.json").exists():
            fit_tiny(tmp_path / "other", method="lora")
            shutil.copytree(tmp_path / "other", tmp_path / "run", dirs_exist_ok=True)

    with pytest.raises(OutputError, match="already holds a run"):
        fit_tiny(tmp_path / "run", train=poisoned_rows, say=begin, **settings)
    assert contents(tmp_path / "other") == contents(tmp_path / "run")


@pytest.mark.integration
def test_a_killed_auto_run_goes_on_with_what_it_had_chosen(tiny_model: Path, tmp_path: Path) -> None:
    rows = with_trigger()
    train, trusted = (
        write_csv(tmp_path / "train.csv", rows),
        write_csv(tmp_path / "trusted.csv", make_rows(10, 1)),
    )
    command = ["train", "--train", train, "--trusted", trusted, "--model", tiny_model, "--epochs", "2"]
    command += ["--batch-size", "8", "--save-steps", "5", "--learning-rate", "0.01", "--output"]
    code, _, err = run(*command, tmp_path / "whole")
    assert code == 0, err
    run_killed(r"os\.mkdir .*/checkpoint-10'", *command, tmp_path / "cut")  # the first is complete
    code, out, err = run(*command, tmp_path / "cut", "--resume")
    assert code == 0, err
    assert "resuming" in out
    assert "shortcut " not in err  # they were kept
    cut, whole = (contents(tmp_path / name)["musclelora.safetensors"] for name in ("cut", "whole"))
    assert cut == whole


def test_offsets_are_added_in_the_loss_and_nowhere_else(
    still_model: Path, train_rows: Table, tmp_path: Path
) -> None:
    offsets = np.random.default_rng(0).normal(0, 2, (len(train_rows), 2)).astype(np.float32)

    def gradients(alignment: bool, passes: str = "auto", **more: Any) -> list[torch.Tensor]:
        trainer = MuScleTrainer(
            str(still_model),
            MuScleTrainingArguments(
                output_dir=str(tmp_path),
                alignment=alignment,
                use_cpu=True,
                max_grad_norm=0,
                gradient_passes=passes,
                **more,
            ),
            train_dataset=train_rows,
            trusted_dataset=train_rows if alignment else None,
            train_offsets=offsets,
            preset=PRESETS["small-encoder"],
        )
        trainer.create_optimizer_and_scheduler(1)
        batch = trainer.data_collator([trainer.train_dataset[i] for i in range(len(train_rows))])
        model = trainer.model
        if alignment:
            trainer._trusted_grads, trainer._align = {}, lambda _model: None
        trainer.training_step(model, dict(batch))
        mine = [p.grad.clone() for p in model.parameters() if p.grad is not None]
        model.zero_grad()
        logits = model(**{k: v for k, v in batch.items() if k not in ("labels", "offsets")}).logits
        target = torch.nn.functional.one_hot(batch["labels"], 2)
        shifted = logits + torch.from_numpy(offsets)
        (-(target * (shifted - shifted.logsumexp(1, keepdim=True))).sum(1).mean()).backward()
        expected = [p.grad.clone() for p in model.parameters() if p.grad is not None]
        assert len(mine) == len(expected) > 0
        for a, b in zip(mine, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
        return mine

    gradients(alignment=False)
    gradients(alignment=True, passes="one")
    gradients(alignment=True, passes="two")


def test_offsets_of_another_shape_or_not_finite_are_refused(
    tiny_model: Path, train_rows: Table, tmp_path: Path
) -> None:
    for offsets, message in ((np.zeros((3, 2)), "found shape"), (np.full((30, 2), np.nan), "not finite")):
        with pytest.raises(UsageError, match=message):
            MuScleTrainer(
                str(tiny_model),
                MuScleTrainingArguments(output_dir=str(tmp_path), alignment=False, use_cpu=True),
                train_dataset=train_rows,
                train_offsets=offsets.astype(np.float32),
            )


def test_folds_hold_each_row_out_once_and_leave_every_class_in_training() -> None:
    table = Table(tuple("abcdefghijk"), np.array([0] * 6 + [1] * 4 + [2]), ("x", "y", "z"))
    numbers = fold_numbers(table, 4, seed=0)
    assert numbers[-1] == -1  # the only one of its class is always trained on
    assert sorted(np.bincount(numbers[:-1])) == [2, 2, 3, 3]
    for fold in range(4):
        assert set(table.labels[numbers != fold]) == {0, 1, 2}
    with pytest.raises(DataError, match="no label has two trusted rows"):
        fold_numbers(table.select([0, 6]), 4, seed=0)


def test_trusted_models_are_calibrated_on_rows_that_they_did_not_see(tiny_model: Path) -> None:
    trusted, texts = make_table(make_rows(24, 1)), make_table(make_rows(40, 5))
    arguments = {"use_cpu": True, "learning_rate": 1e-2}
    preset = PRESETS["small-encoder"]
    found = trusted_predictions(
        trusted, texts.texts, backbones=Backbones(str(tiny_model)), preset=preset, arguments=arguments, seed=0
    )
    assert found.pred_probs.shape == (40, 2)
    np.testing.assert_allclose(found.pred_probs.sum(1), 1)
    assert (found.pred_probs.argmax(1) == texts.labels).mean() > 0.7

    def loss(temperature: float) -> float:
        logs = found.held_out / temperature
        logs -= np.log(np.exp(logs).sum(1, keepdims=True))
        return float(-logs[np.arange(24), trusted.labels].mean())

    assert found.loss == pytest.approx(loss(found.temperature), rel=1e-6)
    others = (loss(max(1.0, found.temperature * factor)) for factor in (0.8, 1.25))
    assert found.loss <= min(others) * (1 + 1e-3)  # the search ends near the best, or near 1


def test_calibrated_losses_forgive_a_model_that_is_too_sure() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(200, 3)), rng.integers(0, 3, 200)
    logits[np.arange(200), labels] += 1.0
    once = calibrated_losses(3 * logits, labels)
    np.testing.assert_allclose(calibrated_losses(9 * logits, labels), once, rtol=1e-3)
    grid = [
        float(-np.log(np.exp(3 * logits / t)[np.arange(200), labels] / np.exp(3 * logits / t).sum(1)).mean())
        for t in np.linspace(1, 20, 400)
    ]
    assert once.mean() == pytest.approx(min(grid), abs=1e-4)


def test_trusted_models_draw_nothing_from_the_callers_generator(tiny_model: Path) -> None:
    trusted, texts = make_table(make_rows(16, 1)), make_table(make_rows(6, 5)).texts
    options: dict[str, Any] = {
        "backbones": Backbones(str(tiny_model)),
        "preset": PRESETS["small-encoder"],
        "seed": 3,
    }
    found = []
    for state in (1, 2):
        set_seed(state)
        said = trusted_predictions(
            trusted, texts, arguments={"use_cpu": True, "num_train_epochs": 1}, folds=2, **options
        )
        found.append(said.pred_probs)
    np.testing.assert_array_equal(found[0], found[1])


def test_another_candidate_must_win_by_more_than_its_standard_error() -> None:
    rng = np.random.default_rng(0)
    base = rng.random(96)
    assert pick([base, base - 0.2 + rng.normal(0, 0.1, 96)])[0] == 1
    assert pick([base, base - 0.001 + np.resize([0.3, -0.3], 96)])[0] == 0
    assert pick([base, base + 0.2])[0] == 0
    preset = PRESETS["small-encoder"]
    assert [c.learning_rate for c in candidates(preset)][:3] == [1e-3, 2e-3, 5e-4]
    assert {c.learning_rate for c in candidates(preset, frozenset({"learning_rate"}))} == {1e-3}
    assert len(candidates(preset, frozenset({"learning_rate", "scale_factors"}))) == 1


def test_candidates_are_tried_and_one_that_diverges_is_ruled_out(
    tiny_model: Path, train_rows: Table, trusted_rows: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    automatic = sys.modules["musclelora.purification.auto"]
    preset = replace(PRESETS["small-encoder"], learning_rate=1e-2, scale_factors=(1.0, 2.0))
    monkeypatch.setattr(automatic, "LEAST_STEPS", 1)
    others = [Candidate(rate, (1.0, 2.0)) for rate in (1e-2, 1e30, 2e-2)]
    monkeypatch.setattr(automatic, "candidates", lambda *_: others)
    said: list[str] = []
    judgement = Judgement(ShortcutExpert((), 2, 0.0, 3.1, 0), (), 0.5)
    choosing = {
        "backbones": Backbones(str(tiny_model)),
        "preset": preset,
        "config": lambda scales: MuScleLoraConfig(
            **preset.adapter_fields() | {"scale_factors": list(scales)}
        ),
        "arguments": {"num_train_epochs": 4, "per_device_train_batch_size": 8, "use_cpu": True},
        "seed": 3,
    }
    found = choose(train_rows, trusted_rows, judgement, say=said.append, **choosing)
    assert [candidate.learning_rate for candidate in found.tried] == [1e-2, 1e30, 2e-2]
    first, diverged, last = (candidate.loss for candidate in found.tried)
    assert diverged is None
    assert first is not None
    assert last is not None
    assert found.chosen.learning_rate in (1e-2, 2e-2)
    assert any("1e+30" in line and "not finite" in line for line in said)
    assert Automatic.from_dict(json.loads(json.dumps(found.to_dict(), allow_nan=False))) == found
    assert choose(train_rows, trusted_rows, judgement, **choosing) == found
    monkeypatch.setattr(automatic, "candidates", lambda *_: others[1:])
    with pytest.raises(TrainingError, match="not finite"):
        choose(train_rows, trusted_rows, judgement, **choosing)


def test_training_rows_with_a_trusted_text_are_left_out_whatever_their_label(
    fit_tiny: Fit, poisoned_rows: Table
) -> None:
    trusted = make_table(make_rows(40, 1))
    shared = (2, 7, 399)
    texts = list(poisoned_rows.texts)
    for row, text in zip(shared, trusted.texts, strict=False):
        texts[row] = f" {text}\n"
    said: list[str] = []
    train = replace(poisoned_rows, texts=tuple(texts))
    found = fit_tiny(train=train, trusted=trusted, dev=None, method="purify", say=said.append)
    judgement = Automatic.from_dict(found.info["auto"]).judgement
    assert judgement.trusted_texts == shared
    assert set(shared) <= set(judgement.left_out)
    assert any("3 of 400 rows: they have the text of a trusted row" in line for line in said)
    plain = fit_tiny(
        train=train.select(np.delete(np.arange(400), shared)),
        trusted=trusted,
        dev=None,
        method="purify",
        overwrite=True,
    )
    places = np.delete(np.arange(400), shared)
    others = Automatic.from_dict(plain.info["auto"]).judgement
    assert tuple(sorted({*places[list(others.left_out)].tolist(), *shared})) == judgement.left_out
    assert tuple(places[list(others.restored)].tolist()) == judgement.restored
    with pytest.raises(DataError, match="3 of 3 rows have the text of a trusted row"):
        fit_tiny(train=train.select(np.array(shared)), trusted=trusted, method="purify", overwrite=True)


def test_balance_warnings_come_once_and_only_with_a_reason(fit_tiny: Fit, train_rows: Table) -> None:
    said: list[str] = []
    state = type("State", (), {"global_step": 7})()
    watch = BalanceCallback(said.append, 0.4)
    for cosine in (0.5, 0.4, 0.5, 0.4, 0.5, 0.1, 0.0, 0.0, -0.1, 0.0, 0.0):
        watch.on_log(None, state, None, {"trusted_loss": 0.5, "raw_ratio": 0.0, "gradient_agreement": cosine})
    assert len(said) == 1
    assert "no longer agree" in said[0]
    for _ in range(2):
        watch.on_log(None, state, None, {"trusted_loss": 0.1, "raw_ratio": 0.05, "gradient_agreement": 0.0})
    assert len(said) == 2
    assert "lower --max-raw-ratio" in said[1]
    watch = BalanceCallback(said.append, 0.0)  # reached where the loss is so small that it is 0
    watch.on_log(None, state, None, {"trusted_loss": 0.0, "raw_ratio": 0.2, "gradient_agreement": 0.0})
    assert len(said) == 3
    assert no_better_than_trusted(0.8, 0.7, 96, finished=True) is None
    assert "rows add nothing" in str(no_better_than_trusted(0.7, 0.7, 96, finished=True))
    assert "not the model of this run" in str(no_better_than_trusted(0.7, 0.7, 96, finished=False))
    said.clear()
    fit_tiny(
        arguments={
            "max_raw_ratio": 0.5,
            "mix_from_epoch": 0,
            "min_trusted_loss": 10.0,
            "num_train_epochs": 3,
        },
        say=said.append,
    )
    assert sum("the raw gradient comes in" in line for line in said) == 1


def test_shortcuts_can_be_pulled_as_a_lever_of_their_own(fit_tiny: Fit, poisoned_rows: Table) -> None:
    lora = get_method("lora", shortcuts=True)
    found = fit_tiny(train=poisoned_rows, method=lora, dev=None)
    assert found.info["settings"]["select_best"] == "trusted"  # by which it judges, and no more
    assert "word49" in json.dumps(found.info["auto"]["judgement"]["expert"]["shortcuts"])
    assert found.info["auto"]["tried"] == () or found.info["auto"]["tried"] == []
    with pytest.raises(UsageError, match="--shortcuts"):
        get_method("trusted-only", shortcuts=True)
    with pytest.raises(DataError, match="no trusted set"):
        fit_tiny(method="purify", trusted=None)
