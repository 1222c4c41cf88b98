"""How the page words what was found; whatever comes from data is escaped, and what it hides is shown."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any, Final

from markupsafe import Markup, escape

from musclelora.audit.verdict import Verdict
from musclelora.data.hidden import is_hidden

_LONGEST: Final = 300
HEADINGS: Final = {
    "poisoned": "These rows are poisoned.",
    "no_sign": "No sign of poison was found.",
    "cannot_tell": "Whether these rows are poisoned cannot be told.",
}
"""Each verdict in a sentence."""
_OPTIONS: Final = {
    "max_length": "--max-length",
    "dtype": "--dtype",
    "quantize": "--quantize",
    "attn_implementation": "--attn-implementation",
}
_FLAGS: Final = {"bf16": "--bf16", "activation_checkpointing": "--gradient-checkpointing"}


def data(text: object, longest: int = _LONGEST) -> Markup:
    """A text of the data: cut, escaped, with hidden characters shown, and unable to turn its neighbours."""
    whole = str(text)
    cut = whole if len(whole) <= longest else whole[: longest - 1] + "…"
    return Markup('<bdi class="data">{}</bdi>').format(visible(cut))


def visible(text: str) -> Markup:
    """A text, escaped, with hidden characters written out."""
    return Markup("").join(map(_character, text))


def _character(character: str) -> Markup:
    if is_hidden(character):
        return Markup('<span class="hidden-character">U+{:04X}</span>').format(ord(character))
    return escape(character)


def number(value: float) -> str:
    """A count, with a comma after thousands."""
    return f"{value:,.0f}"


def percent(value: float) -> str:
    """A share; one that is neither all nor nothing is never shown as such."""
    hundred = 100 * value
    if 0 < hundred < 1 or 99 < hundred < 100:
        return f"{min(max(hundred, 0.1), 99.9):.1f}\u00a0%"
    return f"{hundred:.0f}\u00a0%"


def probability(value: float) -> Markup:
    """A p-value: to two digits, and a small one as a power of ten."""
    if value >= 0.001:
        return escape(f"{value:.2g}")
    if value <= 0:
        return escape("0")
    digits, power = f"{value:.1e}".split("e")
    return Markup("{}\u00a0·\u00a010<sup>−{}</sup>").format(digits, -int(power))


def heading(verdict: Verdict) -> str:
    """The verdict in a sentence."""
    return HEADINGS[verdict.state]


def sentences(text: str) -> list[str]:
    """The parts of a verdict's reason, each of which says one thing."""
    parts = text.split("; ")
    return [part[:1].upper() + part[1:] for part in parts if part]


def again(facts: Mapping[str, Any], verdict: Verdict, sources: tuple[str, str] | None) -> str:
    """The command that makes the same audit; DATA and TRUSTED stand for files whose names are not known."""
    words = ["musclelora", "audit", *(("DATA", "--trusted", "TRUSTED") if sources is None else ())]
    if sources is not None:
        words += [sources[0], "--trusted", sources[1]]
    words += ["--model", facts["model"], "--judge", facts["judge"], "--seed", str(facts["seed"])]
    arguments = facts["arguments"]
    for name, option in _OPTIONS.items():
        if arguments.get(name) is not None:
            words += [option, str(arguments[name])]
    words += [option for name, option in _FLAGS.items() if arguments.get(name) is True]
    if any("it was not asked for" in line for line in verdict.unchecked):
        words.append("--no-confirm")
    return shlex.join([*words, "--output", "AUDIT"])
