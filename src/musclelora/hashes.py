"""Hashes of files that may have been altered, taken while something else reads them."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from musclelora.errors import ModelError

_BLOCK = 2**20


def sha256_of_files(files: Sequence[Path], stop: threading.Event | None = None) -> str:
    """The hash of the bytes of all `files` one after the other; of a single file its own.

    Bytes that this process has hashed before are not read again, unless the file's size or times are others.
    """
    marks = tuple(_mark(file) for file in files)
    return _hash(tuple(map(str, files)), marks, stop or threading.Event())


@contextlib.contextmanager
def hashing(files: Sequence[Path]) -> Iterator[list[str]]:
    """Hash `files` while the block reads them too; the hash is in the list once the block has ended.

    Raises:
        ModelError: they cannot be read.
    """
    found: list[str] = []
    failed: list[OSError] = []
    stop = threading.Event()

    def work() -> None:
        try:
            found.append(sha256_of_files(files, stop))
        except OSError as error:
            failed.append(error)

    thread = threading.Thread(target=work, name="hash", daemon=True)
    thread.start()
    try:
        yield found
    except BaseException:
        stop.set()  # nobody will ask for it
        raise
    finally:
        thread.join()
    if failed:
        raise ModelError(f"{files[0]}: cannot be read ({failed[0]}); restore the file") from failed[0]


def altered(file: object, then: str, now: str, remedy: str) -> ModelError:
    """The refusal of a file whose hash is not what it was."""
    return ModelError(
        f"{file}: found other bytes than were written (sha256 {now[:12]}…, it was {then[:12]}…), expected "
        f"them unaltered; {remedy}"
    )


def _mark(file: Path) -> tuple[int, ...]:
    about = file.stat()
    return about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns


def _hash(files: tuple[str, ...], marks: tuple[tuple[int, ...], ...], stop: threading.Event) -> str:
    known = _known(files, marks)
    if not known:
        digest = hashlib.sha256()
        for file in files:
            with open(file, "rb", buffering=0) as opened:  # noqa: PTH123 - a plain, unbuffered stream
                while not stop.is_set() and (block := opened.read(_BLOCK)):
                    digest.update(block)
        if stop.is_set():
            return ""
        known.append(digest.hexdigest())
    return known[0]


@functools.lru_cache(maxsize=64)
def _known(files: tuple[str, ...], marks: tuple[tuple[int, ...], ...]) -> list[str]:  # noqa: ARG001
    """Where the hash of files in this state is put."""
    return []


def digest_of_values(values: Any) -> str:
    """SHA-256 of JSON values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
