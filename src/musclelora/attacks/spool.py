"""Texts kept on disk by row number, so that memory does not grow with them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, MutableMapping
from typing import Self

_IN_MEMORY = 16 * 2**20  # bytes


class TextSpool(MutableMapping[int, str]):
    """A mapping from row numbers to texts that holds the texts in a temporary file once they are many.

    A context manager: the file is gone when it ends. A text that is replaced leaves its old bytes behind.
    """

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115
        self._places: dict[int, tuple[int, int]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __setitem__(self, row: int, text: str) -> None:
        content = text.encode("utf-8", "surrogatepass")
        self._places[row] = (self._file.seek(0, 2), len(content))
        self._file.write(content)

    def __getitem__(self, row: int) -> str:
        start, length = self._places[row]
        self._file.seek(start)
        return self._file.read(length).decode("utf-8", "surrogatepass")

    def __delitem__(self, row: int) -> None:
        del self._places[row]

    def __iter__(self) -> Iterator[int]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, row: object) -> bool:
        return row in self._places
