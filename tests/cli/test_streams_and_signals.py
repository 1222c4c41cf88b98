"""A command whose streams are closed, full or no longer read, and one that is told to stop."""

from __future__ import annotations

import contextlib
import glob
import io
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import musclelora.files
from musclelora import interrupts
from musclelora.errors import OutputError
from musclelora.files import atomic_file, atomic_folder
from musclelora.streams import Standard

MUSCLELORA = [sys.executable, "-m", "musclelora"]
GOES_ON = "musclelora: interrupted; the same command with --resume goes on from the last checkpoint"

# ---- streams, in this process ---------------------------------------------------------------------------


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """The two ends of a pipe."""
    ends = os.pipe()
    yield ends
    for end in ends:
        with contextlib.suppress(OSError):
            os.close(end)


def text(raw: Standard) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8")


def test_a_stream_takes_everything_and_is_what_its_descriptor_is(pipe: tuple[int, int]) -> None:
    stream = text(Standard(pipe[1], "<stdout>", needed=True))
    stream.write("one\ntwo\n")
    stream.flush()
    assert os.read(pipe[0], 100) == b"one\ntwo\n"
    assert (stream.fileno(), stream.isatty(), stream.name) == (pipe[1], False, "<stdout>")


def test_a_stream_whose_reader_has_gone_drops_what_it_is_given(pipe: tuple[int, int]) -> None:
    os.close(pipe[0])
    stream = text(Standard(pipe[1], "<stdout>", needed=True))
    for _ in range(3):
        stream.write("x" * 100_000)
        stream.flush()
    os.write(pipe[1], b"nor does what does not go through it meet an error")


def test_a_full_pipe_that_does_not_block_is_waited_for(pipe: tuple[int, int]) -> None:
    os.set_blocking(pipe[1], False)
    parts = []
    reader = threading.Thread(target=lambda: parts.extend(iter(lambda: os.read(pipe[0], 4096), b"")))
    stream = text(Standard(pipe[1], "<stdout>", needed=True))
    reader.start()
    stream.write("x" * 1_000_000)
    stream.flush()
    os.close(pipe[1])
    reader.join()
    assert sum(map(len, parts)) == 1_000_000


def test_only_a_needed_stream_without_room_is_an_error() -> None:
    for needed in (True, False):
        full = os.open("/dev/full", os.O_WRONLY)
        stream = text(Standard(full, "<stdout>", needed=needed))
        stream.write("x")
        if needed:
            with pytest.raises(OutputError, match="No space left"):
                stream.flush()
        stream.flush()  # it is said once
        os.close(full)


def test_nothing_is_written_after_the_end(pipe: tuple[int, int]) -> None:
    raw = Standard(pipe[1], "<stderr>", needed=False)
    stream = text(raw)
    stream.write("a bar")
    stream.flush()
    assert raw.end() is False  # the bar's line has not ended
    stream.write("more")
    stream.flush()
    os.write(pipe[1], b"and more")
    os.close(pipe[1])
    assert os.read(pipe[0], 100) == b"a bar"


# ---- what is half written, in a process of its own ------------------------------------------------------


