"""May a command write there?"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from musclelora.errors import OutputError
from musclelora.files import atomic_file, is_stream
from musclelora.outputs import check_output


@pytest.fixture
def room(tmp_path: Path) -> Path:
    """A folder with an input file, an input folder, a run, and links."""
    (tmp_path / "data.csv").write_text("text,label\n")
    (tmp_path / "model" / "deep").mkdir(parents=True)
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    (tmp_path / "link.csv").symlink_to("data.csv")
    os.link(tmp_path / "data.csv", tmp_path / "twin.csv")
    (tmp_path / "folder").symlink_to("model")
    return tmp_path


@pytest.mark.parametrize(
    ("output", "folder", "said"),
    [
        ("data.csv", False, "it is"),
        ("./model/../data.csv", False, "it is"),
        ("link.csv", False, "it is"),
        ("twin.csv", False, "it is"),
        ("model", True, "it is"),
        ("folder", True, "it is"),
        ("model/new.csv", False, "it lies in"),
        ("folder/deep/new.csv", False, "it lies in"),
        ("model/deep/out", True, "it lies in"),
        (".", True, "it holds"),
    ],
)
def test_an_output_stays_apart_from_what_is_read(
    output: str, folder: bool, said: str, room: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(room)
    inputs = ["data.csv", None, "some/hub-name", str(room / "model")]
    with pytest.raises(OutputError, match=f"{said} .*which this command reads"):
        check_output(output, inputs, folder=folder)


@pytest.mark.parametrize("name", ["run/run.json", "run/predictions.csv", "run/deep/er/x.json"])
def test_a_file_never_goes_into_a_run(name: str, room: Path) -> None:
    with pytest.raises(OutputError, match="the folder of a run"):
        check_output(room / name)


def test_names_that_are_no_paths_are_no_inputs(room: Path) -> None:
    check_output(room / "new.csv", ["", None, "sst2", "\0", "no/such"])
    check_output(room / "new" / "run", [room / "data.csv"], folder=True)


def test_files_and_folders_are_not_taken_for_each_other(room: Path) -> None:
    with pytest.raises(OutputError, match="found a folder, expected a file"):
        check_output(room / "model")
    with pytest.raises(OutputError, match="found a file, expected a folder"):
        check_output(room / "data.csv", folder=True)
    with pytest.raises(OutputError, match=r"data.csv is no folder"):
        check_output(room / "data.csv" / "x.json")
    for nothing in ("", "a\0b"):
        with pytest.raises(OutputError, match="no path"):
            check_output(nothing)


def test_a_folder_is_no_stream_and_a_socket_is_nothing_to_write(room: Path) -> None:
    with pytest.raises(OutputError, match="found a device, expected a folder"):
        check_output("/dev/null", folder=True)
    with pytest.raises(OutputError, match="found a stream, expected a folder"):
        check_output("-", folder=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(room / "s"))
        with pytest.raises(OutputError, match="found a socket, expected a file"):
            check_output(room / "s")


def test_a_device_is_written_to_and_stays_one(room: Path) -> None:
    null = room / "null"
    null.symlink_to("/dev/null")
    for place in ("/dev/null", null):
        check_output(place)
        with atomic_file(place) as temporary:
            temporary.write_text("gone")
        assert is_stream(place)
    assert null.is_symlink()
    with pytest.raises(OutputError, match="/dev/full"), atomic_file("/dev/full") as temporary:
        temporary.write_text("too much")


def test_a_fifo_is_written_to_and_stays_one(room: Path) -> None:
    os.mkfifo(room / "pipe")
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append((room / "pipe").read_text()))
    reader.start()
    with atomic_file(room / "pipe") as temporary:
        temporary.write_text("through")
    reader.join()
    assert read == ["through"]
    assert is_stream(room / "pipe")


@pytest.mark.parametrize("name", ["-", "/dev/stdout"])
def test_standard_output_gets_the_bytes(name: str, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    with atomic_file(name) as temporary:
        temporary.write_bytes(b"\xff\x00bytes")
    assert capsysbinary.readouterr().out == b"\xff\x00bytes"


def test_a_link_stays_and_what_it_leads_to_is_replaced(room: Path) -> None:
    with atomic_file(room / "link.csv") as temporary:
        temporary.write_text("new")
    assert (room / "link.csv").is_symlink()
    assert (room / "data.csv").read_text() == "new"


# command line: (what to run, what must be as it was); RUN is a run, TEST and TRAIN its tables
HARMLESS: list[list[str]] = [
    ["predict", "RUN", "TEST", "--output", "TEST"],
    ["predict", "RUN", "TEST", "--output", "RUN/run.json"],
    ["predict", "RUN", "TEST", "--output", "RUN/musclelora.safetensors"],
    ["evaluate", "RUN", "--clean", "TEST", "--json", "TEST"],
    ["evaluate", "RUN", "--clean", "TEST", "--json", "RUN/run.json"],
    ["export", "RUN", "--output", "RUN", "--overwrite"],
    ["export", "RUN", "--output", "RUN/inside"],
    ["export", "RUN", "--output", "MODEL", "--overwrite"],
    ["spectrum", "compare", "RUN", "--json", "RUN/spectrum/summary.json"],
    ["spectrum", "compare", "RUN", "--output", "RUN/figures"],
    *(
        [
            "poison",
            "TEST",
            "--attack",
            "badnets",
            "--rate",
            "0.1",
            "--target",
            "good",
            "--output",
            output,
            *more,
        ]
        for output, *more in (["TEST", "--overwrite"], ["RUN/x.csv"], ["/dev/null/x.csv"])
    ),
    [
        "train",
        "--train",
        "TEST",
        "--trusted",
        "TRUSTED",
        "--model",
        "MODEL",
        "--output",
        "MODEL",
        "--overwrite",
    ],
    ["train", "--train", "TEST", "--trusted", "TRUSTED", "--model", "MODEL", "--output", "/dev/null"],
    ["tune", "--train", "TEST", "--trusted", "TRUSTED", "--model", "MODEL", "--output", "MODEL"],
]


@pytest.fixture
def named(tmp_path: Path) -> Callable[[str], str]:
    from tiny_runs import make_rows, write_csv, write_model

    for name, count, seed in (("TEST", 20, 3), ("TRUSTED", 8, 1)):
        write_csv(tmp_path / f"{name}.csv", make_rows(count, seed))
    (tmp_path / "RUN" / "spectrum").mkdir(parents=True)
    for name in ("run.json", "musclelora.safetensors", "spectrum/summary.json"):
        (tmp_path / "RUN" / name).write_text(json.dumps({"model": {"name": str(tmp_path / "MODEL")}}))
    write_model(tmp_path / "MODEL")

    def name(word: str) -> str:
        first, slash, rest = word.partition("/")
        if first in ("TEST", "TRUSTED"):
            return str(tmp_path / f"{first}.csv")
        return str(tmp_path / first) + slash + rest if first in ("RUN", "MODEL") else word

    return name


def test_no_command_destroys_what_it_was_given(
    cli: Callable[..., object], named: Callable[[str], str], tmp_path: Path
) -> None:
    from tiny_runs import contents

    before = contents(tmp_path)
    for line in HARMLESS:
        done = cli(*map(named, line))
        assert (done.code, done.err.count("\n")) == (6, 1), (line, done)
        assert contents(tmp_path) == before, line


def test_a_descriptor_of_an_input_is_that_input(tmp_path: Path) -> None:
    file = tmp_path / "train.csv"
    file.write_text("mine")
    with file.open("a") as opened:
        with pytest.raises(OutputError, match="it is"):
            check_output(f"/dev/fd/{opened.fileno()}", [file])
        check_output(f"/dev/fd/{opened.fileno()}", [tmp_path / "other.csv"])
