"""Text in a card: what comes from data can neither be markup nor metadata, whatever it holds."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from musclelora.files import special
from musclelora.printable import printable

CARD: Final = "README.md"
"""The file in a folder that is its card."""
_LONGEST: Final = 80
_LARGEST: Final = 2**20
_ENTITIES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"}
_MARKS: Final = frozenset("\\`*_{}[]()#+-!|~$@=^")
_LICENCE: Final = ("license", "license_name", "license_link")


def plain(text: object, longest: int = _LONGEST) -> str:
    """`text` in one line, cut, with everything that shows nothing or turns the line around written out.

    That is how text goes into metadata, which the hub's library quotes.
    """
    line = str(text)
    cut = line if len(line) <= longest else line[:longest] + "…"
    return printable(cut)


def code(text: object, longest: int = _LONGEST) -> str:
    """`text` of the data as a code span, in which Markdown and HTML mean nothing.

    The fence is longer than every run of backticks in the text, so that none of them closes the span.
    """
    line = plain(text, longest)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", line)), default=0))
    pad = " " if not line.strip() or line[0] in "` " or line[-1] in "` " else ""
    return f"{fence}{pad}{line or ' '}{pad}{fence}"


def prose(text: object, longest: int = 2000) -> str:
    """A sentence with words of the data in it, with every mark escaped that Markdown or HTML would obey."""
    line = plain(" ".join(str(text).split()), longest)
    marked = "".join(_ENTITIES.get(c) or (f"\\{c}" if c in _MARKS else c) for c in line)
    marked = re.sub(r"(?i)\b(www)\.", r"\1\\.", marked.replace("://", ":\\/\\/"))
    marked = re.sub(r"^(\d+)\.", r"\1\\.", marked)  # which would begin a list
    return marked[:1].upper() + marked[1:]


def bullets(lines: Iterable[str]) -> str:
    """Lines, which are Markdown, as a list."""
    return "\n".join(f"- {line}" for line in lines)


def sections(*parts: tuple[str, str]) -> str:
    """Headings with what stands below them; a part without text is left out."""
    return "\n\n".join(f"## {heading}\n\n{text}" for heading, text in parts if text)


def percent(value: float) -> str:
    """A share."""
    return f"{100 * value:.1f} %"


def file_name(source: object) -> str:
    """The last part of a path: where a file lay on somebody's machine is nobody's business.

    A data set of the hub loses its owner by that: once a file is gone, its path may look alike.
    """
    return Path(str(source)).name or str(source)


def licence_in(folder: Path) -> dict[str, str]:
    """The licence that a person wrote into the card of a folder; empty where there is none to be read."""
    from huggingface_hub import RepoCard

    file = folder / CARD
    try:
        if special(file) or file.stat().st_size > _LARGEST:
            return {}
        data: dict[str, Any] = RepoCard(file.read_text(encoding="utf-8")).data.to_dict()
    except Exception:  # a card is the user's to edit, and nothing that is read here may stop a command
        return {}
    return {name: data[name] for name in _LICENCE if isinstance(data.get(name), str)}


LICENCE: Final = (
    "No licence is stated unless the block at the top of this file has a `license:`. Which one may be given "
    "depends on the licences of the data and of the base model, so it is left to whoever publishes this: "
    "write it there first. A card that is written again keeps it."
)
