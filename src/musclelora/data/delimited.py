"""Comma- and tab-separated files, read strictly: every fault is an error that names its line."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

from musclelora.data.messages import bad_data
from musclelora.data.raw import Cells, RawTable, check_columns
from musclelora.data.textfile import open_text
from musclelora.errors import DataError

_LARGEST_FIELD = 2**31 - 1  # the limit is a C long, which has 32 bits on some platforms


def read_csv(path: Path) -> RawTable:
    """Read comma-separated values with a header line, quoted as in RFC 4180.

    Raises:
        DataError: the file is not UTF-8 text, is empty, or (while rows are read) has a malformed row.
    """
    return _read(path, ",")


def read_tsv(path: Path) -> RawTable:
    """Read tab-separated values with a header line; quoting and errors as in :func:`read_csv`."""
    return _read(path, "\t")


def _read(path: Path, delimiter: str) -> RawTable:
    with contextlib.closing(_records(path, delimiter)) as records:
        line, header = next(records)
    check_columns(f"{path}, line {line}", header)

    def rows(columns: Sequence[str]) -> Iterator[tuple[int, Cells]]:
        wanted = [header.index(column) for column in columns]
        records = _records(path, delimiter)
        next(records)
        for line, fields in records:
            if len(fields) != len(header):
                raise bad_data(
                    f"{path}, line {line}",
                    f"{len(fields)} field{'s' * (len(fields) != 1)}",
                    f"{len(header)} as in the header",
                    "quote the fields that hold a delimiter, a quote or a line break",
                )
            yield line, tuple(fields[i] for i in wanted)

    return RawTable(str(path), tuple(header), "line", rows)


def _records(path: Path, delimiter: str) -> Generator[tuple[int, list[str]], None, None]:
    """The records of a file that are not blank, each with the physical line it starts on."""
    with open_text(path, newline="") as file, _large_fields():
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        while True:
            start = reader.line_num + 1
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise _malformed(path, start, reader.line_num, error) from error
            if fields:
                yield start, fields


@contextlib.contextmanager
def _large_fields() -> Iterator[None]:
    limit = csv.field_size_limit(_LARGEST_FIELD)
    try:
        yield
    finally:
        csv.field_size_limit(limit)


def _malformed(path: Path, start: int, line: int, error: csv.Error) -> DataError:
    if "unexpected end of data" in str(error):
        return bad_data(
            f"{path}, line {start}",
            "a quote is opened in the row that starts here and never closed",
            "quotes in pairs",
            "close the quote; a quote inside a quoted field is written twice",
        )
    return bad_data(
        f"{path}, line {line}",
        f"malformed row that starts on line {start} ({error})",
        "a closing quote to end its field",
        "write a quote inside a quoted field twice, or close an earlier quote",
    )
