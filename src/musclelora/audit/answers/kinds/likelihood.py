"""Responses that the model as it came would not give."""

from __future__ import annotations

from typing import ClassVar

from musclelora.audit.answers.kinds.base import Kind, Responses, Source, most


class Unlikely(Source):
    """The responses whose tokens are the least likely, as far as their number does not explain it.

    After RFTC (arXiv 2505.23015), which compares a response with what the model itself would answer.
    """

    name: ClassVar[str] = "unlikely"
    looks_for: ClassVar[str] = "responses that the model as it came would not give"

    def find(self, responses: Responses) -> list[Kind]:
        """The responses of the highest mean loss."""
        from musclelora.audit.answers.reading import without_length

        reading = responses.reading
        assert reading is not None  # noqa: S101  # it is said to be needed
        values = without_length(reading.loss, reading.tokens)
        return most(self.name, "an answer that the model as it came would not give", values)
