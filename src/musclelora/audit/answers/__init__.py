"""The audit of prompts and responses: kinds of responses, and the words of prompts that they follow."""

from musclelora.audit.answers.audit import AnswerAudit
from musclelora.audit.answers.folder import SavedAnswerAudit

__all__ = ["AnswerAudit", "SavedAnswerAudit"]
