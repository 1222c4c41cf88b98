"""What the trusted rows say of the training rows: shortcuts to take out of the loss, rows to leave out."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from musclelora.adapter import MuScleLoraConfig
from musclelora.adapter.embed import sentence_embedder
from musclelora.adapter.loading import loading_options
from musclelora.adapter.presets import Preset
from musclelora.data.table import Table
from musclelora.data.trusted import overlap
from musclelora.errors import DataError, TrainingError
from musclelora.launched import process_count
from musclelora.shortcuts import (
    Feature,
    Shortcut,
    ShortcutExpert,
    contradicted,
    find_alike,
    find_shortcuts,
    second_opinion,
)
from musclelora.training.hardware import free_memory
from musclelora.training.processes import on_first
from musclelora.training.quiet import quiet_trainer
from musclelora.training.teacher import teach

# Of the training arguments, those that hold for models of folds too.
_KEPT = frozenset({"bf16", "fp16", "max_length", "use_cpu", "shard_backbone", "activation_checkpointing"})
_SEARCHED = frozenset({"r", "lora_alpha", "scale_factors", "inner_rank", "multiscale_alpha"})
LOOK: Final = 0.5
"""Of the preset's epochs, how many the second look trains for at most; see also ``space_around``."""
_LOWER = 1 / 3  # of a backbone's layers; further up, hidden states tell less of syntax
_SHOWN = 12  # further signs that are printed; run.json has them all


@dataclass(frozen=True)
class Judgement:
    """What the trusted rows say of N training rows.

    Attributes:
        expert: the shortcuts of the training rows.
        left_out: the numbers of the rows not to train on, from 0, ascending: those whose label is
            contradicted, `alike` and `trusted_texts`.
        trusted_accuracy: of the models of folds, on the trusted rows that each was not trained on.
        let_back: the numbers of the rows that only the second opinion contradicts, ascending.
        alike: of those left out the ones that are put as rows with a shortcut are, ascending.
        look_accuracy: of the second look's model, on the trusted rows; None: there was none.
        trusted_texts: of those left out the ones whose text is that of a trusted row, whatever their label,
            ascending.
    """

    expert: ShortcutExpert
    left_out: tuple[int, ...]
    trusted_accuracy: float
    let_back: tuple[int, ...] = ()
    alike: tuple[int, ...] = ()
    look_accuracy: float | None = None
    trusted_texts: tuple[int, ...] = ()

    def apply(self, train: Table) -> tuple[Table, NDArray[np.float32]]:
        """The rows to train on, and the log-odds to add in their loss, shape (rows, C)."""
        rows = train.select(np.delete(np.arange(len(train)), self.left_out)) if self.left_out else train
        return rows, self.expert.log_weights(rows.texts)

    def misfit(self, train: Table) -> str | None:
        """Why this cannot be a judgement of the rows of `train`, as found and expected; None: it can."""
        last = max((row for rows in self._row_numbers() for row in rows), default=-1)
        if last >= len(train):
            return f"found the row {last:,}, expected numbers below {len(train):,}"
        if self.expert.num_labels != train.num_classes:
            return f"found {self.expert.num_labels} labels, expected {train.num_classes}"
        if len(self.left_out) == len(train):
            return "found every row left out, expected some to train on"
        return None

    def _row_numbers(self) -> tuple[tuple[int, ...], ...]:
        return self.left_out, self.let_back, self.alike, self.trusted_texts

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; :meth:`from_dict` makes it again."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Judgement:
        """What :meth:`to_dict` gave."""
        expert = dict(values["expert"])
        expert["shortcuts"] = tuple(
            Shortcut(**{**shortcut, "feature": Feature(*shortcut["feature"])})
            for shortcut in expert["shortcuts"]
        )
        left_out, let_back, alike, trusted_texts = (
            tuple(int(row) for row in values.get(name, ()))
            for name in ("left_out", "let_back", "alike", "trusted_texts")
        )
        right = values.get("look_accuracy")
        return cls(
            ShortcutExpert(**expert),
            left_out,
            float(values["trusted_accuracy"]),
            let_back,
            alike,
            None if right is None else float(right),
            trusted_texts,
        )


