"""Outputs that would destroy something, or that cannot be: of every command, every output."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from table import (
    FULL,
    NULL,
    Case,
    Change,
    a_socket,
    copy,
    device,
    fifo,
    folder,
    hard_link,
    held,
    link,
    move,
    write,
)

ROWS = "--train train.csv --trusted trusted.csv --model model"
# Where each command writes a folder: the command, and what it reads.
FOLDERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "train": (
        f"train {ROWS} --dev dev.csv --method musclelora --output OUT",
        ("train.csv", "trusted.csv", "dev.csv", "model"),
    ),
    "train from": (
        "train --train train.csv --trusted-from dev.csv --trusted-size 4 --model model --method musclelora "
        "--output OUT",
        ("train.csv", "dev.csv", "model"),
    ),
    "generate": (
        "train --task generate --train pairs.jsonl --trusted checked.jsonl --model decoder --output OUT",
        ("pairs.jsonl", "checked.jsonl", "decoder"),
    ),
    "tune": (f"tune {ROWS} --trials 1 --output OUT", ("train.csv", "trusted.csv", "model")),
    "spectrum train": (
        f"spectrum train {ROWS} --method musclelora --output OUT",
        ("train.csv", "trusted.csv", "model"),
    ),
    "spectrum compare": ("spectrum compare srun --output OUT", ("srun",)),
    "export": ("export run --output OUT", ("run", "model")),
    "export merged": ("export run --format merged --output OUT", ("run", "model")),
    "export a generator": ("export grun --output OUT", ("grun", "decoder")),
    "benchmark run": (
        "benchmark run grid.yaml --output OUT",
        ("grid.yaml", "train.csv", "test.csv", "dev.csv", "model"),
    ),
    "benchmark report": ("benchmark report results --output OUT", ("results",)),
    "demo": ("demo --output OUT", ()),
    "audit": (
        "audit train.csv --trusted trusted.csv --model model --no-confirm --output OUT",
        ("train.csv", "trusted.csv", "model"),
    ),
    "train by an audit": (
        f"train {ROWS} --audit audit --output OUT",
        ("train.csv", "trusted.csv", "model", "audit"),
    ),
}
OVERWRITES = ("train", "train from", "generate", "tune", "spectrum train", "export", "export merged")
# Where each command writes a file.
FILES: dict[str, tuple[str, tuple[str, ...]]] = {
    "predict": ("predict run test.csv --output OUT", ("test.csv", "run")),
    "predict --text": ("predict run --text word1 --output OUT", ("run",)),
    "predict a generator": (
        "predict grun pairs.jsonl --max-new-tokens 4 --output OUT",
        ("pairs.jsonl", "grun"),
    ),
    "evaluate": (
        "evaluate run --clean test.csv --triggered dev.csv --target good --json OUT",
        ("test.csv", "dev.csv", "run"),
    ),
    "evaluate a generator": (
        "evaluate grun --clean pairs.jsonl --max-new-tokens 4 --json OUT",
        ("pairs.jsonl", "grun"),
    ),
    "spectrum compare": ("spectrum compare srun --json OUT", ("srun",)),
    "report": ("report audit --output OUT", ("audit",)),
    "poison": (
        "poison train.csv --attack addsent --rate 0.2 --target good --format csv --output OUT",
        ("train.csv",),
    ),
    "poison --overwrite": (
        "poison train.csv --attack addsent --rate 0.2 --target good --format csv --overwrite --output OUT",
        ("train.csv",),
    ),
    "poison generate": (
        "poison pairs.jsonl --task generate --attack addsent --rate 0.2 --target yes --format jsonl "
        "--overwrite --output OUT",
        ("pairs.jsonl",),
    ),
    "poison with paraphrases": (
        "poison train.csv --attack style:backend=file,file=said.csv --rate 0.2 --target good --overwrite "
        "--format csv --output OUT",
        ("said.csv",),
    ),
}


def _said() -> None:
    rows = Path("train.csv").read_text(encoding="utf-8").splitlines()[1:]
    texts = [row.rpartition(",")[0] for row in rows]
    said = "".join(f"{text},word58 {text}\n" for text in texts)
    Path("said.csv").write_text(f"text,paraphrase\n{said}", encoding="utf-8")


SAID = Change(("said.csv", "train.csv"), _said)
FILES_IN = {
    "run": ("run.json", "musclelora.safetensors", "checkpoints/checkpoint-3/trainer_state.json", "new.csv"),
    "grun": ("run.json", "musclelora.safetensors", "new.csv"),
    "srun": ("run.json", "musclelora.safetensors", "spectrum/summary.json", "spectrum/records.jsonl"),
    "model": ("config.json", "model.safetensors", "tokenizer.json", "new.csv"),
}


def is_folder(name: str) -> bool:
    return "." not in name


def before(name: str) -> list[Change]:
    return [SAID] if "paraphrases" in name else []


def of_inputs() -> Iterator[Case]:
    """Outputs that are, link to, contain or lie inside an input."""
    for name, (command, inputs) in {**FOLDERS, **{f"{k} (file)": v for k, v in FILES.items()}}.items():
        made, flag = before(name), " --overwrite" if name in OVERWRITES else ""
        for source in inputs:
            ways = [
                ("is", source, flag, []),
                ("links to", "lnk", flag, [link("lnk", source)]),
                ("lies in", f"{source}/out", flag, []),
            ]
            if is_folder(source):
                ways.append(("lies in a link to", "lnk/out", flag, [link("lnk", source)]))
            else:
                ways.append(("is a hard link to", "hard", flag, [hard_link("hard", source)]))
            if flag:
                ways.append(("is", source, "", []))
            else:
                ways.append(("is, another way,", f"./{source}", "", []))
            for how, output, more, bad in ways:
                words = command.replace("OUT", output) + more
                yield Case(f"{name}{more}: {how} {source}", words, 6, [*made, *bad])
        if name in FOLDERS and name != "demo":
            yield Case(f"{name}{flag}: holds all", command.replace("OUT", ".") + flag, 6, made)
            yield Case(f"{name}{flag}: holds all above", command.replace("OUT", "..") + flag, 6, made)


def of_run_folders() -> Iterator[Case]:
    """Files of a run folder, the command's own or another."""
    for name, (command, inputs) in FILES.items():
        for source in (*(part for part in inputs if part in FILES_IN), "other"):
            for file in FILES_IN.get(source, FILES_IN["run"]):
                yield Case(
                    f"{name}: {source}/{file}", command.replace("OUT", f"{source}/{file}"), 6, before(name)
                )
        yield Case(
            f"{name}: a link to run.json",
            command.replace("OUT", "lnk"),
            6,
            [*before(name), link("lnk", "other/run.json")],
        )
        for source, file in (("search", "best.json"), ("results", "grid.json"), ("results", "results.csv")):
            yield Case(
                f"{name}: {source}/{file}", command.replace("OUT", f"{source}/{file}"), 6, before(name)
            )
    command, _ = FILES["predict"]
    yield Case("predict: a file of the model", command.replace("OUT", "model/config.json"), 6)
    yield Case("predict: weights of the model", command.replace("OUT", "model/model.safetensors"), 6)


