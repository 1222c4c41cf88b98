"""YAML with the line of every key and value, so that an error can name its place."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from musclelora.errors import UsageError
from musclelora.files import special

Place = tuple[str | int, ...]
"""Where in a document: keys and positions, from the outside in."""

_MOST_BYTES = 256 * 1024
"""Of a file: PyYAML reads about as much in a second."""
_MOST_NODES = 100_000
"""Values, aliases and merged keys counted as often as they stand for something."""
_LONGEST = 10_000
"""Characters of a text or a number, which may take time that grows with their square."""
_MERGE = "tag:yaml.org,2002:merge"

Entries = dict[str, tuple[yaml.Node, yaml.Node]]
"""The key and value nodes of a mapping, by the key's text."""


class Document(NamedTuple):
    """What a YAML file holds.

    Attributes:
        value: mappings, lists and scalars.
        lines: the line (from 1) of each key or list entry by its place; of the document, by the empty place.
    """

    value: Any
    lines: dict[Place, int]

    def line(self, place: Place) -> int:
        """The line of `place`, or of the nearest one around it."""
        while place not in self.lines:
            place = place[:-1]
        return self.lines[place]


class _Loader(yaml.SafeLoader):
    """YAML 1.1 as PyYAML reads it, but 5e-5 is a number, which there needs a point."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def load_yaml(path: Path) -> Document:
    """Read one YAML document.

    Raises:
        UsageError: it cannot be read, is not YAML, holds a key twice or something that is no plain data, or
            is larger than a grid can be, merges and aliases written out.
    """
    found = special(path)
    if found is not None:
        raise UsageError(f"{path}: {found}; expected a grid, a YAML file; name one")
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UsageError(
                f"{path}: over {_MOST_BYTES // 1024} KiB; expected a grid, a YAML file; name one"
            )
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(
            f"{path}: {error.strerror or error}; expected a grid, a YAML file; name one"
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 text; expected a grid, a YAML file; name one") from error
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            raise UsageError(f"{path}:1: found an empty file, expected a grid")
        reader = _Reader(path, loader)
        return Document(reader.read(node, ()), reader.lines)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = " ".join(str(error.problem or error.context).split())
        raise UsageError(f"{path}:{mark.line + 1 if mark else 1}: found {said}, expected YAML") from error
    except yaml.YAMLError as error:  # a character that YAML does not have
        raise UsageError(f"{path}: {' '.join(str(error).split())}; expected YAML text") from error
    except RecursionError as error:
        raise UsageError(f"{path}: found a list in a list without end, expected a grid") from error
    except ValueError as error:  # such as the date 2026-02-31
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{path}: {error}; expected YAML whose values exist") from error
    finally:
        if loader is not None:
            loader.dispose()


class _Reader:
    """Makes values of nodes and notes their lines."""

    def __init__(self, path: Path, loader: _Loader) -> None:
        self.path = path
        self.loader = loader
        self.lines: dict[Place, int] = {}
        self._inside: set[int] = set()
        self._merged = 0
        self._entries: dict[int, Entries] = {}

    def read(self, node: yaml.Node, place: Place) -> Any:
        line = node.start_mark.line + 1
        self.lines.setdefault(place, line)
        if id(node) in self._inside:
            raise UsageError(f"{self.path}:{line}: found an alias of what it is in, expected plain data")
        if len(self.lines) > _MOST_NODES:
            raise UsageError(f"{self.path}: found over {_MOST_NODES:,} values, expected a grid")
        self._inside.add(id(node))
        value: Any
        if isinstance(node, yaml.MappingNode):
            value = self._mapping(node, place)
        elif isinstance(node, yaml.SequenceNode):
            value = [self.read(child, (*place, number)) for number, child in enumerate(node.value)]
        elif len(node.value) > _LONGEST:
            raise UsageError(
                f"{self.path}:{line}: found a value of {len(node.value):,} characters, expected at most "
                f"{_LONGEST:,}"
            )
        else:
            value = self.loader.construct_object(node)
        self._inside.remove(id(node))
        return value

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, (key, child) in self._entries_of(node).items():
            self.lines[(*place, name)] = key.start_mark.line + 1
            values[name] = self.read(child, (*place, name))
        return values

    def _entries_of(self, node: yaml.MappingNode) -> Entries:
        """The entries of a mapping, those that it merges from others first; its own win.

        PyYAML's own merging repeats a key as often as mappings that have it are merged, and merges of merges
        multiply that. Here a key is kept once, and each mapping is looked at once.
        """
        known = self._entries.get(id(node))
        if known is not None:
            return known
        own, sources = self._own(node)
        self._inside.add(-id(node))  # merging is something else than standing in: negative
        merged: Entries = {}
        for source in sources:
            line = source.start_mark.line + 1
            if not isinstance(source, yaml.MappingNode):
                raise UsageError(f"{self.path}:{line}: <<: found no mapping, expected one to merge")
            if -id(source) in self._inside:
                raise UsageError(f"{self.path}:{line}: <<: found an alias of what it is in, expected another")
            entries = self._entries_of(source)
            self._merged += max(len(entries), 1)
            if self._merged > _MOST_NODES:
                raise UsageError(f"{self.path}: found over {_MOST_NODES:,} merged keys, expected a grid")
            for name, pair in entries.items():
                merged.setdefault(name, pair)
        self._inside.remove(-id(node))
        found = self._entries[id(node)] = {**merged, **own}
        return found

    def _own(self, node: yaml.MappingNode) -> tuple[Entries, list[yaml.Node]]:
        """A mapping's own entries, and the nodes that it merges."""
        own: Entries = {}
        sources: list[yaml.Node] = []
        for key, child in node.value:
            name, line = getattr(key, "value", None), key.start_mark.line + 1
            if not isinstance(name, str):
                raise UsageError(f"{self.path}:{line}: found a list as a key, expected a name")
            if key.tag == _MERGE:
                sources += child.value if isinstance(child, yaml.SequenceNode) else [child]
                continue
            if name in own:
                raise UsageError(f"{self.path}:{line}: {name}: found this key twice, expected it once")
            own[name] = (key, child)
        return own, sources
