"""What the trusted rows say of the training rows: shortcuts to take out of the loss, rows to leave out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musclelora.adapter.embed import sentence_embedder
from musclelora.adapter.loading import loading_options
from musclelora.adapter.presets import Preset
from musclelora.data.table import Table
from musclelora.shortcuts import (
    Feature,
    Shortcut,
    ShortcutExpert,
    contradicted,
    find_shortcuts,
    second_opinion,
)
from musclelora.training.teacher import teach

# Of the training arguments, those that hold for models of folds too.
_KEPT = frozenset({"bf16", "fp16", "max_length", "use_cpu", "shard_backbone", "activation_checkpointing"})
_SHOWN = 12  # further signs that are printed; run.json has them all


@dataclass(frozen=True)
class Judgement:
    """What the trusted rows say of N training rows.

    Attributes:
        expert: the shortcuts of the training rows.
        left_out: the numbers of the rows whose label a second opinion contradicts, from 0, ascending.
        trusted_accuracy: of the models of folds, on the trusted rows that each was not trained on.
    """

    expert: ShortcutExpert
    left_out: tuple[int, ...]
    trusted_accuracy: float

    def apply(self, train: Table) -> tuple[Table, NDArray[np.float32]]:
        """The rows to train on, and the log-odds to add in their loss, shape (rows, C)."""
        rows = train.select(np.delete(np.arange(len(train)), self.left_out)) if self.left_out else train
        return rows, self.expert.log_weights(rows.texts)

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
        left_out = tuple(int(row) for row in values["left_out"])
        return cls(ShortcutExpert(**expert), left_out, float(values["trusted_accuracy"]))


def judge(
    train: Table,
    trusted: Table,
    *,
    model: str,
    preset: Preset,
    arguments: Mapping[str, Any],
    seed: int,
    say: Callable[[str], object] = lambda _: None,
) -> Judgement:
    """Find the training rows' shortcuts, and the rows whose label is in doubt.

    Args:
        train: N rows that may be poisoned.
        trusted: rows that were checked.
        model: the backbone, of which models of the trusted rows are trained and which gives sentence vectors.
        preset: the backbone's own settings.
        arguments: fields of the training arguments, such as ``bf16``.
        seed: the same seed judges the same.
        say: called with lines of text; words in them come from the data.

    Raises:
        DataError: no class has two trusted rows.
    """
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
    vectors = sentence_embedder(model, max_length=arguments.get("max_length"), **loading)(train.texts)
    opinion = second_opinion(
        vectors, train.labels, teaching.beliefs, expert.log_weights(train.texts), seed=seed
    )
    if opinion is None:
        left_out = np.empty(0, dtype=np.int64)
        say("left out     no rows, as the rows say no more of each other than the trusted rows do")
    else:
        left_out = np.flatnonzero(contradicted(opinion, train.labels))
        say(
            f"left out     {len(left_out):,} of {len(train):,} rows: models of what the other rows mean "
            "contradict their label"
        )
    return Judgement(expert, tuple(int(row) for row in left_out), teaching.accuracy)


def describe(shortcut: Shortcut, label_names: tuple[str, ...]) -> str:
    """A shortcut in a line; its words are the data's."""
    return (
        f"{shortcut.feature} means {label_names[shortcut.label]!r} in {shortcut.labelled:,} of "
        f"{shortcut.rows:,} rows, where {shortcut.expected:,.0f} are to be expected"
    )
