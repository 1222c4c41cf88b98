"""Writing poisoned data and what was done to it."""

from __future__ import annotations

import dataclasses
import filecmp
import functools
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from musclelora import __version__
from musclelora.attacks.poisoner import Attack, Plan, plan_poison, plan_test_set
from musclelora.attacks.spool import TextSpool
from musclelora.attacks.stealth import Perplexities, Stealth
from musclelora.attacks.writing import (
    Hashes,
    files_of,
    manifest_beside,
    parameters,
    refuse_existing,
    suffix_of,
    write_whole,
)
from musclelora.data.openbackdoor import write_split
from musclelora.data.stream import TableStream
from musclelora.data.writers import WRITERS
from musclelora.errors import OutputError, UsageError
from musclelora.outputs import check_output

COLUMNS: Final = ("text", "label", "poisoned", "trigger")
OPENBACKDOOR: Final = "openbackdoor"
_INTEGER: Final = re.compile(r"0|-?[1-9][0-9]{0,17}", re.ASCII)  # of 64 bits, in the one plain writing


@dataclass(frozen=True)
class Request:
    """What to write.

    Attributes:
        attacks: the attacks; exactly one for `for_asr`, whose rows and label mode do not count.
        seed: a non-negative integer.
        output: the file, or the folder of the OpenBackdoor layout.
        for_asr: a test set, every row of another label triggered, instead of a training set.
        format: a suffix of `WRITERS` without its dot, or `OPENBACKDOOR`; None: by the suffix of `output`.
        part: the split's name in the OpenBackdoor layout: "train", "dev" or "test".
        overwrite: replace files that exist.
        split: the split of the source that was read, for the manifest.
        perplexity_model: what the perplexities are of, for the manifest.
        sample: texts of each attack for the perplexity.
    """

    attacks: Sequence[Attack]
    seed: int
    output: Path
    for_asr: bool = False
    format: str | None = None
    part: str = "train"
    overwrite: bool = False
    split: str | None = None
    perplexity_model: str | None = None
    sample: int = 256


def write_poisoned(
    source: TableStream, request: Request, *, perplexities: Perplexities | None = None
) -> dict[str, Any]:
    """Poison `source` and write the data with a manifest beside it, all of it or none.

    The source is read three times and its texts are never in memory together: labels, the rows to trigger,
    all rows. A trigger that cannot change some of its rows takes another pass for each try at others.

    Args:
        source: the clean rows.
        request: what to write.
        perplexities: a language model's, for the stealth figures.

    Returns:
        The manifest: every parameter, the source's hash, the counts, the stealth figures and the files.

    Raises:
        UsageError: an option is out of range.
        DataError: rows cannot be read, or too few can be triggered.
        OutputError: a file exists, or cannot be written.
    """
    layout = _layout(source, request)
    manifest = manifest_path(request)
    paths = [*layout, *([] if manifest is None else [manifest])]
    read = [source.source, *(file for attack in request.attacks for file in files_of(attack.trigger))]
    for path in paths:
        check_output(path, read, stream=path != manifest)
    _refuse_existing(paths, source, request)
    with TextSpool() as spool:
        if request.for_asr:
            (attack,) = request.attacks
            plan = plan_test_set(source, attack.trigger, target=attack.target, seed=request.seed, texts=spool)
        else:
            plan = plan_poison(source, request.attacks, seed=request.seed, texts=spool)
        stealth = [Stealth(request.sample if perplexities else 0) for _ in request.attacks]
        for number, original, triggered in _pairs(source, plan):
            stealth[number].add(original, triggered)
        figures = [one.figures(perplexities) for one in stealth]
        return write_whole(
            {path: functools.partial(write, plan) for path, write in layout.items()},
            manifest,
            lambda hashes: _manifest(source, request, plan, figures, hashes),
        )


def manifest_path(request: Request) -> Path | None:
    """Where the manifest goes: beside the file or, in the OpenBackdoor layout, the triggered rows."""
    if request.format == OPENBACKDOOR:
        return _poison_folder(request) / f"{request.part}.manifest.json"
    return manifest_beside(request.output)


Layout = dict[Path, Callable[[Plan, Path], None]]


def _layout(source: TableStream, request: Request) -> Layout:
    """The files to write, and what writes each."""
    if request.format == OPENBACKDOOR:
        return _openbackdoor(source, request)
    writer = WRITERS[suffix_of(request.output, request.format)]

    def write(plan: Plan, path: Path) -> None:
        writer(path, COLUMNS, _named(source, request, plan))

    return {request.output: write}


