"""What the trusted rows alone say of the training rows: models of folds of them, calibrated on the rest.

Of an encoder the upper third of the layers is trained, and what the others make of a text is computed once
for all folds (:mod:`musclelora.adapter.trunk`), with the sentence vectors that other checks look at.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax

from musclelora.adapter.copies import Backbones
from musclelora.adapter.presets import Preset
from musclelora.adapter.trunk import Trunk
from musclelora.audit.folds import FOLDS, fold_numbers
from musclelora.audit.kept import shared_array
from musclelora.data.table import Table
from musclelora.progress import stage
from musclelora.training.calibration import best_temperature, losses_at
from musclelora.training.hardware import free_memory

if TYPE_CHECKING:
    from musclelora.training.classifier import Classifier
    from musclelora.training.trainer import MuScleTrainer

Floats = NDArray[np.float64]

TRUSTED_ONLY: Final[Mapping[str, Any]] = {
    "learning_rate": 1e-4,
    "num_train_epochs": 12,
    "per_device_train_batch_size": 16,
}
"""What training the whole backbone on some hundred rows wants."""
_LARGE_RATE = 5e-4  # of LoRA
_ROWS = 64  # of a pass


@dataclass(frozen=True)
class TrustedPredictions:
    """Models trained on folds of M trusted rows, and what they say together.

    Attributes:
        log_probabilities: shape (N, C), of the texts that were asked about, the folds' mean.
        held_out: shape (M, C), of each trusted row by the model that was not trained on it; NaN for rows that
            every model was trained on, as their class has no other.
        accuracy: the share of held-out rows that were right.
        temperature: what both are divided by to be calibrated; at least 1.
        loss: the held-out rows' mean loss at that temperature, in nats.
        vectors: shape (depths, N, d), the texts' sentence vectors; None where they did not come along.
    """

    log_probabilities: Floats
    held_out: Floats
    accuracy: float
    temperature: float
    loss: float
    vectors: NDArray[np.float32] | None = None

    @property
    def pred_probs(self) -> Floats:
        """The calibrated class probabilities of the texts, shape (N, C), none of them 0."""
        q = softmax(self.log_probabilities / self.temperature, axis=1)
        # As in Laplace's rule, one more row than were seen may be wrong, however sure the models are.
        share = 1 / (len(self.held_out) + 2)
        pred_probs: Floats = (1 - share) * q + share / q.shape[1]
        return pred_probs


def trusted_predictions(
    trusted: Table,
    texts: Sequence[str],
    *,
    backbones: Backbones,
    preset: Preset,
    arguments: Mapping[str, Any],
    seed: int,
    folds: int = FOLDS,
    depths: Sequence[float] = (),
    shared: Mapping[str, Any] | None = None,
) -> TrustedPredictions:
    """Train on all but one fold of the trusted rows, in turn, and ask about the held-out rows and the texts.

    Args:
        trusted: M rows that were checked.
        texts: N texts to be judged.
        backbones: of the model; its upper layers are trained, all of it where these cannot be told apart, or
            LoRA where it is a decoder or of width 1024 or more.
        preset: the backbone's preset, for what `arguments` and :data:`TRUSTED_ONLY` leave open.
        arguments: fields of :class:`~musclelora.training.MuScleTrainingArguments`, such as ``bf16``.
        seed: of the folds and of the training.
        folds: how many; fewer where no class has as many rows.
        depths: whose hidden states' sentence vectors come along, where the models share their lower layers.
        shared: what decides the models but for the folds, so that those trained before are taken; None: they
            are trained (:meth:`~musclelora.audit.evidence.Evidence.models_of`).

    Raises:
        DataError: no class has two trusted rows, so that none can be held out.
    """
    numbers = fold_numbers(trusted, folds, seed)
    held_out = np.full((len(trusted), trusted.num_classes), np.nan)
    models = _FoldModels(trusted, numbers, backbones, preset, arguments, seed, shared)
    judged, vectors = np.zeros((len(texts), trusted.num_classes)), None
    together: list[Classifier] = []
    for fold, model in models:
        out = np.flatnonzero(numbers == fold)
        asked = [trusted.texts[i] for i in out]
        if models.trunk is None:
            asked += texts
        with stage("judging", len(asked)) as bar:
            logs = _log_probabilities(model.predict(asked, progress=bar.advance).probabilities)
        held_out[out] = logs[: len(out)]
        if models.trunk is None:
            judged += logs[len(out) :] / models.count
        else:
            together.append(model)
    if models.trunk is not None:
        models.trunk.forget()
        judged, vectors = _in_one_pass(models.trunk, together, texts, depths)
    return replace(calibrated(judged, held_out, trusted.labels), vectors=vectors)


def _in_one_pass(
    trunk: Trunk, models: Sequence[Classifier], texts: Sequence[str], depths: Sequence[float]
) -> tuple[Floats, NDArray[np.float32] | None]:
    """The mean log-probabilities of models on one trunk, shape (N, C), and vectors, shape (depths, N, d)."""
    from musclelora.adapter.embed import mean_states

    first = models[0]
    judged = np.zeros((len(texts), len(first.label_names)))
    vectors: NDArray[np.float32] | None = None
    device = trunk.model.device.type
    with torch.no_grad(), stage("judging", len(texts)) as bar, contextlib.ExitStack() as stack:
        for model in models:
            stack.enter_context(model.evaluating())
        for rows, batch, _ in first.batches(texts, _ROWS):
            states = trunk.states(batch)
            with trunk.given(states[trunk.depth]), torch.autocast(device, torch.bfloat16, enabled=first.bf16):
                for model in models:
                    said = model.model(**batch).logits.float().softmax(-1).cpu().numpy()
                    judged[rows] += _log_probabilities(said) / len(models)
            if depths:
                means = mean_states(states, batch["attention_mask"], depths).cpu().numpy()
                if vectors is None:
                    vectors = np.zeros((len(depths), len(texts), means.shape[-1]), dtype=np.float32)
                vectors[:, rows] = means
            bar.advance(len(rows))
    return judged, vectors


def _log_probabilities(said: NDArray[np.float32]) -> Floats:
    logs: Floats = np.log(np.clip(said.astype(np.float64), 1e-7, 1.0))
    return logs


def cross_fitted(
    trusted: Table,
    rows: NDArray[np.int64],
    texts: Sequence[str],
    *,
    backbones: Backbones,
    preset: Preset,
    arguments: Mapping[str, Any],
    seed: int,
    folds: int = 2,
    shared: Mapping[str, Any] | None = None,
) -> NDArray[np.int64]:
    """The labels of changed trusted rows, each by a model that was not trained on the row, shape (K,).

    Args:
        trusted: M rows that were checked.
        rows: shape (K,), the row that each text was made of.
        texts: K texts.
        backbones: of the model.
        preset: its preset.
        arguments: fields of the training arguments, as :func:`trusted_predictions` takes them.
        seed: of the folds and of the training.
        folds: how many.
        shared: as :func:`trusted_predictions` takes it.
    """
    numbers = fold_numbers(trusted, folds, seed)
    said = np.zeros(len(texts), dtype=np.int64)
    for fold, model in _FoldModels(trusted, numbers, backbones, preset, arguments, seed, shared):
        # A row that is the only one of its class is in every model; the first answers for it.
        out = np.flatnonzero((numbers[rows] == fold) | ((numbers[rows] < 0) & (fold == 0)))
        said[out] = model.predict([texts[int(i)] for i in out]).labels
    return said


class _FoldModels:
    """Each fold's number and a model trained on the rows of the others.

    Without a trunk a model is gone when the next one comes, if nobody else holds it.

    Args:
        trusted: M rows that were checked.
        numbers: shape (M,), their folds.
        backbones: of the model.
        preset: its preset.
        arguments: fields of the training arguments.
        seed: of the training.
        shared: what decides the models but for the folds; None: each is trained.

    Attributes:
        count: how many folds there are.
        trunk: what the models share; None: nothing. It is known once the first one was trained.
    """

    def __init__(
        self,
        trusted: Table,
        numbers: NDArray[np.int64],
        backbones: Backbones,
        preset: Preset,
        arguments: Mapping[str, Any],
        seed: int,
        shared: Mapping[str, Any] | None = None,
    ) -> None:
        self.count = int(numbers.max()) + 1
        self.trunk: Trunk | None = None
        self._trusted, self._numbers = trusted, numbers
        self._backbones, self._preset, self._seed = backbones, preset, seed
        self._arguments, self._shared = arguments, shared

    def __iter__(self) -> Iterator[tuple[int, Classifier]]:
        from musclelora.training.scratch import LARGE  # which imports half of transformers

        if self._preset.name not in LARGE:
            names = self._trusted.label_names
            attention = self._arguments.get("attn_implementation")
            how = {} if attention == "flash_attention_2" else {"attn_implementation": attention}
            if Trunk.possible(self._backbones.kept(names, **how)):
                whole = self._backbones.fresh(names, **how)
                self.trunk = Trunk(whole, bf16=bool(self._arguments.get("bf16")))
        for fold in range(self.count):
            with tempfile.TemporaryDirectory() as folder:
                trainer = self._trainer(fold, folder)
                if self.trunk is not None:
                    self.trunk.model.to(trainer.args.device)
                    if not self.trunk.cut(trainer.model):
                        self.trunk = None
                        trainer = self._trainer(fold, folder)
                self._train(trainer, fold)
                model = trainer.classifier
            yield fold, model
            del trainer, model
            free_memory()

    def _train(self, trainer: MuScleTrainer, fold: int) -> None:
        """Train the model of a fold, or give it the parameters that the same training has given it before."""
        if self._shared is None:
            trainer.train()
            return
        trained = [parameter for parameter in trainer.model.parameters() if parameter.requires_grad]

        def train() -> NDArray[np.float32]:
            trainer.train()
            return torch.cat([p.detach().flatten().float().cpu() for p in trained]).numpy()

        sizes = [parameter.numel() for parameter in trained]
        facts = {**self._shared, "folds": self.count, "fold": fold}
        found = np.array(shared_array("trusted-model", (sum(sizes),), facts, train))
        if not np.isfinite(found).all():  # no training gives such: the file was altered
            trainer.train()
            return
        with torch.no_grad():
            for parameter, values in zip(trained, torch.from_numpy(found).split(sizes), strict=True):
                parameter.copy_(values.view_as(parameter))

    def _trainer(self, fold: int, folder: str) -> MuScleTrainer:
        from musclelora.training.scratch import whole_backbone_trainer

        values = {**TRUSTED_ONLY, **self._arguments, "seed": (self._seed + fold) % 2**32}
        rate = values.pop("learning_rate") if "learning_rate" not in self._arguments else None
        return whole_backbone_trainer(
            self._trusted.select(np.flatnonzero(self._numbers != fold)),
            folder,
            backbones=self._backbones,
            preset=self._preset,
            arguments=values,
            learning_rate=rate or values["learning_rate"],
            large_learning_rate=_LARGE_RATE,
            what=f"judge {fold + 1}/{self.count}",
        )


def calibrated(judged: Floats, held_out: Floats, labels: NDArray[np.int64]) -> TrustedPredictions:
    """What models of folds said, with the temperature at which it is calibrated.

    Args:
        judged: shape (N, C), mean log-probabilities of the texts.
        held_out: shape (M, C), log-probabilities of the trusted rows; NaN for rows that were never held out.
        labels: shape (M,), theirs.
    """
    asked = np.flatnonzero(~np.isnan(held_out).any(axis=1))
    seen, truth = held_out[asked], labels[asked]
    temperature = best_temperature(seen, truth)
    accuracy = float((seen.argmax(axis=1) == truth).mean())
    return TrustedPredictions(
        judged, held_out, accuracy, temperature, float(losses_at(seen, truth, temperature).mean())
    )
