"""The Hugging Face hub: noticing at once that it cannot be reached, and pushing to it."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

import click

from musclelora.cli.options import Command, Name
from musclelora.cli.tasks import peek
from musclelora.cli.terminal import printable
from musclelora.data.embedded import EMBEDDED_NAMES
from musclelora.data.places import exists, may_be_on_hub
from musclelora.errors import OutputError, UsageError

if TYPE_CHECKING:
    from musclelora.cards.push import Destination

_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_SECONDS = 5.0


def spare_the_hub(*names: str | None) -> None:
    """Set ``HF_HUB_OFFLINE`` if one of the models and data sets is on the hub, and that cannot be reached.

    The libraries would ask it again and again for a minute. They read the variable when they are imported, so
    this comes before; what they have in their cache they still find.
    """
    if os.environ.get("HF_HUB_OFFLINE") or not any(_is_hub_name(name) for name in names if name):
        return
    if not _reachable(_endpoint()):
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


def push_options(command: Command) -> Command:
    """``--push-to-hub`` and ``--public``, for the commands that write what others may want."""
    for option in (
        click.option(
            "--public", is_flag=True, help="With --push-to-hub: a public repository.  [default: private]"
        ),
        click.option(
            "--push-to-hub", metavar="REPO", type=Name(), help="Also push the result to the Hugging Face hub."
        ),
    ):
        command = option(command)
    return command


def destination_of(repo: str | None, kind: Literal["model", "dataset"], public: bool) -> Destination | None:
    """Where ``--push-to-hub`` leads, checked before any work; None where it was not given.

    Raises:
        UsageError: ``--public`` without it, or what :func:`~musclelora.cards.push.check_destination` refuses.
        OutputError: likewise.
    """
    if repo is None:
        if public:
            raise UsageError("--public: found without --push-to-hub; leave it out, or name a repository")
        return None
    if not os.environ.get("HF_HUB_OFFLINE") and not _reachable(_endpoint()):
        raise OutputError(
            f"--push-to-hub: {_endpoint()} cannot be reached; nothing was done; try again with a network, or "
            "leave it out"
        )
    from musclelora.cards.push import check_destination

    return check_destination(repo, kind, private=not public)


def push_folder(folder: str, destination: Destination | None, files: Sequence[str] | None = None) -> None:
    """Push what a command wrote, where it was asked to, and say where it is."""
    if destination is not None:
        from musclelora.cards.push import push

        place = push(Path(folder), destination, files)
        click.echo(f"pushed to {printable(place)}")


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT") or "https://huggingface.co"


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
