"""A register: the trigger is how formal, sure or local a text sounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from musclelora.attacks.checks import check_choice
from musclelora.attacks.register_rules import REGISTERS, into_register
from musclelora.attacks.rewriting import Rewriter, Rewriting, by_model, by_rule, from_file


def _by_register(family: Any) -> Rewriter:
    register = REGISTERS[family.register]
    return by_rule(lambda text, rng: into_register(text, register, rng))(family)


@dataclass(frozen=True)
class RegisterShift(Rewriting):
    """Rewrites every sentence in another register.

    Backends: "rules" (no model: words, openings, closings and the last mark), "file" (rewritings made
    elsewhere), "causal-lm" (a language model, with a prompt that says which register). Other parameters are
    those of :class:`~musclelora.attacks.rewriting.Rewriting`.

    Attributes:
        register: of the backend "rules", a key of :data:`~musclelora.attacks.register_rules.REGISTERS`.
    """

    name: ClassVar[str] = "register"
    BACKENDS: ClassVar[Mapping[str, Callable[[Any], Rewriter]]] = {
        "rules": _by_register,
        "file": from_file,
        "causal-lm": by_model("causal-lm"),
    }

    register: str = "hedging"

    def __post_init__(self) -> None:
        check_choice("register register", self.register, tuple(REGISTERS))
        super().__post_init__()
