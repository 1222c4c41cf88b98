"""Several processes, started for real, end where a single one does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from safetensors.numpy import load_file
from tiny_runs import LIMIT, Cli, make_rows, write_csv

from musclelora.training.shards import FilledRows, ShardedBatches, shard

HERE = Path(__file__).parent
PATH = os.pathsep.join([str(HERE), str(HERE.parent / "generation")])
WEIGHTS = "musclelora.safetensors"
LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]


def start(*command: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": PATH},
    )


def finish(process: subprocess.Popen[str]) -> str:
    """What it wrote to standard error, when it ended well."""
    _, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, err
    return err


def difference(found: Path, expected: Path) -> float:
    """The largest difference between two runs' parameters."""
    one, other = load_file(found / WEIGHTS), load_file(expected / WEIGHTS)
    assert one.keys() == other.keys()
    return max(float(np.abs(one[name] - other[name]).max()) for name in one)


FAST = ("musclelora", "accumulated", "two passes", "lora", "sharded", "sharded lora", "generation")


@pytest.mark.integration
@pytest.mark.parametrize(
    ("processes", "names"),
    [
        pytest.param(2, FAST, id="two"),
        pytest.param(2, ("full", "auto"), id="two, full and auto", marks=pytest.mark.slow),
    ],
)
def test_several_processes_take_the_steps_of_one(
    processes: int, names: tuple[str, ...], still_model: Path, tmp_path: Path
) -> None:
    script = (HERE / "process_runs.py", still_model)
    alone = start(sys.executable, *script, tmp_path / "alone", *names)
    together = start(*LAUNCH, processes, *script, tmp_path / "together", *names)
    finish(alone)
    finish(together)
    for name in names:
        one, several = tmp_path / "alone" / name, tmp_path / "together" / name
        assert difference(several, one) < 1e-5, name
        infos = [json.loads((folder / "run.json").read_text()) for folder in (one, several)]
        assert infos[0]["result"]["steps"] == infos[1]["result"]["steps"] >= 10
        for kind in ("loss", "eval_loss"):
            losses = [[log[kind] for log in info["history"] if kind in log] for info in infos]
            assert losses[0]
            np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
        if name.startswith("sharded"):
            shares = [float((several / f"share-{rank}").read_text()) for rank in range(processes)]
            assert max(shares) < 0.65  # half of the backbone, and all that is trained


@pytest.mark.integration
def test_several_processes_agree_on_the_rows_that_they_restored(still_model: Path, tmp_path: Path) -> None:
    script = (HERE / "process_runs.py", still_model)
    alone = start(sys.executable, *script, tmp_path / "alone", "look")
    together = start(*LAUNCH, 2, *script, tmp_path / "together", "look")
    finish(alone)
    finish(together)
    expected = json.loads((tmp_path / "alone" / "look" / "whole-0.json").read_text())
    assert len(expected["restored"]) >= 8
    files = sorted((tmp_path / "together" / "look").iterdir())
    assert [file.name for file in files] == [
        f"{how}-{n}.json" for how in ("sharded", "whole") for n in (0, 1)
    ]
    found = [json.loads(file.read_text()) for file in files]
    assert found[0] == found[1]  # sharded, in each process
    assert found[2] == found[3]
    for several in found:  # some hundred steps make much of how sums are rounded
        assert abs(several["recheck_accuracy"] - expected["recheck_accuracy"]) <= 0.1
        assert len(set(several["restored"]) ^ set(expected["restored"])) <= 3


@pytest.fixture
def arguments(still_model: Path, tmp_path: Path) -> list[object]:
    return [
        *("train", "--model", still_model, "--batch-size", 4, "--epochs", 6, "--learning-rate", "1e-3"),
        *("--train", write_csv(tmp_path / "train.csv", make_rows(48, seed=0)), "--method", "musclelora"),
        *("--trusted", write_csv(tmp_path / "trusted.csv", make_rows(10, seed=1))),
    ]


