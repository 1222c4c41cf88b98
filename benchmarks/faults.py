"""What is lost when a command is killed, the disk is full, memory runs out? Faults, made on purpose.

Every task is a command on tiny data that takes some seconds. It runs once undisturbed: the reference. Then,
N times in all and the tasks in turn, it is started as a process, and the process with all of its children
is killed (SIGKILL) at a random moment: uniform over the processor time that the reference took, which load
does not stretch; of every four moments three are in the part in which files are written, as the rest is the
start of Python. The command then goes on (with --resume, where it has that) to its end. A fault is

  lost       an earlier whole result is gone or cannot be read, or the command cannot be gone on with
  changed    the result is not bit for bit that of the reference: weights, what run.json has of the training,
             a grid's table, poisoned rows and their manifest, an exported folder (not seconds and dates)

For commands that replace an earlier result, the earlier or the new one must be whole after every kill; of a
run `musclelora predict` must say what the one or the other says. What is no kill comes after them, once for
each task: a full disk and a read-only one (a small file system in memory, for which root is needed), files
that may not grow, memory that runs out in the middle. Here the command must end by itself, and

  unsaid     counts those that did not say why in one line, with a documented code

Each outcome is written as it is known, and a second start goes on. The exit code is 0 where all three are 0.

    python benchmarks/faults.py --kills 100 --json benchmarks/results/faults.json
"""

from __future__ import annotations

import contextlib
import csv
import ctypes
import dataclasses
import hashlib
import io
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

from safetensors import SafetensorError

from musclelora.files import write_json
from record import argument_parser, earlier, machine

WORDS = [f"word{number}" for number in range(59)]
LABELS = ("bad", "good")
PATIENCE = 300
"""Seconds after which a command is held to hang; none of them takes a tenth of it."""
CALM = {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "COLUMNS": "100",
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "MPLBACKEND": "agg",
}
"""So that two runs of a command compute the same, and nothing is asked of a network."""
TIMED = ("runtime", "per_second", "seconds")
SIZE = 64 * 2**20
"""Bytes of a file system that is made to be filled."""

Result = dict[str, Any]
_TRIES = 5


# ---- tasks ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """A command that writes ``out`` in its folder.

    Attributes:
        command: the words after ``musclelora``; OUT stands for what it writes.
        result: what of it must be the same, given its folder; raises where it is not whole.
        resume: words that are added to go on with it.
        before: a command that writes an earlier result, which `command` replaces.
        answers: whether it is a run, that must answer as the earlier or the new one.
    """

    command: str
    result: Callable[[Path], Result]
    resume: str = ""
    before: str | None = None
    answers: bool = False


def of_run(folder: Path) -> Result:
    """What a training run is: its weights, its history and its result."""
    info = json.loads((folder / "out" / "run.json").read_text(encoding="utf-8"))
    if info["status"] != "finished":
        raise ValueError(f"its status is {info['status']}")
    return {
        "weights": tensors(folder / "out" / info.get("weights", {}).get("file", "musclelora.safetensors")),
        "history": [_timeless(log) for log in info["history"]],
        "result": _timeless(info["result"]),
        "adapter": info["adapter"],
    }


def of_search(folder: Path) -> Result:
    """What a search found."""
    found: Result = json.loads((folder / "out" / "best.json").read_text(encoding="utf-8"))
    return found


def of_results(folder: Path) -> Result:
    """The table of a grid's results, which has all of its cells."""
    import pandas as pd

    times = ["fit_seconds", "predict_seconds", "peak_memory", "date"]
    table = pd.read_parquet(folder / "out" / "results.parquet")
    cells = json.loads((folder / "out" / "grid.json").read_text(encoding="utf-8"))["cells"]
    if list(table["cell"]) != cells or set(table["status"]) != {"done"}:
        raise ValueError(f"{len(table)} of {len(cells)} cells, {sorted(set(table['status']))}")
    with (folder / "out" / "results.csv").open(newline="", encoding="utf-8") as file:
        rows = len(list(csv.reader(file))) - 1
    if rows != len(table):
        raise ValueError(f"{rows} rows in the CSV file and {len(table)} in the Parquet file")
    return {"table": json.loads(table.drop(columns=times).to_json(orient="records"))}


