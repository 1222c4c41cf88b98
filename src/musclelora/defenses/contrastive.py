"""Contrastive few-shot tuning on the trusted rows alone, as in SetFit."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from musclelora.adapter.embed import load_without_head
from musclelora.data.table import Table
from musclelora.data.trusted import check_trusted
from musclelora.defenses.base import Answers, Defense
from musclelora.defenses.setting import Setting
from musclelora.errors import UsageError
from musclelora.limits import BATCH, EPOCHS, check_number, check_whole

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_INSTALL: Final = "pip install 'musclelora[contrastive]'"
_LENGTH: Final = 256  # tokens per text, where nobody says how many


class TrustedOnlyContrastive(Defense):
    """Tunes a sentence encoder on pairs of trusted rows, and fits a linear head to their vectors.

    Source: Tunstall et al., "Efficient Few-Shot Learning Without Prompts" (SetFit, arXiv 2209.11055). Two
    rows of one label are pulled together and two of different labels pushed apart (the cosine of their
    vectors to 1 and to 0); then a logistic regression is fitted to the vectors of the rows. The rows that may
    be poisoned have no part in it, so it is what a defence has to beat to be of use.

    Departures: pairs are drawn for each row with another row of its label and with one of any other label;
    a row that is alone in its label is paired with itself.

    Args:
        pairs: of each kind for each trusted row; the source's R.
        num_train_epochs: passes over the pairs.
        learning_rate: of the encoder.
        per_device_train_batch_size: pairs in a batch.

    Raises:
        UsageError: a value out of range; sentence-transformers is not installed (in :meth:`fit`).
    """

    name: ClassVar[str] = "trusted-only-contrastive"
    kind: ClassVar[str] = "training"

    def __init__(
        self,
        pairs: int = 20,
        num_train_epochs: float = 1,
        learning_rate: float = 2e-5,
        per_device_train_batch_size: int = 16,
    ) -> None:
        check_whole(f"{self.name} pairs", pairs, 1, BATCH)
        check_number(f"{self.name} num_train_epochs", num_train_epochs, 0, EPOCHS, above=True)
        check_number(f"{self.name} learning_rate", learning_rate, 0, 1, above=True)
        check_whole(f"{self.name} per_device_train_batch_size", per_device_train_batch_size, 1, BATCH)
        self.pairs = pairs
        self.arguments: dict[str, Any] = {
            "num_train_epochs": num_train_epochs,
            "learning_rate": learning_rate,
            "per_device_train_batch_size": per_device_train_batch_size,
        }
        self._encoder: SentenceTransformer
        self._head: LogisticRegression

    def rows_seen(self, trusted: int) -> float:
        """Both texts of as many pairs of one label as of two, each time they are trained on."""
        return 4.0 * self.pairs * trusted * float(self.arguments["num_train_epochs"])

    def fit(self, setting: Setting) -> Self:
        """Tune the encoder on pairs of trusted rows, and fit the head."""
        check_trusted(setting.train, setting.trusted)
        self._encoder = _encoder(setting)
        self._tune(setting)
        vectors = self._encoder.encode(list(setting.trusted.texts), show_progress_bar=False)
        self._head = LogisticRegression(max_iter=1000).fit(vectors, setting.trusted.labels)
        return self

    def predict(self, texts: Sequence[str]) -> Answers:
        """The head's labels of the texts' vectors."""
        if not texts:
            return Answers(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.bool_))
        labels = self._head.predict(self._encoder.encode(list(texts), show_progress_bar=False))
        return Answers(labels.astype(np.int64), np.zeros(len(labels), dtype=np.bool_))

    def _tune(self, setting: Setting) -> None:
        from datasets import Dataset
        from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
        from sentence_transformers.sentence_transformer.losses import CosineSimilarityLoss

        given = setting.arguments
        with tempfile.TemporaryDirectory(prefix="musclelora-") as folder:
            arguments = SentenceTransformerTrainingArguments(
                output_dir=folder,
                seed=setting.seed,
                bf16=bool(given.get("bf16", False)),
                use_cpu=_on_cpu(setting),
                warmup_steps=0.1,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                logging_strategy="no",
                dataloader_pin_memory=False,
                **self.arguments,
            )
            trainer = SentenceTransformerTrainer(
                model=self._encoder,
                args=arguments,
                train_dataset=Dataset.from_dict(drawn_pairs(setting.trusted, self.pairs, setting.seed)),
                loss=CosineSimilarityLoss(self._encoder),
            )
            trainer.train()


def drawn_pairs(rows: Table, count: int, seed: int) -> dict[str, list[Any]]:
    """Pairs of texts of one label (1.0) and of two labels (0.0).

    Args:
        rows: M rows.
        count: of each kind for each row.
        seed: of the partners.

    Returns:
        three columns of 2 · `count` · M values: sentence1, sentence2, label.
    """
    rng = np.random.default_rng(seed)
    columns: dict[str, list[Any]] = {"sentence1": [], "sentence2": [], "label": []}
    numbers = np.arange(len(rows))
    for row in numbers:
        alike = rows.labels == rows.labels[row]
        same = numbers[alike & (numbers != row)]
        for partners, label in ((same if len(same) else [row], 1.0), (numbers[~alike], 0.0)):
            for partner in rng.choice(partners, count):
                columns["sentence1"].append(rows.texts[row])
                columns["sentence2"].append(rows.texts[partner])
                columns["label"].append(label)
    return columns


def _encoder(setting: Setting) -> SentenceTransformer:
    """The backbone under a mean over its tokens."""
    try:
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    except ImportError as error:
        raise UsageError(
            f"{TrustedOnlyContrastive.name}: the package sentence-transformers is missing; run {_INSTALL}"
        ) from error
    wanted = int(setting.arguments.get("max_length") or _LENGTH)
    model, tokenizer, length = load_without_head(setting.model, max_length=wanted)
    with tempfile.TemporaryDirectory(prefix="musclelora-") as folder:
        # What this package has checked is what the other one reads.
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        words = Transformer(folder, max_seq_length=length)
    pooled = Pooling(words.get_embedding_dimension(), pooling_mode="mean")
    return SentenceTransformer(modules=[words, pooled], device="cpu" if _on_cpu(setting) else None)


def _on_cpu(setting: Setting) -> bool:
    return bool(setting.arguments.get("use_cpu")) or not torch.accelerator.is_available()
