"""The errors of a grid, each with its line."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from pathlib import Path

from pydantic_core import ErrorDetails

from musclelora.benchmark.marked_yaml import Document, Place
from musclelora.data.messages import shown
from musclelora.errors import MuScleLoraError, UsageError

_MOST_LISTED = 30


class Problems:
    """Collects what is wrong with a grid, so that all of it can be said at once."""

    def __init__(self, path: Path, document: Document) -> None:
        self.path = path
        self.document = document
        self._found: dict[tuple[int, str], Place] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, place: Place, message: str) -> None:
        """Note what was found at `place` and what was expected there."""
        line = self.document.line(place)
        self._found[line, f"{self.path}:{line}: {_shown_place(place)}{message}"] = place

    def touch(self, place: Place) -> bool:
        """Whether something was noted at `place` or in it."""
        return any(noted[: len(place)] == place for noted in self._found.values())

    def add_unknown(self, place: Place, known: Collection[str], what: str = "an unknown key") -> None:
        """Note that the last part of `place` is none of the `known` names."""
        self.add(place, f"found {what}, expected {choices(str(place[-1]), known)}")

    def add_error(self, place: Place, error: Exception) -> None:
        """Note an error; it belongs to the entry of the mapping at `place` that it names, if it names one."""
        said = " ".join(str(error).split()) or type(error).__name__
        if not isinstance(error, MuScleLoraError):
            said = f"found values that it does not take ({type(error).__name__}: {said}), expected others"
        inside = [p for p in self.document.lines if p[:-1] == place and isinstance(p[-1], str)]
        named = [p for p in inside if str(p[-1]) in said.replace(":", " ").split()]
        self.add(named[0] if named else place, said)

    def add_invalid(self, error: ErrorDetails, keys: Mapping[Place, Collection[str]]) -> None:
        """Note an error of the schema, whose mappings have the `keys`."""
        place, kind, context = error["loc"], error["type"], error.get("ctx", {})
        found = shown(error["input"])
        if kind == "extra_forbidden":
            self.add_unknown(place, keys[place[:1] if len(place) > 1 else ()])
        elif kind == "missing":
            self.add(place[:-1], f"found no {place[-1]}, expected one")
        elif kind == "literal_error":
            known = str(context["expected"]).replace("'", "").replace(" or ", ", ").split(", ")
            self.add(place, f"found {found}, expected {choices(str(error['input']), known)}")
        else:
            expected = str(context["error"] if kind == "value_error" else error["msg"])
            self.add(place, f"found {found}, expected {expected.removeprefix('Input should be ')}")

    def raise_any(self) -> None:
        """Raise all that was noted, by line, in one message.

        Raises:
            UsageError: something was noted.
        """
        if self._found:
            raise UsageError("; ".join(message for _, message in sorted(self._found)))


def choices(found: str, known: Collection[str]) -> str:
    """`known` as words for a message, or only the nearest to `found` where there are many."""
    near = difflib.get_close_matches(found, list(known), n=1)
    listed = "one of " + ", ".join(known) if len(known) <= _MOST_LISTED else "a known one"
    return listed + (f"; did you mean {near[0]}?" if near else "")


def _shown_place(place: Place) -> str:
    words = ""
    for part in place:
        words += f"[{part}]" if isinstance(part, int) else f".{part}" if words else part
    return f"{words}: " if words else ""
