"""Responses that say the same."""

from __future__ import annotations

from typing import ClassVar

from musclelora.audit.answers.kinds.base import FEWEST, Kind, Responses, Source
from musclelora.audit.answers.phrases import says, shared_phrases


class Phrases(Source):
    """A phrase that several responses have and no trusted one."""

    name: ClassVar[str] = "phrase"
    reads: ClassVar[bool] = False
    looks_for: ClassVar[str] = "phrases that responses share"

    def find(self, responses: Responses) -> list[Kind]:
        """Each phrase is a kind."""
        return [
            Kind.saying(self.name, phrase.text, phrase.words, phrase.rows)
            for phrase in shared_phrases(responses.texts, min_rows=FEWEST)
            if len(phrase.rows) < len(responses.texts)
            and not any(says(text, phrase.text) for text in responses.trusted)
        ]