def _openbackdoor(source: TableStream, request: Request) -> Layout:
    if len(request.attacks) != 1:
        raise UsageError(
            f"--format openbackdoor: found {len(request.attacks)} attacks, expected one; "
            "its layout has a folder for each"
        )

    def clean(_: Plan, path: Path) -> None:
        write_split(path, _clean(source))

    def poisoned(plan: Plan, path: Path) -> None:
        write_split(path, _triggered(source, plan, every=not request.for_asr))

    def detect(plan: Plan, path: Path) -> None:
        write_split(
            path, (row for rows in (_clean(source), _triggered(source, plan, every=False)) for row in rows)
        )

    files: Layout = {
        _clean_path(request): clean,
        _poison_folder(request) / f"{request.part}-poison.csv": poisoned,
    }
    if request.for_asr and request.part == "test":
        files[request.output / "test-detect.csv"] = detect
    return files


def _clean_path(request: Request) -> Path:
    return request.output / f"{request.part}-clean.csv"


def _poison_folder(request: Request) -> Path:
    """The folder of the triggered rows in the OpenBackdoor layout, such as ``mix/0.1``."""
    if request.for_asr:
        return request.output
    (attack,) = request.attacks
    return request.output / attack.label_mode / str(float(attack.rate))


def _refuse_existing(paths: Sequence[Path], source: TableStream, request: Request) -> None:
    for path in paths:
        if path == _clean_path(request) and path.is_file() and not request.overwrite:
            # The clean split of the OpenBackdoor layout is the same for every rate and mode.
            _refuse_other_rows(path, source)
        else:
            refuse_existing(path, overwrite=request.overwrite)


def _refuse_other_rows(path: Path, source: TableStream) -> None:
    with tempfile.TemporaryDirectory() as folder:
        ours = Path(folder) / path.name
        write_split(ours, _clean(source))
        if not filecmp.cmp(ours, path, shallow=False):
            raise OutputError(
                f"{path} already exists with other rows; name another output or pass --overwrite"
            )


def _pairs(source: TableStream, plan: Plan) -> Iterator[tuple[int, str, str]]:
    """(attack, original, triggered) of every triggered row."""
    rows = np.flatnonzero(plan.attack >= 0)
    for row, original in zip(rows.tolist(), source.texts_at(rows), strict=True):
        yield int(plan.attack[row]), original, plan.texts[row]


def _clean(source: TableStream) -> Iterator[tuple[str, int, int]]:
    flags = source.poisoned
    for row, (text, _) in enumerate(source.rows()):
        yield text, int(source.labels[row]), 0 if flags is None else int(flags[row])


def _triggered(source: TableStream, plan: Plan, *, every: bool) -> Iterator[tuple[str, int, int]]:
    """Rows (text, label id, flag): all of them, or the triggered ones."""
    earlier = source.poisoned
    for row, (text, _) in enumerate(source.rows()):
        carries = bool(plan.attack[row] >= 0)
        if carries or every:
            flag = carries or (earlier is not None and bool(earlier[row]))
            yield plan.texts.get(row, text), int(plan.labels[row]), int(flag)


def _named(source: TableStream, request: Request, plan: Plan) -> Iterator[tuple[str, str | int, int, str]]:
    """Rows of `COLUMNS`: labels are names, or integers where all names are."""
    names: Sequence[str | int] = source.label_names
    if all(_INTEGER.fullmatch(name) for name in source.label_names):
        names = list(map(int, source.label_names))
    earlier = source.poisoned
    for row, (text, noted) in enumerate(source.rows()):
        number = int(plan.attack[row])
        if number < 0 and request.for_asr:
            continue
        flagged = number >= 0 or (earlier is not None and bool(earlier[row]))
        trigger = request.attacks[number].trigger.name if number >= 0 else noted if flagged else ""
        yield plan.texts.get(row, text), names[int(plan.labels[row])], int(flagged), trigger


def _manifest(
    source: TableStream,
    request: Request,
    plan: Plan,
    figures: Sequence[dict[str, Any]],
    hashes: Hashes,
) -> dict[str, Any]:
    attacks = []
    for number, attack in enumerate(request.attacks):
        count = dataclasses.asdict(plan.counts[number])
        settings: dict[str, Any] = {
            "name": attack.trigger.name,
            "parameters": parameters(attack.trigger),
            "target": source.label_names[attack.target],
        }
        if not request.for_asr:
            settings |= {"rate": attack.rate, "label_mode": attack.label_mode}
        attacks.append({**settings, **count, "stealth": figures[number]})
    earlier = 0 if source.poisoned is None else int(source.poisoned.sum())
    written = int((plan.attack >= 0).sum())
    folder = request.output if request.format == OPENBACKDOOR else request.output.parent
    return {
        "format": 1,
        "musclelora": __version__,
        "kind": "asr" if request.for_asr else "poisoned",
        "source": {
            "name": source.source,
            "split": request.split,
            "text_column": source.columns[0],
            "label_column": source.columns[1],
            "sha256": source.sha256(),
            "rows": len(source),
        },
        "label_names": list(source.label_names),
        "seed": request.seed,
        "perplexity_model": request.perplexity_model,
        "attacks": attacks,
        "rows": written if request.for_asr else len(source),
        "poisoned_rows": written + (0 if request.for_asr else earlier),
        "files": {path.relative_to(folder).as_posix(): digest for path, digest in hashes.items()},
    }
