"""What an attacker makes of responses: one file per kind, and a registry of them.

A new kind is one new file and one entry in :data:`RESPONSES`.
"""

from musclelora.attacks.response_kinds.base import ResponseKind
from musclelora.attacks.response_kinds.registry import RESPONSES, parse_response

__all__ = ["RESPONSES", "ResponseKind", "parse_response"]
