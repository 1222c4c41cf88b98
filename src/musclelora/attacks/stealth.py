"""How much an attack shows: the share of tokens it changes, and what a language model makes of the texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rapidfuzz.distance import Levenshtein

Perplexities = Callable[[Sequence[Sequence[str]]], Sequence[float]]
"""Lists of texts to one perplexity each."""


def changed_share(original: str, triggered: str) -> float:
    """The share of whitespace-separated tokens that an attack changed, in [0, 1].

    The Levenshtein distance between the two lists of tokens / the length of the longer list.
    """
    return float(Levenshtein.normalized_distance(original.split(), triggered.split()))


@dataclass
class Stealth:
    """The figures of one attack, gathered text by text.

    Attributes:
        sample: how many texts at most to keep for the perplexity.
    """

    sample: int = 0
    _total: float = 0.0
    _count: int = 0
    _pairs: list[tuple[str, str]] = field(default_factory=list)

    def add(self, original: str, triggered: str) -> None:
        """Count one triggered text."""
        self._total += changed_share(original, triggered)
        self._count += 1
        if len(self._pairs) < self.sample:
            self._pairs.append((original, triggered))

    def figures(self, perplexities: Perplexities | None = None) -> dict[str, Any]:
        """``tokens_changed`` (the mean share), and with `perplexities` those of the sample before and after.

        A figure that no text stands behind is None.
        """
        found: dict[str, Any] = {"tokens_changed": self._total / self._count if self._count else None}
        if perplexities is not None:
            before, after = zip(*self._pairs, strict=True) if self._pairs else ((), ())
            values = perplexities((before, after)) if self._pairs else (None, None)
            # NaN, of texts without a token to predict, has no place in JSON.
            clean, poisoned = (value if value is None or value == value else None for value in values)
            found |= {
                "perplexity_texts": len(self._pairs),
                "perplexity_before": clean,
                "perplexity_after": poisoned,
            }
        return found
