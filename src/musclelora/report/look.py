"""How every page looks, and what the browser may do with it."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from markupsafe import Markup

LOOK = Path(__file__).with_name("look.css")


def asset(path: Path) -> Markup:
    """A file of a page that this package ships: it is not escaped."""
    return Markup(path.read_text(encoding="utf-8"))  # noqa: S704 - our own file


def stylesheet(own: Path) -> Markup:
    """The look that all pages share, and what one page has besides."""
    return asset(LOOK) + asset(own)


def policy(style: str, script: str | None = None, images: str | None = None) -> str:
    """A Content-Security-Policy: the browser may use this style and this script, and nothing else.

    Args:
        style: the text of the one style element.
        script: that of the one script element; None: no script runs.
        images: where images may come from, such as ``"data:"``; None: there are none.
    """
    parts = ["default-src 'none'", f"style-src {_hash(style)}"]
    if images is not None:
        parts.append(f"img-src {images}")
    if script is not None:
        parts.append(f"script-src {_hash(script)}")
    return "; ".join(
        [
            *parts,
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        ]
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
