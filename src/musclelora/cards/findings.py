"""What an audit found, in a card's words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from musclelora.cards.text import bullets, code, prose

_STATES: Final = {
    "poisoned": "The data are poisoned.",
    "no_sign": "No sign of poison was found, which is no proof that there is none.",
    "cannot_tell": "Whether the data are poisoned cannot be told.",
}
_NAMED: Final = 20
_KINDS: Final = {"trigger": "models obey it", "suspected": "whether models obey it is not known"}


def found(verdict: Mapping[str, Any], triggers: Sequence[Mapping[str, Any]], rows: str) -> str:
    """The verdict, what was looked for, and the triggers by name.

    Args:
        verdict: as :meth:`~musclelora.audit.verdict.Verdict.to_dict` gives it.
        triggers: each with text, label and what; those that models do not obey are not named.
        rows: what was done with the rows, in a sentence.
    """
    named = list(
        {
            (str(one["text"]), str(one["label"])): str(one["what"])
            for one in reversed(triggers)
            if one["what"] in _KINDS
        }.items()
    )[::-1]
    lines = [
        f"{code(text)} brings the label {code(label)}; {_KINDS[what]}"
        for (text, label), what in named[:_NAMED]
    ]
    if len(named) > _NAMED:
        lines.append(f"and {len(named) - _NAMED:,} more")
    parts = [
        f"**{_STATES[verdict['state']]}** {prose(verdict['why'])}.",
        rows,
        f"Triggers that were found:\n\n{bullets(lines)}"
        if lines
        else "No word or phrase was found to be a trigger.",
        f"It was looked for:\n\n{bullets(map(prose, verdict['checked']))}" if verdict["checked"] else "",
    ]
    return "\n\n".join(part for part in parts if part)


def limits(verdict: Mapping[str, Any] | None) -> list[str]:
    """What the verdict does not cover."""
    if verdict is None:
        return ["The data were not audited: planted rows may be among those that were trained on."]
    lines = [f"Not checked: {prose(line)}." for line in verdict["unchecked"]]
    return [
        "An audit finds what labels follow beyond what the trusted rows explain. A trigger that is too rare, "
        "or that reads like meaning, may stay unfound.",
        *lines,
    ]
