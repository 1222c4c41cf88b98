"""From a YAML file to a grid whose every name, value and file has been checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from musclelora.benchmark import checks
from musclelora.benchmark.marked_yaml import load_yaml
from musclelora.benchmark.problems import Problems, choices
from musclelora.benchmark.schema import Attack, Data, Defense, Grid, ModelName
from musclelora.data.messages import shown

_KINDS: dict[str, Any] = {"data": Data, "attacks": Attack, "defenses": Defense, "models": ModelName}
"""What the entries of lists are."""


def load_grid(path: Path) -> Grid:
    """Read and check a grid.

    Paths in it are relative to its folder. All errors are found before anything runs, and said at once.

    Raises:
        UsageError: ``FILE:LINE: KEY: found …, expected …`` for every error, separated by "; ".
    """
    document = load_yaml(path)
    problems = Problems(path, document)
    if not isinstance(document.value, dict):
        problems.add((), f"found {shown(document.value)}, expected a mapping with the key data")
        problems.raise_any()
    raw: dict[str, Any] = {"name": path.stem, **document.value}
    for key, kind in _KINDS.items():
        if isinstance(raw.get(key), list):
            raw[key] = [_entry(TypeAdapter(kind), item, path.parent) for item in raw[key]]
    grid = None
    try:
        grid = Grid.model_validate(raw, context=path.parent)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            _add_invalid(detail, problems)
    checks.check_parts(raw, problems)
    if grid is not None:
        checks.check_cells(grid, problems)
    if grid is not None and not problems:
        checks.check_rows(grid, problems)
    problems.raise_any()
    assert grid is not None  # noqa: S101  # what is None has been said
    return grid


def _entry(kind: TypeAdapter[Any], item: Any, folder: Path) -> Any:
    """The entry where it fits the schema by itself, so that it can be checked whatever is wrong elsewhere."""
    try:
        return kind.validate_python(item, context=folder)
    except ValidationError:
        return item


def _add_invalid(error: ErrorDetails, problems: Problems) -> None:
    """Note an error of the schema."""
    place, kind, context = error["loc"], error["type"], error.get("ctx", {})
    found, said = shown(error["input"]), str(context.get("error", error["msg"]))
    if kind == "extra_forbidden":
        problems.add_unknown(place[:-1], [str(place[-1])], (Data if place[1:] else Grid).model_fields)
    elif kind == "missing":
        problems.add(place, f"found no {place[-1]}, expected one")
    elif kind == "literal_error":
        known = str(context["expected"]).replace("'", "").replace(" or ", ", ").split(", ")
        problems.add(place, f"found {found}, expected {choices(str(error['input']), known)}")
    elif said.startswith("found "):
        problems.add(place, said)
    else:
        problems.add(place, f"found {found}, expected {said.removeprefix('Input should be ')}")
