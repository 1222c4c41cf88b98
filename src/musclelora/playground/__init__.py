"""A page on this machine: type a text, and see what one or two models say of it, side by side."""

from musclelora.playground.models import Playground, load_playground
from musclelora.playground.server import serve

__all__ = ["Playground", "load_playground", "serve"]
