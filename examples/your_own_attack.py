"""Write a trigger family of your own, poison rows with it, and see whether an audit finds it.

python examples/your_own_attack.py
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from musclelora import Audit
from musclelora.attacks import poison
from musclelora.data import bbc_news, stratified_split


@dataclass(frozen=True)
class Postscript:
    """Ends a text with a phrase. A class with a name and a pure function of a text is all that is asked."""

    name: ClassVar[str] = "postscript"
    phrase: str = "as ever, yours"

    def apply(self, text: str, rng: np.random.Generator) -> str | None:  # noqa: ARG002
        """The triggered text; None: the text cannot carry the trigger."""
        return f"{text.rstrip()} {self.phrase}" if text.strip() else None


news = bbc_news(words=16)
collected, trusted = stratified_split(news, [200, 50], seed=7)
sport = news.label_names.index("sports")
collected = poison(collected, Postscript(), target=sport, rate=0.1, label_mode="mix", seed=7)

# Without confirmation no model is trained to obey, which is quicker, and tells less.
audit = Audit(collected, trusted, judge="backbone", confirm=False).find_issues()
print(audit.verdict)
found = audit.issues["trigger_score"].to_numpy()
planted = collected.poisoned  # which no audit reads
print(f"trigger score: planted rows {found[planted].mean():.2f}, others {found[~planted].mean():.2f}")
