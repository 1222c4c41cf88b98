"""Two runs of the same rows, and one of which an audit named the trigger."""

from __future__ import annotations

from pathlib import Path

import pytest
from runs_to_play import tell_found, train

TRIGGER = "word49"


@pytest.fixture(scope="session")
def defended(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of which an audit named the trigger."""
    run = train(tmp_path_factory.mktemp("runs") / "defended", tiny_model, "musclelora")
    tell_found(run, [TRIGGER, "word48 word47"], "good")
    return run


@pytest.fixture(scope="session")
def undefended(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing defends."""
    return train(tmp_path_factory.mktemp("runs") / "undefended", tiny_model, "full")
