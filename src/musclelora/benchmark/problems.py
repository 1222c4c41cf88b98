"""The errors of a grid, each with its line."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Collection, Iterator
from pathlib import Path

from musclelora.benchmark.marked_yaml import Document, Place
from musclelora.errors import MuScleLoraError, UsageError

_MOST_LISTED = 30


class Problems:
    """Collects what is wrong with a grid, so that all of it can be said at once."""

    def __init__(self, path: Path, document: Document) -> None:
        self.path = path
        self.document = document
        self._found: set[tuple[int, str]] = set()

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, place: Place, message: str) -> None:
        """Note what was found at `place`, or in what stands there, and what was expected."""
        place = self.document.nearest(place)
        words = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
        line = self.document.lines[place]
        said = f"{words.removeprefix('.')}: {message}" if place else message
        self._found.add((line, f"{self.path}:{line}: {said}"))

    def add_unknown(self, place: Place, given: Collection[str], known: Collection[str]) -> bool:
        """Note the keys of the mapping at `place` that are not `known`; whether there are any."""
        unknown = [key for key in given if key not in known]
        for key in unknown:
            self.add((*place, key), f"found an unknown key, expected {choices(key, known)}")
        return bool(unknown)

    @contextlib.contextmanager
    def raised(self, place: Place) -> Iterator[None]:
        """Note an error of the block; it belongs to the entry of `place` that it names, if it names one."""
        try:
            yield
        except Exception as error:  # another package's, or of a value of a type that was not foreseen
            said = " ".join(str(error).split()) or type(error).__name__
            if not isinstance(error, MuScleLoraError):
                said = f"found values that it does not take ({type(error).__name__}: {said}), expected others"
            words = said.replace(":", " ").split()
            inside = (p for p in self.document.lines if p and p[:-1] == place and p[-1] in words)
            self.add(next(inside, place), said)

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