@pytest.mark.integration
def test_when_one_process_is_killed_the_others_stop_and_resuming_ends_as_if_nothing_had_happened(
    arguments: list[object], tmp_path: Path
) -> None:
    command = [*LAUNCH, 2, "-m", "musclelora", *arguments, "--output"]
    cut, whole = tmp_path / "cut", tmp_path / "whole"
    waiting = (HERE / "waiting_process.py", "checkpoint-24", tmp_path)
    process = start(*LAUNCH, 2, *waiting, *arguments, "--output", cut)
    deadline = time.monotonic() + LIMIT
    while not (tmp_path / "waits").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    ranks = psutil.Process(process.pid).children()
    assert len(ranks) == 2
    (other,) = (rank for rank in ranks if rank.environ()["RANK"] == "1")
    other.kill()
    (tmp_path / "go").touch()
    _, err = process.communicate(timeout=LIMIT)
    assert process.returncode != 0
    assert "unexpected" not in err
    assert psutil.wait_procs(ranks, timeout=LIMIT)[1] == []
    assert json.loads((cut / "run.json").read_text())["status"] == "training"
    alone = shutil.copytree(cut, tmp_path / "alone")
    going = (
        start(*command, cut, "--resume"),
        start(*command, whole),
        start(sys.executable, "-m", "musclelora", *arguments, "--output", alone, "--resume"),
    )
    for process in going:
        finish(process)
    assert difference(cut, whole) == 0
    assert difference(alone, whole) < 1e-5


@pytest.mark.integration
def test_a_batch_that_the_processes_cannot_share_is_refused_once(
    arguments: list[object], tmp_path: Path
) -> None:
    process = start(
        *LAUNCH, 2, "-m", "musclelora", *arguments, "--batch-size", 5, "--output", tmp_path / "run"
    )
    out, err = process.communicate(timeout=LIMIT)
    assert process.returncode != 0
    assert [line for line in err.splitlines() if line.startswith("musclelora:")] == [
        "musclelora: --batch-size: found 5 for 2 processes, expected a multiple of 2; give --batch-size 6 or "
        "start another number of processes"
    ]
    assert out.count("training data") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("method", "said"), [("musclelora", "found in a single process"), ("full", "trains the backbone itself")]
)
def test_a_backbone_that_cannot_be_sharded_is_said(
    method: str, said: str, arguments: list[object], cli: Cli, tmp_path: Path
) -> None:
    done = cli(*arguments, "--method", method, "--shard-backbone", "--output", tmp_path / "run")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert said in done.err


def test_a_backbone_in_eight_bits_cannot_be_sharded(
    arguments: list[object], cli: Cli, tmp_path: Path
) -> None:
    command = [*arguments, "--method", "musclelora", "--quantize", "int8", "--shard-backbone"]
    done = cli(*command, "--output", tmp_path / "run")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "--shard-backbone: found with --quantize int8" in done.err


@pytest.mark.parametrize("plugin", ["DeepSpeed", "FSDP"])
def test_what_shards_by_other_means_is_refused_before_a_model_is_loaded(
    plugin: str, arguments: list[object], cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"ACCELERATE_USE_{plugin.upper()}", "true")  # as accelerate launch does
    done = cli(*arguments, "--output", tmp_path / "run")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert f"distributed training: found {plugin}, expected plain data parallelism" in done.err
    assert not (tmp_path / "run").exists()


def test_commands_that_cannot_share_their_work_refuse_to_run_as_several_processes(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("LOCAL_RANK", "0"), ("RANK", "0"), ("WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    done = cli("tune", "--help")
    assert done.code == 2
    assert "started as 2 processes, expected one" in done.err


def test_the_shards_of_every_batch_are_disjoint_and_cover_it() -> None:
    for processes in (2, 3, 5):
        shards = [list(ShardedBatches(range(11), 4, part, processes)) for part in range(processes)]
        batches = [
            sorted(row for part in step for row in part if row >= 0) for step in zip(*shards, strict=True)
        ]
        assert batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]
        lengths = [[sum(row >= 0 for row in part) for part in step] for step in zip(*shards, strict=True)]
        assert all(max(counts) - min(counts) <= 1 for counts in lengths)


def test_a_process_without_a_row_gets_one_that_counts_nothing() -> None:
    assert shard([7, 3], 2, 3) == [-8]
    rows = FilledRows([{"input_ids": [5], "labels": 1}] * 8)
    assert rows[7]["labels"] == 1
    assert rows[-8] == {"input_ids": [5], "labels": -100}
