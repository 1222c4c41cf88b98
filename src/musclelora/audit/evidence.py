"""What the checks of an audit look at: the rows, and what costs time to know of them, once for all checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from musclelora.audit.kept import CODE, Kept, plain
from musclelora.data.embedded import known_weights
from musclelora.data.table import Table, fingerprint
from musclelora.data.trusted import overlap
from musclelora.errors import DataError
from musclelora.evaluation.metrics import wilson_interval
from musclelora.hashes import digest_of_values
from musclelora.launched import process_count

if TYPE_CHECKING:
    from musclelora.adapter import MuScleLoraConfig
    from musclelora.adapter.copies import Backbones
    from musclelora.adapter.presets import Preset
    from musclelora.audit.checks.base import Result
    from musclelora.audit.trusted_models import TrustedPredictions

Say = Callable[[str], object]
DEPTHS: Final = (1 / 3, 2 / 3, 1.0)
"""Of the judge's depth, where sentence vectors are taken: further up, hidden states tell less of syntax and
more of meaning."""
GOOD: Final = 0.8
"""Models of trusted rows are good enough to stand beside models of all rows if they are right in this share
of others of the trusted rows, by the lower end of its interval."""
_DECIDING: Final = ("musclelora", "torch", "transformers", "tokenizers", "accelerate", "numpy")
# Of the training arguments, those that hold for models of folds too, and those of any model.
_KEPT = frozenset({"bf16", "fp16", "max_length", "use_cpu", "shard_backbone", "activation_checkpointing"})
_OF_ANY = frozenset({"bf16", "fp16", "max_length", "use_cpu"})


@dataclass(frozen=True)
class Settings:
    """With what an audit looks at rows.

    Attributes:
        backbones: of the model to train: it looks at doubtful rows again, and puts triggers to the test.
        preset: the backbone's own settings.
        config: of the adapter of the model that looks at doubtful rows again.
        arguments: fields of the training arguments of that model. Models of folds take such as ``bf16``.
        seed: the same seed finds the same.
        judge: of the model whose sentence vectors and few-shot training say what a row means; None: the
            backbone judges itself.
        shares: whether models of trusted rows, and what a judge says, are kept for other audits on this
            machine, and taken from them; of embedded encoders alone, whose weights are known.
    """

    backbones: Backbones
    preset: Preset
    config: MuScleLoraConfig
    arguments: Mapping[str, Any]
    seed: int
    judge: Backbones | None = None
    shares: bool = False

    @property
    def judges(self) -> Backbones:
        """Of the model that judges."""
        return self.judge or self.backbones

    @property
    def judge_preset(self) -> Preset:
        """The settings of the model that judges."""
        from musclelora.audit.judges import preset_of

        return self.preset if self.judge is None else preset_of(self.judge.model)

    @property
    def of_folds(self) -> dict[str, Any]:
        """The arguments that hold for models of folds of the trusted rows too."""
        from musclelora.adapter.loading import loading_options

        kept = {name: value for name, value in self.arguments.items() if name in _KEPT}
        return kept | loading_options(self.arguments)

    @property
    def of_judge(self) -> dict[str, Any]:
        """Those that hold for the judge's models of folds: how a backbone is held need not suit it."""
        if self.judge is None:
            return self.of_folds
        return {name: value for name, value in self.arguments.items() if name in _OF_ANY}


