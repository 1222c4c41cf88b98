"""A results folder as pages, figures and a table to share."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musclelora import __version__
from musclelora.benchmark.comparison import Row
from musclelora.benchmark.drawing import Drawing
from musclelora.benchmark.html import html
from musclelora.benchmark.leaderboard import Group, leaderboard
from musclelora.benchmark.markdown import markdown
from musclelora.benchmark.store import read_begun, results_table
from musclelora.benchmark.store_schema import ReportState
from musclelora.benchmark.wording import Facts, facts
from musclelora.data.messages import bad_data
from musclelora.errors import OutputError
from musclelora.files import LOCK, atomic_file, held, output_errors, write_json
from musclelora.outputs import check_output, refuse_foreign
from musclelora.state import read_state

if TYPE_CHECKING:
    import pandas as pd

FORMATS = {"html": ("index.html", html), "markdown": ("leaderboard.md", markdown)}
"""The pages by their format: a file, and what writes its text."""
_MARK = "report.json"


@dataclass(frozen=True)
class Report:
    """What was written.

    Attributes:
        groups: of the leaderboard.
        facts: what stands above it.
        files: what a person opens, and the table.
        drawings: the figures; None where matplotlib is not installed.
    """

    groups: list[Group]
    facts: Facts
    files: list[Path]
    drawings: list[Drawing] | None


def write_report(folder: Path, output: Path | None = None, *, formats: Collection[str] = FORMATS) -> Report:
    """Write the leaderboard of the results in `folder`, finished or not.

    Args:
        folder: what ``musclelora benchmark run`` writes.
        output: the folder to write; None: ``report`` in `folder`. An earlier report in it is replaced.
        formats: of the pages, some of :data:`FORMATS`.

    Raises:
        DataError: no cell has finished.
        OutputError: there are no results, or of a version that cannot be read, or the report cannot be
            written.
    """
    table = results_table(folder)
    begun = read_begun(folder) or {}
    rows = records(table)
    if not any(row["status"] == "done" for row in rows):
        raise bad_data(
            str(folder),
            f"0 finished cells of {len(begun.get('cells', rows))}",
            "at least 1",
            "run the grid, or see the errors in its cells folder",
        )
    if output is None:
        output = folder / "report"
    else:
        check_output(output, [folder], folder=True)
    with held(output, "musclelora benchmark report"):
        return _write(folder, output, table, rows, begun, formats)


def _write(
    folder: Path,
    output: Path,
    table: pd.DataFrame,
    rows: list[Row],
    begun: dict[str, Any],
    formats: Collection[str],
) -> Report:
    groups, found = leaderboard(rows), facts(rows, len(begun.get("cells", ())))
    earlier = _claim(output)
    title = f"Benchmark {begun.get('grid', {}).get('name', folder.name)}"
    drawings = _draw(groups, rows, output)
    files = []
    for name, page in (FORMATS[kind] for kind in formats):
        files.append(output / name)
        with atomic_file(files[-1]) as temporary:
            temporary.write_text(page(title, groups, found, drawings or []), encoding="utf-8")
    files.append(output / "results.csv")
    with atomic_file(files[-1]) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")
    written = {path.name for path in files}
    written |= {path.name for drawing in drawings or () for path in (drawing.png, drawing.svg)}
    for name in earlier - written:
        (output / name).unlink(missing_ok=True)
    write_json(output / _MARK, {"format": 1, "musclelora": __version__, "files": sorted(written)})
    return Report(groups, found, files, drawings)


def records(table: pd.DataFrame) -> list[Row]:
    """The rows of a results table; what is missing is None."""
    rows: list[Row] = table.astype(object).where(table.notna(), None).to_dict("records")
    return rows


def _claim(output: Path) -> set[str]:
    """The names of the files of the earlier report in `output`, which must hold one, or nothing."""
    with output_errors(output):
        output.mkdir(parents=True, exist_ok=True)
        mark = output / _MARK
        if not mark.exists():
            refuse_foreign(output, "report", (entry for entry in output.iterdir() if entry.name != LOCK))
            write_json(mark, {"format": 1, "musclelora": __version__, "files": []})
    remedy = "restore it, or name another output"
    return set(read_state(mark, ReportState, OutputError, remedy=remedy)["files"])


def _draw(groups: list[Group], rows: list[Row], output: Path) -> list[Drawing] | None:
    try:
        from musclelora.benchmark.figures import draw
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "matplotlib":
            raise
        return None
    return draw(groups, rows, output)
