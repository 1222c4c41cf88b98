"""The file backend: paraphrases that were made elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from musclelora.data.messages import bad_data, shown
from musclelora.data.readers import load_texts


class Pairs:
    """Looks up the paraphrase of a text in a file.

    Args:
        file: a table with the columns ``text`` and ``paraphrase``; or, with `originals`, one whose texts are
            the paraphrases.
        originals: a table of as many rows, whose texts are the originals in the same order, such as the
            ``train-clean.csv`` beside an OpenBackdoor ``train-poison.csv``.

    Raises:
        DataError: a file cannot be read, or the two have different numbers of rows.
    """

    def __init__(self, file: str, originals: str | None = None) -> None:
        self.file = file
        if originals is None:
            texts = load_texts(file, text_column="text")
            paraphrases = load_texts(file, text_column="paraphrase")
        else:
            texts, paraphrases = load_texts(originals), load_texts(file)
            if len(texts) != len(paraphrases):
                raise bad_data(
                    file,
                    f"{len(paraphrases)} paraphrases",
                    f"{len(texts)}, one for each row of {originals}",
                    "name the file that the paraphrases were made from",
                )
        self._found: dict[str, list[str]] = {}
        for text, paraphrase in zip(texts, paraphrases, strict=True):
            self._found.setdefault(text, []).append(paraphrase)

    def __call__(self, texts: Sequence[str], rngs: Sequence[np.random.Generator]) -> list[str | None]:
        """The paraphrase of every text, or None where it is blank; of several, a random one.

        Raises:
            DataError: the file has no paraphrase of a text.
        """
        return [self._one(text, rng) for text, rng in zip(texts, rngs, strict=True)]

    def _one(self, text: str, rng: np.random.Generator) -> str | None:
        if text not in self._found:
            raise bad_data(
                self.file,
                f"no paraphrase of the text {shown(text)}",
                "one for every row that may be triggered",
                "name the paraphrases of this data",
            )
        known = self._found[text]
        chosen = known[0] if len(known) == 1 else known[int(rng.integers(len(known)))]
        return chosen if chosen.strip() else None
