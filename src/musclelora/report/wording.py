"""How the page words what was found; whatever comes from data is escaped, and what it hides is shown."""

from __future__ import annotations

import re
import shlex
from typing import Final

from markupsafe import Markup, escape

from musclelora.data.hidden import is_hidden
from musclelora.report.subject import Subject
from musclelora.report.tasks import CLASSIFY

_LONGEST: Final = 300
_HEADINGS: Final = {
    "poisoned": "These {rows} are poisoned.",
    "no_sign": "No sign of poison was found.",
    "cannot_tell": "Whether these {rows} are poisoned cannot be told.",
}
"""Each verdict in a sentence."""
_PARTS: Final = re.compile(r"""(?<!\w)'(?:[^'\\]|\\.)*'|(?<!\w)"(?:[^"\\]|\\.)*"|(?P<end>; )""", re.DOTALL)
"""A phrase of the data in its quotes, or the end of what says one thing."""
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


def heading(state: str, rows: str = "rows") -> str:
    """A verdict in a sentence.

    Args:
        state: of the verdict.
        rows: what was audited, in a word.
    """
    return _HEADINGS[state].format(rows=rows)


def sentences(text: str) -> list[str]:
    """The parts of a verdict's reason, each of which says one thing; a phrase of the data stays whole."""
    ends = [found.span() for found in _PARTS.finditer(text) if found["end"]]
    starts = [0, *(end for _, end in ends)]
    parts = [
        text[start:end] for start, end in zip(starts, [*(start for start, _ in ends), None], strict=True)
    ]
    return [part[:1].upper() + part[1:] for part in parts if part]


def again(subject: Subject) -> str:
    """The command that makes the same audit; DATA and TRUSTED stand for files whose names are not known."""
    facts, source = subject.facts, subject.source
    words = ["musclelora", "audit", "DATA" if source is None else source.train]
    if subject.task is not CLASSIFY:
        words += ["--task", subject.task.name]
    if facts["trusted"] is not None:
        words += ["--trusted", "TRUSTED" if source is None else str(source.trusted)]
    for name, column in ({} if source is None else source.columns).items():
        words += [] if column is None else [f"--{name}-column", str(column)]
    for name in ("model", "judge", "seed"):
        words += [f"--{name}", str(facts[name])] if name in facts else []
    arguments = facts["arguments"]
    for name, option in _OPTIONS.items():
        if arguments.get(name) is not None:
            words += [option, str(arguments[name])]
    words += [option for name, option in _FLAGS.items() if arguments.get(name) is True]
    if any("it was not asked for" in line for line in subject.verdict.unchecked):
        words.append("--no-confirm")
    return shlex.join([*words, "--output", "AUDIT"])
