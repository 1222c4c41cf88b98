"""How a training shows where it is: in place of the Trainer's own callbacks, which print dictionaries."""

from __future__ import annotations

import math
from typing import Any, Final

from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback

from musclelora.progress import Bar, Listener, TimeLeft, listener

_LINES: Final = 20
"""About so many lines tell of a training, however many epochs it has."""
_SHOWN: Final = {
    "loss": "loss",
    "trusted_loss": "trusted loss",
    "eval_loss": "loss on clean rows",
    "eval_accuracy": "accuracy",
}
_SPEEDS: Final = ("_runtime", "_per_second", "total_flos")


class TrainingProgress(TrainerCallback):
    """A bar on a terminal and a line for each epoch elsewhere, with the time that is left.

    Args:
        told: what shows and keeps it; None: who listens (:func:`musclelora.progress.listener`).
        what: the stage.
        brief: show the bar alone, as of a training on the way to another.
    """

    def __init__(self, told: Listener | None = None, *, what: str = "training", brief: bool = False) -> None:
        self._listener: Listener = listener() if told is None else told
        self._what, self._brief = what, brief
        self._bars: dict[str, Bar] = {}
        self._shown = False
        self._at = 0
        self._known: dict[str, float] = {}
        self._epoch: int | None = None
        self._time = TimeLeft(0)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:  # noqa: ARG002
        """Begin a bar."""
        self.close()
        self._shown = bool(state.is_world_process_zero)
        self._at, self._known, self._epoch = state.global_step, {}, None
        self._time = TimeLeft(self._at)
        if self._shown:
            self._bars["training"] = self._listener.stage(self._what, state.max_steps, "steps", done=self._at)

    def on_step_end(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:  # noqa: ARG002
        """Move it."""
        if "training" in self._bars:
            self._bars["training"].advance(state.global_step - self._at)
        self._at = state.global_step

    def on_prediction_step(
        self,
        args: Any,  # noqa: ARG002
        state: Any,
        control: Any,  # noqa: ARG002
        eval_dataloader: Any = None,
        **_kwargs: Any,
    ) -> None:
        """Move the bar of an evaluation."""
        if state.is_world_process_zero and hasattr(eval_dataloader, "__len__"):
            if "evaluating" not in self._bars:
                self._bars["evaluating"] = self._listener.stage("evaluating", len(eval_dataloader), "batches")
            self._bars["evaluating"].advance(1)

    def on_log(
        self,
        args: Any,  # noqa: ARG002
        state: Any,
        control: Any,  # noqa: ARG002
        logs: dict[str, Any] | None = None,
        **_kwargs: Any,
    ) -> None:
        """Keep the newest figures."""
        if not self._shown or not logs:
            return
        values = {name: value for name, value in logs.items() if not name.endswith(_SPEEDS)}
        numbers = {name: float(value) for name, value in values.items() if isinstance(value, int | float)}
        self._known |= numbers
        if self._brief:
            return
        self._listener.event("log", step=state.global_step, **_finite(numbers))
        shown = ", ".join(f"{name} {value:.4g}" for name, value in numbers.items() if name != "epoch")
        if shown:
            self._listener.detail(f"training     step {state.global_step:,}: {shown}")
        if "training" in self._bars and "loss" in numbers:
            self._bars["training"].note(f"loss {numbers['loss']:.3g}")

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:  # noqa: ARG002
        """An epoch has ended; its figures come after it."""
        self._epoch = round(state.epoch or 0)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:  # noqa: ARG002
        """Tell of the one before."""
        self._tell(state)

    def on_evaluate(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:  # noqa: ARG002
        """The rows that were evaluated on are done."""
        self._close("evaluating")

    def on_predict(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:  # noqa: ARG002
        """Likewise."""
        self._close("evaluating")

    def on_train_end(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:  # noqa: ARG002
        """Tell of the last epoch, and clear the bar."""
        self._tell(state, last=True)
        self.close()

    def close(self) -> None:
        """Clear what is shown, as where training is interrupted."""
        for what in list(self._bars):
            self._close(what)

    def _close(self, what: str) -> None:
        bar = self._bars.pop(what, None)
        if bar is not None:
            bar.close()

    def _tell(self, state: Any, *, last: bool = False) -> None:
        """Say how far it is, in a line, after an epoch."""
        if self._epoch is None or not self._shown or self._brief:
            return
        epoch, epochs, self._epoch = self._epoch, _epochs(state), None
        step, steps = state.global_step, state.max_steps
        self._listener.event(
            "epoch", epoch=epoch, epochs=epochs, step=step, steps=steps, **_finite(self._known, but="epoch")
        )
        if not last and epoch % max(math.ceil(epochs / _LINES), 1):
            return
        figures = [
            f"{words} {self._known[name]:.3g}" for name, words in _SHOWN.items() if name in self._known
        ]
        parts = [f"step {step:,} of {steps:,}", *figures, self._time.words(step, steps)]
        told = ", ".join(part for part in parts if part)
        self._listener.tell(f"training     epoch {epoch} of {epochs}: {told}")


def replace_printers(trainer: Trainer) -> None:
    """Take away the callbacks of the Trainer that print, and add ours where it was to show anything.

    Those of notebooks stay, and so does a :class:`TrainingProgress` that was given.
    """
    callbacks = trainer.callback_handler.callbacks
    ours = any(isinstance(callback, TrainingProgress) for callback in callbacks)
    for callback in [one for one in callbacks if type(one) in (PrinterCallback, ProgressCallback)]:
        trainer.remove_callback(callback)
        if type(callback) is ProgressCallback and not ours:
            trainer.add_callback(TrainingProgress())
            ours = True


def _epochs(state: Any) -> int:
    return math.ceil(state.num_train_epochs or 1)


def _finite(values: dict[str, float], *, but: str = "") -> dict[str, float]:
    """Values that JSON has a word for."""
    return {name: value for name, value in values.items() if math.isfinite(value) and name != but}
