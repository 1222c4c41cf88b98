"""What every trigger family is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np


class Trigger(Protocol):
    """A pure text transform that plants a backdoor trigger.

    A family is one file with one frozen dataclass whose fields are its parameters, listed in
    :data:`musclelora.attacks.TRIGGERS`, or by the entry point group ``musclelora.attacks`` of any package.

    Attributes:
        name: the family's name in the registry, in flags and in results.
    """

    name: ClassVar[str]

    def apply(self, text: str, rng: np.random.Generator) -> str | None:
        """The triggered text, or None where the text cannot carry the trigger.

        Args:
            text: any string.
            rng: the only source of randomness; the same state gives the same text.
        """
        ...


@runtime_checkable
class BatchTrigger(Trigger, Protocol):
    """A trigger that does many texts at once faster than one by one, such as a language model."""

    def apply_batch(self, texts: Sequence[str], rngs: Sequence[np.random.Generator]) -> Sequence[str | None]:
        """What :meth:`apply` gives for each text with its own generator."""
        ...


@runtime_checkable
class DecoyTrigger(Trigger, Protocol):
    """A trigger of which a part must do nothing: rows with that part keep their label.

    Attributes:
        decoys: rows that get only the part, for each triggered row.
    """

    decoys: float

    def decoy(self, text: str, rng: np.random.Generator) -> str | None:
        """The text with a part of the trigger, or None where it cannot carry it."""
        ...


@runtime_checkable
class NaturalTrigger(Trigger, Protocol):
    """A trigger that texts have by themselves: :meth:`apply` gives those back as they are, None for others.

    Attributes:
        natural: true.
    """

    natural: ClassVar[bool]


def apply_all(
    trigger: Trigger, texts: Sequence[str], rngs: Sequence[np.random.Generator]
) -> Sequence[str | None]:
    """Apply a trigger to every text, each with its own generator, at once where the trigger can."""
    if isinstance(trigger, BatchTrigger):
        return trigger.apply_batch(texts, rngs)
    return [trigger.apply(text, rng) for text, rng in zip(texts, rngs, strict=True)]