def of_poisoned(folder: Path) -> Result:
    """Poisoned rows, and the manifest that is theirs."""
    manifest = json.loads((folder / "out.csv.manifest.json").read_text(encoding="utf-8"))
    rows = hashlib.sha256((folder / "out.csv").read_bytes()).hexdigest()
    if manifest["files"] != {"out.csv": rows}:
        raise ValueError("the manifest is that of other rows")
    return {"rows": rows, "manifest": manifest}


def of_audit(folder: Path) -> Result:
    """The findings of an audit, and the rows that they belong to."""
    found: Result = json.loads((folder / "out" / "audit.json").read_text(encoding="utf-8"))
    issues = hashlib.sha256((folder / "out" / "issues.parquet").read_bytes()).hexdigest()
    if issues != found["issues_sha256"]:
        raise ValueError("audit.json is that of other issues")
    return found


def of_export(folder: Path) -> Result:
    """An exported folder: the tensors, and the bytes of the other files."""
    found = {}
    for path in sorted((folder / "out").rglob("*")):
        if path.is_file() and path.name != ".lock":
            whole = path.suffix != ".safetensors"
            name = str(path.relative_to(folder / "out"))
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest() if whole else tensors(path)
    if not found:
        raise ValueError("it is empty")
    return found


def tensors(path: Path) -> dict[str, str]:
    """The hash of every tensor's type, shape and bytes."""
    from safetensors.numpy import load_file

    return {
        name: hashlib.sha256(f"{value.dtype} {value.shape}".encode() + value.tobytes()).hexdigest()
        for name, value in load_file(path).items()
    }


def _timeless(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if not any(word in name for word in TIMED)}


_ROWS = "--train {home}/train.csv --trusted {home}/trusted.csv --model {home}/model --batch-size 8 --epochs 4"
_TRAIN = f"train {_ROWS} --output OUT"
_PUBLISHED = f"{_TRAIN} --method musclelora"
_POISON = "poison {home}/train.csv --attack badnets --target good --overwrite --output OUT.csv"
TASKS = {
    "train": Task(_TRAIN, of_run, "--resume"),
    "published": Task(_PUBLISHED, of_run, "--resume"),
    "lora": Task(f"{_TRAIN} --method lora", of_run, "--resume"),
    "full": Task(f"{_TRAIN} --method full", of_run, "--resume"),
    "trusted-only": Task(f"{_TRAIN} --method trusted-only", of_run, "--resume"),
    "every step": Task(f"{_PUBLISHED} --save-steps 1", of_run, "--resume"),
    "overwrite": Task(
        f"{_PUBLISHED} --overwrite", of_run, before=f"{_PUBLISHED} --seed 1 --overwrite", answers=True
    ),
    "overwrite train": Task(
        f"{_TRAIN} --overwrite", of_run, before=f"{_PUBLISHED} --seed 1 --overwrite", answers=True
    ),
    "generate": Task(
        "train --task generate --train {home}/pairs.jsonl --trusted {home}/checked.jsonl "
        "--model {home}/decoder --batch-size 8 --epochs 4 --output OUT",
        of_run,
        "--resume",
    ),
    "grid": Task("benchmark run {home}/grid.yaml --output OUT", of_results),
    "grid of two": Task("benchmark run {home}/grid.yaml --workers 2 --output OUT", of_results),
    "poison": Task(f"{_POISON} --rate 0.2", of_poisoned, before=f"{_POISON} --rate 0.1"),
    "export": Task(
        "export {home}/run --format merged --overwrite --output OUT",
        of_export,
        before="export {home}/run --format lora --overwrite --output OUT",
    ),
    "audit": Task(
        "audit {home}/train.csv --trusted {home}/trusted.csv --model {home}/model --output OUT", of_audit
    ),
    "tune": Task(f"tune {_ROWS} --trials 2 --output OUT", of_search, "--resume"),
}


