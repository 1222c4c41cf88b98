"""Losses that forgive a model that is too sure of itself, and ask which rows it is surer of."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

Floats = NDArray[np.float64]

_HOTTEST: Final = 20.0


def best_temperature(logits: NDArray[Any], labels: NDArray[Any]) -> float:
    """The T in [1, 20] for which softmax(logits / T) explains the labels of M rows best.

    Source: Guo et al., "On Calibration of Modern Neural Networks" (ICML 2017), section 4.2.

    Args:
        logits: shape (M, C), or log-probabilities.
        labels: shape (M,).
    """
    found = minimize_scalar(
        lambda log_t: float(losses_at(logits, labels, np.exp(log_t)).mean()),
        bounds=(0.0, np.log(_HOTTEST)),
        method="bounded",
    )
    return float(np.exp(found.x))


def losses_at(logits: NDArray[Any], labels: NDArray[Any], temperature: float) -> Floats:
    """The loss of each row at a temperature, shape (M,), in nats."""
    logs: Floats = log_softmax(np.asarray(logits, dtype=np.float64) / temperature, axis=1)
    losses: Floats = -logs[np.arange(len(labels)), np.asarray(labels)]
    return losses


def calibrated_losses(logits: NDArray[Any], labels: NDArray[Any]) -> Floats:
    """The loss of each row at the best temperature, shape (M,).

    A model that was trained without the rows that are hard to tell is surer of itself than it ought to be,
    and the surer the longer it trains. Its plain loss on all rows would only say so.
    """
    return losses_at(logits, labels, best_temperature(logits, labels))
