"""Prompts and responses as tokens, the training of a language model on them, and its answers."""

from musclelora.generation.generator import Generator
from musclelora.generation.trainer import GenerationTrainer, response_loss

__all__ = ["GenerationTrainer", "Generator", "response_loss"]
