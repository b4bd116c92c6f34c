"""Any OpenAI-compatible chat endpoint, asked for every answer once.

Hosted services, vLLM, Ollama and llama.cpp speak the same `POST {base_url}/chat/completions`
(https://platform.openai.com/docs/api-reference/chat). Repeats with growing pauses, and those that
a server asks for with Retry-After, are the `openai` client's. Answers lie in a folder by the
digest of everything that was asked (model, prompt, pictures), which says nothing of keys or
addresses; one that is there is never asked for again.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, ValidationError, field_validator

from geobridge.curation.http import read_secret
from geobridge.errors import CurationError, MissingExtraError
from geobridge.files import write_atomically
from geobridge.model.config import Settings

Message = Mapping[str, Any]
"""One of the messages of a chat, as the API takes it."""

# What comes back with status 200 and is no chat completion is asked for again so many times.
_GARBLED_REPEATS = 2
_LONGEST_REASON = 200


class EndpointConfig(Settings):
    """Which model is asked, and where.

    Attributes:
        base_url: of the API, such as `http://localhost:11434/v1` (Ollama), `http://localhost:8000/v1`
            (vLLM) or `https://api.openai.com/v1`.
        model: name of a model that takes pictures.
        key_variable: environment variable that holds the key; None where no key is needed.
        concurrency: requests under way at once.
        timeout_s: a request may take.
        retries: of a request that the server could not serve now.
        temperature: sent where given; some models take none.
        answer_tokens: longest answer.
        limit_name: what the longest answer is called: `max_tokens` by most servers,
            `max_completion_tokens` by the newer models of OpenAI.
    """

    base_url: str
    model: str = Field(min_length=1)
    key_variable: str | None = None
    concurrency: int = Field(default=4, ge=1)
    timeout_s: float = Field(default=120.0, gt=0)
    retries: int = Field(default=5, ge=0)
    temperature: float | None = Field(default=None, ge=0)
    answer_tokens: int = Field(default=300, ge=1)
    limit_name: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"

    @field_validator("base_url")
    @classmethod
    def _without_secrets(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("it must begin with http:// or https:// and name a host")
        if parts.username or parts.password or parts.query:
            raise ValueError("it must hold no key: name the variable with it in `key_variable`")
        return url


class Reply(BaseModel):
    """An answer as it is kept.

    Attributes:
        content: what was written; None where nothing was.
        refusal: why the model declines; None where it does not.
        finish_reason: `stop`; `length` where the answer was cut off; or another word.
        prompt_tokens: as counted by the server; None where it does not tell.
        answer_tokens: likewise.
    """

    content: str | None
    refusal: str | None = None
    finish_reason: str
    prompt_tokens: int | None = None
    answer_tokens: int | None = None


class RefusedRequestError(Exception):
    """The server does not take this request, whatever the time; the message is its reason."""


class Chat:
    """An endpoint with the answers it has given; to be used in a `with`, from any thread.

    Args:
        config: which endpoint.
        response_format: of every answer, as the API takes it.
        folder: of the answers.

    Raises:
        CurationError: the key is not in the environment.
        MissingExtraError: the client is not installed.
    """

    def __init__(
        self, config: EndpointConfig, response_format: Mapping[str, Any], folder: Path
    ) -> None:
        try:
            from openai import OpenAI
        except ImportError as error:
            raise MissingExtraError("Describing places", "openai", "curate") from error
        self._config = config
        self._response_format = response_format
        self._folder = folder
        self._key = read_secret(config.key_variable) if config.key_variable else None
        self._client = OpenAI(
            # The client insists on a key; servers without keys ignore it.
            api_key=self._key or "none",
            base_url=config.base_url,
            timeout=config.timeout_s,
            max_retries=config.retries,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.close()

    def ask(self, named: Sequence[Message], shown: Callable[[], Sequence[Message]]) -> Reply:
        """The answer to a chat: the one that is kept, or the server's, which is then kept.

        Args:
            named: the messages with names of their pictures' content in place of the pictures;
                what an answer is kept by.
            shown: gives the messages with the pictures themselves, as the API takes them.

        Raises:
            RefusedRequestError: the server takes other requests, but not this one.
            CurationError: the server cannot be reached, does not know us or the model, has no
                room for us for longer than we wait, or does not speak this API.
        """
        path = answer_path(self._folder, self._config, self._response_format, named)
        kept = read_answer(path)
        if kept is not None:
            return kept
        reply = self._post(_request(self._config, self._response_format, shown()))
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, reply.model_dump_json().encode())
        return reply

    def _post(self, body: Mapping[str, Any]) -> Reply:
        import openai

        for _ in range(_GARBLED_REPEATS + 1):
            try:
                reply = _reply(self._client.chat.completions.create(**body))
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                raise RefusedRequestError(self._reason(error)) from error
            except openai.APIResponseValidationError:
                reply = None
            except openai.APIStatusError as error:
                if error.status_code == 413:
                    raise RefusedRequestError(self._reason(error)) from error
                raise self._stopped(error) from error
            except openai.APIConnectionError as error:
                raise self._stopped(error) from error
            except ValueError:  # the body is cut off, or no JSON
                reply = None
            if reply is not None:
                return reply
        raise CurationError(
            f"{self._config.base_url} answers with something that is no chat completion: check "
            f"that `base_url` is that of an OpenAI-compatible API (most end in /v1)."
        )

    def _stopped(self, error: Exception) -> CurationError:
        import openai

        if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
            name = self._config.key_variable
            hint = f"check the key in {name}" if name else "name the key's `key_variable`"
        elif isinstance(error, openai.NotFoundError):
            hint = f"check `base_url` and the model's name {self._config.model!r}"
        else:
            hint = "what was answered is kept, so run the stage again when it can be reached"
        return CurationError(
            f"{self._config.base_url} did not answer ({self._reason(error)}): {hint}."
        )

    def _reason(self, error: Exception) -> str:
        """A server's words in one line, without the key that some repeat."""
        told = " ".join(str(error).split())
        if self._key:
            told = told.replace(self._key, "***")
        return told[:_LONGEST_REASON].rstrip(".")


def _request(
    config: EndpointConfig, response_format: Mapping[str, Any], messages: Sequence[Message]
) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": config.model,
        "messages": list(messages),
        "response_format": dict(response_format),
        config.limit_name: config.answer_tokens,
    }
    if config.temperature is not None:
        body["temperature"] = config.temperature
    return body


def answer_path(
    folder: Path,
    config: EndpointConfig,
    response_format: Mapping[str, Any],
    named: Sequence[Message],
) -> Path:
    """Where the answer to a chat is kept; arguments as those of `Chat`."""
    text = json.dumps(_request(config, response_format, named), sort_keys=True)
    return folder / f"{hashlib.sha256(text.encode()).hexdigest()}.json"


def read_answer(path: Path) -> Reply | None:
    """An answer that is kept; None where there is none."""
    try:
        return Reply.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def _reply(completion: Any) -> Reply | None:
    """What of a completion is kept; None where it is no completion."""
    try:
        choice = completion.choices[0]
        usage = completion.usage
        return Reply(
            content=choice.message.content,
            refusal=getattr(choice.message, "refusal", None),
            finish_reason=choice.finish_reason or "stop",
            prompt_tokens=usage.prompt_tokens if usage else None,
            answer_tokens=usage.completion_tokens if usage else None,
        )
    except (AttributeError, IndexError, TypeError, ValidationError):
        return None
