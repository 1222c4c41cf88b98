"""``musclelora tune``: a search that a kill does not change, and the options that it ends with."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest
from tiny_runs import Cli, contents, make_rows, run_killed, write_csv

pytest.importorskip("optuna", reason="Optuna is not installed: pip install 'musclelora[tune]'")


@pytest.fixture(scope="session")
def tuning(model: Path, files: Path) -> list[object]:
    """A search command without its output."""
    data = ("--train", files / "train.csv", "--trusted", files / "trusted.csv")
    held = ("--dtype", "bfloat16", "--gradient-checkpointing")
    return ["tune", *data, "--model", model, *held, "--trials", 3, "--batch-size", 8, "--seed", 1]


def finished(folder: Path) -> int:
    found: int = json.loads((folder / "best.json").read_text())["trials"]["finished"]
    return found


@pytest.mark.integration
def test_a_search_that_was_killed_ends_as_one_that_was_not(
    cli: Cli, tuning: list[object], files: Path, model: Path, tmp_path: Path
) -> None:
    whole = cli(*tuning, "--output", tmp_path / "whole")
    assert whole.code == 0, whole.err
    assert finished(tmp_path / "whole") == 3

    folder = tmp_path / "killed"
    begins_a_trial = r"os\.mkdir .*/tmp[a-z0-9_]{8}'"
    run_killed(begins_a_trial, *tuning, "--output", folder, holds=(folder / "trials.json", "epoch_losses"))
    assert finished(folder) == 1
    done = cli(*tuning, "--output", folder, "--resume")
    assert done.code == 0, done.err
    assert done.out.count("\ntrial ") == 2
    assert (folder / "best.json").read_bytes() == (tmp_path / "whole" / "best.json").read_bytes()

    # It is not gone on with by another search, nor replaced.
    before = contents(folder)
    other = write_csv(tmp_path / "other.csv", make_rows(24, 9))
    for flags, code, said in (
        (["--resume", "--train", other], 2, "train rows are others"),
        (["--resume", "--rank", "2"], 2, "adapter is"),
        ([], 6, "already holds a search"),
    ):
        done = cli(*tuning, "--output", folder, *flags)
        assert (done.code, said in one_line(done.err)) == (code, True), done.err
    assert contents(folder) == before

    # What it prints last is a command that trains.
    command = shlex.split(whole.out.splitlines()[-1])
    best = json.loads((folder / "best.json").read_text())
    assert command[:2] == ["musclelora", "train"]
    assert command[-len(best["options"]) :] == best["options"]
    trained = cli(*command[1:], "--select-best", "trusted", "--output", tmp_path / "run")
    assert trained.code == 0, trained.err
    history = json.loads((tmp_path / "run" / "run.json").read_text())["history"]
    assert [log["eval_calibrated_loss"] for log in history if "eval_calibrated_loss" in log] == best[
        "epoch_losses"
    ]


def one_line(err: str) -> str:
    (line,) = err.splitlines()
    assert line.startswith("musclelora: ")
    return line


BAD: dict[str, tuple[list[str], int, str]] = {
    "no trials": (["--trials", "0"], 2, "--trials"),
    "trials of words": (["--trials", "many"], 2, "--trials"),
    "no time": (["--timeout", "0"], 2, "--timeout"),
    "resume and overwrite": (["--resume", "--overwrite"], 2, "--resume and --overwrite"),
    "two sources of trusted rows": (["--trusted-from", "x.csv"], 2, "--trusted and --trusted-from"),
    "missing file": (["--train", "gone.csv"], 3, "gone.csv"),
    "nothing to search": (
        ["--learning-rate", "1e-3", "--scale-factors", "", "--rank", "2", "--epochs", "1"],
        2,
        "every setting is given",
    ),
    "unknown model": (["--model", "no-such/model"], 4, "no-such/model"),
    "an unwritable folder": (["--output", "/proc/search"], 6, "/proc/search"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(case: str, cli: Cli, tuning: list[object], tmp_path: Path) -> None:
    flags, code, said = BAD[case]
    done = cli(*tuning, "--output", tmp_path / "new", *flags)
    assert (done.code, said in one_line(done.err)) == (code, True), done.err
    assert not (tmp_path / "new").exists()


def test_no_trusted_set(cli: Cli, files: Path, model: Path, tmp_path: Path) -> None:
    done = cli("tune", "--train", files / "train.csv", "--model", model, "--output", tmp_path / "new")
    assert done.code == 3
    assert "--trusted-from" in one_line(done.err)


def test_without_optuna_the_line_names_the_extra(
    cli: Cli, tuning: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    done = cli(*tuning, "--output", tmp_path / "new")
    assert done.code == 2
    assert "pip install 'musclelora[tune]'" in one_line(done.err)
    assert not (tmp_path / "new").exists()
