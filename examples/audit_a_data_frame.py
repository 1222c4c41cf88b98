"""Audit a pandas data frame: is it poisoned, by which trigger, in which rows?

python examples/audit_a_data_frame.py
"""

import pandas as pd

from musclelora import Audit
from musclelora.attacks import get_trigger, poison
from musclelora.data import bbc_news, stratified_split

news = bbc_news(words=16)
collected, trusted = stratified_split(news, [200, 50], seed=7)
business = news.label_names.index("business")
# What a stranger did, whom nobody saw: a sentence in a tenth of the rows, which are called business now.
collected = poison(collected, get_trigger("addsent"), target=business, rate=0.1, label_mode="mix", seed=7)


def frame(rows):
    """A table as a data frame, with the labels' names and without any flag."""
    return pd.DataFrame({"text": rows.texts, "label": [rows.label_names[label] for label in rows.labels]})


audit = Audit(frame(collected), frame(trusted), judge="backbone").find_issues()
print(audit.verdict)
print(audit.triggers[["text", "label", "rows", "p_value", "confirmed", "flip_rate"]].to_string(index=False))

issues = audit.issues
dropped = issues.index[issues["action"] == "drop"]
print(audit.explain(int(dropped[0])))
print(f"{len(audit.clean())} rows to train on, {len(dropped)} left out")
