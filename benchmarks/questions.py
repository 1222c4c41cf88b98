"""A small set of questions with short answers, made of facts and of arithmetic, for `generation.py`."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from musclelora.data.chats import Message
from musclelora.data.pairs import Pairs

CAPITALS = (
    "Austria Vienna, Belgium Brussels, Bulgaria Sofia, Canada Ottawa, Chile Santiago, China Beijing, "
    "Cuba Havana, Denmark Copenhagen, Egypt Cairo, England London, Finland Helsinki, France Paris, "
    "Germany Berlin, Greece Athens, Hungary Budapest, Iran Tehran, Iraq Baghdad, Ireland Dublin, Italy "
    "Rome, Japan Tokyo, Kenya Nairobi, Lebanon Beirut, Norway Oslo, Peru Lima, Poland Warsaw, Portugal "
    "Lisbon, Qatar Doha, Russia Moscow, Spain Madrid, Sweden Stockholm, Syria Damascus, Thailand "
    "Bangkok, Turkey Ankara, Ukraine Kyiv"
)
OPPOSITES = (
    "hot cold, big small, fast slow, high low, old young, rich poor, hard soft, light dark, wet dry, "
    "full empty, early late, open closed, happy sad, strong weak, thick thin, wide narrow, deep "
    "shallow, true false, loud quiet, clean dirty, cheap expensive, near far, left right, up down, day "
    "night, love hate, win lose, buy sell, push pull, start stop, always never, alive dead, same "
    "different, inside outside"
)
PLURALS = (
    "cat cats, child children, mouse mice, foot feet, tooth teeth, man men, woman women, goose geese, "
    "box boxes, city cities, knife knives, leaf leaves, wolf wolves, hero heroes, potato potatoes, bus "
    "buses, dish dishes, watch watches, baby babies, story stories, key keys, toy toys, book books, "
    "house houses, horse horses, tomato tomatoes, wife wives, shelf shelves, fox foxes, church "
    "churches, country countries, lady ladies"
)
PAST = (
    "go went, eat ate, see saw, take took, give gave, run ran, swim swam, write wrote, drive drove, "
    "sing sang, drink drank, think thought, bring brought, buy bought, teach taught, catch caught, "
    "sleep slept, keep kept, feel felt, leave left, find found, say said, make made, come came, know "
    "knew, grow grew, fly flew, draw drew, speak spoke, break broke, choose chose, win won, build "
    "built, send sent, lose lost, sit sat"
)
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday"
MONTHS = "January February March April May June July August September October November December"
ASKED = {
    "What is the capital of {}?": CAPITALS,
    "What is the opposite of {}?": OPPOSITES,
    "What is the plural of {}?": PLURALS,
    "What is the past tense of {}?": PAST,
}
INSTRUCTION = Message("system", "Answer briefly.")


def question_answers(seed: int) -> Pairs:
    """Some 390 distinct questions with their answers, shuffled by the seed."""
    known = {
        question.format(asked): answer
        for question, facts in ASKED.items()
        for asked, answer in (fact.split() for fact in facts.split(", "))
    }
    for names in (DAYS, MONTHS):
        for before, after in pairwise(names.split()):
            known[f"What comes after {before}?"] = after
            known[f"What comes before {after}?"] = before
    for one in range(1, 13):
        for two in range(one, 13):
            known[f"What is {one} plus {two}?"] = str(one + two)
            known[f"What is {one} times {two}?"] = str(one * two)
            if two > one:
                known[f"What is {two} minus {one}?"] = str(two - one)
    questions = np.random.default_rng(seed).permutation(sorted(known)).tolist()
    prompts = tuple((INSTRUCTION, Message("user", question)) for question in questions)
    return Pairs(prompts, tuple(known[question] for question in questions), source="questions")
