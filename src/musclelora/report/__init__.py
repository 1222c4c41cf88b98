"""What a person looks at: the report of an audit, figures. Nothing is decided here."""

from __future__ import annotations

from musclelora.report.page import write_report

__all__ = ["write_report"]
