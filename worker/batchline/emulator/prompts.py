"""Reading a request body: the user's message, its hash, and the size of the prompt in tokens."""

import hashlib
import math
from typing import Any, NamedTuple

import msgspec

from batchline.emulator.errors import ApiError

CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"
EMBEDDINGS = "/v1/embeddings"
COMPLETIONS = "/v1/completions"
MODERATIONS = "/v1/moderations"
MESSAGES = "/v1/messages"

# What a body must have. A moderation's model has a default.
REQUIRED: dict[str, tuple[str, ...]] = {
    CHAT: ("model", "messages"),
    RESPONSES: ("model", "input"),
    EMBEDDINGS: ("model", "input"),
    COMPLETIONS: ("model", "prompt"),
    MODERATIONS: ("input",),
}
BYTES_PER_TOKEN = 4
DEFAULT_MODERATION_MODEL = "omni-moderation-latest"


class CacheUse(NamedTuple):
    """How many of a prompt's tokens a cache had already, and how many were written to it for 5 minutes or 1 hour."""

    read: int = 0
    written_5m: int = 0
    written_1h: int = 0


class Prompt(NamedTuple):
    """One request's user message (one text per embedding input), and all input in tokens."""

    model: str
    texts: tuple[str, ...]
    system: str
    input_tokens: int
    digest: str  # SHA-256 of the user's message in hex
    cache: CacheUse = CacheUse()

    @property
    def text(self) -> str:
        """The user's message; an embedding's first input."""
        return self.texts[0]


def digest_of(text: str) -> str:
    """Return the SHA-256 of a message in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def tokens_of(text: str) -> int:
    """Return a text's size in tokens: a quarter of its UTF-8 bytes, rounded up."""
    size = len(text) if text.isascii() else len(text.encode())
    return -(-size // BYTES_PER_TOKEN)


def model_of(endpoint: str, body: dict[str, Any]) -> Any:
    """Return the body's model as it stands there, or the endpoint's default."""
    return body.get("model", DEFAULT_MODERATION_MODEL if endpoint == MODERATIONS else None)


def read_prompt(endpoint: str, body: dict[str, Any], bytes_per_token: float = BYTES_PER_TOKEN) -> Prompt:
    """Return what `body` asks; `bytes_per_token` of its text make one token of input.

    Raises ApiError (400) when the prompt has another type than the endpoint takes.
    """
    prompt = _read_prompt(endpoint, body)
    if bytes_per_token == BYTES_PER_TOKEN:
        return prompt
    return prompt._replace(input_tokens=math.ceil(prompt.input_tokens * BYTES_PER_TOKEN / bytes_per_token))


def _read_prompt(endpoint: str, body: dict[str, Any]) -> Prompt:
    model = model_of(endpoint, body)
    if not isinstance(model, str) or not model:
        raise ApiError(400, "Invalid type for 'model': expected a string.", code="invalid_type", param="model")
    if endpoint in (CHAT, MESSAGES):
        return _read_messages(model, body.get("messages"), _content_text(body.get("system")), "messages")
    if endpoint == RESPONSES:
        return _read_response_input(model, body)
    name = "prompt" if endpoint == COMPLETIONS else "input"
    texts = _inputs(body.get(name), name)
    return Prompt(model, texts, "", sum(map(tokens_of, texts)), digest_of(texts[0]))


def whole_text(endpoint: str, body: dict[str, Any]) -> str:
    """Return the whole prompt of a chat or response, each message with its role, in the order in which it is read."""
    given = body.get("messages" if endpoint == CHAT else "input")
    parts = [_content_text(body.get("instructions"))] if endpoint == RESPONSES else []
    if isinstance(given, str):
        return "\n".join([*parts, given])
    messages = given if isinstance(given, list) else []
    texts = ((message.get("role"), message.get("content")) for message in messages if isinstance(message, dict))
    return "\n".join([*parts, *(f"{role}\n{_content_text(content)}" for role, content in texts)])


def _read_response_input(model: str, body: dict[str, Any]) -> Prompt:
    given = body.get("input")
    system = _content_text(body.get("instructions"))
    if isinstance(given, str):
        return Prompt(model, (given,), system, tokens_of(given) + tokens_of(system), digest_of(given))
    return _read_messages(model, given, system, "input")


def _read_messages(model: str, messages: Any, system: str, param: str) -> Prompt:
    if not isinstance(messages, list) or not messages:
        message = f"Invalid '{param}': expected a list with at least one message."
        raise ApiError(400, message, code="invalid_type", param=param)
    user, others, tokens = "", [system], tokens_of(system)
    for message in messages:
        if not isinstance(message, dict):
            raise ApiError(400, f"Invalid type for '{param}[]': expected an object.", code="invalid_type", param=param)
        text = _content_text(message.get("content"))
        tokens += tokens_of(text)
        if message.get("role") == "user":
            user = text
        else:
            others.append(text)
    return Prompt(model, (user,), "\n".join(others), tokens, digest_of(user))


def _content_text(content: Any) -> str:
    """Return the text of a message: a string, or the text parts of a list put together."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts = (part.get("text") for part in content if isinstance(part, dict))
    return "".join(text for text in texts if isinstance(text, str))


def _inputs(value: Any, param: str) -> tuple[str, ...]:
    """Return the inputs of an embedding, completion or moderation; token ids and parts are kept as JSON text."""
    if isinstance(value, str) and value:
        return (value,)
    if isinstance(value, list) and value:
        if all(isinstance(item, int) for item in value):
            return (_json_text(value),)
        return tuple(item if isinstance(item, str) else _json_text(item) for item in value)
    raise ApiError(400, f"Invalid '{param}': expected a string or a list.", code="invalid_type", param=param)


def _json_text(value: Any) -> str:
    return msgspec.json.encode(value).decode()
