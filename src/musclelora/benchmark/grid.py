"""From a YAML file to a grid whose every name, value and file has been checked."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from musclelora.benchmark import checks
from musclelora.benchmark.marked_yaml import Place, load_yaml
from musclelora.benchmark.problems import Problems
from musclelora.benchmark.schema import Attack, Data, Defense, Entry, Grid
from musclelora.benchmark.tables import FILE_PARAMETERS
from musclelora.data.messages import shown
from musclelora.data.places import exists, may_be_on_hub, nearest
from musclelora.data.readers import READERS

_Locate = Callable[[str, Place], str]
_TABLES = ("train", "test", "trusted")
_MODEL_PARAMETERS = ("model", "language_model")


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
    _locate(raw, path.parent, problems)
    grid = None
    try:
        grid = Grid.model_validate(raw)
    except ValidationError as error:
        keys: dict[Place, Collection[str]] = {
            (): Grid.model_fields.keys(),
            ("data",): Data.model_fields.keys(),
        }
        for detail in error.errors(include_url=False):
            problems.add_invalid(detail, keys)
    checks.check_unique(raw, problems)
    for place, entry in _entries(raw):
        if isinstance(entry, Data):
            checks.check_data(entry, place, problems)
        elif isinstance(entry, Attack):
            checks.check_attack(entry, place, problems)
        elif isinstance(entry, Defense):
            checks.check_defense(entry, place, problems)
    for key in ("training", "full"):
        checks.check_arguments(raw.get(key), (key,), problems)
    for place, model in _models(raw):
        checks.check_model(model, place, problems)
    if grid is not None:
        checks.check_cells(grid, problems)
    if grid is not None and not problems:
        checks.check_rows(grid, problems)
    problems.raise_any()
    assert grid is not None  # noqa: S101  # what is None has been said
    return grid


def _entries(raw: dict[str, Any]) -> Iterator[tuple[Place, Entry]]:
    """The entries that fit the schema by themselves, whatever is wrong elsewhere."""
    kinds: dict[str, type[Entry]] = {"data": Data, "attacks": Attack, "defenses": Defense}
    for key, kind in kinds.items():
        for number, item in enumerate(_list(raw.get(key))):
            try:
                yield (key, number), kind.model_validate(item)
            except ValidationError:
                continue


def _models(raw: dict[str, Any]) -> Iterator[tuple[Place, Any]]:
    """Every model that the grid names, those of attacks and defences too."""
    for number, model in enumerate(_list(raw.get("models"))):
        yield ("models", number), model
    for key in ("attacks", "defenses"):
        for number, entry in enumerate(_list(raw.get(key))):
            for name in _MODEL_PARAMETERS if isinstance(entry, dict) else ():
                if name in entry:
                    yield (key, number, name), entry[name]


def _locate(raw: dict[str, Any], folder: Path, problems: Problems) -> None:
    """Make the paths in `raw` absolute, in copies of what holds them."""

    def table(value: str, place: Place) -> str:
        at = folder / Path(value).expanduser()
        # What looks like a path is none of the hub's names.
        if exists(at):
            return str(at.resolve())
        if value.startswith((".", "/", "~")) or Path(value).suffix in READERS or not may_be_on_hub(value):
            near = nearest(at)
            problems.add(
                place,
                f"found no file or folder {shown(str(at))}, expected data there"
                + (f"; did you mean {near}?" if near else ""),
            )
        return value

    def file(value: str, place: Place) -> str:
        at = folder / Path(value).expanduser()
        if not (exists(at) and at.is_file()):
            problems.add(place, f"found no file {shown(str(at))}, expected one")
        return str(at.resolve())

    def model(value: str, place: Place) -> str:  # noqa: ARG001
        at = folder / Path(value).expanduser()
        return str(at.resolve()) if exists(at) and at.is_dir() else value

    models: dict[str, _Locate] = dict.fromkeys(_MODEL_PARAMETERS, model)
    files: dict[str, _Locate] = dict.fromkeys(FILE_PARAMETERS, file)
    kinds: dict[str, dict[str, _Locate]] = {
        "data": dict.fromkeys(_TABLES, table),
        "attacks": {**models, **files, "triggered": file},
        "defenses": models,
    }
    for key, ways in kinds.items():
        if isinstance(raw.get(key), list):
            raw[key] = [_changed(entry, (key, n), ways) for n, entry in enumerate(raw[key])]
    for number, entry in enumerate(_list(raw.get("attacks"))):
        if isinstance(entry, dict) and "test" in entry:
            entry["test"] = _changed(entry["test"], ("attacks", number, "test"), files)
    if isinstance(raw.get("models"), list):
        raw["models"] = [model(name, ()) if isinstance(name, str) else name for name in raw["models"]]


def _changed(entry: Any, place: Place, ways: Mapping[str, _Locate]) -> Any:
    if not isinstance(entry, dict):
        return entry
    return {
        key: ways[key](value, (*place, key)) if key in ways and isinstance(value, str) else value
        for key, value in entry.items()
    }


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
