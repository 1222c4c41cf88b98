"""``musclelora play`` where it cannot begin; tests/playground has it in a browser."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest
from tiny_runs import Cli


def test_a_folder_that_holds_no_run_is_refused(cli: Cli, tmp_path: Path, finished: Path) -> None:
    pytest.importorskip("gradio", reason="gradio is not installed")
    for arguments in ((tmp_path,), (finished, "--against", tmp_path)):
        done = cli("play", *arguments)
        assert (done.code, done.out) == (4, "")
        assert done.err.startswith(f"musclelora: {tmp_path}: no run.json in it; expected a folder that")


def test_a_port_in_use_is_refused_before_a_model_is_loaded(cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("gradio", reason="gradio is not installed")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = cli("play", tmp_path, "--port", taken.getsockname()[1])
    assert done.code == 2
    assert "--port: 127.0.0.1, port" in done.err
    assert len(done.err.splitlines()) == 1


def test_a_missing_package_is_named(cli: Cli, finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    done = cli("play", finished)
    assert done.code == 2
    assert (
        done.err
        == "musclelora: play: no package gradio; expected it installed; pip install 'musclelora[play]'\n"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--max-new-tokens", 8], "--max-new-tokens: found with the task classify"),
        (["--port", 65536], "65536 is not in the range"),
        (["--against", " "], "expected a name"),
    ],
)
def test_wrong_use_is_refused(arguments: list[object], said: str, cli: Cli, finished: Path) -> None:
    done = cli("play", finished, *arguments)
    assert done.code == 2
    assert said in done.err
