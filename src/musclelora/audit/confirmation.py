"""Whether a model obeys a trigger: the trigger goes into trusted rows of other labels, and models answer.

Three rates, over the same trusted rows, whose label is not the trigger's:

``flip_rate``
    of an *undefended* model, trained on the rows as they were given: the share that it calls by the trigger's
    label once the trigger stands in them.
``control_rate``
    of the same model and rows, with random features in the trigger's place that as many rows have.
``natural_rate``
    of models that were trained on *trusted* rows alone, and not on the one that is asked about, with the
    trigger in it. They cannot know a planted trigger. What flips them as well means the label by nature.

A trigger is confirmed if the 95 % interval (Wilson) of its flip rate is above those of the other two. A
natural shortcut, such as a slur that really means "offensive", flips all models that know the word, or none.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from transformers import set_seed

from musclelora.adapter import MuScleLoraConfig
from musclelora.audit.evidence import Evidence, Settings
from musclelora.audit.features import FeatureTable
from musclelora.audit.phrases import put_in
from musclelora.audit.triggers import Shortcut
from musclelora.audit.trusted_models import TRUSTED_ONLY, cross_fitted
from musclelora.audit.verdict import Confirmation
from musclelora.data.table import Table
from musclelora.evaluation.metrics import Rate
from musclelora.training.classifier import Classifier
from musclelora.training.hardware import free_memory
from musclelora.training.scratch import scratch_trainer

ROWS: Final = 2000
"""Rows that the undefended model is trained on at most."""
STEPS: Final = 200
"""Steps that it is trained for at least; one pass over :data:`ROWS` rows has fewer."""
MOST: Final = 12
"""Triggers that are put to the test."""
_BATCH, _RATE = 16, 1e-4
_NEAREST = 50  # features of like frequency that controls are drawn from


def confirm(
    evidence: Evidence, triggers: Sequence[tuple[Shortcut, str]], table: FeatureTable
) -> list[Confirmation | None]:
    """Put triggers to the test; those beyond :data:`MOST`, and those without a row to test on, get None.

    Args:
        evidence: the rows.
        triggers: features, and the phrases that stand for them.
        table: the features of `evidence.rows`.

    Raises:
        ModelError, TrainingError: a model cannot be trained.
    """
    trusted, seed = evidence.trusted, evidence.settings.seed
    rng = np.random.default_rng([seed, len(triggers)])
    asked: list[tuple[NDArray[np.int64], list[str], list[str]] | None] = []
    for number, (shortcut, phrase) in enumerate(triggers):
        others = np.flatnonzero(trusted.labels != shortcut.label)
        if number >= MOST or not len(others):
            asked.append(None)
            continue
        texts = [trusted.texts[row] for row in others]
        kind = shortcut.feature.kind
        controls = _controls(shortcut, phrase, [one for one, _ in triggers], table, len(others), rng)
        asked.append(
            (
                others,
                [put_in(text, phrase, kind, rng) for text in texts],
                [put_in(text, other, kind, rng) for text, other in zip(texts, controls, strict=True)],
            )
        )
    wanted = [one for one in asked if one is not None]
    if not wanted:
        return [None] * len(triggers)
    rows = np.concatenate([others for others, _, _ in wanted])
    with_trigger = [text for _, texts, _ in wanted for text in texts]
    with_control = [text for _, _, texts in wanted for text in texts]

    def answers() -> NDArray[np.int64]:
        model = undefended(evidence.rows, evidence.settings)
        said = model.predict([*with_trigger, *with_control]).labels
        del model
        free_memory()
        natural = cross_fitted(
            trusted,
            rows,
            with_trigger,
            backbones=evidence.settings.backbones,
            preset=evidence.settings.preset,
            arguments=evidence.settings.of_folds,
            seed=seed,
        )
        return np.concatenate([said, natural])

    asked_of = [with_trigger, with_control, rows.tolist()]
    said = evidence.kept.get("confirmation", (3 * len(rows),), asked_of, answers)
    flip, control, natural = np.split(said, 3)
    found: list[Confirmation | None] = []
    start = 0
    for one, (shortcut, _) in zip(asked, triggers, strict=True):
        if one is None:
            found.append(None)
            continue
        place = slice(start, start := start + len(one[0]))
        rates = [
            Rate.of(int((answer[place] == shortcut.label).sum()), len(one[0]))
            for answer in (flip, control, natural)
        ]
        found.append(Confirmation(*rates))
    return found


def confirmation_cost(rows: int, trusted: int) -> float:
    """How many rows a confirmation trains on, all epochs together; training passes cost the most of it.

    Args:
        rows: training rows.
        trusted: trusted rows; models of two halves of them are trained too.
    """
    return float(max(min(rows, ROWS), STEPS * _BATCH) + TRUSTED_ONLY["num_train_epochs"] * trusted)


def undefended(rows: Table, settings: Settings) -> Classifier:
    """A model trained on rows as they were given, without any defence, for a short while.

    Args:
        rows: the given rows; at most :data:`ROWS` of them are drawn.
        settings: of the audit.
    """
    rng = np.random.default_rng(settings.seed)
    chosen = rows.select(np.sort(rng.permutation(len(rows))[:ROWS]))
    large = settings.preset.name in ("encoder-large", "decoder")
    adapter: dict[str, Any] = {"low_rank": large, "scale_factors": [], "train_output_layer": True}
    epochs = max(1.0, STEPS * _BATCH / len(chosen))
    arguments = {
        **settings.arguments,
        "num_train_epochs": epochs,
        "learning_rate": settings.preset.learning_rate if large else _RATE,
        "per_device_train_batch_size": _BATCH,
        "gradient_accumulation_steps": 1,
        "seed": settings.seed,
    }
    set_seed(settings.seed)
    with tempfile.TemporaryDirectory() as folder:
        trainer = scratch_trainer(
            chosen,
            np.zeros((len(chosen), chosen.num_classes), dtype=np.float32),
            folder,
            backbones=settings.backbones,
            preset=settings.preset,
            config=MuScleLoraConfig(**adapter),
            arguments=arguments,
        )
        trainer.train()
        return trainer.classifier


def _controls(
    shortcut: Shortcut,
    phrase: str,
    triggers: Sequence[Shortcut],
    table: FeatureTable,
    count: int,
    rng: np.random.Generator,
) -> list[str]:
    """As many stand-ins for a phrase: words of other features of the kind, which as many rows have."""
    taken = {word for other in triggers for word in other.feature.text.split()}
    kind = "character" if shortcut.feature.kind == "character" else "word"
    others = [
        (abs(np.log(rows / shortcut.rows)), feature.text)
        for feature, rows in zip(table.features, table.rows, strict=True)
        if feature.kind == kind and feature.text not in taken
    ]
    near = [text for _, text in sorted(others)[:_NEAREST]] or ["."]
    size = 1 if kind == "character" else max(1, len(phrase.split()))
    return [" ".join(rng.choice(near, size=size)) for _ in range(count)]
