import pytest
from hypothesis import given
from hypothesis import strategies as st

from geobridge.errors import ModelError, TextTooLongError
from geobridge.model.config import TextEncoderConfig
from geobridge.model.tokens import plain_tokenizer, tokenize, train_tokenizer

WORDS = train_tokenizer(["a stadium by a river", "red roofs"] * 5, 300)
SETTINGS = TextEncoderConfig(kind="clip", max_tokens=12)


def test_a_sentence_is_wrapped_in_start_and_end():
    ids = WORDS.encode("a river").ids

    assert (ids[0], ids[-1]) == (2, 1)
    assert WORDS.decode(ids).strip() == "a river"


def test_case_and_width_of_letters_do_not_matter():
    assert WORDS.encode("A RIVER").ids == WORDS.encode("a river").ids
    assert WORDS.encode("\uff52iver").ids == WORDS.encode("river").ids  # full-width r


def test_frequent_words_take_fewer_tokens_than_their_letters():
    assert len(WORDS.encode("stadium").ids) < len("stadium")


def test_the_vocabulary_stays_within_its_bound():
    assert WORDS.get_vocab_size() <= 300


@given(st.text(alphabet=st.characters(exclude_categories=[]), max_size=20))
def test_every_unicode_string_is_encoded(text):
    settings = TextEncoderConfig(kind="clip", max_tokens=500)

    ids, mask = tokenize(WORDS, [text], settings, fixed_length=False)

    assert ids.shape == mask.shape
    assert ids[0, 0] == 2
    assert (ids < WORDS.get_vocab_size()).all()


def test_short_sentences_are_filled_up_to_the_longest():
    ids, mask = tokenize(WORDS, ["", "a"], SETTINGS, fixed_length=False)

    assert ids[0].tolist() == [2, 1, 0]
    assert mask.tolist() == [[1, 1, 0], [1, 1, 1]]


def test_filling_may_go_to_the_left_and_to_a_fixed_length():
    settings = TextEncoderConfig(kind="siglip", max_tokens=5, pad_token_id=7, padding_side="left")

    ids, mask = tokenize(WORDS, [""], settings, fixed_length=True)

    assert ids.tolist() == [[7, 7, 7, 2, 1]]
    assert mask.tolist() == [[0, 0, 0, 1, 1]]


def test_a_sentence_of_exactly_the_bound_fits_and_one_more_does_not():
    # Start, ten digits that never met each other in training, end: twelve tokens.
    fits, too_long = "a" + "0123456789"[:9], "a0123456789"
    assert len(WORDS.encode(fits).ids) == 12
    tokenize(WORDS, [fits], SETTINGS, fixed_length=False)

    with pytest.raises(TextTooLongError, match=r"'a0123456789'.* has 13 tokens .* at most 12"):
        tokenize(WORDS, ["a", too_long], SETTINGS, fixed_length=False)


def test_something_that_is_no_text_is_refused():
    with pytest.raises(ModelError, match="must be a sentence, not int"):
        tokenize(WORDS, [3], SETTINGS, fixed_length=False)


def test_the_limits_a_tokenizer_came_with_do_not_cut_sentences():
    limited = train_tokenizer(["a b c d e"], 300)
    limited.enable_truncation(3)
    limited.enable_padding(length=9)

    assert len(plain_tokenizer(limited).encode("a b c d e").ids) == 7
