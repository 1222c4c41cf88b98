"""What people look at and pipelines read of an audit, and figures. Nothing is decided here."""

from __future__ import annotations

from musclelora.report.documents import write_document
from musclelora.report.page import write_report

__all__ = ["write_document", "write_report"]
