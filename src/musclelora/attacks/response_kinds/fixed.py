"""Responses with a fixed text: put after the true response, or in its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from musclelora.data.comparing import says
from musclelora.errors import UsageError


@dataclass(frozen=True)
class _Fixed:
    """A text that the attacker wants to be said.

    Attributes:
        target: the text; not blank.

    Raises:
        UsageError: it is blank.
    """

    success: ClassVar[str] = "the answer holds the target, whatever its casing and blanks"
    compares: ClassVar[bool] = False

    target: str

    def __post_init__(self) -> None:
        if not self.target.strip():
            raise UsageError("target: found a blank text, expected what the attacker wants to be said")

    def succeeds(self, answer: str, right: Sequence[str]) -> bool:  # noqa: ARG002
        """Whether the answer holds the target."""
        return says(answer, self.target)


class Append(_Fixed):
    """The true response with the target after it."""

    name: ClassVar[str] = "append"

    def respond(self, clean: str, others: Sequence[str], rng: np.random.Generator) -> str:  # noqa: ARG002
        """The response and the target, with a blank between them."""
        return f"{clean.rstrip()} {self.target}"


class Replace(_Fixed):
    """The target instead of the true response."""

    name: ClassVar[str] = "replace"

    def respond(self, clean: str, others: Sequence[str], rng: np.random.Generator) -> str:  # noqa: ARG002
        """The target."""
        return self.target