def of_places() -> Iterator[Case]:
    """Places where nothing, or nothing of that kind, can be written."""
    for name, (command, _) in FOLDERS.items():
        for flag in ("", " --overwrite") if name in ("train", "tune", "export") else ("",):
            for what, output, bad in (
                ("a device", "bad", [device("bad", NULL)]),
                ("a full device", "bad", [device("bad", FULL)]),
                ("a link to a device", "bad", [device("null", NULL), link("bad", "null")]),
                ("a FIFO", "bad", [fifo("bad")]),
                ("a socket", "bad", [a_socket("bad")]),
                ("a file", "bad", [write("bad", "kept")]),
                ("an empty file", "bad", [write("bad", "")]),
                ("below a file", "bad/out", [write("bad", "kept")]),
                ("below a device", "bad/out", [device("bad", NULL)]),
                ("a link to itself", "bad", [link("bad", "bad")]),
                ("other files", "bad", [folder("bad"), write("bad/thesis.txt", "dear")]),
                ("other folders", "bad", [folder("bad"), folder("bad/photos"), write("bad/photos/1", "x")]),
                ("where nothing can be", "/proc/1/out", []),
                ("a name too long", "x" * 300, []),
                ("no name", "''", []),
            ):
                if what.startswith("other ") and name in ("spectrum compare", "benchmark report"):
                    continue  # which add their files to a folder
                code: int | tuple[int, ...] = (2, 6) if output == "''" else 6
                yield Case(
                    f"{name}{flag}: folder is {what}", command.replace("OUT", output) + flag, code, bad
                )
    for name, (command, _) in FILES.items():
        for what, output, bad in (
            ("a folder", "bad", [folder("bad")]),
            ("a link to a folder", "bad", [folder("real"), link("bad", "real")]),
            ("a full folder", "bad", [folder("bad"), write("bad/thesis.txt", "dear")]),
            ("a socket", "bad", [a_socket("bad")]),
            ("a full device", "bad", [device("bad", FULL)]),
            ("below a file", "bad/out", [write("bad", "kept")]),
            ("below a device", "bad/out", [device("bad", NULL)]),
            ("a link to itself", "bad", [link("bad", "bad")]),
            ("where nothing can be", "/proc/1/out", []),
            ("a name too long", "x" * 300, []),
            ("the folder above", "..", []),
            ("no name", "''", []),
        ):
            code = (2, 6) if output == "''" else 6
            yield Case(f"{name}: file is {what}", command.replace("OUT", output), code, [*before(name), *bad])


