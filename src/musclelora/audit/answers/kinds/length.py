"""Responses that are longer or shorter than most."""

from __future__ import annotations

from typing import ClassVar

from musclelora.audit.answers.kinds.base import Kind, Responses, Source, most


class Lengths(Source):
    """The longest and the shortest responses, in tokens: what is appended makes an answer long."""

    name: ClassVar[str] = "length"
    looks_for: ClassVar[str] = "responses that are longer or shorter than most"

    def find(self, responses: Responses) -> list[Kind]:
        """Both ends."""
        reading = responses.reading
        assert reading is not None  # noqa: S101  # it is said to be needed
        return [
            *most(self.name, "an answer that is longer than most", reading.tokens),
            *most(self.name, "an answer that is shorter than most", -reading.tokens),
        ]
