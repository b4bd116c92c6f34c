"""What an answer must be before it is a place's anchor: its form, its length and its words."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from geobridge.errors import CurationError

PROMPTS = Path(__file__).parent / "prompts"

# Below this a sentence says nothing of a place.
_FEWEST_WORDS = 8


class Answer(BaseModel):
    """The object that a chat endpoint has to answer with."""

    model_config = ConfigDict(extra="forbid", strict=True)

    description: str = Field(description="Two or three sentences about the place.")


RESPONSE_FORMAT: dict[str, Any] = {
    "type": "json_schema",
    "json_schema": {"name": "place", "strict": True, "schema": Answer.model_json_schema()},
}
"""What an endpoint is told of `Answer`, in the words of the chat completions API
(https://platform.openai.com/docs/guides/structured-outputs)."""


class Vocabulary:
    """Words that a view-invariant description may not have.

    Args:
        lines: of a file as `prompts/transient.txt`.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        words = [line.strip() for line in lines]
        words = [word for word in words if word and not word.startswith("#")]
        self._allowed = _pattern(word[1:].strip() for word in words if word.startswith("="))
        self._refused = _pattern(word for word in words if not word.startswith("="))

    def found(self, text: str) -> list[str]:
        """The words that a text should not have, in lower case, each once, in their order."""
        rest = self._allowed.sub(" | ", text)
        return list(dict.fromkeys(hit.group().lower() for hit in self._refused.finditer(rest)))


def _pattern(words: Iterable[str]) -> re.Pattern[str]:
    # Longer ones first, so that "left side" is told rather than "left".
    parts = sorted({re.escape(word) for word in words}, key=lambda part: (-len(part), part))
    return re.compile(rf"(?<![\w-])(?:{'|'.join(parts) or '(?!)'})s?(?![\w-])", re.IGNORECASE)


def read_vocabulary(path: Path | None) -> Vocabulary:
    """The words of a file; without one, those of `prompts/transient.txt`.

    Raises:
        CurationError: the file cannot be read.
    """
    return Vocabulary(read_prompt(path or PROMPTS / "transient.txt").splitlines())


def read_prompt(path: Path | None) -> str:
    """The text of a prompt; without a path, of `prompts/anchor.txt`.

    Raises:
        CurationError: the file cannot be read, or is empty.
    """
    path = path or PROMPTS / "anchor.txt"
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CurationError(f"{path} cannot be read ({error}): give a text file.") from error
    if not text:
        raise CurationError(f"{path} is empty: write what a model is to be told.")
    return text


def parse(content: str) -> str:
    """The description in an answer, its blanks tidied.

    Raises:
        ValueError: the answer is not what was asked for; the message can be sent back.
    """
    try:
        answer = Answer.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(
            f"it is not a JSON object with one text named description ({first['msg']})"
        ) from None
    return " ".join(answer.description.split())


def complaint(text: str, vocabulary: Vocabulary, most_words: int) -> str | None:
    """What is wrong with the words of a description; None where nothing is."""
    count = len(text.split())
    if count > most_words:
        return f"it has {count} words, more than {most_words}"
    if count < _FEWEST_WORDS:
        return f"it has {count} words, which is too few to tell a place by"
    found = vocabulary.found(text)
    if found:
        return f"it says {', '.join(map(repr, found))}, which not every view shows every day"
    return None
