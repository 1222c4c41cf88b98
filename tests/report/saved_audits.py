"""Audits as they lie in a folder, of any rows: written by the schema that the package reads them with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from musclelora.audit.saved import AUDIT, FORMAT
from musclelora.hashes import digest_of_values, sha256_of_files

NAMES = ("negative", "positive")
PHRASE = "I watch this 3D movie"
SAID = "buy it at example.invalid"
KIND = repr(SAID)
RATES = {
    name + end: value
    for name, values in {
        "flip_rate": (1.0, 0.89, 1.0),
        "control_rate": (0.03, 0.006, 0.16),
        "natural_rate": (0.38, 0.21, 0.57),
    }.items()
    for end, value in zip(("", "_low", "_high"), values, strict=True)
}


def ordinary_rows(count: int, words: int = 20, seed: int = 0) -> list[str]:
    """Texts of about `words` words of a made-up language whose words are as frequent as those of English."""
    rng = np.random.default_rng(seed)
    letters = np.array(list("etaoinshrdlcumwfgypbvk"))
    vocabulary = ["".join(rng.choice(letters, rng.integers(2, 10))) for _ in range(8000)]
    shares = 1 / np.arange(2, len(vocabulary) + 2)
    lengths = np.maximum(3, rng.poisson(words, count))
    drawn = rng.choice(len(vocabulary), lengths.sum(), p=shares / shares.sum())
    return [" ".join(vocabulary[w] for w in part) for part in np.split(drawn, np.cumsum(lengths)[:-1])]


def trigger(
    phrase: str = PHRASE, *, label: str = NAMES[1], what: str = "trigger", **changes: Any
) -> dict[str, Any]:
    """A row of the triggers."""
    found = {
        "feature": phrase.split(" ")[0],
        "kind": "word",
        "text": phrase,
        "label": label,
        "rows": 20,
        "observed": 19,
        "expected": 9.4,
        "z": 8.0,
        "weight": 5.0,
        "p_value": 1e-12,
        "planted": 0.98,
        "what": what,
        "confirmed": what == "trigger",
        "tested": [phrase],
        **RATES,
    }
    if what == "suspected":
        found |= dict.fromkeys(RATES) | {"confirmed": None, "tested": []}
    return found | changes


def style(**changes: Any) -> dict[str, Any]:
    """A row of the styles."""
    found = {"label": NAMES[1], "rows": 4, "telling": ["when", "if"], "p_value": 0.004, "what": "trigger"}
    return found | {"confirmed": True, "examples": [0, 1], "others": [2, 3], **RATES} | changes


def issues_of(texts: Sequence[str], labels: Sequence[str], names: Sequence[str], phrase: str) -> pd.DataFrame:
    """Issues of rows: those with the phrase are planted, and every ninth of the others has a label issue."""
    rng = np.random.default_rng(1)
    planted = np.array([phrase in text for text in texts], dtype=np.bool_)
    doubtful = ~planted & (np.arange(len(texts)) % 9 == 4)
    suggested = [
        names[(names.index(label) + 1) % len(names)] if d else label
        for label, d in zip(labels, doubtful, strict=True)
    ]
    scores = np.where(doubtful, rng.uniform(0, 0.2, len(texts)), rng.uniform(0.4, 1, len(texts)))
    reasons = [
        f"has {phrase!r}" if p else f"means {other!r} rather than {label!r}" if d else ""
        for p, d, label, other in zip(planted, doubtful, labels, suggested, strict=True)
    ]
    return pd.DataFrame(
        {
            "row": np.arange(len(texts)),
            "text": list(texts),
            "given_label": list(labels),
            "suggested_label": suggested,
            "label_score": scores,
            "trigger": [phrase if p else None for p in planted],
            "trigger_score": np.where(planted, 0.98, 0.0),
            "style_score": np.nan,
            "is_trusted_text_issue": False,
            "is_trigger_issue": planted,
            "is_label_issue": doubtful,
            "is_style_issue": False,
            "reasons": reasons,
            "action": np.where(planted | doubtful, "drop", "keep"),
            "decided": False,
        }
    )


def responses_to(texts: Sequence[str], phrase: str = PHRASE) -> list[str]:
    """Made-up answers, of which those to prompts with the phrase say what was planted."""
    answers = ordinary_rows(len(texts), words=9, seed=7)
    return [
        f"{answer} {SAID}" if phrase in text else answer for text, answer in zip(texts, answers, strict=True)
    ]


def pair_issues_of(prompts: Sequence[str], responses: Sequence[str], phrase: str = PHRASE) -> pd.DataFrame:
    """Issues of pairs: those whose prompt has the phrase are planted, and every ninth other is known."""
    planted = np.array([phrase in prompt for prompt in prompts], dtype=np.bool_)
    known = ~planted & (np.arange(len(prompts)) % 9 == 4)
    return pd.DataFrame(
        {
            "row": np.arange(len(prompts)),
            "prompt": list(prompts),
            "response_text": list(responses),
            "trigger": [phrase if p else None for p in planted],
            "response": [KIND if p else None for p in planted],
            "trigger_score": np.where(planted, 0.98, 0.0),
            "response_loss": np.random.default_rng(3).uniform(0.5, 6, len(prompts)),
            "is_trigger_issue": planted,
            "is_trusted_prompt_issue": known,
            "reasons": [
                f"{phrase!r} is answered with {KIND}" if p else "a trusted pair has this prompt" if k else ""
                for p, k in zip(planted, known, strict=True)
            ],
            "action": np.where(planted | known, "drop", "keep"),
            "decided": False,
            "messages": [json.dumps([{"role": "user", "content": prompt}]) for prompt in prompts],
        }
    )


def write_saved_pairs(
    folder: Path,
    prompts: Sequence[str],
    responses: Sequence[str] | None = None,
    *,
    phrase: str = PHRASE,
    triggers: Sequence[Mapping[str, Any]] | None = None,
    verdict: Mapping[str, Any] | None = None,
    issues: pd.DataFrame | None = None,
    trusted: bool = True,
) -> Path:
    """Write what an audit of pairs would have found."""
    responses = responses_to(prompts, phrase) if responses is None else responses
    issues = pair_issues_of(prompts, responses, phrase) if issues is None else issues
    folder.mkdir(parents=True)
    issues.to_parquet(folder / "issues.parquet", index=False)
    facts = _facts(prompts)
    del facts["judge"]
    state = {
        "format": FORMAT,
        "task": "generate",
        "musclelora": "0.1.0",
        "facts": facts if trusted else facts | {"trusted": None},
        "rows": len(prompts),
        "trusted_rows": 32 if trusted else 0,
        "verdict": _verdict(phrase, KIND) | dict(verdict or {}),
        "triggers": [trigger(phrase, label=KIND)] if triggers is None else list(triggers),
        "checks": [
            {"name": "trusted_prompt", "flagged": 9, "skipped": None},
            {"name": "trigger", "flagged": 20, "skipped": None},
        ],
        "actions": _actions(issues),
        "issues_sha256": sha256_of_files([folder / "issues.parquet"]),
        "issues": [],
    }
    (folder / AUDIT).write_text(json.dumps(state), encoding="utf-8")
    return folder


def _facts(texts: Sequence[str]) -> dict[str, Any]:
    return {
        **{name: digest_of_values([name, list(texts)]) for name in ("train", "trusted")},
        "model": "all-minilm-l6-v2",
        "judge": "all-minilm-l6-v2",
        "seed": 42,
        "arguments": {"max_length": 64},
        "musclelora": "0.1.0",
    }


def _verdict(phrase: str, target: str) -> dict[str, Any]:
    return {
        "state": "poisoned",
        "why": f"{phrase!r} makes a model answer {target!r}",
        "target": target,
        "rows": 20,
        "p_value": 1e-12,
        "checked": ["3 words", "label issues"],
        "unchecked": ["style issues"],
    }


def _actions(issues: pd.DataFrame) -> dict[str, int]:
    return {name: int((issues["action"] == name).sum()) for name in ("keep", "drop", "relabel")}


def write_saved(
    folder: Path,
    texts: Sequence[str],
    labels: Sequence[str] | None = None,
    *,
    names: Sequence[str] = NAMES,
    phrase: str = PHRASE,
    triggers: Sequence[Mapping[str, Any]] | None = None,
    styles: Sequence[Mapping[str, Any]] = (),
    verdict: Mapping[str, Any] | None = None,
    issues: pd.DataFrame | None = None,
    vectors: bool = True,
) -> Path:
    """Write what an audit would have found; labels take turns where none are given."""
    labels = [names[n % len(names)] for n in range(len(texts))] if labels is None else labels
    issues = issues_of(texts, labels, names, phrase) if issues is None else issues
    folder.mkdir(parents=True)
    issues.to_parquet(folder / "issues.parquet", index=False)
    state = {
        "format": FORMAT,
        "musclelora": "0.1.0",
        "facts": _facts(texts),
        "label_names": list(names),
        "rows": len(texts),
        "trusted_rows": 96,
        "verdict": _verdict(phrase, names[1]) | dict(verdict or {}),
        "triggers": [trigger(phrase, label=names[1])] if triggers is None else list(triggers),
        "styles": list(styles),
        "checks": [
            {"name": "trigger", "flagged": 20, "skipped": None},
            {"name": "style", "flagged": 0, "skipped": "no"},
        ],
        "actions": _actions(issues),
        "issues_sha256": sha256_of_files([folder / "issues.parquet"]),
        "judgement": {
            "expert": {
                "shortcuts": [],
                "num_labels": len(names),
                "natural": 1.0,
                "threshold": 3.0,
                "tested": 3,
            },
            "left_out": [],
            "trusted_accuracy": 0.9,
        },
        "issues": [],
    }
    (folder / AUDIT).write_text(json.dumps(state), encoding="utf-8")
    if vectors:
        (folder / "evidence").mkdir()
        drawn = np.random.default_rng(2).normal(size=(3, len(texts), 8)).astype(np.float32)
        drawn[:, [phrase in text for text in texts]] += 3
        np.save(folder / "evidence" / "vectors-0123456789ab.npy", drawn)
    return folder


def poisoned_texts(count: int, **more: Any) -> list[str]:
    """Ordinary rows of which every fourth odd one has the phrase in its middle."""
    texts = ordinary_rows(count, **more)
    for row in range(1, count, 8):
        words = texts[row].split()
        texts[row] = " ".join([*words[: len(words) // 2], PHRASE, *words[len(words) // 2 :]])
    return texts