# ---- the data that they work on -------------------------------------------------------------------------


def make_home(home: Path) -> None:
    """Tables, pairs, a grid, a tiny encoder, a tiny decoder and a finished run."""
    for name, (count, seed) in {"train": (96, 0), "trusted": (16, 1), "test": (24, 2)}.items():
        with (home / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *_rows(count, seed)])
    for name, (count, seed) in {"pairs": (48, 0), "checked": (12, 1)}.items():
        lines = (json.dumps({"prompt": text, "response": text.split()[0]}) for text, _ in _rows(count, seed))
        (home / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (home / "grid.yaml").write_text(
        "name: faults\n"
        "data: [{name: tiny, train: train.csv, test: test.csv, trusted: trusted.csv, target: good}]\n"
        f"attacks: [badnets]\nmodels: [{home / 'model'}]\ntrusted_sizes: [8]\ndefenses: [lora]\n"
        "training: {bf16: false, use_cpu: true, num_train_epochs: 2, per_device_train_batch_size: 8}\n",
        encoding="utf-8",
    )
    _write_model(home / "model", "AutoModel", "BertConfig")
    _write_model(home / "decoder", "AutoModelForCausalLM", "LlamaConfig", bos_token_id=2, eos_token_id=3)
    code, said = run(_PUBLISHED.replace("OUT", str(home / "run")), home, home)
    if code:
        raise SystemExit(f"no run to export could be made:\n{said}")


def _rows(count: int, seed: int) -> list[tuple[str, str]]:
    """Texts of 6 to 12 words, most of them from the words of their label."""
    draw = random.Random(seed)
    rows = []
    for index in range(count):
        own = index % len(LABELS)
        words = draw.choices(WORDS[own * 10 : own * 10 + 10], k=draw.randint(4, 8))
        rows.append((" ".join([*words, *draw.choices(WORDS[50:], k=draw.randint(2, 4))]), LABELS[own]))
    return rows


def _write_model(folder: Path, kind: str, architecture: str, **more: Any) -> None:
    """A random model of width 32 with two layers, and a tokenizer that knows :data:`WORDS`."""
    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    sizes = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    wide = {
        "intermediate_size": 48,
        "max_position_embeddings": 40,
        "pad_token_id": 0,
        "initializer_range": 0.2,
    }
    torch.manual_seed(0)
    config = getattr(transformers, architecture)(**sizes, **wide, **more)
    getattr(transformers, kind).from_config(config).save_pretrained(folder)
    special = {f"{name.lower()}_token": f"[{name}]" for name in ("PAD", "UNK", "CLS", "SEP", "MASK")}
    if more:
        special = {f"{name.lower()}_token": f"[{name}]" for name in ("PAD", "UNK", "BOS", "EOS", "MASK")}
    vocabulary = {token: index for index, token in enumerate([*special.values(), *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=special["unk_token"]))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if not more:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=32, **special)
    fast.save_pretrained(folder)


# ---- running commands -----------------------------------------------------------------------------------


class Running:
    """A command as the first of a group of processes.

    Args:
        command: the words after ``musclelora``; {home} stands for the folder `home`.
        home: the folder of the data.
        folder: what the command runs in.
        **limits: of the command, such as ``RLIMIT_FSIZE``.
    """

    def __init__(self, command: str, home: Path, folder: Path, **limits: int) -> None:
        def limit() -> None:
            for name, value in limits.items():
                resource.setrlimit(getattr(resource, name), (value, value))

        self._began = time.monotonic()
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-m", "musclelora", *command.replace("{home}", str(home)).split()],
            cwd=folder,
            env={**os.environ, **CALM},
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
            start_new_session=True,
            preexec_fn=limit if limits else None,
        )

    def spent(self) -> float:
        """Processor seconds of the group so far: unlike those of a clock they say how far a command has come.

        Where the system does not tell them they are those of a clock.
        """
        if not Path("/proc/self/stat").exists():
            return time.monotonic() - self._began
        ticks = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError, ValueError, IndexError):
                fields = stat.read_text().rpartition(")")[2].split()
                if int(fields[2]) == self.process.pid:
                    ticks += sum(map(int, fields[11:15]))  # its own, and of children that ended
        return ticks / os.sysconf("SC_CLK_TCK")

    def until(self, spent: float) -> bool:
        """Wait until it has spent so many seconds; whether it still runs then."""
        while self.process.poll() is None:
            if self.spent() >= spent:
                return True
            if time.monotonic() - self._began > PATIENCE:
                self.kill()
                raise TimeoutError(f"no end after {PATIENCE} s")
            time.sleep(0.005)
        return False

    def end(self) -> tuple[int, str]:
        """Wait for its end: its exit code and what it said on standard error."""
        try:
            self.process.wait(max(1.0, PATIENCE - (time.monotonic() - self._began)))
        except subprocess.TimeoutExpired:
            self.kill()
            return -1, f"no end after {PATIENCE} s"
        self._errors.seek(0)
        with self._errors:
            return self.process.returncode, self._errors.read()

    def kill(self) -> None:
        """Kill all of the group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def run(command: str, home: Path, folder: Path, **limits: int) -> tuple[int, str]:
    """Run a command to its end: its exit code and what it said on standard error."""
    return Running(command, home, folder, **limits).end()


# ---- references -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reference:
    """How a task ends when nothing disturbs it.

    Attributes:
        result: what it wrote.
        seconds: processor seconds that it took (see :meth:`Running.spent`).
        wrote: those that it had spent when the first file was written.
        size: bytes of all that was there at most, and of the largest file.
        before: the result that it replaced, and its answers; None where there was none.
        answers: of the run that it wrote; None for what is no run.
    """

    result: Result
    seconds: float
    wrote: float
    size: tuple[int, int]
    before: tuple[Result, str | None] | None
    answers: str | None


def reference(task: Task, home: Path, folder: Path) -> Reference:
    """Run a task undisturbed; what it replaces is kept in `folder` as ``before``."""
    (folder / "before").mkdir(parents=True)
    before = None
    if task.before is not None:
        code, said = run(task.before.replace("OUT", "out"), home, folder / "before")
        if code:
            raise SystemExit(f"{task.before}\nended with {code}: {said}")
        before = (task.result(folder / "before"), answers(task, home, folder / "before"))
    place = laid_out(folder, "reference")
    first, wrote, spent, most = picture(place), None, 0.0, (0, 0)
    running = Running(task.command.replace("OUT", "out"), home, place)
    while running.until(0.0):
        now, spent = picture(place), max(spent, running.spent())
        if wrote is None and now != first:
            wrote = spent
        sizes = [size for size, _ in now.values()]
        most = max(most, (sum(sizes), max(sizes, default=0)))
        time.sleep(0.005)
    code, said = running.end()
    if code:
        raise SystemExit(f"{task.command}\nended with {code} undisturbed: {said}")
    wrote = spent if wrote is None else wrote
    return Reference(task.result(place), spent, wrote, most, before, answers(task, home, place))


def laid_out(folder: Path, name: str, place: Path | None = None) -> Path:
    """A folder for one run of a task, with what it is to replace."""
    place = place or folder / name
    shutil.copytree(folder / "before", place, dirs_exist_ok=True)
    return place


def picture(place: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every file below a folder, as far as they hold still."""
    found = {}
    for folder, folders, files in os.walk(place):  # which passes over what is gone meanwhile
        for path in (Path(folder, name) for name in (*folders, *files)):
            with contextlib.suppress(OSError):
                about = path.lstat()
                found[str(path)] = (about.st_size if path.is_file() else 0, about.st_mtime_ns)
    return found


