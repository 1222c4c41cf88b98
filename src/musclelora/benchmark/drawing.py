"""A figure as files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Drawing:
    """One figure, as a PNG and as an SVG file.

    Attributes:
        title: what it is called.
        alt: what it shows, for who cannot see it.
        png: the PNG file.
        svg: the SVG file.
    """

    title: str
    alt: str
    png: Path
    svg: Path
