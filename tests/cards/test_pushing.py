"""Pushing to a server on this machine that answers as the hub does: checked first, then one commit."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
from tiny_runs import Cli, Fit, make_rows, write_csv

SITE = "https://huggingface.co"  # of which links on the hub are
TOKEN = "hf_of_a_test"  # noqa: S105 - no token of anybody


class Hub:
    """What the hub knows, and what it was asked."""

    def __init__(self) -> None:
        self.repos: dict[str, bool] = {}  # whether each is private
        self.files: dict[str, dict[str, bytes]] = {}
        self.asked: list[str] = []
        self.refuse: dict[str, int] = {}  # the status, by a part of the path

    def answer(self, method: str, path: str, body: bytes, token: str | None) -> tuple[int, Any]:
        path = path.split("?")[0]
        self.asked.append(f"{method} {path}")
        refused = [status for part, status in self.refuse.items() if part in path]
        if refused or token != f"Bearer {TOKEN}":
            return (refused or [401])[0], {"error": "no"}
        if path == "/api/whoami-v2":
            return 200, {"type": "user", "name": "me"}
        if path == "/api/repos/create":
            given = json.loads(body)
            name = f"{given.get('type', 'model')}s/{given.get('organization') or 'me'}/{given['name']}"
            if name in self.repos:
                return 409, {"error": "there", "url": f"{SITE}/{name.removeprefix('models/')}"}
            self.repos[name] = given.get("visibility") == "private" or bool(given.get("private"))
            return 200, {"url": f"{SITE}/{name.removeprefix('models/')}"}
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        kind, owner, repo, *rest = path.removeprefix("/api/").split("/")
        name = f"{kind}/{owner}/{repo}"
        if name not in self.repos:
            return 404, {"error": "RepoNotFound"}
        if not rest or rest[0] == "revision":
            about = {"id": f"{owner}/{repo}", "private": self.repos[name], "siblings": []}
            return 200, {**about, "sha": "0" * 40, "tags": [], "likes": 0, "downloads": 0}
        if rest[0] == "preupload":
            files = json.loads(body)["files"]
            said = {"uploadMode": "regular", "shouldIgnore": False}
            return 200, {"files": [{"path": file["path"], **said} for file in files]}
        if rest[0] == "commit":
            lines = [json.loads(line) for line in body.splitlines()]
            files = {
                line["value"]["path"]: base64.b64decode(line["value"]["content"])
                for line in lines
                if line["key"] == "file"
            }
            self.files.setdefault(name, {}).update(files)
            return 200, {
                "commitUrl": f"{SITE}/{name.removeprefix('models/')}/commit/{'1' * 40}",
                "commitOid": "1" * 40,
            }
        return 404, {"error": path}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub on this machine, whose token the user has."""
    known = Hub()

    class Handler(BaseHTTPRequestHandler):
        def _do(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, said = known.answer(self.command, self.path, body, self.headers.get("Authorization"))
            content = json.dumps(said).encode()
            self.send_response(status)
            if said == {"error": "RepoNotFound"}:
                self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_HEAD = _do  # noqa: N815 - the names that the library calls

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "")
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield known
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def run(fit_tiny: Fit) -> Path:
    return fit_tiny(arguments={"num_train_epochs": 1}).path


def test_an_export_is_pushed_whole_to_a_private_repository(
    run: Path, hub: Hub, tmp_path: Path, cli: Cli
) -> None:
    out = tmp_path / "out"
    done = cli("export", run, "--output", out, "--push-to-hub", "me/model")
    assert done.code == 0, done.err
    assert done.out.splitlines()[-1] == "pushed to https://huggingface.co/me/model"
    assert hub.repos == {"models/me/model": True}
    there = hub.files["models/me/model"]
    assert there == {path.name: path.read_bytes() for path in out.iterdir()}
    assert b"library_name: peft" in there["README.md"]
    assert sum("/commit/" in asked for asked in hub.asked) == 1
    again = cli("export", run, "--output", out, "--overwrite", "--push-to-hub", "model")
    assert again.code == 0, again.err  # the user's own, which is there already


def test_of_an_audit_only_what_is_kept_is_pushed(
    hub: Hub, tiny_model: Path, tmp_path: Path, cli: Cli
) -> None:
    train = write_csv(tmp_path / "train.csv", make_rows(60, 0))
    trusted = write_csv(tmp_path / "trusted.csv", make_rows(20, 1))
    given = ["audit", train, "--trusted", trusted, "--model", tiny_model, "--output", tmp_path / "audit"]
    done = cli(*given, "--no-confirm", "--push-to-hub", "me/rows", "--public")
    assert done.code == 0, done.err
    assert hub.repos == {"datasets/me/rows": False}
    assert hub.files["datasets/me/rows"].keys() == {"README.md", "cleaned.csv"}
    hub.files.clear()
    closed = cli(*given, "--no-confirm", "--push-to-hub", "me/rows", "--public", "--fail-on", "suspected")
    assert (closed.code, hub.files) == (7, {})
    unkept = cli(*given[:-2], "--format", "json", "--push-to-hub", "me/rows")
    assert unkept.code == 2
    assert "found without --output" in unkept.err


def refused(cli: Cli, run: Path, tmp_path: Path, repo: str = "me/model") -> str:
    """What is said, in a line, where nothing is done."""
    done = cli("export", run, "--output", tmp_path / "out", "--push-to-hub", repo)
    assert done.code in (2, 6), done.err
    assert done.err.count("\n") == 1, done.err
    assert not (tmp_path / "out").exists()
    return done.err


def test_nothing_is_done_where_nothing_can_be_pushed(
    run: Path, hub: Hub, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "expected owner/name" in refused(cli, run, tmp_path, "a/b/c")
    hub.repos["models/me/model"] = False
    assert "is public, expected a private repository" in refused(cli, run, tmp_path)
    hub.refuse["whoami"] = 401
    assert "does not take the token" in refused(cli, run, tmp_path)
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    monkeypatch.delenv("HF_TOKEN")
    assert "found no token for the hub" in refused(cli, run, tmp_path)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "http://127.0.0.1:9 cannot be reached" in refused(cli, run, tmp_path)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE is set" in refused(cli, run, tmp_path)
    assert hub.files == {}
    assert cli("export", run, "--output", tmp_path / "out", "--public").code == 2


def test_a_push_that_is_refused_leaves_nothing_there(run: Path, hub: Hub, tmp_path: Path, cli: Cli) -> None:
    hub.refuse["/commit/"] = 403
    done = cli("export", run, "--output", tmp_path / "out", "--push-to-hub", "me/model")
    assert done.code == 6
    assert done.err.count("\n") == 1
    assert "may not write there" in done.err
    assert hub.files == {}
    assert (tmp_path / "out" / "README.md").is_file()  # what was computed is kept