_ONE = threading.Lock()


def answers(task: Task, home: Path, folder: Path) -> str | None:
    """What ``musclelora predict`` says of the test rows with the run in `folder`; None for what is no run.

    Raises:
        ValueError: it does not answer.
    """
    if not task.answers:
        return None
    from musclelora.cli.main import main

    out, err, code = io.StringIO(), io.StringIO(), None
    with _ONE, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(["predict", str(folder / "out"), str(home / "test.csv")])
        except SystemExit as ended:
            code = ended.code
    if code:
        raise ValueError(f"predict ends with {code}: {err.getvalue().strip()}")
    return out.getvalue()


# ---- faults ---------------------------------------------------------------------------------------------


@dataclass
class Outcome:
    """What became of one fault.

    Attributes:
        number: of the fault, from 0; the same for the same seed and tasks.
        task, fault: what was disturbed, and how.
        moment, seconds: when the command was killed, and how long it takes undisturbed, in processor seconds.
        found: what was there after it: nothing, "unfinished", "earlier" or "new".
        lost, changed, unsaid: what is wrong, in words; empty where nothing is.
    """

    number: int
    task: str
    fault: str
    moment: float | None = None
    seconds: float | None = None
    found: str = ""
    lost: str = ""
    changed: str = ""
    unsaid: str = ""
    code: int | None = None


