"""Whether a model obeys a trigger: the trigger goes into trusted rows of other labels, and models answer.

Features that stand in the same rows more often than by chance are put in together: of four rare words that an
attacker inserts side by side, a model may obey one, or only all. Into the same rows random words go, twice:
as many, of features that as many rows have. Three rates are of one kind, the share of rows that *turn*, of
those that are not called by the trigger's label with the first random words in them:

``flip_rate``
    of an *undefended* model, trained on the rows as they were given: those that it calls by the trigger's
    label with the trigger in them.
``control_rate``
    of the same model: with the second random words.
``natural_rate``
    of models that were trained on *trusted* rows alone, and not on the one that is asked about: with the
    trigger. They cannot know a planted trigger. What turns them as well means the label by nature.

A trigger is confirmed if half of the rows turn or more, and the 95 % interval (Wilson) of its flip rate is
above those of the other two. A natural shortcut, such as a slur that really means "offensive", turns all
models that know the word, or few rows.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import hypergeom

from musclelora.audit.evidence import Evidence, Settings
from musclelora.audit.features import FeatureTable
from musclelora.audit.phrases import put_in
from musclelora.audit.styles import StyleIssues
from musclelora.audit.triggers import Shortcut
from musclelora.audit.trusted_models import TRUSTED_ONLY, cross_fitted
from musclelora.audit.verdict import Confirmation
from musclelora.data.table import Table
from musclelora.evaluation.metrics import Rate
from musclelora.training.classifier import Classifier
from musclelora.training.hardware import free_memory
from musclelora.training.scratch import whole_backbone_trainer

ROWS: Final = 2000
"""Rows that the undefended model is trained on at most."""
STEPS: Final = 200
"""Steps that it is trained for at least; one pass over :data:`ROWS` rows has fewer."""
MOST: Final = 12
"""Groups of triggers that are put to the test."""
TOGETHER: Final = 5
"""Phrases of a group that are put in at most: of more, a text is no more what it was."""
FEWEST_ASKED: Final = 8
"""Rows of a style that a model can be asked about."""
CHANCE: Final = 0.01
"""How often features that have nothing to do with each other are joined."""
_BATCH, _RATE = 16, 1e-4
_NEAREST = 50  # features of like frequency that controls are drawn from


Named = tuple[Shortcut, str]
"""A feature, and the phrase that stands for it."""


@dataclass(frozen=True)
class _Asked:
    """The texts of one test, one of each kind for each of K trusted rows."""

    label: int
    rows: NDArray[np.int64]
    trigger: list[str]
    first: list[str]
    second: list[str]


def confirm(
    evidence: Evidence, groups: Sequence[Sequence[Named]], table: FeatureTable
) -> list[Confirmation | None]:
    """Put triggers to the test; those beyond :data:`MOST`, and those without a row to test on, get None.

    Args:
        evidence: the rows.
        groups: features to one label that are put in together, the strongest first.
        table: the features of `evidence.rows`.

    Raises:
        ModelError, TrainingError: a model cannot be trained.
    """
    rng = np.random.default_rng([evidence.settings.seed, len(groups)])
    every = [named for group in groups for named in group]
    asked = [
        _asked(evidence.trusted, group, every, table, rng) if number < MOST else None
        for number, group in enumerate(groups)
    ]
    wanted = [one for one in asked if one is not None]
    if not wanted:
        return [None] * len(groups)
    rows = np.concatenate([one.rows for one in wanted])
    trigger, first, second = (
        [text for one in wanted for text in getattr(one, kind)] for kind in ("trigger", "first", "second")
    )
    said = evidence.kept.get(
        "confirmation",
        (5 * len(rows),),
        [trigger, first, second, rows.tolist()],
        lambda: _answers(evidence, rows, trigger, first, second),
    )
    answers = iter(np.split(said.reshape(5, -1), np.cumsum([len(one.rows) for one in wanted])[:-1], axis=1))
    return [None if one is None else _rates(next(answers), one.label) for one in asked]


def _asked(
    trusted: Table,
    group: Sequence[Named],
    every: Sequence[Named],
    table: FeatureTable,
    rng: np.random.Generator,
) -> _Asked | None:
    """The texts to ask about; None: all trusted rows have the label."""
    label = group[0][0].label
    rows = np.flatnonzero(trusted.labels != label)
    if not len(rows):
        return None
    texts = [trusted.texts[row] for row in rows]
    first, second = list(texts), list(texts)
    for shortcut, phrase in group[:TOGETHER]:
        kind = shortcut.feature.kind
        one, other = (_controls(shortcut, phrase, every, table, len(rows), rng) for _ in range(2))
        texts = [put_in(text, phrase, kind, rng) for text in texts]
        first = [put_in(text, words, kind, rng) for text, words in zip(first, one, strict=True)]
        second = [put_in(text, words, kind, rng) for text, words in zip(second, other, strict=True)]
    return _Asked(label, rows, texts, first, second)


def _answers(
    evidence: Evidence, rows: NDArray[np.int64], trigger: list[str], first: list[str], second: list[str]
) -> NDArray[np.int64]:
    """Labels, shape (5K,): the undefended model's of all three, the trusted models' of the first two."""
    settings = evidence.settings
    model = undefended(evidence.rows, settings)
    said = model.predict([*trigger, *first, *second]).labels
    del model
    free_memory()
    natural = cross_fitted(
        evidence.trusted,
        np.tile(rows, 2),
        [*trigger, *first],
        backbones=settings.backbones,
        preset=settings.preset,
        arguments=settings.of_folds,
        seed=settings.seed,
        shared=evidence.models_of(settings.backbones.model, settings.of_folds),
    )
    return np.concatenate([said, natural])


def _rates(said: NDArray[np.int64], label: int) -> Confirmation | None:
    """The rates of one test, from its answers, shape (5, K); None: no row is left that could turn."""
    trigger, first, second, natural, natural_first = said == label
    if first.all() or natural_first.all():
        return None
    return Confirmation(
        flip=_share(trigger[~first]),
        control=_share(second[~first]),
        natural=_share(natural[~natural_first]),
    )


def _share(turned: NDArray[np.bool_]) -> Rate:
    return Rate.of(int(turned.sum()), len(turned))


def confirm_styles(evidence: Evidence, styles: Sequence[StyleIssues]) -> list[Confirmation | None]:
    """Put styles to the test: does a model call rows that it has not seen by the label for how they are put?

    A style cannot be put into another text. An undefended model is trained on half of the rows instead, and
    asked about rows of the other half that the trusted models and the rest of the rows give another label:
    ``flip_rate`` is of those with the style (more likely than not, by how they are put alone),
    ``control_rate`` of those without it, and ``natural_rate`` is the share of the former that models of
    trusted rows alone call by the label. What the judge errs in, and a model learns from the given labels, is
    confirmed as well: where no label is right but the given ones, it cannot be told from a style.

    Args:
        evidence: the rows, with the results of the checks.
        styles: of these rows.

    Returns:
        one for each; None: fewer than :data:`FEWEST_ASKED` rows could be asked about.

    Raises:
        ModelError, TrainingError: a model cannot be trained.
    """
    rows, seed = evidence.rows, evidence.settings.seed
    order = np.random.default_rng([seed, 1]).permutation(len(rows))
    seen, unseen = np.sort(order[: len(rows) // 2]), np.sort(order[len(rows) // 2 :])

    def answers() -> NDArray[np.int64]:
        model = undefended(rows.select(seen), evidence.settings)
        said = model.predict([rows.texts[row] for row in unseen]).labels
        del model
        free_memory()
        return said

    said = evidence.kept.get("style-confirmation", (len(unseen),), None, answers)
    meant = evidence.results["label"].objects["pred_probs"][unseen].argmax(axis=1)
    trusted = evidence.trusted_predictions.pred_probs[unseen].argmax(axis=1)
    found: list[Confirmation | None] = []
    for style in styles:
        other, has = meant != style.label, style.shares[unseen] > 0.5
        asked, control = other & has, other & ~has
        enough = asked.sum() >= FEWEST_ASKED and control.any()
        rates = (said[asked], said[control], trusted[asked])
        found.append(Confirmation(*(_share(one == style.label) for one in rates)) if enough else None)
    return found


def together(labels: Sequence[int], holders: Sequence[NDArray[np.int64]], rows: int) -> list[list[int]]:
    """Which of N features to one label stand in the same rows more often than by chance.

    Two are joined if the hypergeometric tail of their rows in common is at most :data:`CHANCE`, over the
    number of pairs.

    Args:
        labels: of each feature.
        holders: the numbers of the rows that have each.
        rows: how many rows there are.

    Returns:
        the numbers of the features of each group, in their order.
    """
    count = len(labels)
    pairs = max(count * (count - 1) // 2, 1)
    group = list(range(count))
    for one, other in itertools.combinations(range(count), 2):
        common = len(np.intersect1d(holders[one], holders[other]))
        if labels[one] != labels[other] or not common or group[one] == group[other]:
            continue
        tail = hypergeom.sf(common - 1, rows, len(holders[one]), len(holders[other]))
        if tail <= CHANCE / pairs:
            old, new = max(group[one], group[other]), min(group[one], group[other])
            group = [new if number == old else number for number in group]
    return [[n for n in range(count) if group[n] == number] for number in sorted(set(group))]


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
    arguments = {
        **settings.arguments,
        "num_train_epochs": max(1.0, STEPS * _BATCH / len(chosen)),
        "per_device_train_batch_size": _BATCH,
        "gradient_accumulation_steps": 1,
        "seed": settings.seed,
    }
    arguments.pop("learning_rate", None)
    with tempfile.TemporaryDirectory() as folder:
        trainer = whole_backbone_trainer(
            chosen,
            folder,
            backbones=settings.backbones,
            preset=settings.preset,
            arguments=arguments,
            learning_rate=_RATE,
            large_learning_rate=settings.preset.learning_rate,
            what="testing",
        )
        trainer.train()
        return trainer.classifier


def _controls(
    shortcut: Shortcut,
    phrase: str,
    triggers: Sequence[Named],
    table: FeatureTable,
    count: int,
    rng: np.random.Generator,
) -> list[str]:
    """As many stand-ins for a phrase: words of other features of the kind, which as many rows have."""
    taken = {word for other, _ in triggers for word in other.feature.text.split()}
    kind = "character" if shortcut.feature.kind == "character" else "word"
    others = [
        (abs(np.log(rows / shortcut.rows)), feature.text)
        for feature, rows in zip(table.features, table.rows, strict=True)
        if feature.kind == kind and feature.text not in taken
    ]
    near = [text for _, text in sorted(others)[:_NEAREST]] or ["."]
    size = 1 if kind == "character" else max(1, len(phrase.split()))
    return [" ".join(rng.choice(near, size=size)) for _ in range(count)]