def judge(
    train: Table,
    trusted: Table,
    *,
    model: str,
    preset: Preset,
    config: MuScleLoraConfig,
    arguments: Mapping[str, Any],
    seed: int,
    say: Callable[[str], object] = lambda _: None,
) -> Judgement:
    """Find the training rows' shortcuts, and the rows whose label is in doubt.

    A second opinion (:mod:`musclelora.shortcuts.opinion`) is the first to contradict labels, and rows that
    are put as those with a shortcut are (:mod:`musclelora.shortcuts.likeness`) are left out as well. A model
    that is trained as the final one is right in more rows than the second opinion, once it has seen the rows
    that are left. It has not seen those that were contradicted, and the ones that it gives their label come
    back (:func:`second_look`).

    Training rows with the text of a trusted row are left out before all that: a model that was trained on
    them cannot be judged by the trusted rows, and their label is known better.

    Args:
        train: N rows that may be poisoned.
        trusted: rows that were checked.
        model: the backbone, of which models of the trusted rows are trained and which gives sentence vectors.
        preset: the backbone's own settings.
        config: of the second look's adapter; see :func:`look_settings`.
        arguments: fields of the training arguments of the second look. Models of folds take such as ``bf16``.
        seed: the same seed judges the same.
        say: called with lines of text; words in them come from the data.

    Raises:
        DataError: no class has two trusted rows, or the training rows that have no trusted text are too few.
    """
    known = overlap(trusted, train)
    if len(known):  # what is found is of the others, and is numbered anew at the end
        say(f"left out     {len(known):,} of {len(train):,} rows: they have the text of a trusted row")
        train = _others(train, known)
    loading = loading_options(arguments)
    kept = {k: v for k, v in arguments.items() if k in _KEPT} | loading
    teaching = teach(trusted, train.texts, model=model, preset=preset, arguments=kept, seed=seed)
    say(
        f"shortcuts    {len(trusted)} trusted rows explain others of themselves with an accuracy of "
        f"{teaching.accuracy:.3f}"
    )
    expert = find_shortcuts(train.texts, train.labels, teaching.beliefs)
    for shortcut in expert.shortcuts:
        if not shortcut.sign:
            say(f"shortcut     {describe(shortcut, train.label_names)}")
    signs = [str(shortcut.feature) for shortcut in expert.shortcuts if shortcut.sign]
    if signs:
        more = f" and {len(signs) - _SHOWN} more" if len(signs) > _SHOWN else ""
        say(f"signs        of the same: {', '.join(signs[:_SHOWN])}{more}")
    if not expert.shortcuts:
        say(f"shortcuts    none among {expert.tested:,} words, pairs of words and marks")

    def vectors_at(depth: float) -> Callable[[Sequence[str]], NDArray[np.float32]]:
        """The backbone is held no longer than it is needed."""
        most = arguments.get("max_length")
        whole = not arguments.get("shard_backbone")  # else no device may have room for it
        return lambda texts: sentence_embedder(
            model, max_length=most, depth=depth, on_accelerator=whole, **loading
        )(texts)

    vectors = vectors_at(1.0)(train.texts)
    opinion = second_opinion(
        vectors, train.labels, teaching.beliefs, expert.log_weights(train.texts), seed=seed
    )
    left_out = alike = np.empty(0, dtype=np.int64)
    if opinion is None:
        say("left out     no rows, as the rows say no more of each other than the trusted rows do")
    else:
        left_out = np.flatnonzero(contradicted(opinion, train.labels))
        say(
            f"left out     {len(left_out):,} of {len(train):,} rows: models of what the other rows mean "
            "contradict their label"
        )
        if expert.shortcuts:
            lower = vectors_at(_LOWER)
            for likeness in find_alike(train.texts, train.labels, expert, opinion, embed=lower, seed=seed):
                say(
                    f"alike        {len(likeness.rows):,} rows are put as those with a shortcut to "
                    f"{train.label_names[likeness.label]!r} are, and have it: left out as well"
                )
                alike = np.union1d(alike, likeness.rows).astype(np.int64)
    judgement = Judgement(
        expert,
        tuple(int(row) for row in np.union1d(left_out, alike)),
        teaching.accuracy,
        alike=tuple(int(row) for row in alike),
    )
    if process_count() > 1:  # rounding may differ between devices, and what is trained must not
        judgement = Judgement.from_dict(on_first(judgement.to_dict))
    judgement = second_look(
        train,
        trusted,
        judgement,
        model=model,
        preset=preset,
        config=config,
        arguments={**arguments, "seed": seed},
        say=say,
    )
    return _numbered_anew(judgement, len(train), known) if len(known) else judgement


def _others(train: Table, known: NDArray[np.int64]) -> Table:
    """The rows whose text no trusted row has."""
    others = train.select(np.delete(np.arange(len(train)), known))
    if len(np.unique(others.labels)) < 2:
        raise DataError(
            f"{train.source}: {len(known):,} of {len(train):,} rows have the text of a trusted row, and the "
            "others are of less than two classes; pass more training rows, or choose --method trusted-only"
        )
    return others


