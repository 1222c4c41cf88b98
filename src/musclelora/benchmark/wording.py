"""What a leaderboard says in words and numbers, the same in every format; nothing here is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from musclelora.benchmark.columns import COST, Column
from musclelora.benchmark.comparison import Cell, Line, Row
from musclelora.benchmark.leaderboard import Board, Group

TIED = "†"
MISSING = "–"
_LONGEST_ERROR = 300


@dataclass(frozen=True)
class Facts:
    """What stands above the tables.

    Attributes:
        done: cells that finished.
        failed: cells that ended with an error.
        planned: cells of the grid.
        seeds: how many there are.
        made: by label: the versions, machines and dates of the cells.
    """

    done: int
    failed: int
    planned: int
    seeds: int
    made: dict[str, str]

    @property
    def missing(self) -> int:
        """Cells that have not run yet."""
        return self.planned - self.done - self.failed


def plain(text: object) -> str:
    """`text` on one line; what does not print, or turns the direction of writing, is replaced."""
    line = " ".join(str(text).split())
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in line)


def facts(rows: Sequence[Row], planned: int | None = None) -> Facts:
    """The facts of a results table's rows; `planned` is at least their number."""

    def distinct(name: str) -> list[str]:
        return sorted({str(row[name]) for row in rows if row.get(name) is not None})

    dates = [date[:10] for date in distinct("date")]
    done = sum(row["status"] == "done" for row in rows)
    return Facts(
        done=done,
        failed=len(rows) - done,
        planned=max(planned or 0, len(rows)),
        seeds=len({row["seed"] for row in rows}),
        made={
            "musclelora": ", ".join(distinct("musclelora")),
            "torch": ", ".join(distinct("torch")),
            "machine": "; ".join(distinct("machine")),
            "dates": dates[0] if len(set(dates)) == 1 else f"{dates[0]} to {dates[-1]}" if dates else "",
        },
    )


def progress(found: Facts) -> str:
    """How much of the grid there is."""
    said = f"{count(found.done, 'cell')} finished of {found.planned}, {found.failed} failed"
    return f"{said}, {found.missing} missing: the grid has not finished" if found.missing else said


def heading(group: Group) -> str:
    """What a group compares."""
    said = [group.data, group.model]
    if group.rate is not None:
        said.append(f"poison rate {100 * group.rate:g} %")
    if group.trusted_size is not None:
        said.append(count(group.trusted_size, "trusted row"))
    return " · ".join(said)


def verdict(group: Group) -> str | None:
    """The defences that lost least on the first table; None where none finished everything."""
    board = group.boards[0]
    best = [line for line in board.lines if line.cells[COST.name].best]
    tied = [line.defense for line in board.lines if line.cells[COST.name].tied]
    if not best:
        return None
    names = " and ".join(line.defense for line in best)
    value, interval = numbers(best[0].cells[COST.name], COST)
    lost = f"Lowest excess ASR + CACC gap ({board.title}): {names}, {value} {interval} points."
    return f"{lost} Not significantly different: {', '.join(tied) if tied else 'none'}."


def numbers(cell: Cell, column: Column) -> tuple[str, str]:
    """The mean, and its interval in brackets where there is one."""
    if cell.mean is None:
        return MISSING, ""
    if cell.low is None or cell.high is None:
        return column.show(cell.mean), ""
    return column.show(cell.mean), f"[{column.show(cell.low)}, {column.show(cell.high)}]"


def coverage(line: Line, board: Board) -> str:
    """How many seeds, and attacks where some are missing, the means of a line are over."""
    seeds = f"{line.seeds} of {board.seeds}" if line.seeds < board.seeds else str(line.seeds)
    if line.attacks == board.attacks or board.attacks == 1:
        return seeds
    return f"{seeds}; {line.attacks} of {board.attacks} attacks"


def lacking(line: Line, board: Board) -> str:
    """What a line's means leave out, in parentheses; empty where they are over everything."""
    pairs = [(line.seeds, board.seeds, "seeds"), (line.attacks, board.attacks, "attacks")]
    said = ", ".join(f"{found} of {of} {what}" for found, of, what in pairs if found < of)
    return f" ({said})" if said else ""


def fewer(cell: Cell, line: Line) -> str:
    """A remark on a mean over fewer seeds than its line has."""
    return f"(over {count(cell.seeds, 'seed')})" if cell.mean is not None and cell.seeds < line.seeds else ""


def failure(row: Row) -> tuple[str, str]:
    """A failed cell: which it is, and its error, cut to 300 characters."""
    error = plain(row["error"] or "no error was kept")
    cut = error if len(error) <= _LONGEST_ERROR else error[:_LONGEST_ERROR] + "…"
    return f"{row['attack']}, {row['defense']}, seed {row['seed']}", cut


def legend(groups: Sequence[Group], found: Facts) -> list[tuple[str, str]]:
    """Terms and what they mean, for the columns that are shown."""
    columns = dict.fromkeys(c for group in groups for board in group.boards for c in board.columns)
    over = (
        "over seeds and test rows"
        if found.seeds > 1
        else "over test rows alone: with one seed they say nothing of what another seed would give"
    )
    return [
        *((column.heading, column.meaning) for column in columns),
        ("[low, high]", f"95 % interval {over}"),
        ("bold", "the best mean of its column; the oracle, trained on clean data, is a reference only"),
        (
            TIED,
            "not significantly different from the best: the 95 % interval of the difference, paired by seed, "
            "holds 0; not corrected for the number of defences",
        ),
        ("seeds", "those that a mean is over; a defence without some attack is not compared"),
        (MISSING, "not measured, or nothing that this defence has"),
    ]


def count(number: int, what: str) -> str:
    """A number of things."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
