"""The table of bad inputs: what a line of it is, and the words that say what is bad.

How to add a case
-----------------

A case is one line in the list ``CASES`` of the file that its group is in (``test_bad_*.py``)::

    Case("a table that is a FIFO", "predict run bad.csv", 3, [fifo("bad.csv")])

It reads: with a FIFO in place of ``bad.csv``, ``musclelora predict run bad.csv`` ends with code 3. The words
of the command are those of a shell. It runs in a folder that holds what its words name: every word (or part
of one, such as ``run`` in ``run/run.json``) that is a key of :data:`~world.PARTS` is laid out there first, as
the commands that make it made it, so ``run`` is a finished run and ``train.csv`` are its rows. What only the
changes name is laid out as well. The list at the end changes that folder: see the functions below (``write``,
``change``, ``link``, ``fifo``, ...), which are done in their order; the parts are copies, so that they may do
anything to them. ``pytest tests/robustness -k "a table that is a FIFO"`` runs it.

What every case is held to, without a word of its own: it ends (in minutes, and in bounded memory); no
traceback and no control character is printed; a refusal is one line on standard error that begins with
``musclelora: ``; and every file, link, folder and device in the folder is what it was, with its mode, with
nothing beside it. ``code`` may be several where the documents allow several, ``says`` is what the line must
hold, and ``makes`` names what a command that is *not* refused may write.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import resource
import signal
import socket
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

SECONDS = int(os.environ.get("ROBUSTNESS_SECONDS", "180"))
"""A case that takes longer hangs; no case is meant to take a tenth of it."""
MEMORY = 3 * 2**30
"""What a case may take more than the process has."""


@dataclass(frozen=True)
class Change:
    """One thing that is made bad.

    Attributes:
        names: the paths that it is about.
        do: makes it so, in the folder that is the current one.
    """

    names: tuple[str, ...]
    do: Callable[[], None]


@dataclass(frozen=True)
class Case:
    """One line of the table; see the text above.

    Attributes:
        name: what is bad, in a few words; with the command it tells the case from all others.
        command: the words after ``musclelora``, as for a shell.
        code: the exit code, or those that are allowed.
        bad: what is changed before the command runs.
        says: what the line on standard error holds.
        makes: what the command may write, if it ends with 0 or late: glob patterns.
        late: whether it is refused only after it has begun to work, which shows its progress.
    """

    name: str
    command: str
    code: int | tuple[int, ...]
    bad: Sequence[Change] = ()
    says: str = ""
    makes: tuple[str, ...] = ()
    late: bool = False

    def __str__(self) -> str:
        words = re.sub(r"[^\x20-\x7e]", "?", f"{self.command.split()[0]}: {self.name}")
        return words[:120]

    @property
    def codes(self) -> tuple[int, ...]:
        return (self.code,) if isinstance(self.code, int) else self.code

    @property
    def words(self) -> set[str]:
        """What may be the name of a part."""
        return set(re.findall(r"[\w.-]+", " ".join([self.command, *(n for c in self.bad for n in c.names)])))


# ---- what is bad ----------------------------------------------------------------------------------------


def write(path: str, content: str | bytes = "") -> Change:
    """A file of that content, where there may be one."""

    def do() -> None:
        clear(path)
        Path(path).write_bytes(content if isinstance(content, bytes) else content.encode())

    return Change((path,), do)


def folder(path: str) -> Change:
    """An empty folder, in the place of what is there."""

    def do() -> None:
        clear(path)
        Path(path).mkdir()

    return Change((path,), do)


def remove(path: str) -> Change:
    return Change((path,), lambda: clear(path))


def link(path: str, to: str) -> Change:
    """A symbolic link, in the place of what is there; `to` is seen from its folder."""

    def do() -> None:
        clear(path)
        Path(path).symlink_to(to)

    return Change((path, to), do)


def hard_link(path: str, to: str) -> Change:
    return Change((path, to), lambda: Path(path).hardlink_to(to))


def fifo(path: str, *, read: bool = False) -> Change:
    """A FIFO, that somebody reads to its end or nobody."""

    def do() -> None:
        clear(path)
        os.mkfifo(path)
        if read:
            # Opened for both, or the thread would wait for ever where nobody writes.
            handle = os.open(path, os.O_RDWR | os.O_NONBLOCK)
            threading.Thread(target=_drain, args=(handle,), daemon=True).start()

    return Change((path,), do)


def _drain(handle: int) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    with contextlib.suppress(OSError):
        os.set_blocking(handle, True)
        while os.read(handle, 65536):
            pass


def a_socket(path: str) -> Change:
    def do() -> None:
        clear(path)
        with socket.socket(socket.AF_UNIX) as ours:
            ours.bind(path)

    return Change((path,), do)


NULL, ZERO, FULL = (1, 3), (1, 5), (1, 7)
"""The device that takes all and has nothing; that never ends; that is full."""


def device(path: str, which: tuple[int, int] = NULL) -> Change:
    """A device of our own: the machine's would be gone if a command replaced it."""

    def do() -> None:
        clear(path)
        try:
            os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(*which))
            Path(path).open("rb").close()
        except OSError as error:
            pytest.skip(f"no device can be made here: {error}")

    return Change((path,), do)


