"""The leaderboard as Markdown (GitHub's, with tables)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from musclelora.benchmark import wording
from musclelora.benchmark.columns import Column
from musclelora.benchmark.comparison import Line
from musclelora.benchmark.drawing import Drawing
from musclelora.benchmark.leaderboard import Board, Group

_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;", "`": "&#96;", "@": "&#64;"}
_MEANT = re.compile(r"[&<>|`@]|[\\*_\[\]#~!$]|:(?=//)|(?<=www)\.")


def escape(text: object) -> str:
    """`text` on one line, with nothing left in it that Markdown or HTML would obey."""
    return _MEANT.sub(_inert, wording.plain(text))


def _inert(found: re.Match[str]) -> str:
    sign = found.group()
    if sign in ":.":  # of an address that would become a link
        return f"&#{ord(sign)};"
    return _ENTITIES.get(sign, f"\\{sign}")


def markdown(
    title: str, groups: Sequence[Group], found: wording.Facts, drawings: Sequence[Drawing] = ()
) -> str:
    """The whole page; the files of the drawings stand beside it."""
    blocks = [f"# {escape(title)}", f"{escape(wording.progress(found))}."]
    blocks.append("\n".join(f"- {name}: {escape(value)}" for name, value in found.made.items() if value))
    for group in groups:
        blocks += _group(group)
    if drawings:
        blocks.append("## Figures")
        blocks += [f"![{escape(drawing.alt)}]({drawing.png.name})" for drawing in drawings]
    blocks.append("## How to read the tables")
    terms = wording.legend(groups, found)
    blocks.append("\n".join(f"- **{escape(term)}**: {escape(meaning)}" for term, meaning in terms))
    return "\n\n".join(block for block in blocks if block) + "\n"


def _group(group: Group) -> Iterable[str]:
    yield f"## {escape(wording.heading(group))}"
    yield escape(wording.verdict(group) or "")
    for board in group.boards:
        yield f"### {escape(board.title)}"
        yield table(board)
    if group.failures:
        yield "### Failed cells"
        failures = map(wording.failure, group.failures)
        yield "\n".join(f"- {escape(which)}: {escape(error)}" for which, error in failures)


def table(board: Board) -> str:
    """One table."""
    names = ["defence", *(column.heading for column in board.columns), "seeds"]
    rules = ["---", *("---:" for _ in names[1:])]
    lines = [[escape(name) for name in names], rules]
    for line in board.lines:
        name = f"*{escape(line.defense)}* (reference)" if line.reference else escape(line.defense)
        cells = (_cell(line, column) for column in board.columns)
        lines.append([name, *cells, escape(wording.coverage(line, board))])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(line: Line, column: Column) -> str:
    cell = line.cells[column.name]
    value, interval = wording.numbers(cell, column)
    marked = f"**{value}**" if cell.best else f"{value}{wording.TIED}" if cell.tied else value
    return " ".join(part for part in (marked, interval, wording.fewer(cell, line)) if part)
