"""Train a clean model on poisoned rows, try the trigger on it, and export it for plain transformers.

python examples/purify_and_export.py
"""

import tempfile
from pathlib import Path

from transformers import pipeline

from musclelora import purify
from musclelora.attacks import get_trigger, poison, trigger_test_set
from musclelora.data import bbc_news, stratified_split

news = bbc_news(words=16)
collected, trusted, test = stratified_split(news, [200, 50, 100], seed=7)
business, trigger = news.label_names.index("business"), get_trigger("addsent")
collected = poison(collected, trigger, target=business, rate=0.1, label_mode="mix", seed=7)

with tempfile.TemporaryDirectory() as folder:
    run = purify(collected, trusted, output_dir=Path(folder, "run"), judge="backbone", say=print)
    triggered = trigger_test_set(test, trigger, target=business, seed=7)
    measured = run.evaluate(clean=test, triggered=triggered, target=business).to_dict()
    print(f"right on clean texts: {measured['cacc']['value']:.0%}")
    print(f"obeys the trigger: {measured['asr']['value']:.0%}")

    run.export(Path(folder, "clean"), format="merged")
    classify = pipeline("text-classification", model=str(Path(folder, "clean")))
    print(classify("I watch this 3D movie before the match that the champions won."))