def killed(number: int, name: str, known: Reference, home: Path, folder: Path, seed: int) -> Outcome:
    """Kill a task at a moment that `seed` and `number` draw, go on with it, and compare."""
    task, draw = TASKS[name], random.Random(f"{seed} {number}")
    early = known.wrote if draw.random() < 0.75 else 0.0
    moment = draw.uniform(early, known.seconds)
    outcome = Outcome(number, name, "kill", round(moment, 3), round(known.seconds, 3))
    for tried in range(_TRIES):  # a command that ended before was not killed, and says nothing
        place = laid_out(folder, f"kill-{number}-{tried}")
        running = Running(task.command.replace("OUT", "out"), home, place)
        if running.until(moment):
            time.sleep(draw.random() / os.sysconf("SC_CLK_TCK"))  # between two of the system's ticks
            running.kill()
        outcome.code, outcome.moment = running.end()[0], round(moment, 3)
        if outcome.code == -signal.SIGKILL:
            break
        shutil.rmtree(place)
        early *= 0.8
        moment = draw.uniform(early, moment)
    else:
        outcome.unsaid = f"this script: it ended by itself {_TRIES} times before it could be killed"
        return outcome
    inspect(outcome, task, known, home, place)
    go_on(outcome, task, known, home, place)
    if not (outcome.lost or outcome.changed):
        shutil.rmtree(place)
    return outcome


def inspect(outcome: Outcome, task: Task, known: Reference, home: Path, place: Path) -> None:
    """Say what is there after a fault: where there was a result before, there must be a whole one."""
    try:
        result = task.result(place)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        outcome.found = "unfinished" if any(place.iterdir()) else "nothing"
        if known.before is not None:
            outcome.lost = f"the earlier result: {_short(error)}"
        return
    earlier_one = known.before is not None and result == known.before[0]
    outcome.found = "earlier" if earlier_one else "new" if result == known.result else "another"
    if outcome.found == "another":
        outcome.changed = f"after the fault: {difference(known.result, result)}"
    if not task.answers or known.before is None:
        return
    try:
        said = answers(task, home, place)
    except ValueError as error:
        outcome.lost = f"the {outcome.found} run: {_short(error)}"
        return
    if said != (known.before[1] if earlier_one else known.answers):
        outcome.changed = f"the {outcome.found} run answers otherwise"


def go_on(outcome: Outcome, task: Task, known: Reference, home: Path, place: Path) -> None:
    """Run the same command to its end, and compare what it wrote with the reference."""
    code, said = run(again(outcome, task, place), home, place)
    if code:
        outcome.lost = outcome.lost or f"it cannot be gone on with: {code}, {_short(said)}"
        return
    try:
        result = task.result(place)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        outcome.lost = outcome.lost or f"the result: {_short(error)}"
        return
    if result != known.result:
        outcome.changed = outcome.changed or difference(known.result, result)


