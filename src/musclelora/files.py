"""Writing files whole or not at all."""

from __future__ import annotations

import contextlib
import datetime
import errno
import functools
import hashlib
import json
import os
import platform
import shutil
import stat
import sys
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
def output_errors(
    path: str | os.PathLike[str], remedy: str = "free some space or name another output"
) -> Iterator[None]:
    """Turn the operating system's refusals to write `path` into one-line :class:`OutputError` messages.

    Args:
        path: what is written.
        remedy: what to do about it.
    """
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        if error.errno not in _REFUSALS:
            raise
        place = error.filename or os.fspath(path)
        raise OutputError(f"cannot write {place}: {error.strerror or error}; {remedy}") from error


LOCK = ".lock"
"""The file by which a folder is held."""
_PATIENCE = 0.5  # seconds: another process may be just letting go

_STANDARD = ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
_DESCRIPTORS = ("/dev/std", "/dev/fd/", "/proc/self/fd/")


def is_standard_output(path: str | os.PathLike[str]) -> bool:
    """Whether `path` means what the command prints to."""
    return os.fspath(path) in _STANDARD


def is_stream(path: str | os.PathLike[str]) -> bool:
    """Whether `path` is written to as it stands and never replaced: ``-``, a device or a FIFO."""
    name = os.fspath(path)
    return name in _STANDARD or name.startswith(_DESCRIPTORS) or special(path) in ("a FIFO", "a device")


_unfinished: set[Path] = set()
_held: dict[Path, bool] = {}  # the locks of this process, and whether it made their folders
_changing = threading.Lock()


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
    return _changing.acquire(timeout=1.0)


def remove_unfinished() -> None:
    """Remove temporary files and folders that are being written, and locks; after :func:`stop_writing`."""
    for path in sorted(_unfinished):
        _remove(path)
    for lock, made in _held.items():
        _let_go(lock, made)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink() if not path.is_dir() else shutil.rmtree(path, ignore_errors=True)


def already_exists(path: Path) -> OutputError:
    """The refusal to replace what nobody asked to."""
    return OutputError(f"{path} already exists; name another output or pass --overwrite")


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path` that replaces it when the block ends without an error.

    A stream (see :func:`is_stream`) gets the bytes instead and stays what it is; a link stays a link, and
    what it leads to is replaced.

    Raises:
        OutputError: the folder is not writable or the disk is full; `path` is then as it was.
    """
    if is_stream(path):
        with _streamed(path) as temporary:
            yield temporary
        return
    target = Path(path)
    if target.is_symlink():
        target = Path(os.path.realpath(target))
    with output_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with _as_unfinished(lambda: _empty_file_beside(target)) as temporary:
            yield temporary
            temporary.chmod(0o666 & ~_umask())
            with _changing:
                temporary.replace(target)


@contextlib.contextmanager
def _streamed(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary file whose bytes go to the stream `path` when the block ends without an error."""
    with tempfile.TemporaryDirectory() as folder, output_errors(path):
        temporary = Path(folder) / f"output{Path(path).suffix}"
        yield temporary
        with temporary.open("rb") as made:
            if is_standard_output(path):
                sys.stdout.flush()
                shutil.copyfileobj(made, sys.stdout.buffer)
                sys.stdout.flush()
            else:
                with Path(path).open("ab") as stream:
                    shutil.copyfileobj(made, stream)


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside `path` that becomes `path` when the block ends without an error.

    What is in it can be read by whoever may read other new files. While it is made, the folder `path` holds a
    lock (see :func:`held`), and what a kill left of an earlier try is cleared away.

    Raises:
        OutputError: `path` exists and `overwrite` is false, another process writes in it, or it cannot be
            written.
    """
    target = Path(os.path.realpath(path)) if Path(path).is_symlink() else Path(path)

    def check_free() -> None:
        taken = target.exists() and (not target.is_dir() or any(e.name != LOCK for e in target.iterdir()))
        if taken and (not overwrite or not target.is_dir()):
            raise already_exists(target)

    check_free()
    with held(target, "musclelora export"), output_errors(target):
        check_free()  # another may have ended since
        for leftover in target.parent.glob(f"{_prefix(target)}*"):
            if not leftover.name.endswith(_EARLIER):  # which is whole
                shutil.rmtree(leftover, ignore_errors=True)
        make = functools.partial(tempfile.mkdtemp, dir=target.parent, prefix=_prefix(target))
        with _as_unfinished(make) as temporary:
            yield temporary
            _readable(temporary)
            with _changing:
                _swap(temporary, target)


_EARLIER = ".earlier"


def _prefix(target: Path) -> str:
    """How the names of folders begin that are to become `target`; a person would not name one so."""
    return f".{target.name}.musclelora-"


def _readable(folder: Path) -> None:
    """Give a folder and what is in it the modes of new files; some libraries keep theirs to their owner."""
    mask = _umask()
    for entry in [folder, *folder.rglob("*")]:
        entry.chmod((0o777 if entry.is_dir() else 0o666) & ~mask)


def _swap(made: Path, target: Path) -> None:
    """Put `made` in the place of `target`, which steps aside and is removed last: one of the two is whole."""
    earlier = made.with_name(f"{made.name}{_EARLIER}")
    if target.exists():
        target.replace(earlier)
    try:
        made.replace(target)
    except OSError:
        if earlier.exists():
            earlier.replace(target)
        raise
    for aside in target.parent.glob(f"{_prefix(target)}*{_EARLIER}"):
        shutil.rmtree(aside)


_SPECIAL = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a disk",
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
def held(folder: str | os.PathLike[str], what: str) -> Iterator[None]:
    """Be the one process that writes in `folder` while the block runs; the folder is made if need be.

    The lock is the file :data:`LOCK` in it, which the system frees when its process ends, however that came.

    Args:
        folder: where this process is going to write.
        what: this command, for the message that another one gets.

    Raises:
        OutputError: another process holds it, or it cannot be written.
    """
    place = Path(folder)
    with output_errors(place):
        made = not place.exists()
        place.mkdir(parents=True, exist_ok=True)
        file = place / LOCK
        lock = FileLock(file)
        try:
            lock.acquire(timeout=_PATIENCE, poll_interval=_PATIENCE / 10)
        except Timeout as error:
            raise OutputError(
                f"{place}: {_holder(file)} is writing in it; wait for it, stop it, or name another output"
            ) from error
    try:
        with output_errors(place):
            now = datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
            about = {"command": what, "process": os.getpid(), "machine": platform.node(), "since": now}
            file.write_text(json.dumps(about), encoding="utf-8")
        _held[file] = made
        yield
    finally:
        _held.pop(file, None)
        try:
            _let_go(file, made)
        finally:
            lock.release()


def _let_go(lock: Path, made: bool) -> None:
    """Remove a lock that this process holds, and the folder that it made for it if nothing came into it."""
    with contextlib.suppress(OSError):
        lock.unlink(missing_ok=True)
        if made:
            lock.parent.rmdir()


def _holder(lock: Path) -> str:
    """Who holds a lock, as far as its file says."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        about = read_json(lock)
        return "{command} (process {process} on {machine}, since {since})".format(**about)
    return "another process"


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
