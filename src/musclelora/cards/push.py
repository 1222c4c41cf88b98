"""Pushing a model or cleaned data to the Hugging Face hub: checked first, then one commit.

The token is the one that `huggingface_hub` finds: ``HF_TOKEN``, or what ``hf auth login`` kept.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from musclelora.data.messages import one_line, shown
from musclelora.errors import OutputError, UsageError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_OFFLINE = (
    "--push-to-hub: HF_HUB_OFFLINE is set, or the hub cannot be reached; nothing was pushed; try again with "
    "a network"
)


@dataclass(frozen=True)
class Destination:
    """A repository that this user may push to; made by :func:`check_destination`.

    Attributes:
        repo: its name, with its owner.
        kind: ``"model"`` or ``"dataset"``.
        private: whether it is made private, where it is made.
    """

    repo: str
    kind: Literal["model", "dataset"]
    private: bool


def check_destination(repo: str, kind: Literal["model", "dataset"], *, private: bool = True) -> Destination:
    """Check, before any work, that something can be pushed; nothing is made on the hub.

    Args:
        repo: ``owner/name``, or ``name`` of one of the user's own.
        kind: what is to be pushed.
        private: make it private; what is there already must be so too.

    Raises:
        UsageError: it is no name of a repository, or what has that name is public and `private` was asked.
        OutputError: there is no network or no token, or the hub does not take the token.
    """
    from huggingface_hub import get_token, is_offline_mode
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise UsageError(
            f"--push-to-hub: found {shown(repo)}, expected owner/name of a repository on the hub"
        ) from error
    if is_offline_mode():
        raise OutputError(_OFFLINE)
    if get_token() is None:
        raise OutputError(
            "--push-to-hub: found no token for the hub; log in with `hf auth login`, or set HF_TOKEN"
        )
    with _hub_errors():
        api = _api()
        user = api.whoami()["name"]
        name = repo if "/" in repo else f"{user}/{repo}"
        with contextlib.suppress(RepositoryNotFoundError):
            found = api.repo_info(name, repo_type=kind)
            if private and found.private is False:
                raise UsageError(
                    f"--push-to-hub: {name} is public, expected a private repository; name another, or pass "
                    "--public"
                )
    return Destination(name, kind, private)


def push(folder: Path, destination: Destination, files: Sequence[str] | None = None) -> str:
    """Push the files of a folder as one commit; the repository is made where there is none.

    Args:
        folder: what is pushed.
        destination: where to.
        files: the names of the files; None: all but hidden ones.

    Returns:
        Where it can be seen.

    Raises:
        OutputError: the hub cannot be reached or refuses; the repository has none of the files then.
    """
    names = files or sorted(
        path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")
    )
    with _hub_errors():
        api = _api()
        api.create_repo(
            destination.repo, repo_type=destination.kind, private=destination.private, exist_ok=True
        )
        done: Any = api.upload_folder(
            repo_id=destination.repo,
            repo_type=destination.kind,
            folder_path=folder,
            allow_patterns=list(names),
            commit_message=f"Add a {destination.kind} made by musclelora",
        )
    return str(done.commit_url).split("/commit/")[0]


def _api() -> HfApi:
    from huggingface_hub import HfApi

    return HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, library_name="musclelora")


@contextlib.contextmanager
def _hub_errors() -> Iterator[None]:
    """Turn what the hub and the network refuse into one line."""
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled

    try:
        yield
    except (OutputError, UsageError):
        raise
    except OfflineModeIsEnabled as error:
        raise OutputError(_OFFLINE) from error
    except HfHubHTTPError as error:
        code = error.response.status_code if error.response is not None else None
        what = {401: "the hub does not take the token", 403: "the token may not write there"}.get(code or 0)
        raise OutputError(
            f"--push-to-hub: {what or one_line(error)}; nothing was pushed; check the repository's name and "
            "`hf auth whoami`"
        ) from error
    except (LocalTokenNotFoundError, OSError, ValueError) as error:
        raise OutputError(f"--push-to-hub: {one_line(error)}; nothing was pushed") from error
    except Exception as error:
        if not _is_of_network(error):
            raise
        raise OutputError(
            f"--push-to-hub: the hub cannot be reached ({one_line(error)}); nothing was pushed; try again "
            "with a network"
        ) from error


def _is_of_network(error: Exception) -> bool:
    """Whether it is an error of the client that `huggingface_hub` talks through, whichever that is."""
    return any(kind.__name__ in ("TransportError", "RequestException") for kind in type(error).__mro__)
