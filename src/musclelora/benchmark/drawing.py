"""A figure as files."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Drawing(NamedTuple):
    """One figure: what it is called, what it shows for who cannot see it, and its two files."""

    title: str
    alt: str
    png: Path
    svg: Path
