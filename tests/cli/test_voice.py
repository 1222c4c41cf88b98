"""How much a command says while it works, to whom and in which form."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from listening import Heard
from tiny_runs import Cli, Fit

from musclelora.progress import Bar, Plain, TimeLeft
from musclelora.training.progress import TrainingProgress

RAW = re.compile(r"\{'|it/s\]|train_runtime")
EPOCH = re.compile(r"^training     epoch (\d+) of (\d+): step (\d+) of (\d+)", re.MULTILINE)


def events(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_a_training_says_a_line_for_each_epoch(cli: Cli, arguments: list[object], tmp_path: Path) -> None:
    done = cli(*arguments, "--method", "lora", "--epochs", 3, "--output", tmp_path / "run")
    assert done.code == 0, done.err
    assert EPOCH.findall(done.err) == [(str(n), "3", str(3 * n), "9") for n in (1, 2, 3)]
    assert not RAW.search(done.out + done.err)
    assert "\x1b" not in done.out + done.err


def test_of_many_epochs_there_are_few_lines(cli: Cli, arguments: list[object], tmp_path: Path) -> None:
    done = cli(*arguments, "--method", "lora", "--epochs", 50, "--output", tmp_path / "run")
    found = EPOCH.findall(done.err)
    assert 10 < len(found) <= 21
    assert found[-1] == ("50", "50", "150", "150")


def test_quiet_leaves_results_and_verbose_adds_the_log(
    cli: Cli, arguments: list[object], tmp_path: Path
) -> None:
    quiet = cli(*arguments, "--quiet", "--output", tmp_path / "quiet")
    assert (quiet.code, quiet.err) == (0, "")
    lines = [line for line in quiet.out.splitlines() if not line.startswith("warning")]
    assert [line.split()[0] for line in lines] == ["trained", "the"]
    verbose = cli(*arguments, "-v", "--method", "lora", "--output", tmp_path / "verbose")
    assert re.search(r"^training     step \d+: train_loss [\d.]+", verbose.err, re.MULTILINE)
    both = cli(*arguments, "-q", "-v", "--output", tmp_path / "both")
    assert (both.code, both.err.count("\n")) == (2, 1)
    assert not (tmp_path / "both").exists()


def test_what_happens_is_a_json_object_a_line(cli: Cli, arguments: list[object], tmp_path: Path) -> None:
    log, run = tmp_path / "logs" / "run.jsonl", tmp_path / "run"
    done = cli(*arguments, "-q", "--json-log", log, "--output", run)
    assert done.code == 0, done.err
    found = events(log)
    assert (found[0]["event"], found[0]["command"]) == ("begun", "train")
    assert (found[-1]["event"], found[-1]["run"]) == ("done", str(run))
    assert {"said", "stage", "log", "epoch"} <= {event["event"] for event in found}
    assert all(event["time"] for event in found)
    assert any(event.get("text", "").startswith("audit ") for event in found)  # however quiet
    again = cli(*arguments, "--json-log", log, "--resume", "--output", run)
    assert again.code == 0, again.err
    assert events(log)[: len(found)] == found  # it goes on
    assert len(events(log)) > len(found)


@pytest.mark.parametrize(
    ("log", "code", "said"),
    [
        ("-", 2, "--json-log: found standard output"),
        ("run/log.jsonl", 6, "the folder that is written"),
        ("run", 6, "which --output writes"),
        ("train.csv", 6, "which this command reads"),
        ("train.csv/log", 6, "is no folder"),
    ],
)
def test_a_log_in_a_bad_place_is_refused_before_any_work(
    log: str, code: int, said: str, cli: Cli, arguments: list[object], tmp_path: Path
) -> None:
    rows = Path(str(arguments[2])).read_bytes()
    (tmp_path / "train.csv").write_bytes(rows)
    place = log if log == "-" else tmp_path / log
    given = [*arguments, "--train", tmp_path / "train.csv", "--json-log", place, "--output", tmp_path / "run"]
    done = cli(*given)
    assert (done.code, done.err.count("\n")) == (code, 1), done.err
    assert said in done.err
    assert not (tmp_path / "run").exists()
    assert (tmp_path / "train.csv").read_bytes() == rows


def test_an_audit_has_the_same_options(cli: Cli, files: Path, model: Path, tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    given = ["audit", files / "train.csv", "--trusted", files / "trusted.csv", "--model", model]
    done = cli(*given, "-q", "--json-log", log, "--output", tmp_path / "audit")
    assert (done.code, done.err) == (0, ""), done.err
    assert done.out.startswith("cannot tell: ")
    assert events(log)[-1]["verdict"]["state"] == "cannot_tell"


@pytest.mark.parametrize("option", ["--report", "--format-output"])
def test_a_log_is_no_other_document(option: str, cli: Cli, files: Path, tmp_path: Path) -> None:
    file = tmp_path / "one"
    given = ["audit", files / "train.csv", "--trusted", files / "trusted.csv", "--format", "json"]
    done = cli(*given, option, file, "--json-log", f"{tmp_path}/./one")
    assert (done.code, done.err.count("\n")) == (6, 1), done.err
    assert f"which {option} writes" in done.err
    assert not file.exists()


class Terminal(io.StringIO):
    """What says that it is one."""

    def isatty(self) -> bool:
        return True


def test_a_bar_is_only_on_a_terminal() -> None:
    for stream, shown in ((io.StringIO(), False), (Terminal(), True)):
        with Bar("training", 4, "steps", stream=stream) as bar:
            bar.advance(2)
            assert bar.is_shown is shown
        assert ("training" in stream.getvalue()) is shown
    hidden = Terminal()
    Bar("training", 4, stream=hidden, show=False).advance(1)
    assert hidden.getvalue() == ""


def test_what_is_told_without_a_command_is_safe_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    Plain().tell("found '\x1b[2J\u202e'")
    assert capsys.readouterr().err == "found '\\x1b[2J\\u202e'\n"


def test_the_time_left_is_that_of_what_was_done(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    left = TimeLeft(10)
    assert left.words(10, 110) == ""
    now[0] = 120.0  # 20 steps in 20 seconds, 80 to go
    assert left.words(30, 110) == "1:20 left"
    assert left.words(30, 3630 + 30) == "1:00:30 left"
    assert left.words(110, 110) == ""


def test_the_trainers_own_printing_is_replaced(fit_tiny: Fit, capsys: pytest.CaptureFixture[str]) -> None:
    fit_tiny(arguments={"disable_tqdm": False})
    printed = capsys.readouterr()
    assert EPOCH.search(printed.err)
    fit_tiny(output=None, overwrite=True)  # disable_tqdm
    silent = capsys.readouterr()
    assert not EPOCH.search(silent.err)
    assert not RAW.search(printed.out + silent.out + silent.err)


def test_a_listener_that_was_given_is_the_only_one(fit_tiny: Fit, capsys: pytest.CaptureFixture[str]) -> None:
    heard = Heard()
    fit_tiny(arguments={"disable_tqdm": False}, callbacks=[TrainingProgress(heard)])
    assert len(heard.told) == 2
    assert not EPOCH.search(capsys.readouterr().err)


def test_styles_are_for_terminals_and_can_be_forced(
    cli: Cli, finished: Path, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    command = ("evaluate", finished, "--clean", files / "test.csv")
    assert "\x1b" not in cli(*command).out
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[1m" in cli(*command).out
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[[\d;]*3\d", cli(*command).out)


def test_info_says_what_each_extra_brings_and_which_judge(cli: Cli) -> None:
    said = cli("info").out
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    for extra in project["optional-dependencies"].keys() - {"dev", "docs", "release"}:
        (line,) = [line for line in said.splitlines() if line.startswith(f"  {extra} ")]
        assert "another extra" not in line
        assert "installed" in line or "pip install" in line
    assert "judge        the backbone, as MUSCLELORA_JUDGE says" in said
    assert re.search(r"^  assembled +/", said, re.MULTILINE)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands_and_options(shell: str) -> None:
    def asked(words: str, number: int, last: str) -> str:
        environment = {"COMP_WORDS": words, "COMP_CWORD": last if shell == "fish" else str(number)}
        code = "from musclelora.entry import main; import sys; sys.argv = ['musclelora']; main()"
        return subprocess.run(
            [sys.executable, "-c", code + "; print('torch' in sys.modules)"],
            env={**os.environ, **environment, "_MUSCLELORA_COMPLETE": f"{shell}_complete"},
            capture_output=True,
            text=True,
            check=False,
        ).stdout

    assert "audit" in asked("musclelora au", 1, "au")
    assert "--json-log" in asked("musclelora train --json", 2, "--json")
