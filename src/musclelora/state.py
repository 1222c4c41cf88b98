"""State files: JSON that the package wrote and reads back, which may have been altered in between.

A room describes what it reads of a file as a :class:`State`, in a module ``*_schema.py`` of its own, and
reads the file by :func:`read_state`. What fits can be used without further checks; the first thing that does
not is said in one line.
"""

from __future__ import annotations

import itertools
import math
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from musclelora.errors import MuScleLoraError
from musclelora.files import read_json

RESTORE = "restore it or train again"
_DEEPEST = 64
_LONGEST_SHOWN = 40


class State(BaseModel):
    """An object in a state file: no value is taken for one of another type; further keys are let be."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


class Closed(State):
    """A :class:`State` without further keys."""

    model_config = ConfigDict(extra="forbid")


def _plain(name: str) -> str:
    if name in (".", "..") or any(mark in name for mark in "/\\\0") or Path(name).name != name:
        raise ValueError("the name of a file in the same folder")
    return name


def distinct(values: list[Any]) -> list[Any]:
    """`values`, for a list in which none may come twice."""
    if len(set(values)) < len(values):
        raise ValueError("values that differ")
    return values


def _ascending(values: list[int]) -> list[int]:
    if any(one >= other for one, other in itertools.pairwise(values)):
        raise ValueError("ascending row numbers")
    return values


def matching(pattern: str, what: str) -> Callable[[str], str]:
    """A validator of strings that match a pattern as a whole; `what` says what they are."""

    def check(text: str) -> str:
        if re.fullmatch(pattern, text) is None:
            raise ValueError(what)
        return text

    return check


Text = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=0, le=2**53)]
Positive = Annotated[float, Field(gt=0)]
FileName = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_plain)]
"""A plain name, of a file in the folder of the one that names it."""
Sha256 = Annotated[str, AfterValidator(matching("[0-9a-f]{64}", "the sha256 of a file"))]
Names = Annotated[list[Text], Field(min_length=2), AfterValidator(distinct)]
"""The class names of a label map."""
RowNumbers = Annotated[list[Count], AfterValidator(_ascending)]
"""Numbers of rows, from 0, ascending."""

Failure = type[MuScleLoraError]
S = TypeVar("S")


def read_state(path: str | os.PathLike[str], kind: Any, failure: Failure, *, remedy: str = RESTORE) -> Any:
    """What a state file holds, as plain JSON values, once they are known to fit.

    Args:
        path: the file.
        kind: a :class:`State`, or any other type that pydantic knows.
        failure: the class of the error; each room has its own.
        remedy: what to do, which ends the message.

    Raises:
        FileNotFoundError, NotADirectoryError: there is no such file.
        MuScleLoraError: of the class `failure`: it cannot be read, or something in it does not fit.
    """
    values = read_values(path, failure, remedy=remedy)
    check_state(values, kind, path, failure, remedy=remedy)
    return values


def read_values(path: str | os.PathLike[str], failure: Failure, *, remedy: str = RESTORE) -> Any:
    """What a state file holds, unchecked; for files whose format decides how they are checked.

    Raises:
        FileNotFoundError, NotADirectoryError: there is no such file.
        MuScleLoraError: of the class `failure`: it cannot be read.
    """
    try:
        return read_json(path)
    except (FileNotFoundError, NotADirectoryError):
        raise
    except (OSError, ValueError) as error:
        raise failure(f"{os.fspath(path)}: cannot be read ({_reason(error)}); {remedy}") from error


def check_state(
    values: Any, kind: Any, place: str | os.PathLike[str], failure: Failure, *, remedy: str = RESTORE
) -> None:
    """Check values that were read from `place`; see :func:`read_state`.

    Raises:
        MuScleLoraError: of the class `failure`: the first fault, in one line.
    """
    fault = fault_of(values, kind)
    if fault is not None:
        raise failure(f"{os.fspath(place)}: {fault}; {remedy}")


def fault_of(values: Any, kind: Any) -> str | None:
    """The first thing in JSON values that does not fit `kind`, in words; None where all of it does."""
    if too_deep(values):
        return f"found values nested more than {_DEEPEST} deep, expected fewer levels"
    try:
        TypeAdapter(kind).validate_python(values, strict=True)
    except ValidationError as error:
        return _worded(error.errors(include_url=False)[0], values)
    if not _is_finite(values):
        return "found a number that is not finite, expected finite numbers"
    return None


def too_deep(values: Any) -> bool:
    """Whether JSON values are nested deeper than anything that this package writes or reads."""
    level = [values]
    for _ in range(_DEEPEST):
        level = [child for value in level for child in _children(value) if isinstance(child, dict | list)]
        if not level:
            return False
    return True


def _is_finite(values: Any) -> bool:
    """Whether no number at all is NaN or endless, for which JSON has no word; of values that are not deep."""
    if isinstance(values, dict | list):
        return all(map(_is_finite, _children(values)))
    return not isinstance(values, float) or math.isfinite(values)


def short(value: Any) -> str:
    """A value as it is shown in a message: quoted, escaped, not long."""
    text = repr(value) if isinstance(value, str | int | float | bool | None) else _container(value)
    text = ascii(text)[1:-1] if not text.isprintable() else text
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 3]}…"


def _container(value: Any) -> str:
    if isinstance(value, dict):
        return "an object" if value else "an empty object"
    if isinstance(value, list):
        return f"a list of {len(value)}" if value else "an empty list"
    return f"a {type(value).__name__}"


def _children(value: Any) -> Sequence[Any]:
    return list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else ()


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return " ".join(str(error).split())[:200]


_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a smaller number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "a string",
    "string_unicode": "a string in Unicode",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "none_required": "null",
    "greater_than": "more than {gt:,}",
    "greater_than_equal": "{ge:,} or more",
    "less_than": "less than {lt:,}",
    "less_than_equal": "{le:,} or less",
    "string_too_short": "a string of at least {min_length} character",
    "string_too_long": "a string of {max_length} characters at most",
    "too_short": "at least {min_length} of them",
    "too_long": "{max_length} of them at most",
    "literal_error": "{expected}",
    "value_error": "{error}",
}


def _worded(error: ErrorDetails, values: Any) -> str:
    """A fault as ``<where>: found <what>, expected <what>``."""
    kind = error["type"]
    context = {
        name: int(bound) if isinstance(bound, float) and bound.is_integer() else bound
        for name, bound in error.get("ctx", {}).items()
    }
    parts = _real(error["loc"], values)
    where = _where(parts)
    if kind == "missing":
        return f"{_where([*parts, error['loc'][-1]])}found nothing, expected a value"
    if kind == "extra_forbidden":
        return f"{where}found a key that is not known, expected none of this name"
    found = _at(values, parts)
    if kind in _EXPECTED:
        expected = _EXPECTED[kind].format(**context)
    else:
        expected = str(error["msg"]).removeprefix("Input should be ").replace("valid ", "")
    return f"{where}found {short(found)}, expected {expected}"


def _real(place: Sequence[Any], values: Any) -> list[Any]:
    """The parts of a place that are in the values: pydantic adds the names of the types of a union."""
    parts: list[Any] = []
    for part in place:
        inside = isinstance(values, dict) and part in values
        inside = inside or (isinstance(values, list) and isinstance(part, int) and part < len(values))
        if inside:
            parts.append(part)
            values = values[part]
    return parts


def _at(values: Any, parts: Sequence[Any]) -> Any:
    for part in parts:
        values = values[part]
    return values


def _where(parts: Sequence[Any]) -> str:
    words = ""
    for part in parts:
        name = short(part).strip("'") if isinstance(part, str) else ""
        words += f"[{part}]" if isinstance(part, int) else f".{name}" if words else name
    return f"{words}: " if words else ""
