"""Writing poisoned data of any kind and what was done to it, all of it or none."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from musclelora import __version__
from musclelora.attacks.base import Trigger
from musclelora.attacks.planning import Plan, Rows, plan_attacks
from musclelora.attacks.response_kinds import ResponseKind
from musclelora.attacks.spool import TextSpool
from musclelora.attacks.stealth import Perplexities, Stealth
from musclelora.data.writers import WRITERS
from musclelora.errors import UsageError
from musclelora.files import already_exists, atomic_file, is_stream, sha256_of
from musclelora.outputs import check_output

OPENBACKDOOR: Final = "openbackdoor"


@dataclass(frozen=True)
class Request:
    """What to write.

    Attributes:
        attacks: the attacks, of the kind of the data; exactly one for `for_asr`, whose rate and label mode do
            not count.
        seed: a non-negative integer.
        output: the file, or the folder of the OpenBackdoor layout.
        for_asr: what measures the ASR, every row that is not the attacker's triggered, instead of a training
            set.
        format: a suffix of `WRITERS` without its dot, or `OPENBACKDOOR`; None: by the suffix of `output`.
        part: the split's name in the OpenBackdoor layout: "train", "dev" or "test".
        overwrite: replace files that exist.
        split: the split of the source that was read, for the manifest.
        perplexity_model: what the perplexities are of, for the manifest.
        sample: texts of each attack for the perplexity.
    """

    attacks: Sequence[Any]
    seed: int
    output: Path
    for_asr: bool = False
    format: str | None = None
    part: str = "train"
    overwrite: bool = False
    split: str | None = None
    perplexity_model: str | None = None
    sample: int = 256

    @property
    def suffix(self) -> str:
        """The key of `WRITERS` for the output, by its format or else by its name.

        Raises:
            UsageError: there is no such format.
        """
        suffix = f".{self.format}" if self.format else self.output.suffix.lower()
        if suffix not in WRITERS or not self.output.name:
            raise UsageError(
                f"--output: found {str(self.output)!r}, expected a file of one of {', '.join(WRITERS)}; "
                "or name a --format"
            )
        return suffix

    @property
    def poison_folder(self) -> Path:
        """Where triggered rows go in the OpenBackdoor layout, such as ``mix/0.1`` in its folder."""
        if self.for_asr:
            return self.output
        return self.output / str(self.attacks[0].label_mode) / str(float(self.attacks[0].rate))

    @property
    def manifest(self) -> Path | None:
        """Where the manifest goes: beside the triggered rows; None where they go to a stream."""
        if self.format == OPENBACKDOOR:
            return self.poison_folder / f"{self.part}.manifest.json"
        if is_stream(self.output):
            return None
        return self.output.with_name(f"{self.output.name}.manifest.json")


class PoisonedOutput:
    """Data of one kind, poisoned and written with a manifest beside it.

    Attributes:
        rows: the clean rows, with the texts that triggers are put into.
        request: what to write.
    """

    rows: Rows
    request: Request

    def files(self) -> Mapping[Path, Callable[[Plan, Path], None]]:
        """The files, and what writes each to a temporary path.

        Raises:
            UsageError: the request is none on such data.
        """
        raise NotImplementedError

    def changes(self, plan: Plan) -> Iterator[tuple[int, str, str]]:
        """(attack, original, triggered) of every triggered row."""
        raise NotImplementedError

    def about(self) -> dict[str, Any]:
        """What the manifest says of the source, under ``source`` and beside it."""
        raise NotImplementedError

    def settings(self, attack: Any) -> dict[str, Any]:
        """What the manifest says of an attack, but for its trigger."""
        raise NotImplementedError

    def check_free(self, path: Path) -> None:
        """Raise an OutputError if something is in the place of a file, and may not be replaced."""
        if not self.request.overwrite and path.exists() and not is_stream(path):
            raise already_exists(path)

    def write(self, *, perplexities: Perplexities | None = None) -> dict[str, Any]:
        """Poison the rows and write all files or none; every file is complete before the first is in place.

        Args:
            perplexities: a language model's, for the stealth figures.

        Returns:
            The manifest: every parameter, the source's hash, the counts, the stealth figures and the files.

        Raises:
            UsageError: an option is out of range.
            DataError: rows cannot be read, or too few can be triggered.
            OutputError: a file exists, or cannot be written.
        """
        request, files, manifest = self.request, self.files(), self.request.manifest
        read = [self.rows.source, *(file for attack in request.attacks for file in _files_of(attack.trigger))]
        for path in (*files, *([] if manifest is None else [manifest])):
            check_output(path, read, stream=path != manifest)
            self.check_free(path)
        with TextSpool() as spool, contextlib.ExitStack() as stack:
            plan = plan_attacks(
                self.rows, request.attacks, seed=request.seed, for_asr=request.for_asr, texts=spool
            )
            stealth = [Stealth(request.sample if perplexities else 0) for _ in request.attacks]
            for number, original, triggered in self.changes(plan):
                stealth[number].add(original, triggered)
            figures = [one.figures(perplexities) for one in stealth]
            manifest_file = None if manifest is None else stack.enter_context(atomic_file(manifest))
            hashes = {}
            for path, write in files.items():
                temporary = stack.enter_context(atomic_file(path))
                write(plan, temporary)
                folder = request.output if request.format == OPENBACKDOOR else path.parent
                hashes[path.relative_to(folder).as_posix()] = sha256_of(temporary)
            found = self._manifest(plan, figures, hashes)
            if manifest_file is not None:
                text = json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False, default=str)
                # A name that is not UTF-8 becomes \udcff, which is an escape of JSON as well.
                manifest_file.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
        return found

    def _manifest(
        self, plan: Plan, figures: Sequence[dict[str, Any]], hashes: dict[str, str | None]
    ) -> dict[str, Any]:
        request, rows = self.request, self.rows
        attacks = [
            {
                "name": attack.trigger.name,
                "parameters": parameters(attack.trigger),
                **self.settings(attack),
                **dataclasses.asdict(count),
                "stealth": figure,
            }
            for attack, count, figure in zip(request.attacks, plan.counts, figures, strict=True)
        ]
        written = len(plan.triggered)
        earlier = 0 if request.for_asr or rows.poisoned is None else int(rows.poisoned.sum())
        return {
            "format": 1,
            "musclelora": __version__,
            "kind": "asr" if request.for_asr else "poisoned",
            **self.about(),
            "seed": request.seed,
            "perplexity_model": request.perplexity_model,
            "attacks": attacks,
            "rows": written if request.for_asr else len(rows),
            "poisoned_rows": written + earlier,
            "files": hashes,
        }


def parameters(of: Trigger | ResponseKind) -> dict[str, Any]:
    """The parameters of a trigger, or of a kind of response, as JSON values."""
    if dataclasses.is_dataclass(of):
        return {f.name: getattr(of, f.name) for f in dataclasses.fields(of) if f.init}
    return {key: value for key, value in vars(of).items() if isinstance(value, str | int | float | bool)}


def _files_of(trigger: Trigger) -> list[str]:
    """The files and models that a trigger reads."""
    named = (getattr(trigger, name, None) for name in ("file", "originals", "model"))
    return [value for value in named if isinstance(value, str) and value]