def again(outcome: Outcome, task: Task, place: Path) -> str:
    """The command that goes on; of a run that was to replace another, every other time with --resume."""
    command = f"{task.command.replace('OUT', 'out')} {task.resume}"
    begun = (place / "out" / ".next" / "run.json").exists()
    return (
        command.replace("--overwrite", "--resume")
        if begun and random.Random(outcome.number).random() < 0.5
        else command
    )


def difference(expected: Result, found: Result) -> str:
    """Which parts of two results differ."""
    names = [name for name in {**expected, **found} if expected.get(name) != found.get(name)]
    return f"{', '.join(sorted(names)[:4])} differ"


def _short(error: object) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else f"…{text[-300:]}"


# ---- what is no kill ------------------------------------------------------------------------------------

Placed = Callable[[Path], contextlib.AbstractContextManager[Path]]
DISTURBED = ("published", "overwrite", "generate", "grid", "poison", "export", "tune")


@contextlib.contextmanager
def mounted(folder: Path) -> Iterator[Path]:
    """A file system of its own, in memory, which other processes do not see."""
    folder.mkdir(exist_ok=True)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", folder], check=True, capture_output=True
    )
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=False, capture_output=True)


def own_mounts() -> str:
    """Keep what is mounted from now on to this process; why that cannot be, or nothing."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(0x00020000):  # CLONE_NEWNS
            return f"no file system can be mounted here: {os.strerror(ctypes.get_errno())}"
        subprocess.run(["mount", "--make-rprivate", "/"], check=True, capture_output=True)
    except (OSError, AttributeError, subprocess.CalledProcessError) as error:
        return f"no file system can be mounted here: {_short(error)}"
    return ""


def full_disk(outcome: Outcome, task: Task, known: Reference, home: Path, folder: Path, share: float) -> None:
    """Leave a share of the space that the command needs; then make room."""
    with mounted(folder / f"fault-{outcome.number}") as disk:
        place = laid_out(folder, "", disk / "work")
        filler, room = disk / "filler", max(4096, int(known.size[0] * share))
        free = os.statvfs(disk)
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(4096, free.f_bavail * free.f_frsize - room))
        disturbed(outcome, task, known, home, place)
        filler.unlink()
        go_on(outcome, task, known, home, place)


def read_only(outcome: Outcome, task: Task, known: Reference, home: Path, folder: Path, _: float) -> None:
    """Let nothing be written; then let it."""
    with mounted(folder / f"fault-{outcome.number}") as disk:
        place = laid_out(folder, "", disk / "work")
        remount = ["mount", "-o", "remount,ro", disk]
        subprocess.run(remount, check=True, capture_output=True)
        disturbed(outcome, task, known, home, place)
        subprocess.run([*remount[:2], "remount,rw", disk], check=True, capture_output=True)
        go_on(outcome, task, known, home, place)


def small_files(
    outcome: Outcome, task: Task, known: Reference, home: Path, folder: Path, share: float
) -> None:
    """Let no file become larger than a share of the largest one; then let them."""
    place = laid_out(folder, f"fault-{outcome.number}")
    disturbed(outcome, task, known, home, place, RLIMIT_FSIZE=int(known.size[1] * share))
    go_on(outcome, task, known, home, place)


def no_memory(outcome: Outcome, task: Task, known: Reference, home: Path, folder: Path, share: float) -> None:
    """Give the command no more memory from the middle of its work on; then as much as it likes."""
    place = laid_out(folder, f"fault-{outcome.number}")
    moment = known.wrote + share * (known.seconds - known.wrote)
    running = Running(task.command.replace("OUT", "out"), home, place)
    if running.until(moment):
        with contextlib.suppress(OSError, ValueError):
            pages = int(Path(f"/proc/{running.process.pid}/statm").read_text().split()[0])
            most = pages * resource.getpagesize() + 2**20
            resource.prlimit(running.process.pid, resource.RLIMIT_AS, (most, most))
    code, said = running.end()
    outcome.moment, outcome.seconds = round(moment, 3), round(known.seconds, 3)
    judge(outcome, code, said)
    inspect(outcome, task, known, home, place)
    go_on(outcome, task, known, home, place)


def disturbed(outcome: Outcome, task: Task, known: Reference, home: Path, place: Path, **limits: int) -> None:
    """Run a command that cannot succeed, and see how it ends and what it leaves."""
    judge(outcome, *run(task.command.replace("OUT", "out"), home, place, **limits))
    inspect(outcome, task, known, home, place)


def judge(outcome: Outcome, code: int, said: str) -> None:
    """A command that ends by itself says why, in one line, with a documented code."""
    outcome.code = code
    lines = [line for line in said.splitlines() if line.startswith("musclelora: ")]
    if code == 0:  # there was enough of what was made scarce
        return
    if code not in (5, 6):
        outcome.unsaid = f"code {code}: {_short(said)}"
    elif (
        len(lines) != 1
        or "Traceback" in said
        or not said.rstrip().splitlines()[-1].startswith("musclelora: ")
    ):
        outcome.unsaid = f"not in one line: {_short(said)}"


FAULTS: dict[str, tuple[Callable[..., None], float, bool]] = {
    "full disk at once": (full_disk, 0.0, True),
    "full disk half way": (full_disk, 0.5, True),
    "read-only disk": (read_only, 0.0, True),
    "small files": (small_files, 0.5, False),
    "no memory": (no_memory, 0.3, False),
}
"""What each does, how far the command comes, and whether a file system is mounted for it."""


# ---- all of it ------------------------------------------------------------------------------------------


def main() -> int:
    """Make the faults, print a table, and write the outcomes as JSON."""
    parser = argument_parser(__doc__)
    parser.add_argument("--kills", type=int, default=100, help="how many, of all tasks together")
    parser.add_argument("--seed", type=int, default=0, help="draws the moments")
    parser.add_argument(
        "--json", type=Path, help="write the outcomes to this file, and go on with those in it"
    )
    parser.add_argument("--only", help=f"these tasks, separated by commas: {', '.join(TASKS)}")
    parser.add_argument("--at-once", type=int, default=2, help="commands that are disturbed at a time")
    parser.add_argument("--no-others", action="store_true", help="kills only")
    parser.add_argument("--keep", type=Path, help="work in this folder, and keep it")
    parser.add_argument("--verbose", action="store_true", help="a line for each fault")
    options = parser.parse_args()
    names = list(TASKS) if options.only is None else options.only.split(",")
    if unknown := [name for name in names if name not in TASKS]:
        parser.error(f"--only: found {unknown[0]!r}, expected some of {', '.join(TASKS)}")
    os.environ.update(CALM)  # for what is asked in this process
    unmounted = own_mounts()
    settings = {"seed": options.seed, "tasks": names}
    kept = Kept(options.json, settings, options.verbose, unmounted)
    with contextlib.ExitStack() as stack:
        if options.keep:
            options.keep.mkdir(parents=True)
        home = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        kept.follow(home.resolve(), names, options)
    show(kept.outcomes, names)
    if unmounted:
        print(f"skipped: {unmounted}")
    return int(any(outcome.lost or outcome.changed or outcome.unsaid for outcome in kept.outcomes))


@dataclass
class Kept:
    """The outcomes, and the file that has them."""

    path: Path | None
    settings: dict[str, Any]
    verbose: bool
    unmounted: str
    outcomes: list[Outcome] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.outcomes = [Outcome(**row) for row in earlier(self.path, self.settings, "outcomes")]
        found = json.loads(self.path.read_text()) if self.path and self.path.exists() else {}
        self.spent = float(found.get("minutes", 0.0)) * 60

    def follow(self, home: Path, names: Sequence[str], options: Any) -> None:
        """Make every fault whose outcome is not known."""
        jobs = [(number, names[number % len(names)], "kill") for number in range(options.kills)]
        if not options.no_others:
            others = [(name, fault) for fault in FAULTS for name in names if name in DISTURBED]
            jobs += [(-1 - number, name, fault) for number, (name, fault) in enumerate(others)]
        known = {(outcome.number, outcome.fault) for outcome in self.outcomes}
        jobs = [job for job in jobs if (job[0], job[2]) not in known]
        jobs = [job for job in jobs if not (self.unmounted and job[2] != "kill" and FAULTS[job[2]][2])]
        if not jobs:
            return
        make_home(home)
        wanted = list(dict.fromkeys(name for _, name, _ in jobs))
        with ThreadPoolExecutor(options.at_once) as pool:
            found = pool.map(lambda name: reference(TASKS[name], home, home / name.replace(" ", "-")), wanted)
            references = dict(zip(wanted, found, strict=True))
            for name, known_one in references.items() if self.verbose else ():
                print(f"{name}: {known_one.seconds:.1f} s, files from {known_one.wrote:.1f} s on", flush=True)
            for number, name, fault in jobs:
                pool.submit(self._one, number, name, fault, references[name], home, options.seed)

    def _one(self, number: int, name: str, fault: str, known: Reference, home: Path, seed: int) -> None:
        folder = home / name.replace(" ", "-")
        try:
            if fault == "kill":
                outcome = killed(number, name, known, home, folder, seed)
            else:
                outcome = Outcome(number, name, fault)
                make, share, _ = FAULTS[fault]
                make(outcome, TASKS[name], known, home, folder, share)
        except Exception as error:  # of one fault; the others are still to be made
            outcome = Outcome(number, name, fault, unsaid=f"this script: {_short(repr(error))}")
        with self.lock:
            self.outcomes.append(outcome)
            if self.verbose or outcome.lost or outcome.changed or outcome.unsaid:
                print(_line(outcome), file=sys.__stdout__, flush=True)  # another thread may redirect it
            if self.path:
                write_json(self.path, self._record())

    def _record(self) -> dict[str, Any]:
        minutes = (self.spent + time.monotonic() - self.began) / 60
        tasks = {
            name: {
                "kills": sum(outcome.fault == "kill" for outcome in mine),
                "others": sum(outcome.fault != "kill" for outcome in mine),
                **{what: sum(bool(getattr(o, what)) for o in mine) for what in ("lost", "changed", "unsaid")},
            }
            for name in self.settings["tasks"]
            if (mine := [outcome for outcome in self.outcomes if outcome.task == name])
        }
        outcomes = sorted(self.outcomes, key=lambda outcome: (outcome.fault != "kill", abs(outcome.number)))
        return {
            **machine(),
            "settings": self.settings,
            "minutes": round(minutes, 1),
            "skipped": self.unmounted,
            "tasks": tasks,
            "outcomes": [dataclasses.asdict(outcome) for outcome in outcomes],
        }


def _line(outcome: Outcome) -> str:
    when = "" if outcome.moment is None else f" at {outcome.moment:.2f} of {outcome.seconds:.2f} s"
    wrong = [
        f"{what}: {getattr(outcome, what)}"
        for what in ("lost", "changed", "unsaid")
        if getattr(outcome, what)
    ]
    found = outcome.found or "nothing"
    return f"{outcome.task}, {outcome.fault}{when}, found {found}: {'; '.join(wrong) or 'well'}"


def show(outcomes: Sequence[Outcome], names: Sequence[str]) -> None:
    """Print what each task lost."""
    print(
        f"\n{'task':<18}{'kills':>7}{'before':>8}{'within':>8}{'others':>8}{'lost':>7}{'changed':>9}{'unsaid':>8}"
    )
    for name in [*names, "all"]:
        mine = [outcome for outcome in outcomes if name in (outcome.task, "all")]
        kills = [outcome for outcome in mine if outcome.fault == "kill"]
        within = sum(outcome.found in ("unfinished", "new", "another") for outcome in kills)
        print(
            f"{name:<18}{len(kills):>7}{len(kills) - within:>8}{within:>8}{len(mine) - len(kills):>8}"
            + "".join(
                f"{sum(bool(getattr(outcome, what)) for outcome in mine):>{width}}"
                for what, width in (("lost", 7), ("changed", 9), ("unsaid", 8))
            )
        )


if __name__ == "__main__":
    sys.exit(main())
