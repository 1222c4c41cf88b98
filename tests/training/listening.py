"""A listener that remembers what it is told."""

from __future__ import annotations

from typing import Any

from musclelora.progress import Bar


class Moved(Bar):
    """A bar that shows nothing, and knows how far it was moved and whether it was closed."""

    def __init__(self, what: str, total: float, unit: str) -> None:
        super().__init__(what, total, unit, show=False)
        self.what, self.total, self.unit = what, total, unit
        self.moved, self.closed = 0.0, False

    def advance(self, done: float) -> None:
        self.moved += done

    def close(self) -> None:
        self.closed = True


class Heard:
    """Stages, lines and events, in their order."""

    def __init__(self) -> None:
        self.stages: list[Moved] = []
        self.told: list[str] = []
        self.events: list[str] = []

    def stage(self, what: str, total: float, unit: str = "rows", *, done: float = 0) -> Bar:  # noqa: ARG002
        self.stages.append(Moved(what, total, unit))
        return self.stages[-1]

    def tell(self, line: str) -> None:
        self.told.append(line)

    def detail(self, line: str) -> None:
        pass

    def event(self, name: str, **_values: Any) -> None:
        self.events.append(name)
