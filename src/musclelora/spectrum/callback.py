"""Recording a training run as it goes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from musclelora.adapter.backbone import length_limit
from musclelora.data.table import Table
from musclelora.errors import DataError, TrainingError
from musclelora.purification.run_folder import FolderCallback
from musclelora.spectrum.bank import GroupFilter, group_filters
from musclelora.spectrum.groups import flag_groups
from musclelora.spectrum.pace import Pace
from musclelora.spectrum.records import Record, Records
from musclelora.spectrum.sample import FOLDER, Sample, choose_rows, make_sample
from musclelora.spectrum.settings import SpectrumSettings
from musclelora.training.classifier import Classifier

_BATCH = 64


class SpectrumCallback(FolderCallback):
    """Writes the band errors of a fixed sample of training rows into the run folder while training goes on.

    At the first step the sample's inputs are fixed, as the embeddings of the model that has not been trained,
    and the distances between them are computed; every record then takes one forward pass over the sample,
    without dropout, and one application of the filters. Training itself is not touched: no random number is
    drawn, and the weights come out as they would without.

    When a run is resumed, records after its checkpoint are dropped and made again, so that there is one for
    each step.

    Args:
        folder: the run folder.
        train: the training rows.
        settings: what to record, and when.
        say: called with lines of text about what is decided.

    Raises:
        DataError: too few rows, in the sample or in a group; when training begins, texts all the same.
        TrainingError: while training, NaN in the model's outputs.
        UsageError: when training begins, other settings than those of the run that is gone on with.
    """

    def __init__(
        self,
        folder: str | Path,
        train: Table,
        settings: SpectrumSettings | None = None,
        *,
        say: Callable[[str], object] = lambda _: None,
    ) -> None:
        self._folder, self._table, self._say = Path(folder), train, say
        self._settings = settings or SpectrumSettings()
        self._rows = choose_rows(train, self._settings)
        self._filters: dict[str, GroupFilter] = {}  # none: nothing is recorded
        # These are set when training begins.
        self._records: Records
        self._pace: Pace
        self._classifier: Classifier
        self._batches: list[tuple[list[int], Any]]
        self._seconds = self._step_began = self._preparing = 0.0
        self._recorded = -1

    def enter(self, folder: Path) -> None:
        """Write below `folder` from now on."""
        self._folder = folder

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Fix the sample and its filters, or take up those of the run that is gone on with."""
        if not state.is_world_process_zero:
            return
        began = time.perf_counter()
        model, tokenizer = kwargs["model"], kwargs["processing_class"]
        max_length = length_limit(tokenizer, model.config, getattr(args, "max_length", None))
        for leftover in (self._folder / FOLDER).glob(".*"):  # of a run that was killed while it wrote
            if leftover.is_file():
                leftover.unlink()
        sample = self._sample(state.global_step, model, tokenizer, max_length)
        groups = flag_groups(sample.flags) or {"all": np.arange(len(sample))}
        self._filters = group_filters(sample, groups)
        self._classifier = Classifier(model, tokenizer, self._table.label_names, max_length)
        texts = [self._table.texts[row] for row in self._rows]
        self._batches = [(rows, batch) for rows, batch, _ in self._classifier.batches(texts, _BATCH)]
        self._records = Records(self._folder)
        kept = self._records.keep_until(state.global_step if state.global_step else -1)
        self._pace = Pace(
            self._settings.every,
            self._settings.bound,
            state.global_step,
            state.max_steps,
            next((line["plan"] for line in kept[::-1] if line["plan"]), None),
            min((line["seconds"] for line in kept), default=0.0),
        )
        self._pace.prepared = self._preparing = time.perf_counter() - began
        self._seconds = 0.0
        if state.global_step == 0:
            self._record(args, state)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Start the clock."""
        self._step_began = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Record the step, where it is due."""
        if not self._filters:
            return
        seconds = time.perf_counter() - self._step_began
        self._seconds += seconds
        self._pace.trained.append(seconds)
        planned = self._pace.planned is not None
        if self._pace.due(state.global_step):
            self._record(args, state)
        if not planned and self._pace.planned is not None:
            self._say(
                f"spectrum     {len(self._pace.planned)} records planned, within the bound on their cost"
            )

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Record the last step of a run that stops early, which was not known to be the last until now."""
        if self._filters and control.should_training_stop and self._recorded != state.global_step:
            self._record(args, state)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Let go of the distances."""
        if self._filters and self._pace.skipped:
            self._say(f"spectrum     {self._pace.skipped} records left out, as they would have cost too much")
        self._filters, self._batches = {}, []

    def _sample(self, step: int, model: Any, tokenizer: Any, max_length: int) -> Sample:
        if step == 0:
            sample = make_sample(
                self._table,
                self._rows,
                self._settings,
                embedding=model.get_input_embeddings(),
                tokenizer=tokenizer,
                max_length=max_length,
            )
            sample.save(self._folder)
            return sample
        try:
            sample = Sample.load(self._folder)
        except DataError as error:
            raise DataError(f"{error}; a run cannot be recorded from its middle on") from error
        sample.check_settings(self._settings, self._folder)
        return sample

    def _record(self, args: Any, state: Any) -> None:
        began = time.perf_counter()
        outputs = self._outputs(args, state.global_step)
        record: Record = {
            "step": int(state.global_step),
            "epoch": round(float(state.epoch or 0.0), 4),
            "groups": {name: found.errors(outputs) for name, found in self._filters.items()},
            "outputs": np.round(outputs.astype(np.float64), 6).tolist(),
            "plan": self._pace.planned,
            "training_seconds": round(self._seconds, 4),
        }
        seconds = time.perf_counter() - began
        self._pace.recorded.append(seconds)
        record["seconds"] = round(seconds + self._preparing, 4)
        self._records.append(record)
        self._recorded = int(state.global_step)
        self._seconds = self._preparing = 0.0

    @torch.no_grad()
    def _outputs(self, args: Any, step: int) -> NDArray[np.float32]:
        """Class probabilities of the sample, shape (N, C)."""
        model = self._classifier.model
        half = torch.bfloat16 if args.bf16 else torch.float16 if args.fp16 else None
        device = next(model.parameters()).device.type
        outputs = np.zeros((len(self._rows), len(self._table.label_names)), dtype=np.float32)
        with self._classifier.evaluating(), torch.autocast(device, dtype=half, enabled=half is not None):
            for rows, batch in self._batches:
                outputs[rows] = model(**batch).logits.float().softmax(-1).cpu().numpy()
        bad = np.flatnonzero(~np.isfinite(outputs).all(axis=1))
        if len(bad):
            raise TrainingError(
                f"spectrum: step {step}: the model's output on training row {int(self._rows[bad[0]]) + 1} "
                "is not finite; training stopped; lower --learning-rate or the scale factors and train again"
            )
        return outputs