def move(source: str, path: str) -> Change:
    """What is at `source`, put in the place of what is at `path`, whose folder is made."""

    def do() -> None:
        found = Path(source).rename(f"{source}.moving")
        clear(path)
        Path(path).parent.mkdir(exist_ok=True)
        found.rename(path)

    return Change((source, path), do)


def held(folder: str) -> Change:
    """Another holds the lock of a folder until the case ends."""

    def do() -> None:
        lock = FileLock(Path(folder) / ".lock")
        lock.acquire(timeout=0)
        HELD.append(lock)

    return Change((folder,), do)


HELD: list[FileLock] = []
"""The locks that are held, which the end of a case lets go."""


def cut(path: str) -> Change:
    """The first half of a file."""

    def do() -> None:
        data = Path(path).read_bytes()
        Path(path).write_bytes(data[: len(data) // 2])

    return Change((path,), do)


def flip(path: str, where: float = 0.9) -> Change:
    """One bit turned, at that share of the file."""

    def do() -> None:
        data = bytearray(Path(path).read_bytes())
        data[int(len(data) * where)] ^= 4
        Path(path).write_bytes(data)

    return Change((path,), do)


def copy(path: str, source: str) -> Change:
    """The bytes of another file."""

    def do() -> None:
        content = Path(source).read_bytes()
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        clear(path)
        Path(path).write_bytes(content)

    return Change((path, source), do)


def change(path: str, key: str, value: Any) -> Change:
    """Another value at a key, such as "a.b", of a JSON file; :data:`GONE` removes it."""

    def do() -> None:
        held = json.loads(Path(path).read_text(encoding="utf-8"))
        *outer, last = key.split(".")
        inner = held
        for name in outer:
            inner = inner[int(name) if isinstance(inner, list) else name]
        if value is GONE:
            del inner[last]
        else:
            inner[int(last) if isinstance(inner, list) else last] = value
        Path(path).write_text(json.dumps(held), encoding="utf-8")

    return Change((path,), do)


GONE = object()


def tensors(path: str, alter: Callable[[dict[str, Any]], dict[str, Any]]) -> Change:
    """The tensors of a safetensors file, altered; its metadata stay."""

    def do() -> None:
        from safetensors import safe_open
        from safetensors.torch import save_file

        with safe_open(path, "pt") as held:
            metadata, found = held.metadata(), {name: held.get_tensor(name) for name in held.keys()}  # noqa: SIM118
        save_file({k: v.contiguous() for k, v in alter(found).items()}, path, metadata)

    return Change((path,), do)


def clear(path: str) -> None:
    """Nothing in the place of what may be there, whatever it is."""
    import shutil

    place = Path(path)
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


PICKLE = b"\x80\x04\x95\x1d\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x8c\x06system\x93\x8c\x09: > pwned\x85R."
"""Whoever unpickles this has a file ``pwned``, which no case may leave."""


def nested(depth: int = 200_000) -> str:
    """JSON of that depth."""
    return "[" * depth + "]" * depth


# ---- what a case is held to -----------------------------------------------------------------------------


class Hang(BaseException):
    """The case did not end; no command catches it."""


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """In minutes and some memory, or an error: a net, not a measurement."""

    def stop(*_: object) -> None:
        raise Hang(f"no end after {SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
    if pages and hard == resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, hard))
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def picture(place: Path) -> dict[str, tuple[str, int, str]]:
    """Everything below a folder: what it is, its mode, and what is in it."""
    found = {}
    for path in sorted(place.rglob("*")):
        about = path.lstat()
        kind = stat.S_IFMT(about.st_mode)
        if kind == stat.S_IFREG:
            inside = hashlib.sha256(path.read_bytes()).hexdigest()
        elif kind == stat.S_IFLNK:
            inside = str(path.readlink())
        else:
            inside = f"device {about.st_rdev}" if about.st_rdev else ""
        found[str(path.relative_to(place))] = (_KINDS[kind], stat.S_IMODE(about.st_mode), inside)
    return found


_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "folder",
    stat.S_IFLNK: "link",
    stat.S_IFIFO: "FIFO",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What of a :func:`picture` is another, in words."""
    words = [f"gone: {path}" for path in before.keys() - after.keys()]
    words += [f"new: {path}" for path in after.keys() - before.keys()]
    words += [
        f"changed: {path} from {before[path][:2]} to {after[path][:2]}"
        for path in before.keys() & after.keys()
        if before[path] != after[path]
    ]
    return sorted(words)


_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def one_line(err: str) -> str:
    """The line of a refusal."""
    lines = err.splitlines()
    assert len(lines) == 1, f"expected one line on standard error, found {len(lines)}:\n{err}"
    assert lines[0].startswith("musclelora: "), lines[0]
    return lines[0]


def check_printed(text: str) -> None:
    """No traceback, nothing that a terminal would obey."""
    assert "Traceback" not in text, text
    found = _CONTROLS.search(text)
    assert found is None, f"{found.group()!r} in {text!r}"