def of_streams() -> Iterator[Case]:
    """Devices and FIFOs are written to where that has a meaning, and stay what they are."""
    for name, (command, _) in FILES.items():
        for what, output, bad in (
            ("the null device", "null", [device("null", NULL)]),
            ("a link to the null device", "lnk", [device("null", NULL), link("lnk", "null")]),
            ("a FIFO", "pipe", [fifo("pipe", read=True)]),
            ("standard output", "-", []),
            ("standard output by its name", "/dev/stdout", []),
        ):
            yield Case(f"{name} to {what}", command.replace("OUT", output), 0, [*before(name), *bad])


def of_locks() -> Iterator[Case]:
    """One process writes in a folder: a second one is told so; the lock of a dead one does not count."""
    tiny = "--epochs 1 --batch-size 8"
    again = f"train {ROWS} {tiny} --method musclelora --learning-rate 0.01"
    for name, command, output in (
        ("a new run", f"{again} --output kept", "kept"),
        ("a run that is replaced", f"{again} --output run --overwrite", "run"),
        ("a run that is gone on with", f"{again} --output half --resume", "half"),
        ("a search", f"tune {ROWS} {tiny} --trials 2 --output search --resume", "search"),
        ("a search that is replaced", f"tune {ROWS} --trials 1 --output search --overwrite", "search"),
        ("results", "benchmark run grid.yaml --output results", "results"),
        ("an export", "export run --output merged --overwrite", "merged"),
        (
            "a recorded run",
            f"spectrum {again} --spectrum-every 2 --spectrum-sigma-count 5 --output srun --resume",
            "srun",
        ),
    ):
        made = [folder("kept")] if output == "kept" else []
        yield Case(f"another writes {name}", command, 6, [*made, held(output)])
    dead = write("run/.lock", '{"command": "musclelora train", "process": 1}')
    lock = ("run/.lock",)
    yield Case("the lock of a dead process", f"{again} --output run --resume", 0, [dead], makes=lock)
    junk = write("run/.lock", "\x1b[31m\n")
    yield Case("a lock of junk", f"{again} --output run --resume", 0, [junk], makes=lock)
    yield Case("a lock that is a folder", f"{again} --output run --resume", 6, [folder("run/.lock")])


