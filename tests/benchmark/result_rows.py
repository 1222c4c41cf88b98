"""Rows of a results table, made up."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

NAMES = {"vanilla": "training", "trusted-only": "training", "musclelora": "training", "cube": "filtering"}
SKILLS = {  # CACC and ASR
    "oracle": (0.90, 0.10),
    "vanilla": (0.90, 0.99),
    "trusted-only": (0.75, 0.12),
    "musclelora": (0.85, 0.15),
    "cube": (0.89, 0.11),
}


def make_row(defense: str, *, cacc: float, asr: float, **other: Any) -> dict[str, Any]:
    """A finished cell of a defence; the oracle has a CACC of 0.9 and an ASR of 0.1."""
    kind = "oracle" if defense == "oracle" else NAMES.get(defense, "training")
    row: dict[str, Any] = {
        "cell": "",
        "data": "bbc-news",
        "attack": "badnets",
        "label_mode": "mix",
        "rate": 0.1,
        "model": "minilm",
        "defense": defense,
        "kind": kind,
        "trusted_size": 96,
        "seed": 0,
        "status": "done",
        "error": None,
        "cacc": cacc,
        "cacc_low": cacc - 0.02,
        "cacc_high": cacc + 0.02,
        "cacc_n": 500,
        "asr": asr,
        "asr_low": asr - 0.02,
        "asr_high": asr + 0.02,
        "asr_n": 400,
        "rejected_clean": 0.0,
        "rejected_triggered": 0.0,
        "auroc": None,
        "dropped_poisoned": None,
        "dropped_clean": None,
        "fit_seconds": 12.5,
        "predict_seconds": 1.5,
        "peak_memory": 900_000_000,
        "parameters": "{}",
        "scale_factors": None,
        "r": None,
        "musclelora": "0.1.0",
        "torch": "2.8",
        "machine": "2 cores",
        "date": "2026-01-02T03:04:05",
        "oracle_cacc": 0.9,
        "oracle_asr": 0.1,
    }
    row |= other
    if kind == "oracle":  # it is trained on neither poisoned nor trusted rows
        row |= {"rate": None, "trusted_size": None, "label_mode": None}
    row["cell"] = "-".join(str(row[name]) for name in ("attack", "rate", "defense", "trusted_size", "seed"))
    if row["status"] == "failed":
        measured = ("cacc", "asr", "rejected", "auroc", "dropped", "fit", "predict", "peak")
        row |= {name: None for name in row if name.startswith(measured)}
    both = None not in (row["oracle_cacc"], row["cacc"])
    row["excess_asr"] = row["asr"] - row["oracle_asr"] if both else None
    row["cacc_gap"] = row["oracle_cacc"] - row["cacc"] if both else None
    return row


def make_rows(
    *,
    attacks: tuple[str, ...] = ("badnets", "addsent"),
    seeds: int = 3,
    rates: tuple[float, ...] = (0.1,),
    trusted_sizes: tuple[int, ...] = (96,),
    skills: dict[str, tuple[float, float]] | None = None,
    noise: float = 0.01,
) -> list[dict[str, Any]]:
    """Every combination; `skills` holds the CACC and ASR of each defence."""
    random = np.random.default_rng(0)
    rows = []
    for attack in attacks:
        for rate in rates:
            for size in trusted_sizes:
                for defense, (cacc, asr) in (skills or SKILLS).items():
                    for seed in range(seeds):
                        cacc_, asr_ = np.clip([cacc, asr] + noise * random.standard_normal(2), 0, 1)
                        filters = NAMES.get(defense) == "filtering"
                        if defense == "oracle":
                            cacc_, asr_ = cacc, asr
                        rows.append(
                            make_row(
                                defense,
                                cacc=round(500 * cacc_) / 500,
                                asr=round(400 * asr_) / 400,
                                attack=attack,
                                rate=rate,
                                trusted_size=size,
                                seed=seed,
                                dropped_poisoned=0.9 if filters else None,
                                dropped_clean=0.05 if filters else None,
                                auroc=0.9 if filters else None,
                                scale_factors=json.dumps([1, 2, 4]) if defense == "musclelora" else None,
                                r=1 if defense == "musclelora" else None,
                            )
                        )
    return rows
