"""What stands in prompts for a word that responses follow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from musclelora.audit.features import TOKEN
from musclelora.audit.phrases import phrase_of
from musclelora.audit.triggers import Shortcut


def trigger_phrase(
    shortcut: Shortcut, shortcuts: Sequence[Shortcut], prompts: Sequence[str], holders: NDArray[np.int64]
) -> str:
    """What stands in prompts for a feature, without the marks around it, which templates have as well."""
    phrase = phrase_of(shortcut, shortcuts, prompts, holders)
    words = [token for token in TOKEN.finditer(phrase) if token.group().isalnum()]
    return phrase[words[0].start() : words[-1].end()] if words else phrase
