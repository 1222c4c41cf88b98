"""Noticing at once that the Hugging Face hub cannot be reached."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path
from urllib.parse import urlsplit

from musclelora.cli.tasks import peek
from musclelora.data.embedded import EMBEDDED_NAMES
from musclelora.data.places import exists, may_be_on_hub

_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_SECONDS = 5.0


def spare_the_hub(*names: str | None) -> None:
    """Set ``HF_HUB_OFFLINE`` if one of the models and data sets is on the hub, and that cannot be reached.

    The libraries would ask it again and again for a minute. They read the variable when they are imported, so
    this comes before; what they have in their cache they still find.
    """
    if os.environ.get("HF_HUB_OFFLINE") or not any(_is_hub_name(name) for name in names if name):
        return
    if not _reachable(os.environ.get("HF_ENDPOINT") or "https://huggingface.co"):
        os.environ["HF_HUB_OFFLINE"] = "1"


def model_of(run: str) -> str | None:
    """The model that a run is of, or None where the folder does not say."""
    with contextlib.suppress(LookupError, TypeError):
        return str(peek(run)["model"]["name"])
    return None


def model_folder_of(run: str) -> str | None:
    """The folder of the model that a run is of; None where it is of the hub, embedded or not there."""
    name = model_of(run)
    return name if name and (Path(name) / "config.json").is_file() else None


def _is_hub_name(name: str) -> bool:
    return name not in EMBEDDED_NAMES and not exists(name) and may_be_on_hub(name)


def _reachable(endpoint: str) -> bool:
    if any(os.environ.get(name) or os.environ.get(name.upper()) for name in _PROXIES):
        return True  # a proxy may reach what cannot be reached from here
    with contextlib.suppress(OSError, ValueError):
        parts = urlsplit(endpoint)
        port = parts.port or (80 if parts.scheme == "http" else 443)
        socket.create_connection((parts.hostname or "", port), timeout=_SECONDS).close()
        return True
    return False
