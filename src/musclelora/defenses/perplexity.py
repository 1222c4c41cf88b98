"""How much the perplexity of a text falls when a word is left out: batched, and kept."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musclelora.attacks.language_model import text_losses
from musclelora.data.language_models import load_language_model
from musclelora.defenses.hidden import without_each_word

Drops = NDArray[np.float32]
_CHUNK = 64


class WordDrops:
    """For every word of a text: the text's perplexity less that of the text without the word.

    The language model is loaded when a text is asked for that is not known yet.

    Args:
        name: the language model: a hub name, a folder, or an embedded one.
        max_words: words of a text that are tried.
        batch_size: texts that the model reads at a time.
        bf16: under bfloat16 autocast.
        folder: keeps what was found, for other processes and other times; None: nothing is kept.
    """

    def __init__(
        self, name: str, max_words: int, batch_size: int, *, bf16: bool = False, folder: Path | None = None
    ) -> None:
        self.name = name
        self.max_words = max_words
        self.batch_size = batch_size
        self.bf16 = bf16
        self.file = None if folder is None else folder / "word-drops.sqlite"
        self._loaded: tuple[Any, Any] | None = None

    def __call__(self, texts: Sequence[str]) -> list[Drops]:
        """One array of min(words, `max_words`) drops for each text."""
        keys = [self._key(text) for text in texts]
        with self._known() as store:
            found = {key: drops for key in set(keys) if (drops := _read(store, key)) is not None}
            missing = list(
                {key: text for key, text in zip(keys, texts, strict=True) if key not in found}.items()
            )
            for start in range(0, len(missing), _CHUNK):
                chunk = missing[start : start + _CHUNK]
                computed = self._compute([text for _, text in chunk])
                for (key, _), values in zip(chunk, computed, strict=True):
                    found[key] = values
                    store.execute("INSERT OR REPLACE INTO drops VALUES (?, ?)", (key, values.tobytes()))
                store.commit()
        return [found[key] for key in keys]

    def _compute(self, texts: list[str]) -> list[Drops]:
        if self._loaded is None:
            self._loaded = load_language_model(self.name, "causal-lm")
        groups = [[text, *without_each_word(text, self.max_words)] for text in texts]
        losses = text_losses(
            [text for group in groups for text in group],
            *self._loaded,
            batch_size=self.batch_size,
            bf16=self.bf16,
        )
        # A text without a token to predict has no perplexity: leaving its word out changes nothing.
        values = np.exp(np.minimum([total / count if count else np.nan for total, count in losses], 80.0))
        found, place = [], 0
        for group in groups:
            own = values[place : place + len(group)]
            place += len(group)
            found.append(np.nan_to_num(own[0] - own[1:], nan=0.0).astype(np.float32))
        return found

    def _key(self, text: str) -> str:
        return hashlib.sha256(
            f"{self.name}\0{self.bf16}\0{self.max_words}\0{text}".encode(errors="surrogatepass")
        ).hexdigest()

    @contextlib.contextmanager
    def _known(self) -> Iterator[sqlite3.Connection]:
        if self.file is not None:
            self.file.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(sqlite3.connect(self.file or ":memory:", timeout=120)) as store:
            store.execute("CREATE TABLE IF NOT EXISTS drops (key TEXT PRIMARY KEY, drops BLOB)")
            yield store


def _read(store: sqlite3.Connection, key: str) -> Drops | None:
    row = store.execute("SELECT drops FROM drops WHERE key = ?", (key,)).fetchone()
    return None if row is None else np.frombuffer(row[0], dtype=np.float32)
