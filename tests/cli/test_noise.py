"""A command says what matters in its own lines: the libraries are silent, but for those who debug."""

from __future__ import annotations

import json
import logging
import os
import warnings
from pathlib import Path

import pytest
from tiny_runs import Cli, run

from musclelora.cli import noise


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in noise._ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)


def test_libraries_are_silenced(cli: Cli, capsys: pytest.CaptureFixture[str], recwarn) -> None:
    assert cli("attacks").code == 0
    assert os.environ["TRANSFORMERS_VERBOSITY"] == "error"
    warnings.warn("pin_memory", UserWarning, stacklevel=1)
    warnings.warn("soon gone", FutureWarning, stacklevel=1)
    assert not recwarn.list
    for name in ("transformers.modeling_utils", "datasets.load", "kernels", "bitsandbytes.cextension"):
        assert not logging.getLogger(name).isEnabledFor(logging.WARNING)


def test_libraries_may_speak_to_those_who_debug(cli: Cli) -> None:
    assert cli("--debug", "attacks").code == 0
    assert "TRANSFORMERS_VERBOSITY" not in os.environ


@pytest.mark.integration
@pytest.mark.parametrize("kind", ["junk in a folder", "a half-read table", "a pickle in an index"])
def test_an_error_of_a_library_is_one_line(
    kind: str, arguments: list[object], model: Path, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    options: list[object] = ["--train", tmp_path / "data"]
    if kind == "junk in a folder":
        (tmp_path / "data" / "README.md").write_text("---\nconfigs: 3\n---\n")
        (tmp_path / "data" / "x.bin").write_bytes(b"\0" * 100)
    elif kind == "a half-read table":
        (tmp_path / "data" / "a.csv").write_text("text,label\n" + "a,b\n" * 1000)
        (tmp_path / "data" / "b.csv").write_text("other\n1\n")
    else:
        (tmp_path / "data" / "config.json").write_text((model / "config.json").read_text())
        (tmp_path / "data" / "x.safetensors").write_bytes(b"")
        index = {"metadata": {}, "weight_map": {"a": "x.bin"}}
        (tmp_path / "data" / "model.safetensors.index.json").write_text(json.dumps(index))
        options = ["--model", tmp_path / "data"]
    code, _, err = run(*arguments, *options, "--output", tmp_path / "run")
    assert code in (3, 4)
    assert len(err.splitlines()) == 1, err
