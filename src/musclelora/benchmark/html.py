"""The leaderboard as one HTML file that needs nothing beside it: no script, no network, no other file."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from musclelora.benchmark import wording
from musclelora.benchmark.drawing import Drawing
from musclelora.benchmark.leaderboard import Group
from musclelora.report.look import policy, stylesheet

_HERE = Path(__file__).parent


def html(title: str, groups: Sequence[Group], found: wording.Facts, drawings: Sequence[Drawing] = ()) -> str:
    """The whole page; every text in it is escaped, and figures are images, in which no script runs."""
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = stylesheet(_HERE / "page.css")
    return environment.get_template("page.html.j2").render(
        style=style,
        policy=policy(style, images="data:"),
        title=title,
        groups=groups,
        found=found,
        figures=[(drawing, _address(drawing.svg)) for drawing in drawings],
        wording=wording,
    )


def _shown(value: object) -> object:
    """A value as the page has it: one line, unless it is a part of the page."""
    return value if isinstance(value, Markup) else wording.plain(value)


def _address(svg: Path) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.read_bytes()).decode()}"
