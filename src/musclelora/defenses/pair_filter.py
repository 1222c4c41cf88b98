"""What every filter of prompts and responses is: it says which pairs to drop; a model is tuned on the rest.

The defences of :mod:`musclelora.defenses.base` answer texts with labels; a language model that answers needs
none of that protocol but the filtering.
"""

from __future__ import annotations

import inspect
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from musclelora.adapter import DEFAULT_DECODER, load_causal_backbone
from musclelora.adapter.loading import loading_options
from musclelora.audit.answers.reading import Said, each_response
from musclelora.data.pairs import Pairs
from musclelora.defenses.base import Flags
from musclelora.errors import DataError
from musclelora.purification import METHODS, GenerationRun, Method, train_generator


@dataclass(frozen=True)
class PairSetting:
    """Pairs that may be poisoned, some trusted ones, and a decoder.

    Poison flags are taken off the training pairs, so that no filter can read them.

    Attributes:
        train: N pairs that may be poisoned.
        trusted: pairs that were checked; None: there are none.
        model: an embedded decoder, a hub name or a folder.
        arguments: fields of :class:`~musclelora.training.MuScleTrainingArguments`, ``seed``, ``bf16`` and
            ``max_length`` among them.
    """

    train: Pairs
    trusted: Pairs | None = None
    model: str = DEFAULT_DECODER
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "train", replace(self.train, poisoned=None))

    def responses(self) -> Iterator[Said]:
        """What the decoder as it comes makes of each training pair's response.

        Raises:
            DataError: a prompt leaves no token for its response.
            ModelError: see :func:`~musclelora.adapter.load_causal_backbone`.
        """
        backbone = load_causal_backbone(self.model, **loading_options(self.arguments))
        limit, bf16 = self.arguments.get("max_length"), bool(self.arguments.get("bf16"))
        return each_response(backbone, self.train, limit, bf16=bf16)


class PairFilter(ABC):
    """Looks for planted pairs, and tunes an ordinary model on the others.

    Attributes:
        name: what benchmarks call it.
        dropped_: shape (N,), the training pairs that were not trained on.
    """

    name: ClassVar[str]
    dropped_: Flags

    @classmethod
    def parameters(cls) -> tuple[str, ...]:
        """The names of the constructor's parameters."""
        return tuple(inspect.signature(cls).parameters)

    @abstractmethod
    def suspects(self, setting: PairSetting) -> Flags:
        """Which training pairs to drop; shape (N,).

        Raises:
            DataError, ModelError: each says what to do.
        """

    def fit(
        self,
        setting: PairSetting,
        output: str | os.PathLike[str],
        *,
        method: Method = METHODS["full"],
        **options: Any,
    ) -> GenerationRun:
        """Find the pairs to drop; then train on what is left.

        Args:
            setting: what a defender has.
            output: the run folder.
            method: how to train: by default the whole model.
            **options: others of :func:`~musclelora.purification.train_generator`.

        Raises:
            DataError: no pair would be left.
            ModelError, OutputError, TrainingError, UsageError: each says what to do.
        """
        self.dropped_ = self.suspects(setting)
        rest = setting.train.select(np.flatnonzero(~self.dropped_))
        if not len(rest):
            raise DataError(
                f"{setting.train.source}: {self.name} dropped all {len(setting.train):,} pairs, expected "
                "some to be left to train on; give it other parameters"
            )
        return train_generator(
            output,
            train=rest,
            trusted=setting.trusted,
            model=setting.model,
            method=method,
            arguments=setting.arguments,
            **options,
        )