def _numbered_anew(judgement: Judgement, count: int, known: NDArray[np.int64]) -> Judgement:
    """What was found of `count` rows, as of a table in which they stand between the `known` ones."""
    places = np.delete(np.arange(count + len(known)), known)
    left_out, let_back, alike = (
        tuple(int(places[row]) for row in rows)
        for rows in (judgement.left_out, judgement.let_back, judgement.alike)
    )
    texts = tuple(int(row) for row in known)
    return replace(
        judgement,
        left_out=tuple(sorted(left_out + texts)),
        let_back=let_back,
        alike=alike,
        trusted_texts=texts,
    )


def look_settings(
    preset: Preset, adapter: Mapping[str, Any], arguments: Mapping[str, Any]
) -> tuple[MuScleLoraConfig, dict[str, Any]]:
    """The adapter's configuration and the training arguments of a second look at rows for MuScleLoRA.

    What ``musclelora tune`` searches is the preset's own whatever is asked for, so that a search judges once,
    and the training that comes of it judges alike.

    Args:
        preset: the backbone's own settings.
        adapter: fields of the configuration that were asked for.
        arguments: fields of the training arguments that were asked for.
    """
    asked = {name: value for name, value in adapter.items() if name not in _SEARCHED}
    if adapter.get("scale_factors") == []:
        asked["scale_factors"] = []
    config = MuScleLoraConfig(**preset.adapter_fields() | asked)
    return config, {**arguments, "learning_rate": preset.learning_rate}


def second_look(
    train: Table,
    trusted: Table,
    judgement: Judgement,
    *,
    model: str,
    preset: Preset,
    config: MuScleLoraConfig,
    arguments: Mapping[str, Any],
    say: Callable[[str], object] = lambda _: None,
) -> Judgement:
    """Let those rows back that a model trained without them gives their label.

    Rows with a shortcut, and those like them, stay out: it is what they would teach. The model is trained for
    :data:`LOOK` of the preset's epochs, or for those asked for if they are fewer. If it is right in no more
    trusted rows than models of these alone were, or if its loss is not finite, it cannot judge, and none
    comes back.

    Args:
        train: the N rows that were judged.
        trusted: rows that were checked; the model does not see them.
        judgement: what was found of them.
        model: the backbone.
        preset: the backbone's own settings.
        config: of the adapter.
        arguments: fields of the training arguments, with the learning rate and the seed.
        say: called with lines of text.
    """
    plain = np.flatnonzero(~judgement.expert.log_weights(train.texts).any(axis=1))
    asked = np.setdiff1d(np.intersect1d(judgement.left_out, plain), judgement.alike)
    if not len(asked):
        if judgement.left_out:
            say("let back     none of them: each has a shortcut, or is like those that have one")
        return judgement
    kept, offsets = judgement.apply(train)
    epochs = min(LOOK * preset.epochs, float(arguments.get("num_train_epochs") or preset.epochs))
    if arguments.get("max_steps", -1) > 0:
        per_step = int(arguments.get("per_device_train_batch_size") or preset.batch_size)
        per_step *= arguments.get("gradient_accumulation_steps", 1)
        epochs = min(epochs, LOOK * arguments["max_steps"] * per_step / len(kept))
    with tempfile.TemporaryDirectory() as folder:
        trainer = quiet_trainer(
            kept,
            offsets,
            folder,
            model=model,
            preset=preset,
            config=config,
            arguments={**arguments, "num_train_epochs": epochs},
        )
        try:
            trainer.train()
        except TrainingError as error:
            say(f"let back     none of them: a model trained on the others cannot judge: {error}")
            return judgement
        said = trainer.classifier.predict([*trusted.texts, *train.select(asked).texts]).labels
        del trainer
        free_memory()
    said = np.asarray(on_first(said.tolist))
    right = float(np.mean(said[: len(trusted)] == trusted.labels))
    judgement = replace(judgement, look_accuracy=right)
    if right <= judgement.trusted_accuracy:
        say(
            "let back     none of them: trained on the others for a while, the model is right in "
            f"{right:.3f} of the trusted rows, no more than models of these alone"
        )
        return judgement
    back = asked[said[len(trusted) :] == train.labels[asked]]
    say(
        f"let back     {len(back):,} of them: trained on the others for a while, the model gives them their "
        f"label, and is right in {right:.3f} of the trusted rows"
    )
    return replace(
        judgement,
        left_out=tuple(int(row) for row in np.setdiff1d(judgement.left_out, back)),
        let_back=tuple(int(row) for row in back),
    )


def describe(shortcut: Shortcut, label_names: tuple[str, ...]) -> str:
    """A shortcut in a line; its words are the data's."""
    return (
        f"{shortcut.feature} means {label_names[shortcut.label]!r} in {shortcut.labelled:,} of "
        f"{shortcut.rows:,} rows, where {shortcut.expected:,.0f} are to be expected"
    )