def test_what_is_half_written_is_removed_and_nothing_new_is_begun(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("earlier")
    with atomic_file(tmp_path / "file") as file, atomic_folder(tmp_path / "folder") as folder:
        file.write_text("half")
        (folder / "a").write_text("half")
        assert musclelora.files.stop_writing()
        try:
            musclelora.files.remove_unfinished()
            assert [path.name for path in tmp_path.iterdir()] == ["file"]
            begun = threading.Thread(target=lambda: atomic_file(tmp_path / "b").__enter__(), daemon=True)
            begun.start()
            begun.join(0.1)
            assert begun.is_alive()
        finally:
            musclelora.files._changing.release()
        begun.join()
        folder.mkdir()
        file.touch()
    assert (tmp_path / "file").read_text() == ""


def test_what_is_said_of_a_command() -> None:
    assert f"musclelora: {interrupts.interrupted(['--debug', 'train', '--train', 'x.csv'])}" == GOES_ON
    assert interrupts.interrupted(["poison", "train"]) == "interrupted"
    assert interrupts.interrupted([]) == "interrupted"


# ---- processes ------------------------------------------------------------------------------------------


def shell(line: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a line of bash in which "$@" is a command."""
    return subprocess.run(
        ["bash", "-c", line, "bash", *MUSCLELORA, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.integration
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", "2>/dev/full"])
def test_a_closed_stream_is_no_error(closed: str) -> None:
    done = shell(f'"$@" {closed}', "attacks")
    assert (done.returncode, done.stderr) == (0, "")
    done = shell(f'"$@" {closed}', "nosuch")
    assert done.returncode == 2
    assert (done.stdout, done.stderr.count("\n")) == ("", 0 if "2>" in closed else 1)


@pytest.mark.integration
def test_with_all_streams_closed_a_training_trains(arguments: list[object], tmp_path: Path) -> None:
    done = shell('"$@" <&- >&- 2>&-', *arguments, "--method", "musclelora", "--output", tmp_path / "run")
    assert done.returncode == 0
    assert (tmp_path / "run" / "musclelora.safetensors").exists()


@pytest.mark.integration
def test_work_goes_on_when_its_reader_has_enough(arguments: list[object], tmp_path: Path) -> None:
    command = [*arguments, "--method", "musclelora", "--output", tmp_path / "run"]
    done = shell('"$@" | head -1; exit ${PIPESTATUS[0]}', *command)
    assert (done.returncode, done.stdout.count("\n")) == (0, 1), done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "run" / "musclelora.safetensors").exists()
    done = shell('"$@" 2>&1 | true; exit ${PIPESTATUS[0]}', "nosuch")
    assert done.returncode == 2


@pytest.mark.integration
@pytest.mark.parametrize("command", [["--help"], ["attacks"]])
def test_standard_output_without_room_is_one_line(command: list[str]) -> None:
    done = shell('"$@" >/dev/full', *command)
    assert (done.returncode, done.stderr.count("\n")) == (6, 1)
    assert done.stderr.startswith("musclelora: standard output: found that it takes nothing more (No space")


_begun: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def _leave_none_behind() -> Iterator[None]:
    """A test that fails has not ended what it began."""
    yield
    while _begun:
        process = _begun.pop()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def begun(
    *command: object, errors: int = subprocess.PIPE, ignored: tuple[int, ...] = (), **environment: str
) -> subprocess.Popen[str]:
    """Start a command in a process group of its own."""

    def before() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN if number in ignored else signal.SIG_DFL)

    process = subprocess.Popen(
        [*map(str, command)],
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        start_new_session=True,
        preexec_fn=before,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", **environment},
    )
    _begun.append(process)
    return process


@pytest.fixture
def endless(arguments: list[object], tmp_path: Path) -> list[object]:
    """A training that lasts for hours."""
    published = ("--method", "musclelora", "--epochs", 10_000)
    return [*MUSCLELORA, *arguments, *published, "--output", tmp_path / "run"]


def wait_for(happened: Callable[[], Any], process: subprocess.Popen[str]) -> None:
    while not happened():
        assert process.poll() is None, process.communicate()
        time.sleep(0.001)


# One moment for each part of a command's life; each is something that is seen, and no time.
MOMENTS = {
    "a line was printed": "",
    "the folder is there": "*",
    "a checkpoint was written": "checkpoints/*/*.json",
}


def wait_until(moment: str, process: subprocess.Popen[str], folder: Path) -> None:
    if MOMENTS[moment]:
        # Path.glob raises where a folder is renamed while it is read.
        wait_for(lambda: glob.glob(MOMENTS[moment], root_dir=folder), process)  # noqa: PTH207
    else:
        assert process.stdout is not None
        assert process.stdout.readline()


@pytest.mark.integration
@pytest.mark.parametrize(
    ("moment", "sent", "code"),
    [
        ("a line was printed", (signal.SIGINT,), 130),
        ("a line was printed", (signal.SIGTERM,), 143),
        ("the folder is there", (signal.SIGINT, signal.SIGINT), 130),
        ("a checkpoint was written", (signal.SIGINT,), 130),
        ("a checkpoint was written", (signal.SIGTERM,), 143),
    ],
)
def test_a_signal_ends_a_training_with_one_last_line(
    moment: str, sent: tuple[int, ...], code: int, endless: list[object], tmp_path: Path
) -> None:
    process = begun(*endless)
    wait_until(moment, process, tmp_path / "run")
    for number in sent:
        with contextlib.suppress(ProcessLookupError):  # it has ended after the first
            os.killpg(process.pid, number)
    out, err = process.communicate(timeout=600)
    assert process.returncode == code, err
    assert "Traceback" not in out + err
    lines = [line for line in err.splitlines() if line.startswith("musclelora: ")]
    assert lines == [GOES_ON] == err.splitlines()[-1:]
    assert not [path for path in tmp_path.rglob(".*") if path.name != ".lock"]


@pytest.mark.integration
def test_signals_that_the_process_was_started_to_ignore_are_ignored(
    endless: list[object], tmp_path: Path
) -> None:
    process = begun(*endless, ignored=(signal.SIGINT,))  # as a shell does with a command in the background
    wait_for(lambda: (tmp_path / "run").exists(), process)
    os.killpg(process.pid, signal.SIGINT)
    wait_until("a checkpoint was written", process, tmp_path / "run")
    os.killpg(process.pid, signal.SIGTERM)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 143
    assert err.splitlines()[-1] == GOES_ON


# A command of which every part is known: it says that it has begun and waits where it is told to.
SCRIPT = """
import os, signal, subprocess, sys, tempfile, threading
from multiprocessing import resource_tracker
from musclelora import entry, files
import musclelora.cli.main

def command(arguments):
    {what}
    print("begun", flush=True)
    threading.Event().wait()

musclelora.cli.main.main = command
entry.main()
"""


def script(what: str, **options: Any) -> subprocess.Popen[str]:
    process = begun(sys.executable, "-c", SCRIPT.format(what=what), "poison", **options)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


@pytest.mark.integration
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "what",
    [
        "pass",
        "resource_tracker.ensure_running()",  # unblocks both, in Python 3.11
        "signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))",
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit('a library handles it'))",
        "print('a bar', end='', file=sys.stderr)",
    ],
)
def test_no_library_comes_between(what: str, number: int) -> None:
    process = script(what)
    os.killpg(process.pid, number)
    out, err = process.communicate(timeout=600)
    assert (process.returncode, out) == (128 + number, "")
    assert err.removeprefix("a bar\n") == "musclelora: interrupted\n"


@pytest.mark.integration
def test_children_and_theirs_end_with_the_command_and_never_see_its_signals(tmp_path: Path) -> None:
    # The child of the child leaves the group, and neither ends by SIGTERM or Ctrl-C.
    child = "import os, time; os.fork() or os.setsid()"
    child += f"; open('{tmp_path}/' + str(os.getpid()), 'w'); time.sleep(999)"
    process = script(f"subprocess.Popen([sys.executable, '-c', {child!r}])")
    wait_for(lambda: len(list(tmp_path.iterdir())) == 2, process)
    os.killpg(process.pid, signal.SIGTERM)
    _, err = process.communicate(timeout=600)
    assert (process.returncode, err) == (143, "musclelora: interrupted\n")
    assert not [path.name for path in tmp_path.iterdir() if lives(int(path.name))]


def lives(process: int) -> bool:
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE  # which nobody has asked about yet
    except psutil.NoSuchProcess:
        return False


@pytest.mark.integration
def test_what_was_printed_is_not_lost_and_what_is_half_written_is(tmp_path: Path) -> None:
    half = (
        f"half = files.atomic_file('{tmp_path}/half'); half.__enter__(); print('begun'); print('row', end='')"
    )
    half += f"; scratch = tempfile.TemporaryDirectory(dir='{tmp_path}')"
    process = begun(
        sys.executable,
        "-c",
        SCRIPT.format(what=half).replace(
            'print("begun", flush=True)', f"open('{tmp_path}/begun', 'w').close()"
        ),
        "predict",
        PYTHONUNBUFFERED="",
    )
    wait_for((tmp_path / "begun").exists, process)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=600)
    assert (process.returncode, out, err) == (130, "begun\nrow", "musclelora: interrupted\n")
    assert [path.name for path in tmp_path.iterdir()] == ["begun"]


@pytest.mark.integration
def test_a_command_that_has_said_its_last_line_says_no_other() -> None:
    said = "from musclelora.errors import DataError; musclelora.cli.main._say('data.csv: found nothing', 3)"
    process = script(said)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=600)
    assert (process.returncode, err) == (3, "musclelora: data.csv: found nothing\n")


@pytest.mark.integration
def test_the_cursor_of_a_terminal_is_shown_again() -> None:
    ours, theirs = pty.openpty()
    process = script("pass", errors=theirs, TERM="xterm")
    os.close(theirs)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=600)
    assert os.read(ours, 1000) == b"\x1b[?25hmusclelora: interrupted\r\n"
    os.close(ours)


def test_calls_from_python_change_no_signal(cli: Callable[..., Any]) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    streams = (sys.stdin, sys.__stdout__, sys.__stderr__)
    assert cli("attacks").code == 0
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mask
    assert (sys.stdin, sys.__stdout__, sys.__stderr__) == streams