@dataclass
class Evidence:
    """The rows of an audit, and what is known of them.

    Training rows with the text of a trusted row are not looked at by checks: a model that was trained on them
    cannot be judged by the trusted rows, and their label is known better.

    Args:
        train: N rows that may be poisoned.
        trusted: M rows that were checked, with the same label names.
        settings: with what to look at them.
        say: called with lines of text; words in them come from the data.
        kept: where arrays are kept.

    Attributes:
        known: the numbers of training rows with the text of a trusted row, ascending.
        numbers: the numbers of the others, ascending.
        rows: the others, as a table.
        results: of the checks so far, by name.

    Raises:
        DataError: the rows without a trusted text are of less than two classes.
    """

    train: Table
    trusted: Table
    settings: Settings
    say: Say = lambda _: None
    kept: Kept = field(default_factory=Kept)
    results: dict[str, Result] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.known = overlap(self.trusted, self.train)
        self.numbers = np.delete(np.arange(len(self.train)), self.known)
        self.rows = self.train if not len(self.known) else self.train.select(self.numbers)
        if len(np.unique(self.rows.labels)) < 2:
            raise DataError(
                f"{self.train.source}: {len(self.known):,} of {len(self.train):,} rows have the text of a "
                "trusted row, and the others are of less than two classes; pass more training rows"
            )
        self._trusted_predictions: TrustedPredictions | None = None
        self._vectors: NDArray[np.float32] | None = None

    @property
    def trusted_predictions(self) -> TrustedPredictions:
        """What models of folds of the trusted rows say of `rows`: :mod:`~musclelora.audit.trusted_models`."""
        if self._trusted_predictions is None:
            self._trusted_predictions = self._taught()
        return self._trusted_predictions

    @property
    def trusted_models_are_good(self) -> bool:
        """Whether they are right in :data:`GOOD` of the trusted rows that they have not seen, or more."""
        trusted = self.trusted_predictions
        seen = int((~np.isnan(trusted.held_out).any(axis=1)).sum())
        return seen > 0 and wilson_interval(round(trusted.accuracy * seen), seen)[0] >= GOOD

    def vectors(self, depth: float = 1.0) -> NDArray[np.float32]:
        """Sentence vectors of `rows` by the judge, shape (rows, d), at one of :data:`DEPTHS`."""
        if self._vectors is None:
            self._keep_vectors(lambda: self.embed(self.rows.texts, DEPTHS))
        found: NDArray[np.float32] = self._vectors[DEPTHS.index(depth)]  # type: ignore[index]
        return found

    @property
    def computed_vectors(self) -> NDArray[np.float32] | None:
        """:meth:`vectors` of the last layer, where a check has asked for any; None where none has."""
        return None if self._vectors is None else self.vectors()

    def _keep_vectors(self, make: Callable[[], NDArray[np.float32]]) -> None:
        shape = (len(DEPTHS), len(self.rows), None)
        self._vectors = self.kept.get("vectors", shape, None, make, shared=self._judged)

    @cached_property
    def _judged(self) -> dict[str, Any] | None:
        """What decides what the judge says of the rows; None: nobody else is to take it up."""
        facts = self.models_of(self.settings.judges.model, self.settings.of_judge)
        return facts and {**facts, "texts": digest_of_values(self.rows.texts), "depths": DEPTHS}

    def models_of(self, model: str, arguments: Mapping[str, Any]) -> dict[str, Any] | None:
        """What decides a model's training on folds of the trusted rows; None: nobody else is to take it up.

        That is where the model's files may change, and where several processes train together, as they might
        not find the same.

        Args:
            model: an embedded model, a hub name or a folder.
            arguments: of the training.
        """
        weights = known_weights(model) if self.settings.shares else None
        if weights is None or process_count() > 1:
            return None
        from musclelora.adapter.trunk import FROZEN
        from musclelora.audit.trusted_models import TRUSTED_ONLY

        return {
            "model": weights,
            "trusted": fingerprint(self.trusted),
            "arguments": plain(arguments),
            "seed": self.settings.seed,
            "how": {**TRUSTED_ONLY, "frozen": FROZEN},
            "code": CODE,
            "versions": {name: version(name) for name in _DECIDING},
        }

    def embed(self, texts: Sequence[str], depths: Sequence[float]) -> NDArray[np.float32]:
        """Sentence vectors of any texts, shape (depths, N, d); the judge is held no longer than needed."""
        from musclelora.adapter.embed import layers_embedder
        from musclelora.adapter.loading import loading_options

        settings = self.settings
        arguments = settings.arguments
        embedder = layers_embedder(
            settings.judges.model,
            depths,
            max_length=arguments.get("max_length"),
            bf16=bool(arguments.get("bf16")),
            # Else no device may have room for it.
            on_accelerator=settings.judge is not None or not arguments.get("shard_backbone"),
            **({} if settings.judge is not None else loading_options(arguments)),
        )
        return embedder(texts)

    def over_train(self, values: NDArray[Any], fill: Any) -> NDArray[Any]:
        """Values of `rows`, shape (rows, …), as values of all N training rows; the others have `fill`."""
        whole = np.full((len(self.train), *values.shape[1:]), fill, dtype=values.dtype)
        whole[self.numbers] = values
        return whole

    def _taught(self) -> TrustedPredictions:
        from musclelora.audit.trusted_models import calibrated, trusted_predictions

        asked = len(self.rows)

        def make() -> NDArray[np.float64]:
            found = trusted_predictions(
                self.trusted,
                self.rows.texts,
                backbones=self.settings.judges,
                preset=self.settings.judge_preset,
                arguments=self.settings.of_judge,
                seed=self.settings.seed,
                depths=DEPTHS,
                shared=self.models_of(self.settings.judges.model, self.settings.of_judge),
            )
            vectors = found.vectors
            if vectors is not None:
                self._keep_vectors(lambda: vectors)
            return np.concatenate([found.log_probabilities, found.held_out])

        shape = (asked + len(self.trusted), self.rows.num_classes)
        logs = self.kept.get("trusted-models", shape, None, make, shared=self._judged)
        return calibrated(logs[:asked], logs[asked:], self.trusted.labels)
