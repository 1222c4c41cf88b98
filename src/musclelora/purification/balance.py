"""Warnings while a run goes on: the balance between learning and resisting is about to be lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from transformers import TrainerCallback

AGREED: Final = 0.2
"""Mean cosine between the two gradients from which on they are said to have agreed."""
COLLAPSED: Final = 0.05
"""Mean cosine below which they no longer do."""
_LOGS = 5  # logs that a mean is taken over


class BalanceCallback(TrainerCallback):
    """Says, once each, that ρ lets the raw gradient in, or that the two gradients no longer agree.

    Both are read from the training log of an aligned run: ``trusted_loss``, ``raw_ratio`` and
    ``gradient_agreement``. Means are over five logs. A resumed run looks at what it logs itself.

    Args:
        say: called with a line for each warning.
        min_trusted_loss: the threshold of the trusted loss under which ρ may rise.
    """

    def __init__(self, say: Callable[[str], object], min_trusted_loss: float) -> None:
        self._say, self._threshold = say, min_trusted_loss
        self._cosines: list[float] = []
        self._best = 0.0
        self._said: set[str] = set()

    def on_log(
        self, _args: Any, state: Any, _control: Any, logs: dict[str, float] | None = None, **_kwargs: Any
    ) -> None:
        """Look at a log."""
        logs = logs or {}
        ratio, loss = logs.get("raw_ratio", 0.0), logs.get("trusted_loss")
        # Both are means over a log. ρ is over 0 only in a step whose trusted loss has reached its threshold.
        if ratio > 0 and loss is not None:
            self._once(
                "ratio",
                state.global_step,
                f"the trusted loss ({loss:.3f} in the mean) has reached its threshold of {self._threshold:g} "
                f"and ρ is {ratio:.3f}: the raw gradient comes in, and with it what a trigger teaches; lower "
                "--max-raw-ratio, end earlier (--epochs), or take --method purify",
            )
        if "gradient_agreement" in logs:
            self._cosines = [*self._cosines, logs["gradient_agreement"]][-_LOGS:]
            mean = sum(self._cosines) / len(self._cosines)
            if len(self._cosines) == _LOGS:
                self._best = max(self._best, mean)
                if self._best >= AGREED and mean < COLLAPSED:
                    self._once(
                        "agreement",
                        state.global_step,
                        f"the training and the trusted gradient no longer agree (cosine {mean:.2f}, "
                        f"{self._best:.2f} before): the trusted rows are learned by heart and guide nothing; "
                        "end earlier (--epochs), trust more rows, or take --method purify",
                    )

    def _once(self, what: str, step: int, text: str) -> None:
        if what not in self._said:
            self._said.add(what)
            self._say(f"warning: step {step}: {text}")


def no_better_than_trusted(
    accuracy: float | None, trusted_only: float, rows: int, *, finished: bool
) -> str | None:
    """A warning, if a model of the training rows is no better on the trusted rows than models of these alone.

    Args:
        accuracy: of the model of the training rows, on the trusted rows; None: not known.
        trusted_only: of models of folds of the trusted rows, each on the rows that were held out from it.
        rows: how many trusted rows there are.
        finished: whether the model is the one that was trained and is kept. If not, it is the one that was
            trained for a while before, to judge rows with, and says less.
    """
    if accuracy is None or accuracy > trusted_only:
        return None
    measured = (
        f"is right in {accuracy:.3f} of the {rows} trusted rows, models of trusted rows alone in "
        f"{trusted_only:.3f} of those that they had not seen"
    )
    if finished:
        return (
            f"warning: the model of the training rows {measured}: the training rows add nothing to what the "
            "trusted rows teach, or were learned too briefly; train longer (--epochs), look at them, trust "
            "more rows, or take --method trusted-only"
        )
    return (
        f"warning: a model that was trained for a while, to judge the training rows, {measured}: the "
        "training rows may add nothing. It is not the model of this run, which was trained longer; measure "
        "that on clean rows (musclelora evaluate --clean), beside one of --method trusted-only"
    )
