"""From the records of a run to its curves, its order of convergence and its diagnosis."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from musclelora.errors import DataError
from musclelora.files import write_json
from musclelora.purification.run import read_info
from musclelora.spectrum.bank import FilterBank, as_json
from musclelora.spectrum.diagnosis import RunFacts, diagnose
from musclelora.spectrum.groups import flag_groups, named_groups, suspected_groups
from musclelora.spectrum.measures import (
    RESAMPLES,
    Floats,
    Interval,
    earlier_share,
    first_halving,
    one_hot,
    over_sigmas,
    ratios,
    resample_weights,
)
from musclelora.spectrum.projection import power_spectrum, principal_projection
from musclelora.spectrum.records import RECORDS, Record, Records
from musclelora.spectrum.sample import FOLDER, Sample
from musclelora.spectrum.state_schema import SummaryState
from musclelora.state import check_state, read_values

SUMMARY = "summary.json"
BANDS = ("low", "high")
MODES = 64
Groups = dict[str, NDArray[np.int64]]
Analysis = dict[str, Any]


def analyse(
    folder: Path,
    *,
    groups: Groups | None = None,
    resamples: int = RESAMPLES,
    say: Callable[[str], object] = lambda _: None,
) -> Analysis:
    """Analyse a recorded run, and write ``spectrum/summary.json``.

    Args:
        folder: the run folder.
        groups: row numbers within the sample, by name. None: clean and triggered where the sample has flags,
            else suspected and others (:func:`~musclelora.spectrum.groups.suspected_groups`).
        resamples: of the bootstrap.
        say: called with a line of text before what takes long.

    Returns:
        what the file holds: ``groups``, ``sigmas``, ``steps``, ``curves`` (by group and measure: ``value``,
        ``low`` and ``high`` of the mean over σ at each record, and ``by_sigma``), ``labels`` (LFR and HFR of
        Y), ``convergence`` and ``order`` (see :mod:`~musclelora.spectrum.measures`), ``spectrum``, ``cost``
        and ``diagnosis``.

    Raises:
        DataError: the run has fewer than two records, or a group has too few rows.
    """
    sample, records = Sample.load(folder), Records(folder).read()
    if len(records) < 2:
        raise DataError(
            f"{folder}: found {len(records)} records in {FOLDER}/{RECORDS}, expected at least 2; "
            "go on with the same `musclelora spectrum train` and --resume"
        )
    outputs, steps = _outputs(folder, sample, records)
    source = "flags" if sample.flags is not None else "early loss"
    if groups is None:
        groups = flag_groups(sample.flags) or suspected_groups(outputs, sample.labels)
    else:
        source = "named"
        groups = named_groups(groups, len(sample))
    say(f"spectrum     {len(records)} records of {len(sample):,} rows, {len(sample.sigmas)} values of sigma")
    bank = FilterBank(sample, groups)
    curves: dict[str, Any] = {}
    labels: dict[str, Any] = {}
    halvings: dict[tuple[str, str], Halving] = {}
    for number, name in enumerate(groups):
        y_low, y_high = bank.labels[name]
        norms = bank.norms(name, outputs)
        weights = resample_weights(len(groups[name]), resamples, seed=sample.settings.seed + number)
        point, draws = ratios(norms, y_low, y_high), ratios(norms, y_low, y_high, weights)
        curves[name] = {key: _curve(point[key], draws[key]) for key in point}
        labels[name] = {"lfr": as_json(y_low.mean(axis=1)), "hfr": as_json(y_high.mean(axis=1))}
        for band in BANDS:
            halvings[name, band] = Halving.of(steps, point[f"e_{band}"], draws[f"e_{band}"])
    found: Analysis = {
        "format": 1,
        "settings": sample.settings.to_dict(),
        "rows": len(sample),
        "groups_by": source,
        "groups": {name: _about(sample, rows) for name, rows in groups.items()},
        "sigmas": sample.sigmas.tolist(),
        "steps": steps.tolist(),
        "curves": curves,
        "labels": labels,
        "convergence": {name: {band: halvings[name, band].to_dict() for band in BANDS} for name in groups},
        "order": _order(halvings, list(groups)),
        "spectrum": _spectrum(sample, groups, outputs),
        "cost": {
            "seconds": round(sum(r["seconds"] for r in records), 3),
            "training_seconds": round(sum(r["training_seconds"] for r in records), 3),
        },
    }
    info = read_info(folder)
    found["run"] = _about_run(folder, info)
    found["diagnosis"] = diagnose(found, RunFacts.of(info))
    write_json(folder / FOLDER / SUMMARY, found)
    return found


def load_analysis(folder: Path) -> Analysis:
    """Read the analysis of a run.

    Raises:
        DataError: there is none.
    """
    path = folder / FOLDER / SUMMARY
    try:
        found: Analysis = read_values(path, DataError, remedy=_AGAIN)
    except (FileNotFoundError, NotADirectoryError):
        if (folder / FOLDER / RECORDS).is_file():
            raise DataError(
                f"{folder}: its spectrum has records and no analysis, expected a run that has finished; "
                "go on with the same `musclelora spectrum train` and --resume"
            ) from None
        raise DataError(
            f"{folder}: no spectrum data in it, expected a run of `musclelora spectrum train`; train one"
        ) from None
    if not isinstance(found, dict) or found.get("format") != 1:
        raise DataError(f"{path}: not an analysis that this version reads; {_AGAIN}")
    check_state(found, SummaryState, path, DataError, remedy=_AGAIN)
    return found


_AGAIN = "analyse the run again with --resume"


class Halving(NamedTuple):
    """When an error first halved.

    Attributes:
        value: of its mean over σ.
        draws: of that in each resample, shape (B,).
        by_sigma: of the error of each σ, shape (S,).
        draws_by_sigma: shape (B, S).
    """

    value: float
    draws: Floats
    by_sigma: Floats
    draws_by_sigma: Floats

    @classmethod
    def of(cls, steps: Floats, point: Floats, draws: Floats) -> Halving:
        """From the error at R steps, shape (R, S), and its resamples, shape (B, R, S)."""
        return cls(
            float(first_halving(steps, over_sigmas(point))),
            first_halving(steps, over_sigmas(draws)),
            first_halving(steps, point.T),
            first_halving(steps, np.moveaxis(draws, 1, 2)),
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON ready: the interval, and those of each σ under ``by_sigma``."""
        each = zip(self.by_sigma, self.draws_by_sigma.T, strict=True)
        return {
            **Interval.of(self.value, self.draws).to_dict(),
            "by_sigma": [Interval.of(value, draws).to_dict() for value, draws in each],
        }


