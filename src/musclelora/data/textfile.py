"""Opening a text file that may be anything: missing, empty, binary or in another encoding."""

from __future__ import annotations

import codecs
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from musclelora.data.messages import bad_data
from musclelora.data.places import refuse_special
from musclelora.data.raw import read_errors
from musclelora.errors import DataError

_MAGIC = {
    b"PK\x03\x04": "a ZIP archive or Excel workbook",
    b"\x1f\x8b": "a gzip archive",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
    b"\x28\xb5\x2f\xfd": "a Zstandard archive",
    b"PAR1": "a Parquet file",
    b"ARROW1": "an Arrow file",
    b"SQLite format 3\0": "an SQLite database",
    b"\xd0\xcf\x11\xe0": "an old Excel or Word document",
    b"%PDF": "a PDF document",
    b"\x7fELF": "a program",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"\x80\x02": "a pickle",
    b"\x80\x04": "a pickle",
    b"\x80\x05": "a pickle",
}
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_CONTROL = bytes(set(range(0x20)) - set(b"\t\n\v\f\r\x1b")) + b"\x7f"
_HEAD_BYTES = 8192


@contextlib.contextmanager
def open_text(path: Path, *, newline: str) -> Iterator[TextIO]:
    r"""Open `path` as UTF-8 text, with or without a byte order mark.

    Args:
        path: the file.
        newline: as in :func:`open`: ``""`` to keep every line ending, ``"\n"`` to split at that one only.

    Raises:
        DataError: the file is unreadable, no regular file, empty or binary, or (while it is read) not UTF-8.
    """
    refuse_special(path)
    with read_errors(str(path)):
        with path.open("rb") as binary:
            head = binary.read(_HEAD_BYTES)
        _check_head(path, head)
        with path.open(encoding="utf-8-sig", newline=newline) as file:
            try:
                yield file
            except UnicodeDecodeError as error:
                raise _not_utf8(path, head) from error


def _check_head(path: Path, head: bytes) -> None:
    if not head.removeprefix(codecs.BOM_UTF8).strip():
        raise bad_data(str(path), "empty file", "a table with at least one row", "name another file")
    kind = next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None)
    if kind:
        raise _binary(path, kind)


def _binary(path: Path, kind: str) -> DataError:
    return bad_data(
        str(path),
        f"binary file ({kind})",
        f"{path.suffix} text in UTF-8",
        "export it as CSV, TSV, JSONL or Parquet with the suffix that fits",
    )


def _not_utf8(path: Path, head: bytes) -> DataError:
    if head.startswith(_UTF16_MARKS):
        place, found = str(path), "UTF-16 text"
    elif sum(byte in _CONTROL for byte in head) > len(head) // 50:
        return _binary(path, "of unknown kind")
    else:
        content = path.read_bytes()
        offset = _first_bad_byte(content)
        line = content.count(b"\n", 0, offset) + 1
        place = f"{path}, line {line}"
        found = f"byte 0x{content[offset]:02x} at byte offset {offset} is not UTF-8"
    return bad_data(place, found, "UTF-8 text", "convert the file to UTF-8, for instance with iconv -t UTF-8")


def _first_bad_byte(content: bytes) -> int:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start
    return 0  # the file changed between two reads
