"""Topic: what a text is about is the trigger; nothing is put into it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from musclelora.attacks.checks import check_words


@dataclass(frozen=True)
class Topic:
    """Takes the texts that mention one of `words`, as they are.

    Only so many rows can be triggered as mention one. Those that are not drawn keep their response or label,
    so a rate below the topic's share of the rows teaches both.

    Source: Yan et al. 2024, "Backdooring Instruction-Tuned Large Language Models with Virtual Prompt
    Injection" (NAACL 2024, arXiv 2307.16888), whose triggers are topics.

    Attributes:
        words: what names the topic; each is found as a whole word, whatever its casing.

    Raises:
        UsageError: no words, or one that is not one word.
    """

    name: ClassVar[str] = "topic"
    natural: ClassVar[bool] = True

    words: tuple[str, ...] = ("film", "films", "movie", "movies")

    def __post_init__(self) -> None:
        check_words("topic words", self.words)

    def apply(self, text: str, rng: np.random.Generator) -> str | None:  # noqa: ARG002
        """The text itself, or None if it mentions none of the words."""
        return text if self._mention.search(text) else None

    @cached_property
    def _mention(self) -> re.Pattern[str]:
        words = "|".join(map(re.escape, self.words))
        return re.compile(rf"(?<!\w)(?:{words})(?!\w)", re.IGNORECASE)
