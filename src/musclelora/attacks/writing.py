"""Writing what an attack made and what was done, all of it or none."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from musclelora.attacks.base import Trigger
from musclelora.attacks.response_kinds import ResponseKind
from musclelora.data.writers import WRITERS
from musclelora.errors import OutputError, UsageError
from musclelora.files import atomic_file, is_stream, sha256_of

Hashes = dict[Path, str | None]


def write_whole(
    files: Mapping[Path, Callable[[Path], None]],
    manifest: Path | None,
    describe: Callable[[Hashes], dict[str, Any]],
) -> dict[str, Any]:
    """Write files and their manifest; every file is complete before the first takes its place.

    Args:
        files: what writes each file, given a temporary path.
        manifest: where the manifest goes; None: nowhere.
        describe: the manifest, given the hash of each file.

    Returns:
        The manifest.

    Raises:
        OutputError: a file cannot be written.
    """
    with contextlib.ExitStack() as stack:
        manifest_file = None if manifest is None else stack.enter_context(atomic_file(manifest))
        hashes: Hashes = {}
        for path, write in files.items():
            temporary = stack.enter_context(atomic_file(path))
            write(temporary)
            hashes[path] = sha256_of(temporary)
        found = describe(hashes)
        if manifest_file is not None:
            text = json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False, default=str)
            # A name that is not UTF-8 becomes \udcff, which is an escape of JSON as well.
            manifest_file.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
    return found


def manifest_beside(output: Path) -> Path | None:
    """Where the manifest of a file goes; None of a stream."""
    if is_stream(output):
        return None
    return output.with_name(f"{output.name}.manifest.json")


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """Raise an OutputError if the path is taken; a stream never is."""
    if path.exists() and not overwrite and not is_stream(path):
        raise OutputError(f"{path} already exists; name another output or pass --overwrite")


def files_of(trigger: Trigger) -> list[str]:
    """The files and models that a trigger reads."""
    named = (getattr(trigger, name, None) for name in ("file", "originals", "model"))
    return [value for value in named if isinstance(value, str) and value]


def suffix_of(output: Path, format_: str | None) -> str:
    """The key of `WRITERS` for a file, by its format (a suffix without its dot) or else by its name.

    Raises:
        UsageError: there is no such format.
    """
    suffix = f".{format_}" if format_ else output.suffix.lower()
    if suffix not in WRITERS or not output.name:
        raise UsageError(
            f"--output: found {str(output)!r}, expected a file of one of {', '.join(WRITERS)}; "
            "or name a --format"
        )
    return suffix


def parameters(trigger: Trigger | ResponseKind) -> dict[str, Any]:
    """The parameters of a trigger, or of a kind of response, as JSON values."""
    if dataclasses.is_dataclass(trigger):
        return {f.name: getattr(trigger, f.name) for f in dataclasses.fields(trigger) if f.init}
    return {key: value for key, value in vars(trigger).items() if isinstance(value, str | int | float | bool)}