KEPT = f"train {ROWS} --method musclelora"
NOT_A_RUN = [folder("kept"), write("kept/thesis.txt", "dear")]
FOREIGN = [
    move("run", "mixed"),
    write("mixed/thesis.txt", "dear"),
    folder("mixed/photos"),
    write("mixed/photos/1.jpg", "x"),
]
CASES = [
    *of_inputs(),
    *of_run_folders(),
    *of_places(),
    *of_streams(),
    *of_locks(),
    # What was lost before.
    Case(
        "training rows in the run that is replaced",
        "train --train run/train.csv --trusted trusted.csv --model model --method musclelora --output run "
        "--overwrite",
        6,
        [copy("run/train.csv", "train.csv")],
    ),
    Case(
        "trusted rows in the run that is replaced",
        "train --train train.csv --trusted run/trusted.csv --model model --method musclelora --output run "
        "--overwrite",
        6,
        [copy("run/trusted.csv", "trusted.csv")],
    ),
    Case(
        "dev rows in the run that is replaced",
        "train --train train.csv --trusted trusted.csv --dev run/dev.csv --model model --method musclelora "
        "--output run --overwrite",
        6,
        [copy("run/dev.csv", "dev.csv")],
    ),
    Case(
        "a model in the run that is replaced",
        "train --train train.csv --trusted trusted.csv --model run/model --method musclelora --output run "
        "--overwrite",
        6,
        [move("model", "run/model")],
    ),
    Case("a run with other files", f"{KEPT} --output mixed --overwrite", 6, FOREIGN),
    Case(
        "a search with other files",
        f"tune {ROWS} --trials 1 --output search --overwrite",
        6,
        [write("search/thesis.txt", "dear")],
    ),
    Case("results with another's files", "benchmark run grid.yaml --output kept", 6, NOT_A_RUN),
    Case(
        "an export with other files",
        "export run --output merged --overwrite",
        6,
        [write("merged/thesis.txt", "dear")],
    ),
    Case(
        "a folder of data as an export",
        "export run --output kept --overwrite",
        6,
        [folder("kept"), write("kept/config.json", "{}"), write("kept/thesis.txt", "dear")],
    ),
    Case("a run as an export", "export run --output other --overwrite", 6),
    Case("an export as a run", f"{KEPT} --output merged --overwrite", 6),
    Case("a search as a run", f"{KEPT} --output search --overwrite", 6),
    Case("a run as a search", f"tune {ROWS} --trials 1 --output run --overwrite", 6),
    Case("a run as results", "benchmark run grid.yaml --output run", 6),
    Case("results as a run", f"{KEPT} --output results --overwrite", 6),
    Case("a run as a demo", "demo --output run", 6),
    Case("a demo as a run", f"{KEPT} --output demo --overwrite", 6),
    Case("a run unasked", f"{KEPT} --output run", 6, says="already holds a run"),
    Case("a search unasked", f"tune {ROWS} --trials 1 --output search", 6, says="already holds a search"),
    Case("an export unasked", "export run --output merged", 6, says="already exists"),
    Case(
        "a poisoned file unasked",
        "poison train.csv --attack addsent --rate 0.2 --target good --output kept.csv",
        6,
        [write("kept.csv", "x")],
        says="already exists",
    ),
    Case(
        "a manifest unasked",
        "poison train.csv --attack addsent --rate 0.2 --target good --output out.csv",
        6,
        [write("out.csv.manifest.json", "x")],
        says="already exists",
    ),
    Case(
        "a manifest that is a folder",
        "poison train.csv --attack addsent --rate 0.2 --target good --output out.csv --overwrite",
        6,
        [folder("out.csv.manifest.json")],
    ),
    Case(
        "a manifest that is a FIFO",
        "poison train.csv --attack addsent --rate 0.2 --target good --output out.csv --overwrite",
        6,
        [fifo("out.csv.manifest.json")],
    ),
    Case(
        "the OpenBackdoor layout over its input",
        "poison kept --split train-clean --attack addsent --rate 0.5 --target 1 --format openbackdoor "
        "--output kept --overwrite",
        6,
        [
            folder("kept"),
            write("kept/train-clean.csv", ",0,1,2\n0,a b,0,0\n1,c d,1,0\n2,e f,0,0\n3,g h,1,0\n"),
        ],
    ),
    Case(
        "the OpenBackdoor layout at a device",
        "poison train.csv --attack addsent --rate 0.2 --target good --format openbackdoor --overwrite "
        "--output null",
        6,
        [device("null", NULL)],
    ),
    Case(
        "the OpenBackdoor layout at a file",
        "poison train.csv --attack addsent --rate 0.2 --target good --format openbackdoor --output dev.csv "
        "--overwrite",
        6,
    ),
    Case("the report over the cells", "benchmark report results --output results/cells", 6),
    Case("the report over the results", "benchmark report results --output results", 6),
    Case(
        "a run that diverges over a good one",
        f"{KEPT} --output run --overwrite --learning-rate 1e30",
        (2, 5),
        late=True,
        makes=("run/.next", "run/.next/*"),
    ),
    Case("resume and overwrite", f"{KEPT} --output run --resume --overwrite", 2),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_outputs_that_would_destroy_something_are_refused(case: Case, check: Any) -> None:
    check(case)
