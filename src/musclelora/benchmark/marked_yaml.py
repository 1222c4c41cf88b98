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
"""Values, those of aliases and merged mappings counted as often as they stand for something."""
_LONGEST = 10_000
"""Characters of a text or a number, which may take time that grows with their square."""
_MERGE = "tag:yaml.org,2002:merge"


class Document(NamedTuple):
    """What a YAML file holds.

    Attributes:
        value: mappings, lists and scalars.
        lines: the line (from 1) of each key or list entry by its place; of the document, by the empty place.
    """

    value: Any
    lines: dict[Place, int]

    def nearest(self, place: Place) -> Place:
        """`place`, or the nearest one around it that has a line."""
        while place not in self.lines:
            place = place[:-1]
        return place


def load_yaml(path: Path) -> Document:
    """Read one YAML document.

    Raises:
        UsageError: it cannot be read, is not YAML, holds a key twice or something that is no plain data, or
            is larger than a grid can be, merges and aliases written out.
    """
    loader = None
    try:
        loader = _Loader(path, _text(path))
        node = loader.get_single_node()
        if node is None:
            raise UsageError(f"{path}:1: found an empty file, expected a grid")
        return Document(loader.read(node, (), 1 + node.start_mark.line), loader.lines)
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


def _text(path: Path) -> str:
    try:
        found = special(path)
        if found is None and path.stat().st_size > _MOST_BYTES:
            found = f"over {_MOST_BYTES // 1024} KiB"
        if found is None:
            return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        found = error.strerror or str(error)
    except UnicodeDecodeError:
        found = "not UTF-8 text"
    raise UsageError(f"{path}: {found}; expected a grid, a YAML file; name one")


class _Loader(yaml.SafeLoader):
    """YAML 1.1 as PyYAML reads it, but 5e-5 is a number, which there needs a point; it notes lines."""

    def __init__(self, path: Path, text: str) -> None:
        super().__init__(text)
        self.path = path
        self.lines: dict[Place, int] = {}
        self._read = 0
        self._inside: list[yaml.Node] = []

    def read(self, node: yaml.Node, place: Place, line: int) -> Any:
        """The value of a node, which has its place and a line; aliases and merges are written out."""
        self.lines[place] = line
        self._read += 1
        if self._read > _MOST_NODES:
            raise UsageError(f"{self.path}: found over {_MOST_NODES:,} values, expected a grid")
        if node in self._inside:
            raise self._refusal(node, "found an alias of what it is in, expected plain data")
        self._inside.append(node)
        value: Any
        if isinstance(node, yaml.MappingNode):
            value = self._mapping(node, place, line)
        elif isinstance(node, yaml.SequenceNode):
            value = [
                self.read(child, (*place, number), child.start_mark.line + 1)
                for number, child in enumerate(node.value)
            ]
        elif len(node.value) > _LONGEST:
            raise self._refusal(
                node, f"found a value of {len(node.value):,} characters, expected at most {_LONGEST:,}"
            )
        else:
            value = self.construct_object(node)
        self._inside.pop()
        return value

    def _mapping(self, node: yaml.MappingNode, place: Place, line: int) -> dict[str, Any]:
        """What the mapping merges, of which the first counts, and its own entries, which count more."""
        values: dict[str, Any] = {}
        own: set[str] = set()
        merges = [child for key, child in node.value if key.tag == _MERGE]
        sources = [s for m in merges for s in (m.value if isinstance(m, yaml.SequenceNode) else [m])]
        for source in reversed(sources):
            if not isinstance(source, yaml.MappingNode):
                raise self._refusal(source, "<<: found no mapping, expected one to merge")
            values |= self.read(source, place, line)
        for key, child in node.value:
            name = key.value
            if not isinstance(name, str):
                raise self._refusal(key, "found a list as a key, expected a name")
            if name in own:
                raise self._refusal(key, f"{name}: found this key twice, expected it once")
            if key.tag != _MERGE:
                own.add(name)
                values[name] = self.read(child, (*place, name), key.start_mark.line + 1)
        return values

    def _refusal(self, node: yaml.Node, message: str) -> UsageError:
        return UsageError(f"{self.path}:{node.start_mark.line + 1}: {message}")


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)
