"""Writing files whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import os
import shutil
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from musclelora.errors import OutputError

_REFUSALS = {
    getattr(errno, name)
    for name in (
        *("EACCES", "EPERM", "EROFS", "ENOSPC", "EDQUOT", "EFBIG", "EIO"),
        *("ENOTDIR", "EISDIR", "EEXIST", "ENOTEMPTY", "ENAMETOOLONG"),
    )
    if hasattr(errno, name)
}


@contextlib.contextmanager
def output_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn the operating system's refusals to write `path` into one-line :class:`OutputError` messages."""
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        if error.errno not in _REFUSALS:
            raise
        place = error.filename or os.fspath(path)
        raise OutputError(
            f"cannot write {place}: {error.strerror or error}; free some space or name another output"
        ) from error


_unfinished: set[Path] = set()
_changing = threading.Lock()
_PATIENCE = 1.0


@contextlib.contextmanager
def _as_unfinished(make: Callable[[], str]) -> Iterator[Path]:
    """Make a temporary file or folder that :func:`remove_unfinished` finds as long as the block runs."""
    with _changing:
        path = Path(make())
        _unfinished.add(path)
    try:
        yield path
    finally:
        _remove(path)
        with _changing:
            _unfinished.discard(path)


def stop_writing() -> bool:
    """Let nobody begin a temporary file or folder any more, or put one in its place: the process is to end.

    Returns:
        Whether that is so; who tries waits for ever.
    """
    return _changing.acquire(timeout=_PATIENCE)


def remove_unfinished() -> None:
    """Remove the temporary files and folders that are being written; after :func:`stop_writing`."""
    for path in sorted(_unfinished):
        _remove(path)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink() if not path.is_dir() else shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path` that replaces it when the block ends without an error.

    Raises:
        OutputError: the folder is not writable or the disk is full; `path` is then as it was.
    """
    target = Path(path)
    with output_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with _as_unfinished(lambda: _empty_file_beside(target)) as temporary:
            yield temporary
            temporary.chmod(0o666 & ~_umask())
            with _changing:
                temporary.replace(target)


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside `path` that becomes `path` when the block ends without an error.

    Raises:
        OutputError: `path` exists and `overwrite` is false, or it cannot be written.
    """
    target = Path(path)
    if target.exists() and not overwrite and (not target.is_dir() or any(target.iterdir())):
        raise OutputError(f"{target} already exists; name another output or pass --overwrite")
    with output_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        make = functools.partial(tempfile.mkdtemp, dir=target.parent, prefix=f".{target.name}.")
        with _as_unfinished(make) as temporary:
            yield temporary
            temporary.chmod(0o777 & ~_umask())
            # The earlier folder steps aside and is removed last, so that one of the two is always whole.
            earlier = temporary.with_name(f"{temporary.name}.earlier")
            with _changing:
                if target.exists():
                    target.replace(earlier)
                temporary.replace(target)
            if earlier.is_dir():
                shutil.rmtree(earlier)
            else:
                earlier.unlink(missing_ok=True)


_SPECIAL = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_LARGEST_JSON = 256 * 2**20


def special(path: str | os.PathLike[str]) -> str | None:
    """What `path` or what it links to is, such as "a FIFO"; None for a regular file, a folder or nothing.

    Reading one of these may wait for ever or never end, and replacing one breaks what it is for.
    """
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - any kind of path
    except (OSError, ValueError):
        return None
    return _SPECIAL.get(stat.S_IFMT(mode))


def read_json(path: str | os.PathLike[str]) -> Any:
    """The value in a JSON file that may hold anything: it is read in bounded time and memory.

    Raises:
        OSError: there is no such file, or it cannot be read.
        ValueError: it is no regular file, too large, nested too deep, or not JSON in UTF-8.
    """
    found = special(path)
    if found is not None:
        raise ValueError(f"{found}, expected a file")
    file = Path(path)
    if file.stat().st_size > _LARGEST_JSON:
        raise ValueError(f"over {_LARGEST_JSON // 2**20} MiB")
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def sha256_of(path: str | os.PathLike[str]) -> str | None:
    """The hash of a file's bytes, or None where there is no single file."""
    if not Path(path).is_file():
        return None
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def held(lock: str | os.PathLike[str], who: str) -> Iterator[None]:
    """Hold the file `lock` while the block runs, so that no other process works in its folder.

    Args:
        lock: the file; its folder must be there.
        who: names the other process in the message.

    Raises:
        OutputError: another process holds it, or it cannot be written.
    """
    file = Path(lock)
    holder = FileLock(file)
    with output_errors(file):
        try:
            holder.acquire(timeout=0)
        except Timeout as error:
            raise OutputError(
                f"{file.parent}: another {who} it; wait for it, stop it, or name another output"
            ) from error
    try:
        yield
    finally:
        holder.release()


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all; NaN and infinities are refused."""
    with atomic_file(path) as temporary:
        text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def _empty_file_beside(target: Path) -> str:
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=target.suffix)
    os.close(handle)
    return name


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
