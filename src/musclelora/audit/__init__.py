"""The audit of a data set: triggers, styles, labels; a verdict; which rows to train on."""

from __future__ import annotations

from musclelora.audit.audit import Audit
from musclelora.audit.decisions import Decision
from musclelora.audit.saved import SavedAudit, read_audit
from musclelora.audit.verdict import Trigger, Verdict

__all__ = ["Audit", "Decision", "SavedAudit", "Trigger", "Verdict", "read_audit"]
