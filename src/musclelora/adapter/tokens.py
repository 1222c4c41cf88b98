"""A tokenizer that fits its model, and texts as token ids."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tokenizers import Tokenizer as Backend
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from musclelora.adapter.presets import is_decoder
from musclelora.errors import ModelError


def fit_tokenizer(name: str, tokenizer: Tokenizer, model: PreTrainedModel) -> None:
    """Check that a tokenizer is the model's, and settle how its texts are padded.

    A decoder's tokenizer pads on the right, with its end token where it has no other, and the model's
    configuration names the same token: a decoder classifies by the last token of a text that is not padding.
    On the left it would matter where a text begins: GPT-2 counts its positions from the first token of a
    row, padding or not.

    Its ids are checked (:func:`check_ids`), and added tokens that the model does not know are taken out.

    Args:
        name: the model's, for messages.
        tokenizer: altered in place.
        model: its configuration is altered in place.

    Raises:
        ModelError: there is no tokenizer, none with a token to pad with, or its ids are not all the model's.
    """
    entries = model.get_input_embeddings().weight.shape[0]
    check_ids(name, tokenizer, entries)
    decoder = is_decoder(model.config)
    if decoder:
        tokenizer.padding_side = "right"
        if tokenizer.pad_token_id is None and tokenizer.eos_token_id is None:
            raise ModelError(
                f"{name}: its tokenizer has neither a padding token nor an end token, expected one of them; "
                "set one and save the tokenizer beside the model"
            )
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
    pad = tokenizer.pad_token_id
    if pad is None or pad >= entries:
        found = (
            "no padding token"
            if pad is None
            else f"the padding token {pad}, past the model's {entries} entries"
        )
        raise ModelError(
            f"{name}: its tokenizer has {found}, expected one that the model knows; "
            "set one and save the tokenizer beside the model"
        )
    forget_from(entries, tokenizer)
    config = model.config.get_text_config()
    if decoder or getattr(config, "pad_token_id", None) is None:
        config.pad_token_id = pad


def check_ids(name: str, tokenizer: Tokenizer, entries: int) -> None:
    """Check that a tokenizer gives no ids but the model's, or added ones that :func:`forget_from` takes out.

    Args:
        name: the model's, for messages.
        tokenizer: the one that was loaded with it.
        entries: of the model's embedding.

    Raises:
        ModelError: there is no tokenizer, or its ids are not all the model's.
    """
    # Without its files transformers makes one up, to which every word is unknown.
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        raise ModelError(f"{name}: no tokenizer in it, expected one; save the model's tokenizer beside it")
    largest = _largest_id(tokenizer)
    if largest >= entries:
        raise ModelError(
            f"{name}: its tokenizer gives ids up to {largest} and the model has {entries} entries, expected "
            "as many at least; save the tokenizer that the model was trained with beside it"
        )


def tokenize(texts: Sequence[str], tokenizer: Tokenizer, max_length: int) -> dict[str, Any]:
    """Token ids and masks of each text, unpadded, and under ``truncated`` how many had to be cut.

    A text that its tokenizer has no token for, as GPT-2's has none for an empty one, becomes a start or end
    token: a row of padding alone has nothing to attend to.
    """
    encoded = tokenizer(list(texts), truncation=True, max_length=max_length)
    if encoded.is_fast:
        truncated = sum(bool(encoding.overflowing) for encoding in encoded.encodings)
    else:
        truncated = sum(
            len(ids) > max_length for ids in tokenizer(list(texts), truncation=False)["input_ids"]
        )
    columns: dict[str, Any] = dict(encoded.data)
    for row, ids in enumerate(columns["input_ids"]):
        if not ids:
            for name, column in columns.items():
                column[row] = [_FILLED.get(name, _stand_in(tokenizer))]
    return {**columns, "truncated": truncated}


_FILLED = {"attention_mask": 1, "token_type_ids": 0}


def _stand_in(tokenizer: Tokenizer) -> int:
    """The token of a text without any."""
    known = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    return next(int(token) for token in known if token is not None)


def forget_from(entries: int, tokenizer: Tokenizer) -> None:
    """Take out the added tokens with ids from `entries` on; transformers has no way to.

    A text that spells one out, as anyone may, is then the words that it is spelled with.
    """
    if not tokenizer.is_fast or max(tokenizer.added_tokens_decoder, default=0) < entries:
        return
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    state["added_tokens"] = [token for token in state["added_tokens"] if token["id"] < entries]
    tokenizer._tokenizer = Backend.from_str(json.dumps(state))


def _largest_id(tokenizer: Tokenizer) -> int:
    """Of the ids that a text gets: added tokens count only where they are put around every text.

    Some tokenizers hold tokens of a larger relative of their model, such as one that stands for an image.
    """
    added = tokenizer.added_tokens_decoder
    own = (token for token in tokenizer.get_vocab().values() if token not in added)
    return max((*own, *tokenizer("")["input_ids"]), default=0)
