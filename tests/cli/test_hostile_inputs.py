"""Inputs that never end, and names that are nearly right: one line and the documented code, everywhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tiny_runs import Cli

# command: (its words, the code); FIFO and DEVICE are such files, TRAIN, TEST, RUN and MODEL good inputs.
CASES: dict[str, tuple[str, int]] = {
    "train": ("train --train FIFO --trusted TEST --model MODEL --output OUT", 3),
    "trusted": ("train --train TRAIN --trusted DEVICE --model MODEL --output OUT", 3),
    "trusted-from": ("train --train TRAIN --trusted-from FIFO --model MODEL --output OUT", 3),
    "dev": ("train --train TRAIN --trusted TEST --dev FIFO --model MODEL --output OUT", 3),
    "a model": ("train --train TRAIN --trusted TEST --model FIFO --output OUT", 4),
    "pairs": ("train --task generate --train FIFO --trusted FIFO --model MODEL --output OUT", 3),
    "tune": ("tune --train FIFO --trusted TEST --model MODEL --output OUT", 3),
    "spectrum": ("spectrum train --train DEVICE --trusted TEST --model MODEL --output OUT", 3),
    "clean rows": ("evaluate RUN --clean FIFO", 3),
    "triggered rows": ("evaluate RUN --triggered DEVICE --target good", 3),
    "texts": ("predict RUN FIFO", 3),
    "rows to poison": ("poison DEVICE --attack addsent --rate 0.1 --target good --output OUT.csv", 3),
    "prompts to poison": (
        "poison FIFO --task generate --attack addsent --rate 0.1 --target good --output OUT.csv",
        3,
    ),
    "paraphrases": (
        "poison TRAIN --attack style:backend=file,file=FIFO --rate 0.1 --target good --output OUT.csv",
        3,
    ),
    "a perplexity model": (
        "poison TRAIN --attack addsent --rate 0.1 --target good --perplexity-model FIFO --output OUT.csv",
        4,
    ),
    "a grid": ("benchmark run FIFO --output OUT", 2),
    "a grid that is a device": ("benchmark run DEVICE --output OUT --dry-run", 2),
}


@pytest.fixture
def places(tmp_path: Path, files: Path, model: Path, run_folder: Path) -> dict[str, str]:
    os.mkfifo(tmp_path / "fifo.csv")
    (tmp_path / "device.csv").symlink_to("/dev/zero")
    return {
        "FIFO": str(tmp_path / "fifo.csv"),
        "DEVICE": str(tmp_path / "device.csv"),
        "TRAIN": str(files / "train.csv"),
        "TEST": str(files / "test.csv"),
        "MODEL": str(model),
        "RUN": str(run_folder),
        "OUT": str(tmp_path / "out"),
    }


@pytest.mark.parametrize("case", CASES)
def test_what_never_ends_is_one_line(case: str, cli: Cli, places: dict[str, str], tmp_path: Path) -> None:
    line, code = CASES[case]
    for name, path in places.items():
        line = line.replace(name, path)
    found, _, err = cli(*line.split())
    assert (found, err.count("\n")) == (code, 1), err
    assert "a FIFO" in err or "a device" in err
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("train --train train.cvs --trusted trusted.csv --output out", 3, "did you mean train.csv?"),
        ("train --train train.csv --trusted trustd.csv --output out", 3, "did you mean trusted.csv?"),
        (
            "train --train train.csv --trusted trusted.csv --model ./modle --output out",
            4,
            "did you mean model?",
        ),
        ("predict run train.tsv", 3, "did you mean train.csv?"),
        ("predict runs train.csv", 4, "did you mean run?"),
        ("info rum", 4, "did you mean run?"),
        (f"train --train {'x' * 300} --trusted trusted.csv --output out", 3, "File name too long"),
        ("train --train train.csv --trusted trusted.csv --text-column label --output out", 2, "for both"),
    ],
)
def test_names_that_are_nearly_right(
    line: str,
    code: int,
    said: str,
    cli: Cli,
    files: Path,
    model: Path,
    run_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("train.csv", "trusted.csv"):
        (tmp_path / name).symlink_to(files / name)
    (tmp_path / "model").symlink_to(model)
    found, _, err = cli(*line.split())
    assert (found, err.count("\n")) == (code, 1), err
    assert said in err


@pytest.mark.parametrize("option", ["--train", "--trusted", "--dev"])
def test_a_blank_name_is_refused(option: str, cli: Cli, arguments: list[object], tmp_path: Path) -> None:
    found, _, err = cli(*arguments, option, "", "--output", tmp_path / "out")
    assert (found, err.count("\n")) == (2, 1), err