def _outputs(folder: Path, sample: Sample, records: list[Record]) -> tuple[Floats, Floats]:
    shape = (len(sample), len(sample.label_names))
    for record in records:
        if np.shape(record["outputs"]) != shape:
            raise DataError(
                f"{folder}: the record of step {record['step']} has outputs of shape "
                f"{np.shape(record['outputs'])}, expected {shape}; train the run again with --overwrite"
            )
    steps = np.array([record["step"] for record in records], dtype=np.float64)
    return np.array([record["outputs"] for record in records], dtype=np.float64), steps


def _curve(point: Floats, draws: Floats) -> dict[str, Any]:
    """The mean over σ at every record with its interval, and the values by σ; (R, S) and (B, R, S)."""
    mean = over_sigmas(draws)
    with np.errstate(invalid="ignore"):
        low, high = np.quantile(mean, (0.025, 0.975), axis=0)
    return {
        "value": as_json(over_sigmas(point)),
        "low": as_json(low),
        "high": as_json(high),
        "by_sigma": [as_json(row) for row in point],
    }


def _order(halvings: dict[tuple[str, str], Halving], names: list[str]) -> dict[str, Any]:
    """Which of two groups' bands halved first: the share of resamples in which the second group's did."""
    if len(names) != 2:
        return {}
    first, second = names
    found: dict[str, Any] = {}
    for band in BANDS:
        one, two = halvings[first, band], halvings[second, band]
        with np.errstate(invalid="ignore"):
            difference = two.value - one.value
            draws = two.draws - one.draws
        each = zip(two.draws_by_sigma.T, one.draws_by_sigma.T, strict=True)
        found[band] = {
            "groups": [second, first],
            "earlier_share": earlier_share(two.draws, one.draws),
            "earlier_share_by_sigma": [earlier_share(a, b) for a, b in each],
            "difference": Interval.of(difference, draws).to_dict() if np.isfinite(draws).all() else None,
        }
    return found


def _spectrum(sample: Sample, groups: Groups, outputs: Floats) -> dict[str, Any]:
    """Power over frequency of each group's share of the labels and of the first and last outputs."""
    projection = principal_projection(sample.inputs, seed=sample.settings.seed)
    y = one_hot(sample.labels, len(sample.label_names)).numpy()
    functions = {"labels": y, "first": outputs[0], "last": outputs[-1]}
    found: dict[str, Any] = {
        "directions": len(projection.angles),
        "variance": [round(float(share), 5) for share in projection.variance],
    }
    for what, values in functions.items():
        found[what] = {}
        for name, rows in groups.items():
            mask = np.zeros(len(sample), dtype=np.bool_)
            mask[rows] = True
            found[what][name] = as_json(power_spectrum(projection, values, mask, MODES))
    return found


def _about(sample: Sample, rows: NDArray[np.int64]) -> dict[str, Any]:
    counts = np.bincount(sample.labels[rows], minlength=len(sample.label_names))
    return {"rows": len(rows), "labels": dict(zip(sample.label_names, counts.tolist(), strict=True))}


def _about_run(folder: Path, info: dict[str, Any] | None) -> dict[str, Any]:
    settings = (info or {}).get("settings", {})
    return {
        "name": folder.resolve().name,
        "method": settings.get("method"),
        "levers": settings.get("levers"),
        "data": (info or {}).get("data", {}).get("train", {}).get("source"),
    }
