"""Writing poisoned labelled rows: as a table, or in the OpenBackdoor layout."""

from __future__ import annotations

import filecmp
import itertools
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from musclelora.attacks.output import OPENBACKDOOR, PoisonedOutput, Request
from musclelora.attacks.planning import Plan
from musclelora.attacks.poisoner import Attack
from musclelora.data.openbackdoor import write_split
from musclelora.data.stream import TableStream
from musclelora.data.writers import WRITERS
from musclelora.errors import OutputError, UsageError

COLUMNS: Final = ("text", "label", "poisoned", "trigger")
_INTEGER: Final = re.compile(r"0|-?[1-9][0-9]{0,17}", re.ASCII)  # of 64 bits, in the one plain writing


@dataclass(frozen=True)
class LabelOutput(PoisonedOutput):
    """Labelled rows, whose attacks are those of :class:`~musclelora.attacks.poisoner.Attack`.

    The source is read three times and its texts are never in memory together: labels, the rows to trigger,
    all rows. A trigger that cannot change some of its rows takes another pass for each try at others.
    """

    rows: TableStream
    request: Request

    def files(self) -> Mapping[Path, Callable[[Plan, Path], None]]:
        """One file; in the OpenBackdoor layout that of the clean rows too, and of both kinds for a test."""
        request = self.request
        if request.format != OPENBACKDOOR:
            writer, names = WRITERS[request.suffix], self._names()

            def write(plan: Plan, path: Path) -> None:
                rows = ((text, names[label], flag, name) for text, label, flag, name in self._after(plan))
                writer(path, COLUMNS, rows)

            return {request.output: write}
        if len(request.attacks) != 1:
            raise UsageError(
                f"--format openbackdoor: found {len(request.attacks)} attacks, expected one; "
                "its layout has a folder for each"
            )
        files = {
            self._clean_path: lambda _, path: write_split(path, self._clean()),
            request.poison_folder / f"{request.part}-poison.csv": lambda plan, path: write_split(
                path, self._triggered(plan)
            ),
        }
        if request.for_asr and request.part == "test":
            files[request.output / "test-detect.csv"] = lambda plan, path: write_split(
                path, itertools.chain(self._clean(), self._triggered(plan))
            )
        return files

    def check_free(self, path: Path) -> None:
        """Let the clean rows of the OpenBackdoor layout be there: all rates and modes have the same."""
        if path != self._clean_path or self.request.overwrite or not path.is_file():
            super().check_free(path)
            return
        with tempfile.TemporaryDirectory() as folder:
            ours = Path(folder) / path.name
            write_split(ours, self._clean())
            if not filecmp.cmp(ours, path, shallow=False):
                raise OutputError(
                    f"{path} already exists with other rows; name another output or pass --overwrite"
                )

    def changes(self, plan: Plan) -> Iterator[tuple[int, str, str]]:
        """(attack, original, triggered) of every triggered row."""
        rows = plan.triggered
        for row, original in zip(rows.tolist(), self.rows.texts_at(rows), strict=True):
            yield int(plan.attack[row]), original, plan.texts[row]

    def about(self) -> dict[str, Any]:
        """The source, its columns and its classes."""
        text, label = self.rows.columns
        source = {
            "name": self.rows.source,
            "split": self.request.split,
            "text_column": text,
            "label_column": label,
            "sha256": self.rows.sha256(),
            "rows": len(self.rows),
        }
        return {"source": source, "label_names": list(self.rows.label_names)}

    def settings(self, attack: Attack) -> dict[str, Any]:
        """The target, and how rows are chosen."""
        target = {"target": self.rows.label_names[attack.target]}
        return (
            target
            if self.request.for_asr
            else {**target, "rate": attack.rate, "label_mode": attack.label_mode}
        )

    @property
    def _clean_path(self) -> Path:
        return self.request.output / f"{self.request.part}-clean.csv"

    def _names(self) -> Sequence[str | int]:
        """The names of the labels, as integers where all are."""
        names = self.rows.label_names
        return list(map(int, names)) if all(map(_INTEGER.fullmatch, names)) else names

    def _clean(self) -> Iterator[tuple[str, int, int]]:
        flags = self.rows.poisoned
        for row, (text, _) in enumerate(self.rows.rows()):
            yield text, int(self.rows.labels[row]), 0 if flags is None else int(flags[row])

    def _triggered(self, plan: Plan) -> Iterator[tuple[str, int, int]]:
        return ((text, label, flag) for text, label, flag, _ in self._after(plan))

    def _after(self, plan: Plan) -> Iterator[tuple[str, int, int, str]]:
        """Rows (text, label id, flag, name of the trigger): all, or to measure the ASR the triggered ones."""
        request, earlier = self.request, self.rows.poisoned
        for row, (text, noted) in enumerate(self.rows.rows()):
            number = int(plan.attack[row])
            if number >= 0:
                attack = request.attacks[number]
                yield plan.texts[row], attack.target, 1, attack.trigger.name
            elif not request.for_asr:
                flagged = earlier is not None and bool(earlier[row])
                yield (
                    plan.texts.get(row, text),
                    int(self.rows.labels[row]),
                    int(flagged),
                    noted if flagged else "",
                )
