"""Sentences to token ids, and a tokenizer trained on one's own sentences."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence

import torch
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from torch import Tensor

from geobridge.errors import ModelError, TextTooLongError
from geobridge.model.config import TextEncoderConfig

PAD, END, START = "<pad>", "<end>", "<start>"
"""Special tokens of a trained tokenizer; their ids are 0, 1 and 2."""


def train_tokenizer(texts: Iterable[str], vocab_size: int = 4096) -> Tokenizer:
    """Train a lower-casing byte-level BPE tokenizer.

    Bytes are its smallest tokens, so it encodes every text in every script.

    Args:
        texts: sentences to learn frequent parts from.
        vocab_size: upper bound of the vocabulary, at least 259 (256 bytes and three special).

    Returns:
        A tokenizer that wraps each sentence in start (2) and end (1); 0 is left for filling.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, END, START],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(START, 2), (END, 1)]
    )
    return tokenizer


def tokenize(
    tokenizer: Tokenizer, texts: Sequence[str], config: TextEncoderConfig, fixed_length: bool
) -> tuple[Tensor, Tensor]:
    """Encode sentences into one rectangle.

    Args:
        tokenizer: its own truncation and filling must be off.
        texts: B sentences.
        config: bounds and filling.
        fixed_length: fill up to `max_tokens` instead of the longest sentence.

    Returns:
        ids int64 (B, L) and mask int64 (B, L), 1 at real tokens.

    Raises:
        TextTooLongError: names the first sentence that does not fit.
        ModelError: an item is no string.
    """
    for text in texts:
        if not isinstance(text, str):
            raise ModelError(
                f"text to embed must be a sentence, not {type(text).__name__}: pass a list of str."
            )
    rows = [encoding.ids for encoding in tokenizer.encode_batch([_clean(text) for text in texts])]
    for text, row in zip(texts, rows, strict=True):
        if len(row) > config.max_tokens:
            raise TextTooLongError(
                f"the text {text[:60]!r}... has {len(row)} tokens and the model takes at most "
                f"{config.max_tokens}: shorten it to about "
                f"{len(text.split()) * config.max_tokens // len(row)} words."
            )
    length = config.max_tokens if fixed_length else max(map(len, rows), default=0)
    ids = torch.full((len(rows), length), config.pad_token_id, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for index, row in enumerate(rows):
        span = (
            slice(length - len(row), length) if config.padding_side == "left" else slice(len(row))
        )
        ids[index, span] = torch.tensor(row)
        mask[index, span] = 1
    return ids, mask


def shortened(tokenizer: Tokenizer, text: str, max_tokens: int) -> str:
    """The text, or as many of its first words as have at most `max_tokens` tokens.

    Args:
        tokenizer: its own truncation must be off.
        text: a sentence; where its first word alone is too long nothing is left of it.
        max_tokens: as in `TextEncoderConfig`, markers of start and end included.
    """

    def fits(part: str) -> bool:
        return len(tokenizer.encode(_clean(part)).ids) <= max_tokens

    if fits(text):
        return text
    words = text.split()
    # Words that come in last cannot make a text shorter, so the number that fits can be bisected.
    count = bisect_left(range(1, len(words)), True, key=lambda n: not fits(" ".join(words[:n])))
    return " ".join(words[:count])


def _clean(text: str) -> str:
    """Lone surrogates are no text in any encoding; they become "?" instead of an error."""
    return text.encode("utf-8", "replace").decode("utf-8")


def plain_tokenizer(tokenizer: Tokenizer) -> Tokenizer:
    """A copy without truncation and filling, which `tokenize` does itself."""
    copy = Tokenizer.from_str(tokenizer.to_str())
    copy.no_truncation()
    copy.no_padding()
    return copy
