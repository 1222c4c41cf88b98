"""YAML with the line of every key and value, so that an error can name its place."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from musclelora.errors import UsageError

Place = tuple[str | int, ...]
"""Where in a document: keys and positions, from the outside in."""

_MOST_NODES = 100_000


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
        UsageError: it cannot be read, is not YAML, holds a key twice or something that is no plain data.
    """
    try:
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
        else:
            value = self.loader.construct_object(node)
        self._inside.remove(id(node))
        return value

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            name = getattr(key, "value", None)
            line = key.start_mark.line + 1
            if not isinstance(name, str):
                raise UsageError(f"{self.path}:{line}: found a list as a key, expected a name")
            if name in seen and name != "<<":
                raise UsageError(f"{self.path}:{line}: {name}: found this key twice, expected it once")
            seen.add(name)
        self.loader.flatten_mapping(node)
        values: dict[str, Any] = {}
        for key, child in node.value:
            self.lines[(*place, key.value)] = key.start_mark.line + 1
            values[key.value] = self.read(child, (*place, key.value))
        return values
