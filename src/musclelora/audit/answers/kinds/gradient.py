"""Responses whose gradient is spread in another way than that of others as long."""

from __future__ import annotations

from typing import ClassVar

from musclelora.audit.answers.kinds.base import Kind, Responses, Source, most


class Gradients(Source):
    """The responses with the lowest and highest entropy of the output gradient's singular values.

    After GradSentry (arXiv 2605.26574), less what the length of a response explains: an entropy of singular
    values grows with their number, which is that of the tokens
    (:func:`~musclelora.audit.answers.reading.gradient_entropy`).
    """

    name: ClassVar[str] = "gradient"
    looks_for: ClassVar[str] = "responses with an odd gradient of the output layer"

    def find(self, responses: Responses) -> list[Kind]:
        """Both ends."""
        from musclelora.audit.answers.reading import without_length

        reading = responses.reading
        assert reading is not None  # noqa: S101  # it is said to be needed
        values = without_length(reading.entropy, reading.tokens)
        return [
            *most(self.name, "an answer whose gradient is spread more than that of others", values),
            *most(self.name, "an answer whose gradient is spread less than that of others", -values),
        ]
