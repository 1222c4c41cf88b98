"""``musclelora spectrum``: train, compare, and the figures."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny_runs import Cli, make_rows, run_killed, write_csv

from musclelora.cli.main import main
from musclelora.cli.spectrum import _show
from musclelora.data.table import Table
from musclelora.errors import DataError
from musclelora.spectrum import analyse

FIGURES = [f"{name}.{kind}" for name in ("heat", "curves", "ratios", "frequency") for kind in ("png", "svg")]


@pytest.fixture(scope="module")
def files(flagged: Table, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    assert flagged.poisoned is not None
    with (folder / "train.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label", "poisoned"])
        for (text, label), flag in zip(flagged, flagged.poisoned, strict=True):
            writer.writerow([text, flagged.label_names[label], int(flag)])
    write_csv(folder / "trusted.csv", make_rows(8, 1))
    return folder


@pytest.fixture(scope="module")
def arguments(model: Path, files: Path) -> list[object]:
    return [
        *("spectrum", "train", "--train", files / "train.csv", "--trusted", files / "trusted.csv"),
        *("--model", model, "--method", "musclelora", "--epochs", 2, "--batch-size", 8),
        *("--learning-rate", "1e-2", "--spectrum-every", 2, "--spectrum-sigma-count", 5),
    ]


def test_a_run_is_trained_recorded_diagnosed_and_compared(
    cli: Cli, arguments: list[object], tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    ours, vanilla = tmp_path / "ours", tmp_path / "vanilla"
    done = cli(*arguments, "--output", ours)
    assert done.code == 0, done.err
    assert "trained 8 steps" in done.out
    assert "clean rows (24): e_low" in done.out
    assert "[converged]" in done.out
    assert sorted(p.name for p in (ours / "spectrum").iterdir()) == sorted(
        [*FIGURES, "records.jsonl", "sample.safetensors", "summary.json"]
    )
    assert (ours / "spectrum" / "heat.png").read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in (ours / "spectrum" / "curves.svg").read_bytes()
    assert b"24 rows" in _words(ours / "spectrum" / "curves.svg")

    again = cli(*arguments, "--output", ours, "--resume")
    assert "nothing to do" in again.out
    assert "diagnosis of ours" in again.out
    summary = ours / "spectrum" / "summary.json"
    before = summary.read_bytes()
    other = cli(*arguments, "--output", ours, "--resume", "--spectrum-within", "sample")
    assert other.code == 2
    assert "--resume: spectrum within is 'sample' now and was 'group'" in other.err
    assert summary.read_bytes() == before

    assert cli(*arguments, "--method", "full", "--output", vanilla).code == 0
    both = cli(
        "spectrum", "compare", vanilla, ours, "--output", tmp_path / "both", "--json", tmp_path / "b.json"
    )
    assert both.code == 0, both.err
    assert both.out.index("diagnosis of vanilla") < both.out.index("diagnosis of ours")
    assert sorted(p.name for p in (tmp_path / "both").iterdir()) == sorted(FIGURES)
    assert set(json.loads((tmp_path / "b.json").read_text())) == {"vanilla", "ours"}


@pytest.fixture(scope="module")
def recorded(arguments: list[object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recorded") / "run"
    with pytest.raises(SystemExit, match=r"^0$"):
        main([str(argument) for argument in [*arguments, "--output", folder]])
    return folder


def test_names_are_shown_as_they_are(
    recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = pytest.importorskip("musclelora.spectrum.figures", reason="matplotlib is not installed")
    groups = {"[/b]\x1b[31m": range(16), r"$\frac$": range(16, 32)}
    found = analyse(recorded, groups=groups, resamples=9)
    runs = {r"run $\nothing$": found, "\x1b[2J": found}
    assert len(figures.draw_all(runs, tmp_path)) == len(FIGURES)
    assert rb"run $\nothing$, $\frac$: low-band error" in _words(tmp_path / "heat.svg")
    for name in ("heat", "curves", "ratios", "frequency"):
        assert "10⁻".encode() in _words(tmp_path / "frequency.svg")  # powers of ten are set as such
        assert b"\x1b" not in (tmp_path / f"{name}.svg").read_bytes()  # XML knows no such sign
    _show(runs)
    shown = capsys.readouterr().out
    assert "[/b]" in shown
    assert "\x1b" not in shown


def test_many_groups_are_all_drawn_and_told_apart(recorded: Path) -> None:
    figures = pytest.importorskip("musclelora.spectrum.figures", reason="matplotlib is not installed")
    groups = {f"g{number}": range(4 * number, 4 * number + 4) for number in range(8)}
    runs = {"run": analyse(recorded, groups=groups, resamples=9)}
    assert len(figures.heat_maps(runs).axes) == 17  # two bands of each, and the scale
    assert len(figures.band_shares(runs).axes[0].get_legend().get_texts()) == 16
    for figure in (figures.curves(runs), figures.frequencies(runs)):
        lines = figure.axes[0].lines
        assert len({(line.get_linestyle(), line.get_marker()) for line in lines}) == 8


def test_no_curve_leaves_the_panels_that_runs_share(recorded: Path) -> None:
    figures = pytest.importorskip("musclelora.spectrum.figures", reason="matplotlib is not installed")
    low, high = analyse(recorded, resamples=9), analyse(recorded, resamples=9)
    for curve in low["curves"].values():
        curve["e_low"] = {k: [value / 9 for value in curve["e_low"][k]] for k in ("value", "low", "high")}
    axes = figures.curves({"low": low, "high": high}).axes
    top = max(value for curve in high["curves"].values() for value in curve["e_low"]["high"])
    assert axes[0].get_ylim()[0] == 0
    assert axes[0].get_ylim()[1] >= top


def _recorded(run: Path) -> list[dict[str, Any]]:
    lines = (run / "spectrum" / "records.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if "seconds" not in k} for line in lines]


@pytest.mark.integration
def test_a_killed_process_is_gone_on_with_and_has_every_record_once(
    cli: Cli, arguments: list[object], tmp_path: Path
) -> None:
    arguments = [*arguments, "--epochs", 12, "--save-steps", 5]
    cut, whole = tmp_path / "cut", tmp_path / "whole"
    run_killed(r"os\.mkdir .*/checkpoint-15'", *arguments, "--output", cut)
    records = (cut / "spectrum" / "records.jsonl").read_bytes()
    assert b'{"step":12,' in records  # later than the last checkpoint that is complete
    assert json.loads((cut / "run.json").read_text())["status"] == "training"
    assert not (cut / "spectrum" / "summary.json").exists()
    done = cli(*arguments, "--output", cut, "--resume")
    assert done.code == 0, done.err
    assert "resuming     from" in done.out
    assert cli(*arguments, "--output", whole).code == 0
    assert [line["step"] for line in _recorded(cut)] == list(range(0, 49, 2))
    assert _recorded(cut) == _recorded(whole)
    one, other = (json.loads((run / "spectrum" / "summary.json").read_text()) for run in (cut, whole))
    for summary in (one, other):
        del summary["cost"], summary["run"]["name"]
    assert one == other


def _words(svg: Path) -> bytes:
    """The texts of a figure, which matplotlib keeps as comments beside their outlines."""
    return b"\n".join(line for line in svg.read_bytes().splitlines() if b"<!--" in line)


def test_a_run_without_analysis_data_is_said_in_one_line(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    done = cli("spectrum", "compare", tmp_path / "plain")
    assert (done.code, done.out) == (3, "")
    assert "no spectrum data in it, expected a run of `musclelora spectrum train`" in done.err
    (tmp_path / "plain" / "spectrum").mkdir()
    (tmp_path / "plain" / "spectrum" / "records.jsonl").write_text("")
    assert "has records and no analysis" in cli("spectrum", "compare", tmp_path / "plain").err
    (tmp_path / "plain" / "spectrum" / "summary.json").write_text('{"format": 1}')
    assert "groups: found nothing, expected" in cli("spectrum", "compare", tmp_path / "plain").err
    (tmp_path / "plain" / "spectrum" / "summary.json").write_text('{"format": 2}')
    assert "not an analysis that this version reads" in cli("spectrum", "compare", tmp_path / "plain").err
    assert "twice" in cli("spectrum", "compare", tmp_path, tmp_path).err


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--spectrum-rows", 3], 2, "spectrum rows: found 3"),
        (["--spectrum-sigmas", "1,0"], 2, "sigma: found 0"),
        (["--spectrum-sigmas", ""], 2, "--spectrum-sigmas: found no values"),
        (["--spectrum-max-cost", "-1"], 2, "'--spectrum-max-cost': -1.0 is not in the range"),
        (["--spectrum-sigma-count", "1000000000"], 2, "'--spectrum-sigma-count'"),
        (["--spectrum-within", "town"], 2, "spectrum within: found 'town'"),
        (["--max-train-rows", 6], 3, "found 6 training rows"),
        (["--spectrum-rows", 8], 3, "group 'triggered' has"),
    ],
)
def test_bad_input_is_said_in_one_line_before_anything_is_written(
    options: list[object], code: int, said: str, cli: Cli, arguments: list[object], tmp_path: Path
) -> None:
    done = cli(*arguments, *options, "--output", tmp_path / "run")
    assert done.code == code
    assert said in done.err
    assert len(done.err.splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "arguments", [["spectrum"], ["spectrum", "train", "--help"], ["spectrum", "compare", "-h"]]
)
def test_its_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom musclelora.cli.main import main\n"
        f"try: main({arguments})\nexcept SystemExit: pass\n"
        "print([m for m in ('torch', 'transformers', 'matplotlib', 'finufft') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_training_takes_the_same_options(cli: Cli) -> None:
    from musclelora.cli.spectrum import train
    from musclelora.cli.tasks import PAIR_COLUMNS
    from musclelora.cli.train import command

    own = {option.name for option in command.params} - {"task", *PAIR_COLUMNS}  # classifiers have a spectrum
    assert own <= {option.name for option in train.params}
    assert all(name.startswith("spectrum_") for name in {o.name for o in train.params} - own)


def _put(file: Path, path: str, value: Any) -> None:
    found = json.loads(file.read_text())
    *parents, last = path.split(".")
    inside = found
    for parent in parents:
        inside = inside[parent]
    inside[last] = value
    file.write_text(json.dumps(found))


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("groups", [], "groups: found an empty list, expected an object"),
        ("groups.clean.rows", 0, "groups.clean.rows: found 0, expected 1 or more"),
        ("groups.clean.rows", "24", "groups.clean.rows: found '24'"),
        ("sigmas", [], "sigmas: found an empty list"),
        ("steps", ["x"], "steps[0]: found 'x', expected a number"),
        ("curves", {}, "expected curves of every group"),
        ("curves.clean.lfr.value", [], "expected a value of every curve for each of the steps"),
        ("curves.clean.lfr", None, "curves.clean.lfr: found None, expected an object"),
        ("labels.clean.lfr", [None], "labels.clean.lfr[0]: found None"),
        ("convergence.clean.low.value", "soon", "convergence.clean.low.value: found 'soon'"),
        ("convergence.clean.low.high", None, "expected both ends of an interval"),
        ("cost.seconds", -1, "cost.seconds: found -1, expected 0 or more"),
        ("diagnosis", [{}], "diagnosis[0].text: found nothing"),
        ("spectrum.last", {}, "expected a spectrum of every group"),
        ("more", float("nan"), "found a number that is not finite"),
        ("format", "1", "not an analysis that this version reads"),
    ],
)
def test_an_edited_analysis_is_said_in_one_line(
    path: str, value: Any, said: str, cli: Cli, recorded: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(recorded, tmp_path / "run")
    file = run / "spectrum" / "summary.json"
    _put(file, "convergence.clean.low", {"value": 1.0, "low": 1.0, "high": 1.0})
    _put(file, path, value)
    done = cli("spectrum", "compare", run, "--output", tmp_path / "figures")
    assert (done.code, done.out) == (3, "")
    assert len(done.err.splitlines()) == 1
    assert f"{file}: " in done.err
    assert said in done.err
    assert not (tmp_path / "figures").exists()


@pytest.mark.parametrize(
    "line",
    [
        "{}",
        "[" * 100_000,
        '{"step": true, "seconds": 1, "training_seconds": 1, "outputs": [[1]], "plan": null}',
        '{"step": 1, "seconds": 1, "training_seconds": 1, "outputs": [[1], [1, 2]], "plan": null}',
        '{"step": 1, "seconds": 1, "training_seconds": 1, "outputs": [[NaN]], "plan": null}',
        '{"step": 1, "seconds": 1, "training_seconds": 1, "outputs": [["1"]], "plan": null}',
        '{"step": 1, "seconds": 1, "training_seconds": 1, "outputs": [[1]], "plan": 5}',
    ],
)
def test_a_line_that_is_no_record_is_said(line: str, recorded: Path, tmp_path: Path) -> None:
    run = shutil.copytree(recorded, tmp_path / "run")
    file = run / "spectrum" / "records.jsonl"
    count = len(file.read_text().splitlines())
    with file.open("a") as opened:
        opened.write(f"{line}\n")
    with pytest.raises(DataError, match=f"records.jsonl, line {count + 1}: not a record") as error:
        analyse(run, resamples=9)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("labels", lambda tensor: tensor + 100, "labels: found numbers out of range"),
        ("labels", lambda tensor: tensor[:-1], "labels: found 31 rows, expected 32"),
        ("labels", lambda tensor: tensor.float(), "labels: found 1 dimensions of type float32"),
        ("ids", lambda tensor: tensor - 1, "ids: found numbers out of range"),
        ("lengths", lambda tensor: tensor + 1000, "lengths: found numbers out of range"),
        ("sigmas", lambda tensor: -tensor, "sigmas: found numbers that are not above 0"),
        ("table", lambda tensor: tensor / 0, "table: found numbers that are not finite"),
        ("flags", lambda tensor: tensor[:-1], "flags: found 31 rows, expected 32"),
    ],
)
def test_an_altered_sample_is_said(name: str, change: Any, said: str, recorded: Path, tmp_path: Path) -> None:
    run = shutil.copytree(recorded, tmp_path / "run")
    file = run / "spectrum" / "sample.safetensors"
    with safe_open(file, "pt") as opened:
        about = opened.metadata()
    tensors = load_file(file)
    tensors[name] = change(tensors[name]).contiguous()
    save_file(tensors, file, about)
    with pytest.raises(DataError, match=said):
        analyse(run, resamples=9)
