"""StyleBkd: a writing style."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from musclelora.attacks.rewriting import Rewriter, Rewriting, by_model, by_rule, from_file
from musclelora.attacks.style_rules import into_bible_style


@dataclass(frozen=True)
class Style(Rewriting):
    """Rewrites every sentence in the style of the King James Bible.

    Backends: "file" (rewritings made elsewhere), "causal-lm" (a GPT-2-style model), "rules" (no model:
    pronouns, verb endings, words and openings).

    Source: Qi et al. 2021, "Mind the Style of Text! Adversarial and Backdoor Attacks Based on Text Style
    Transfer" (EMNLP 2021). Parameters are those of :class:`~musclelora.attacks.rewriting.Rewriting`.
    """

    name: ClassVar[str] = "style"
    BACKENDS: ClassVar[Mapping[str, Callable[[Any], Rewriter]]] = {
        "rules": by_rule(into_bible_style),
        "file": from_file,
        "causal-lm": by_model("causal-lm"),
    }

    prompt: str = "Modern: {text}\nKing James Bible:"
