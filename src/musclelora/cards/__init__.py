"""Cards: the README.md beside a model or cleaned data, with the metadata that the Hugging Face hub reads."""

from __future__ import annotations

from musclelora.cards.data import data_card
from musclelora.cards.model import model_card
from musclelora.cards.text import CARD, licence_in

__all__ = ["CARD", "data_card", "licence_in", "model_card"]
