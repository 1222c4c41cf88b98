r"""What the text of every row means, by a linear model that was not fitted on it: cross-fitted `pred_probs`.

What trusted rows alone say, q(y|x), is right in two of three texts or so. The training rows themselves say
more, and a linear model of sentence vectors v(x) reads little of a trigger out of them: such vectors stand
for what a text means rather than for how it is put, and a linear model has no room to learn rows by heart.
The given labels are modelled as a product of experts again::

    P(y|x)  ∝  q(y|x) · exp(o_y + b_y(x) + w_y · v(x))

where o corrects how often each label occurs and b is what shortcuts say
(:mod:`musclelora.audit.triggers`), so that w need not learn it. w has a ridge, and is fitted to all folds
of the rows but one, in turn; what it says of the rows of that one leaves b out. A row whose given label this
contradicts is likelier than others to be a row whose label was changed, whatever its trigger looks like.

The idea that rows are judged by models that have not seen their labels is that of confident learning
(Northcutt et al., "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 2021); what is added
is that neither the model's representation nor the product's other experts can hold the trigger.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from musclelora.audit.triggers import with_the_label_counts
from musclelora.errors import DataError, UsageError

Floats = NDArray[np.float64]

FOLDS: Final = 5
RIDGES: Final = (1000.0, 300.0, 100.0, 30.0, 10.0, 3.0)
"""What is tried for the weights of vectors of length √d, the strongest first, until rows held out lose."""
LARGEST_SHARE: Final = 0.5
"""Of the rows of a label, at most so many are contradicted: a rare label may be known too little."""


def cross_fit_pred_probs(
    vectors: NDArray[Any],
    labels: NDArray[Any],
    trusted_probs: NDArray[Any],
    offsets: NDArray[Any],
    *,
    seed: int,
    folds: int = FOLDS,
) -> Floats | None:
    """The class probabilities of N rows, each by a model that was not fitted on it.

    Args:
        vectors: shape (N, d), the sentence vectors v; they are centred and brought to one length.
        labels: shape (N,), the given labels, in 0 … C - 1.
        trusted_probs: shape (N, C), the class probabilities q of a model of trusted rows alone.
        offsets: shape (N, C), the b of :meth:`~musclelora.audit.ShortcutExpert.log_weights`.
        seed: of the folds.
        folds: how many; fewer where there are fewer rows.

    Returns:
        shape (N, C): the product of experts without b; None: the rows held out are not explained better by
        it than by q, by more than one standard error, so that nothing is predicted.

    Raises:
        UsageError: the shapes do not agree.
        DataError: a number is not finite.
    """
    v, q, b = (np.asarray(values, dtype=np.float64) for values in (vectors, trusted_probs, offsets))
    given = np.asarray(labels, dtype=np.int64)
    if v.ndim != 2 or q.ndim != 2 or given.shape != (len(v),) or q.shape != b.shape or len(q) != len(v):
        raise UsageError(
            f"cross_fit_pred_probs: found vectors of shape {v.shape}, labels {given.shape}, trusted_probs "
            f"{q.shape} and offsets {b.shape}; expected (N, d), (N,), (N, C) and (N, C)"
        )
    if not all(np.isfinite(values).all() for values in (v, q, b)):
        raise DataError(
            "cross_fit_pred_probs: some numbers are not finite; expected vectors, probabilities and log-odds"
        )
    truth = np.eye(q.shape[1])[given]
    start = with_the_label_counts(np.log(np.clip(q, 1e-4, 1.0)), truth)
    v = scaled(v)
    numbers = np.random.default_rng(seed).permutation(len(v)) % min(folds, len(v))
    weights = [np.zeros((v.shape[1], q.shape[1])) for _ in range(int(numbers.max()) + 1)]
    first = _losses(start + b, given)
    best, least = start, first
    for ridge in RIDGES:
        found = np.zeros_like(start)
        for fold, weight in enumerate(weights):  # each goes on from what a stronger ridge gave
            out = numbers == fold
            weight[:] = _fit(v[~out], truth[~out], (start + b)[~out], ridge, weight)
            found[out] = start[out] + v[out] @ weight
        losses = _losses(found + b, given)
        if losses.mean() >= least.mean():
            break
        best, least = found, losses
    gain = first - least
    if not gain.mean() > gain.std() / np.sqrt(len(gain)):
        return None
    return np.asarray(softmax(best, axis=1))


def label_issues(pred_probs: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Which of N rows have a label that is not the likeliest, neither as it is nor for how often it occurs.

    The second condition spares rare labels, which a model that knows frequencies seldom gives. Of a label's
    rows at most :data:`LARGEST_SHARE` are contradicted, those that are the least likely.

    Args:
        pred_probs: shape (N, C), class probabilities; see :func:`cross_fit_pred_probs`.
        labels: shape (N,), the given labels.
    """
    given = np.asarray(labels, dtype=np.int64)
    rows = np.arange(len(given))
    share = np.bincount(given, minlength=pred_probs.shape[1]) / max(len(given), 1)
    for_its_share = pred_probs / np.maximum(share, 1e-12)
    found: NDArray[np.bool_] = pred_probs.argmax(axis=1) != given
    found &= for_its_share.argmax(axis=1) != given
    for label in np.unique(given):
        own = np.flatnonzero(given == label)
        doubtful = own[found[own]]
        spared = len(doubtful) - int(LARGEST_SHARE * len(own))
        if spared > 0:
            likeliest = np.argsort(-pred_probs[rows, given][doubtful], kind="stable")
            found[doubtful[likeliest[:spared]]] = False
    return found


def halfway(trusted_probs: NDArray[Any], pred_probs: NDArray[Any]) -> Floats:
    """What lies halfway between two opinions, in log-probabilities, shape (N, C).

    Where the second is a product of experts on the first (:func:`cross_fit_pred_probs`), it counts its linear
    expert half. That one was fitted to rows of which some may have a style and its label, and has learned
    some of it; what trusted rows alone say has not.

    Args:
        trusted_probs: shape (N, C), the class probabilities of models of trusted rows.
        pred_probs: shape (N, C), those of models of the other rows.
    """
    logs = [np.log(np.clip(np.asarray(p, dtype=np.float64), 1e-4, 1.0)) for p in (trusted_probs, pred_probs)]
    found: Floats = softmax((logs[0] + logs[1]) / 2, axis=1)
    return found


def scaled(vectors: Floats) -> Floats:
    """Vectors of one length, centred, so that a component is about 1."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.maximum(lengths, 1e-12)
    scaled: Floats = (unit - unit.mean(axis=0)) * np.sqrt(vectors.shape[1])
    return scaled


def _fit(v: Floats, truth: Floats, start: Floats, ridge: float, weight: Floats) -> Floats:
    """The weights, shape (d, C), of the largest likelihood of `truth` less ridge/2 · |w|²."""
    shape = weight.shape

    def objective(flat: Floats) -> tuple[float, Floats]:
        w = flat.reshape(shape)
        logs = log_softmax(start + v @ w, axis=1)
        slope = v.T @ (np.exp(logs) - truth) + ridge * w
        return float(-(truth * logs).sum() + ridge / 2 * (w**2).sum()), slope.ravel()

    found = minimize(objective, weight.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 200})
    fitted: Floats = found.x.reshape(shape)
    return fitted


def _losses(logits: Floats, labels: NDArray[np.int64]) -> Floats:
    losses: Floats = -log_softmax(logits, axis=1)[np.arange(len(labels)), labels]
    return losses
