"""What every trigger family is."""

from __future__ import annotations

from typing import ClassVar, Protocol

import numpy as np


class Trigger(Protocol):
    """A pure text transform that plants a backdoor trigger.

    A family is one file with one frozen dataclass whose fields are its parameters, listed in
    :data:`musclelora.attacks.TRIGGERS`.

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
