"""The records of a run: one line of JSON for each, written as they come."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from musclelora.errors import DataError
from musclelora.files import atomic_file, output_errors, special
from musclelora.spectrum.sample import FOLDER
from musclelora.spectrum.state_schema import RecordState
from musclelora.state import fault_of

RECORDS = "records.jsonl"

Record = dict[str, Any]


class Records:
    """The file ``spectrum/records.jsonl`` of a run folder.

    A line holds: ``step``, ``epoch``, ``seconds`` (what the record cost), ``training_seconds`` (what training
    took since the record before), ``outputs`` (H, N × C, six digits) and ``groups`` (the band errors by group
    and name, one number for each σ; null where undefined). A line that a kill cut short is no record.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FOLDER / RECORDS

    def read(self) -> list[Record]:
        """The records, in the order of their steps.

        Raises:
            DataError: a whole line is no record.
        """
        try:
            if special(self.path) is not None:
                raise DataError(f"{self.path}: found {special(self.path)}, expected a file; {_ANEW}")
            lines = self.path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read ({error.strerror}); {_ANEW}") from error
        found: dict[int, Record] = {}
        # What comes after the last newline was cut short; a whole file has nothing there.
        for number, line in enumerate(lines[:-1], 1):
            try:
                record = json.loads(line)
                fault = fault_of(record, RecordState)
            except (ValueError, RecursionError) as error:
                fault = f"{type(error).__name__}: {error}"
            if fault is not None:
                raise DataError(
                    f"{self.path}, line {number}: not a record ({fault}); delete the line, or {_ANEW}"
                )
            found[record["step"]] = record
        return [found[step] for step in sorted(found)]

    def keep_until(self, step: int) -> list[Record]:
        """Drop the records after a step, which a run that goes on from there makes anew; what is kept."""
        kept = [record for record in self.read() if record["step"] <= step]
        with atomic_file(self.path) as temporary:
            temporary.write_bytes(b"".join(_line(record) for record in kept))
        return kept

    def append(self, record: Record) -> None:
        """Add one record, on the disk when this returns.

        Raises:
            OutputError: it cannot be written.
        """
        with output_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                file.write(_line(record))
                file.flush()
                os.fsync(file.fileno())


_ANEW = "train again with --overwrite"


def _line(record: Record) -> bytes:
    return json.dumps(record, allow_nan=False, separators=(",", ":")).encode() + b"\n"
