"""What Gemini checks of a request: its fields before anything is run, its meaning when it is run.

Source: ai.google.dev/api/generate-content and .../embeddings; how a file's wrong field is refused (at the create call,
all wrong lines at once) is known from UKGovernmentBEIS/inspect_ai issue 3257 only.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from batchline.emulator.errors import ApiError
from batchline.emulator.prompts import Prompt, digest_of, tokens_of
from batchline.emulator.wire import decode_object

MAX_PROBLEMS = 100  # ours: how many lines the refusal of a file names is not known

_GENERATE = (
    *("contents", "tools", "toolConfig", "safetySettings", "systemInstruction", "generationConfig"),
    *("cachedContent", "model", "labels", "serviceTier", "store", "continuationToken"),
)
_CONFIG = (
    *("temperature", "topP", "topK", "candidateCount", "maxOutputTokens", "stopSequences", "seed"),
    *("responseLogprobs", "logprobs", "presencePenalty", "frequencyPenalty", "responseMimeType", "responseSchema"),
    *("responseJsonSchema", "responseModalities", "mediaResolution", "speechConfig", "thinkingConfig", "imageConfig"),
    *("enableEnhancedCivicAnswers", "audioTranscriptionConfig", "responseFormat", "translationConfig"),
)
_EMBED = ("content", "model", "taskType", "title", "outputDimensionality", "autoTruncate", "embedContentConfig")


@cache
def _snake(name: str) -> str:
    return re.sub(r"([A-Z])", r"_\1", name).lower()


def _both(names: Iterable[str]) -> frozenset[str]:
    """Return the names as JSON spells them and as protocol buffers do: Google's parser takes both."""
    return frozenset(spelt for name in names for spelt in (name, _snake(name)))


GENERATE_FIELDS, CONFIG_FIELDS, EMBED_FIELDS = _both(_GENERATE), _both(_CONFIG), _both(_EMBED)
NOT_JSON = "invalid JSON, near column 1: unexpected token"
LINE_FIELDS = frozenset({"key", "request", "metadata"})


@dataclass(slots=True)
class Scan:
    """What a look at a batch's requests found; `problems` by 1-based line, the first 100."""

    total: int = 0
    tokens: int = 0
    problems: dict[int, str] = field(default_factory=dict)
    not_json: bool = False

    def text(self) -> str:
        """Return the refusal's message: one line of text for each wrong line."""
        return "\n".join(f"Error on line {number}: {problem}" for number, problem in self.problems.items())


def scan(lines: Iterable[tuple[int, bytes]], model: str, *, embeds: bool) -> Scan:
    """Look at every line of a batch's input."""
    found = Scan()
    for number, line in lines:
        if not line.strip():
            continue
        found.total += 1
        row = decode_object(line)
        problem = line_problem(row, line, embeds=embeds)
        if problem is not None:
            found.not_json |= problem == NOT_JSON
            if len(found.problems) < MAX_PROBLEMS:
                found.problems[number] = problem
            continue
        found.tokens += _tokens(row, model, embeds=embeds)
    return found


def line_problem(row: dict[str, Any] | None, line: bytes, *, embeds: bool) -> str | None:
    """Return why Google's parser would not take `line`, which reads `row` (None: no JSON object), or None."""
    if row is None:
        return NOT_JSON
    if not isinstance(row.get("request"), dict):
        return "request is required"
    name = next((name for name in row if name not in LINE_FIELDS), None) or unknown_field(row["request"], embeds=embeds)
    if name is None:
        return None
    where = name.rpartition(".")[2]
    column = line.find(f'"{where}"'.encode()) + 1
    return f"invalid JSON, near column {column}: no such field: '{where}'"


def unknown_field(request: dict[str, Any], *, embeds: bool) -> str | None:
    """Return the first field that the API does not have, by its path; None when there is none.

    Only the request itself and its generationConfig are looked at.
    """
    fields = EMBED_FIELDS if embeds else GENERATE_FIELDS
    for name in request:
        if name not in fields:
            return name
    config = named(request, "generationConfig")
    if isinstance(config, dict):
        for name in config:
            if name not in CONFIG_FIELDS:
                return f"generation_config.{name}"
    return None


def read_request(model: str, request: dict[str, Any], *, embeds: bool) -> Prompt:
    """Return what `request` asks; its user's message is the last content of the user.

    Raises ApiError (400, or 403 for a cache that is not there) with the API's text.
    """
    if embeds:
        text = content_text(request.get("content"))
        if not text:
            raise ApiError(400, "* EmbedContentRequest.content: contents is not specified\n")
        return Prompt(model, (text,), "", tokens_of(text), digest_of(text))
    contents = request.get("contents")
    if not isinstance(contents, list) or not contents:
        raise ApiError(400, "* GenerateContentRequest.contents: contents is not specified\n")
    _check_cache(request)
    system = content_text(named(request, "systemInstruction"))
    user, others, tokens = "", [system], tokens_of(system)
    for content in contents:
        text = content_text(content)
        tokens += tokens_of(text)
        if isinstance(content, dict) and content.get("role", "user") == "user":
            user = text
        else:
            others.append(text)
    return Prompt(model, (user,), "\n".join(others), tokens, digest_of(user))


def named(request: dict[str, Any], name: str) -> Any:
    """Return a field by its JSON name, however it is spelt."""
    return request.get(name, request.get(_snake(name)))


def content_text(content: Any) -> str:
    """Return the text of a content: that of its parts put together."""
    if isinstance(content, str):
        return content
    parts = content.get("parts") if isinstance(content, dict) else None
    texts = (part.get("text") for part in _parts(parts))
    return "".join(text for text in texts if isinstance(text, str))


def _parts(parts: Any) -> Iterator[dict[str, Any]]:
    if isinstance(parts, dict):
        yield parts
    elif isinstance(parts, list):
        yield from (part for part in parts if isinstance(part, dict))


def _check_cache(request: dict[str, Any]) -> None:
    if named(request, "cachedContent") is None:
        return
    if any(named(request, name) for name in ("systemInstruction", "tools", "toolConfig")):
        message = "CachedContent can not be used with GenerateContent request setting system_instruction, tools or "
        raise ApiError(400, message + "tool_config.\n\nProposed fix: move those values to CachedContent.")
    raise ApiError(403, "CachedContent not found (or permission denied)")


def _tokens(row: dict[str, Any] | None, model: str, *, embeds: bool) -> int:
    try:
        return read_request(model, (row or {})["request"], embeds=embeds).input_tokens
    except ApiError:
        return 0  # refused when it is run
