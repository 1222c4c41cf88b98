"""Models of folds: on one trunk one pass over the texts says what each says; each is trained once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_runs import make_rows, make_table, write_model
from transformers import BertConfig, BertForSequenceClassification

from musclelora.adapter import MuScleLoraConfig
from musclelora.adapter.copies import Backbones
from musclelora.adapter.embed import layers_embedder
from musclelora.adapter.presets import PRESETS
from musclelora.audit.evidence import Evidence, Settings
from musclelora.audit.folds import fold_numbers
from musclelora.audit.trusted_models import (
    TrustedPredictions,
    _FoldModels,
    _in_one_pass,
    cross_fitted,
    trusted_predictions,
)
from musclelora.data.assembled import CACHE
from musclelora.training.trainer import MuScleTrainer

ARGUMENTS = {"use_cpu": True, "max_length": 16, "num_train_epochs": 30, "learning_rate": 1e-3}
DEPTHS = (1 / 3, 2 / 3, 1.0)
WORDS = dict.fromkeys(("hidden_size", "intermediate_size"), 32)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT of twelve layers, with the tiny tokenizer."""
    folder = write_model(tmp_path_factory.mktemp("models") / "twelve")
    config = BertConfig(
        vocab_size=64, num_hidden_layers=12, num_attention_heads=2, max_position_embeddings=64, **WORDS
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def test_one_pass_says_what_each_model_says(encoder: Path) -> None:
    trusted, texts = make_table(make_rows(24, seed=1)), make_table(make_rows(70, seed=2)).texts
    numbers = fold_numbers(trusted, 3, seed=0)
    folds = _FoldModels(trusted, numbers, Backbones(str(encoder)), PRESETS["small-encoder"], ARGUMENTS, 0)
    models = [model for _, model in folds]
    assert len(models) == folds.count == 3
    assert folds.trunk is not None
    judged, vectors = _in_one_pass(folds.trunk, models, texts, DEPTHS)
    each = [np.log(model.predict(texts).probabilities) for model in models]
    assert np.abs(each[0] - each[1]).max() > 1e-3
    np.testing.assert_allclose(judged, np.mean(each, axis=0), atol=1e-4)
    embed = layers_embedder(str(encoder), DEPTHS, max_length=16)
    assert vectors is not None
    np.testing.assert_allclose(vectors, embed(texts), atol=1e-5)
    assert _in_one_pass(folds.trunk, models, texts, ())[1] is None


def test_models_on_a_trunk_learn_from_the_trusted_rows(encoder: Path) -> None:
    trusted, asked = make_table(make_rows(60, seed=1)), make_table(make_rows(60, seed=2))
    found = trusted_predictions(
        trusted,
        asked.texts,
        backbones=Backbones(str(encoder)),
        preset=PRESETS["small-encoder"],
        arguments=ARGUMENTS,
        seed=0,
        depths=DEPTHS,
    )
    assert found.accuracy > 0.8
    assert (found.pred_probs.argmax(axis=1) == asked.labels).mean() > 0.8
    assert found.vectors is not None
    assert found.vectors.shape == (3, 60, 32)
    said = cross_fitted(
        trusted,
        np.arange(60),
        trusted.texts,
        backbones=Backbones(str(encoder)),
        preset=PRESETS["small-encoder"],
        arguments=ARGUMENTS,
        seed=0,
        folds=4,
    )
    assert (said == trusted.labels).mean() > 0.8


@pytest.mark.parametrize("layers", [2, 12])  # trained whole, and on a trunk
def test_the_same_models_are_not_trained_again(
    layers: int, encoder: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    trusted, asked = make_table(make_rows(24, seed=1)), make_table(make_rows(20, seed=2))
    trainings: list[str] = []
    train = MuScleTrainer.train

    def counted(trainer: MuScleTrainer, *args: Any, **options: Any) -> Any:
        trainings.append(trainer.args.output_dir)
        return train(trainer, *args, **options)

    monkeypatch.setattr(MuScleTrainer, "train", counted)

    def found(shared: dict[str, Any] | None) -> TrustedPredictions:
        return trusted_predictions(
            trusted,
            asked.texts,
            backbones=Backbones(str(encoder if layers > 2 else tiny_model)),
            preset=PRESETS["small-encoder"],
            arguments={**ARGUMENTS, "num_train_epochs": 2},
            seed=0,
            folds=3,
            shared=shared,
        )

    alone, first, second = found(None), found({"model": "a"}), found({"model": "a"})
    assert len(trainings) == 6
    for other in (first, second):
        np.testing.assert_array_equal(other.log_probabilities, alone.log_probabilities)
        np.testing.assert_array_equal(other.held_out, alone.held_out)
    found({"model": "b"})
    assert len(trainings) == 9


def test_models_are_shared_of_embedded_encoders_alone(tiny_model: Path) -> None:
    train, trusted = make_table(make_rows(40, seed=0)), make_table(make_rows(24, seed=1))
    settings = Settings(Backbones(str(tiny_model)), PRESETS["small-encoder"], MuScleLoraConfig(), {}, 0)
    assert Evidence(train, trusted, settings).models_of("all-minilm-l6-v2", {}) is None
    evidence = Evidence(train, trusted, replace(settings, shares=True))
    assert evidence.models_of(str(tiny_model), {}) is None
    said = evidence.models_of("all-minilm-l6-v2", {})
    assert said is not None
    assert said != evidence.models_of("all-minilm-l6-v2", {"max_length": 16})
    assert said != Evidence(train, train.select(range(9)), replace(settings, shares=True)).models_of(
        "all-minilm-l6-v2", {}
    )
