"""From the records of a run to its curves, its order of convergence and its diagnosis."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musclelora.errors import DataError
from musclelora.files import write_json
from musclelora.purification.run import read_info
from musclelora.spectrum.bank import as_json, group_filters
from musclelora.spectrum.diagnosis import RunFacts, diagnose
from musclelora.spectrum.groups import flag_groups, named_groups, suspected_groups
from musclelora.spectrum.measures import (
    RESAMPLES,
    Floats,
    earlier_share,
    first_halving,
    interval,
    one_hot,
    ratios,
    resample_weights,
    with_mean,
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
    curves: dict[str, Any] = {}
    labels: dict[str, Any] = {}
    halvings: dict[str, dict[str, Floats]] = {}
    for number, (name, smooth) in enumerate(group_filters(sample, groups).items()):
        weights = resample_weights(len(groups[name]), resamples, seed=sample.settings.seed + number)
        found = ratios(smooth.norms(outputs), *smooth.labels, weights)
        estimates = {key: with_mean(values) for key, values in found.items()}
        curves[name] = {key: _curve(values) for key, values in estimates.items()}
        labels[name] = {
            key: as_json(values.mean(axis=1))
            for key, values in zip(("lfr", "hfr"), smooth.labels, strict=True)
        }
        halvings[name] = {
            band: first_halving(steps, np.moveaxis(estimates[f"e_{band}"], 1, 2)) for band in BANDS
        }
    info = read_info(folder)
    analysis: Analysis = {
        "format": 1,
        "settings": sample.settings.to_dict(),
        "rows": len(sample),
        "groups_by": source,
        "groups": {name: _about(sample, rows) for name, rows in groups.items()},
        "sigmas": sample.sigmas.tolist(),
        "steps": steps.tolist(),
        "curves": curves,
        "labels": labels,
        "convergence": {
            name: {band: _converged(halved) for band, halved in bands.items()}
            for name, bands in halvings.items()
        },
        "order": _order(halvings),
        "spectrum": _spectrum(sample, groups, outputs),
        "cost": {
            cost: round(sum(record[cost] for record in records), 3)
            for cost in ("seconds", "training_seconds")
        },
        "run": _about_run(folder, info),
    }
    analysis["diagnosis"] = diagnose(analysis, RunFacts.of(info))
    write_json(folder / FOLDER / SUMMARY, analysis)
    return analysis


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


def _outputs(folder: Path, sample: Sample, records: list[Record]) -> tuple[Floats, Floats]:
    """H of every record, shape (R, N, C), and the steps."""
    shape = (len(sample), len(sample.label_names))
    for record in records:
        if np.shape(record["outputs"]) != shape:
            raise DataError(
                f"{folder}: the record of step {record['step']} has outputs of shape "
                f"{np.shape(record['outputs'])}, expected {shape}; train the run again with --overwrite"
            )
    outputs = np.array([record["outputs"] for record in records], dtype=np.float64)
    return outputs, np.array([record["step"] for record in records], dtype=np.float64)


def _curve(estimates: Floats) -> dict[str, Any]:
    """The mean over σ at every record with its interval, and the values by σ; of (1 + B, R, 1 + S)."""
    with np.errstate(invalid="ignore"):
        low, high = np.quantile(estimates[1:, :, 0], (0.025, 0.975), axis=0)
    return {
        "value": as_json(estimates[0, :, 0]),
        "low": as_json(low),
        "high": as_json(high),
        "by_sigma": [as_json(row) for row in estimates[0, :, 1:]],
    }


def _converged(halved: Floats) -> dict[str, Any]:
    """When the mean over σ halved, and the error of each σ; of (1 + B, 1 + S)."""
    mean, *each = (interval(estimates) for estimates in halved.T)
    return {**mean, "by_sigma": each}


def _order(halvings: dict[str, dict[str, Floats]]) -> dict[str, Any]:
    """Which of two groups' bands halved first: the share of resamples in which the second group's did."""
    if len(halvings) != 2:
        return {}
    (first, ones), (second, others) = halvings.items()
    found: dict[str, Any] = {}
    for band in BANDS:
        one, other = ones[band], others[band]
        share, *by_sigma = (earlier_share(a, b) for a, b in zip(other.T, one.T, strict=True))
        with np.errstate(invalid="ignore"):
            difference = other[:, 0] - one[:, 0]
        found[band] = {
            "groups": [second, first],
            "earlier_share": share,
            "earlier_share_by_sigma": by_sigma,
            "difference": interval(difference) if np.isfinite(difference[1:]).all() else None,
        }
    return found


def _spectrum(sample: Sample, groups: Groups, outputs: Floats) -> dict[str, Any]:
    """Power over frequency of each group's share of the labels and of the first and last outputs."""
    projection = principal_projection(sample.inputs, seed=sample.settings.seed)
    y = one_hot(sample.labels, len(sample.label_names)).numpy()
    functions = {"labels": y, "first": outputs[0], "last": outputs[-1]}
    powers = {
        what: {
            name: as_json(power_spectrum(projection, values, rows, MODES)) for name, rows in groups.items()
        }
        for what, values in functions.items()
    }
    variance = [round(float(share), 5) for share in projection.variance]
    return {"directions": len(projection.angles), "variance": variance, **powers}


def _about(sample: Sample, rows: NDArray[np.int64]) -> dict[str, Any]:
    counts = np.bincount(sample.labels[rows], minlength=len(sample.label_names)).tolist()
    return {"rows": len(rows), "labels": dict(zip(sample.label_names, counts, strict=True))}


def _about_run(folder: Path, info: dict[str, Any] | None) -> dict[str, Any]:
    settings = (info or {}).get("settings", {})
    return {
        "name": folder.resolve().name,
        "method": settings.get("method"),
        "levers": settings.get("levers"),
        "data": (info or {}).get("data", {}).get("train", {}).get("source"),
    }
