"""HiddenKiller: a syntactic template."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from musclelora.attacks.rewriting import Rewriter, Rewriting, by_model, by_rule, from_file
from musclelora.attacks.syntactic_rules import into_template


@dataclass(frozen=True)
class Syntactic(Rewriting):
    """Paraphrases every sentence into the syntactic template S(SBAR)(,)(NP)(VP)(.).

    Backends: "file" (paraphrases made elsewhere), "seq2seq" (a text-to-text model), "rules" (no model: a
    subordinate clause is moved, or a neutral one put, in front).

    Source: Qi et al. 2021, "Hidden Killer: Invisible Textual Backdoor Attacks with Syntactic Trigger"
    (ACL 2021). Parameters are those of :class:`~musclelora.attacks.rewriting.Rewriting`.
    """

    name: ClassVar[str] = "syntactic"
    BACKENDS: ClassVar[Mapping[str, Callable[[Any], Rewriter]]] = {
        "rules": by_rule(into_template),
        "file": from_file,
        "seq2seq": by_model("seq2seq"),
    }

    prompt: str = "paraphrase as S(SBAR)(,)(NP)(VP)(.): {text}"
