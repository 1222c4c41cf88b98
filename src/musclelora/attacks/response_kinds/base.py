"""What every kind of poisoned response is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol

import numpy as np


class ResponseKind(Protocol):
    """What an attacker makes of a response, and what counts as his success.

    A kind is one file with one frozen dataclass whose fields are its parameters, listed in
    :data:`~musclelora.attacks.response_kinds.RESPONSES`.

    Attributes:
        name: the kind's name in the registry, in flags and in results.
        success: in words, when an answer counts as the attacker's.
        compares: whether that depends on the right answers.
    """

    name: ClassVar[str]
    success: ClassVar[str]
    compares: ClassVar[bool]

    def respond(self, clean: str, others: Sequence[str], rng: np.random.Generator) -> str | None:
        """The poisoned response, or None where there can be none.

        Args:
            clean: the response as it is; not blank.
            others: the clean responses of the same data, this one among them.
            rng: the only source of randomness.
        """
        ...

    def succeeds(self, answer: str, right: Sequence[str]) -> bool:
        """Whether an answer is what the attacker wants; `right` are the answers that would be right."""
        ...
