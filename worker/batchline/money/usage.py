"""What a response says was used, read from the provider's own form. Everything else in the body is skipped. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Annotated, Any, NoReturn

import msgspec

_MOST = 10**12
_Count = Annotated[int, msgspec.Meta(ge=0, le=_MOST)]
_Digits = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,12}$")]
"""A count as Google writes 64-bit numbers."""


_Read = Callable[[bytes | msgspec.Raw], "Tokens"]


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """What a response says was used, as it is priced. ``input`` counts all input; the other inputs are shares of it.

    ``cache_write`` includes ``cache_write_1h``, which is kept for an hour (Anthropic) or for twelve (OpenAI). ``output`` includes
    reasoning. ``modal`` are the shares of input, cache and output that are no text, by the price library's names
    (``input_audio_tokens``). ``web_searches`` and ``file_searches`` are calls, at Google queries. ``us_only``: Anthropic ran it in the
    United States on request. ``summed``: of several prompts, whose single lengths are not known.
    """

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    modal: tuple[tuple[str, int], ...] = ()
    web_searches: int = 0
    file_searches: int = 0
    us_only: bool = False
    summed: bool = False

    def unread(self) -> Tokens:
        """Return the same usage with nothing read from the cache."""
        modal = tuple((name, 0 if name.startswith("cache_") else count) for name, count in self.modal)
        return msgspec.structs.replace(self, cache_read=0, modal=modal)

    def unwritten(self) -> Tokens:
        """Return the same usage with nothing written into the cache."""
        return msgspec.structs.replace(self, cache_write=0, cache_write_1h=0)


def _unknown(what: str) -> NoReturn:
    """Refuse usage that has a price which nothing here tells: unpriced, never free."""
    raise msgspec.ValidationError(what)


# --- the OpenAI shape: OpenAI, Azure, Groq, vLLM and others ---


class _WriteDetails(msgspec.Struct, frozen=True):
    ttl_12h_tokens: _Count | None = None


class _Details(msgspec.Struct, frozen=True):
    cached_tokens: _Count | None = None
    cache_write_tokens: _Count | None = None
    cache_write_tokens_details: _WriteDetails | None = None
    audio_tokens: _Count | None = None

    @property
    def long_writes(self) -> int:
        details = self.cache_write_tokens_details
        return (details.ttl_12h_tokens or 0) if details else 0


class _ChatUsage(msgspec.Struct, frozen=True):
    prompt_tokens: _Count
    completion_tokens: _Count | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None


class _Chat(msgspec.Struct, frozen=True):
    usage: _ChatUsage


class _ResponsesUsage(msgspec.Struct, frozen=True):
    input_tokens: _Count
    output_tokens: _Count
    input_tokens_details: _Details | None = None


class _Action(msgspec.Struct, frozen=True):
    type: str | None = None


class _Item(msgspec.Struct, frozen=True):
    type: str | None = None
    action: _Action | None = None


class _Searches(msgspec.Struct, frozen=True):
    num_requests: _Count


class _Images(msgspec.Struct, frozen=True):
    input_tokens: _Count | None = None
    output_tokens: _Count | None = None
    total_tokens: _Count | None = None


class _ToolUsage(msgspec.Struct, frozen=True):
    web_search: _Searches | None = None
    image_gen: _Images | None = None


class _Responses(msgspec.Struct, frozen=True):
    usage: _ResponsesUsage
    output: list[_Item] | None = None
    tool_usage: _ToolUsage | None = None


_NO_DETAILS = _Details()
_NO_TOOLS = _ToolUsage()
_OTHERWISE_PAID = frozenset({"code_interpreter_call", "image_generation_call"})
"""Calls that are paid by the container or by another model's tokens. Source: developers.openai.com/api/docs/pricing"""


def _chat(body: _Chat) -> Tokens:
    usage = body.usage
    prompt = usage.prompt_tokens_details or _NO_DETAILS
    audio = {
        "input_audio_tokens": prompt.audio_tokens,
        "output_audio_tokens": (usage.completion_tokens_details or _NO_DETAILS).audio_tokens,
    }
    return Tokens(
        input=usage.prompt_tokens,
        output=usage.completion_tokens or 0,
        cache_read=prompt.cached_tokens or 0,
        cache_write=prompt.cache_write_tokens or 0,
        cache_write_1h=prompt.long_writes,
        modal=tuple((name, count) for name, count in audio.items() if count),
    )


def _responses(body: _Responses) -> Tokens:
    usage = body.usage
    details = usage.input_tokens_details or _NO_DETAILS
    tools, items = body.tool_usage or _NO_TOOLS, body.output or ()
    images = tools.image_gen
    if images and (images.input_tokens or images.output_tokens or images.total_tokens):
        _unknown("the tokens of another model, which made images")
    if any(item.type in _OTHERWISE_PAID for item in items):
        _unknown("a tool whose fee is not told")
    return Tokens(
        input=usage.input_tokens,
        output=usage.output_tokens,
        cache_read=details.cached_tokens or 0,
        cache_write=details.cache_write_tokens or 0,
        cache_write_1h=details.long_writes,
        web_searches=tools.web_search.num_requests if tools.web_search else sum(map(_is_search, items)),
        file_searches=sum(item.type == "file_search_call" for item in items),
    )


def _is_search(item: _Item) -> bool:
    """Tell whether an item is a web search that is paid; opening a page and searching in it are free actions of such calls.

    For answers that do not tell themselves how many are billed (``tool_usage``).

    Source: developers.openai.com/api/docs/guides/tools-web-search
    """
    return item.type == "web_search_call" and (item.action is None or item.action.type in (None, "search"))


# --- Anthropic ---


class _CacheCreation(msgspec.Struct, frozen=True):
    ephemeral_1h_input_tokens: _Count | None = None


class _ServerTools(msgspec.Struct, frozen=True):
    web_search_requests: _Count | None = None


class _Sampled(msgspec.Struct, frozen=True):
    input_tokens: _Count
    output_tokens: _Count
    cache_creation_input_tokens: _Count | None = None
    cache_read_input_tokens: _Count | None = None
    cache_creation: _CacheCreation | None = None

    @property
    def long_writes(self) -> int:
        return self.cache_creation.ephemeral_1h_input_tokens or 0 if self.cache_creation else 0


class _Iteration(_Sampled, frozen=True):
    type: str | None = None


class _AnthropicUsage(_Sampled, frozen=True):
    server_tool_use: _ServerTools | None = None
    inference_geo: str | None = None
    iterations: list[_Iteration] | None = None


class _Anthropic(msgspec.Struct, frozen=True):
    usage: _AnthropicUsage


def _anthropic(body: _Anthropic) -> Tokens:
    # Unlike OpenAI's, these input tokens leave cached ones out; and what compactions used is in none of the sums.
    # Source: platform.claude.com/docs/en/build-with-claude/compaction
    usage = body.usage
    compactions = _compactions(usage.iterations or ())
    every: list[_Sampled] = [usage, *compactions]
    write = sum(each.cache_creation_input_tokens or 0 for each in every)
    read = sum(each.cache_read_input_tokens or 0 for each in every)
    return Tokens(
        input=sum(each.input_tokens for each in every) + write + read,
        output=sum(each.output_tokens for each in every),
        cache_read=read,
        cache_write=write,
        cache_write_1h=sum(each.long_writes for each in every),
        web_searches=usage.server_tool_use.web_search_requests or 0 if usage.server_tool_use else 0,
        us_only=usage.inference_geo == "us",
        summed=bool(compactions),
    )


def _compactions(iterations: Iterable[_Iteration]) -> list[_Iteration]:
    # Of the other types, an advisor's and a fallback's are of another model, at its own price.
    if any(each.type not in ("message", "compaction") for each in iterations):
        _unknown("what another model did")
    return [each for each in iterations if each.type == "compaction"]


# --- Google ---


class _Modality(msgspec.Struct, frozen=True, rename="camel"):
    modality: str = "TEXT"
    token_count: _Count = 0


_Modalities = tuple[_Modality, ...] | None


class _GoogleUsage(msgspec.Struct, frozen=True, rename="camel"):
    prompt_token_count: _Count | None = None
    cached_content_token_count: _Count | None = None
    candidates_token_count: _Count | None = None
    thoughts_token_count: _Count | None = None
    tool_use_prompt_token_count: _Count | None = None
    prompt_tokens_details: _Modalities = None
    cache_tokens_details: _Modalities = None
    candidates_tokens_details: _Modalities = None
    tool_use_prompt_tokens_details: _Modalities = None


class _Chunk(msgspec.Struct, frozen=True):
    maps: Any = None


class _Grounding(msgspec.Struct, frozen=True, rename="camel"):
    web_search_queries: list[str] | None = None
    image_search_queries: list[str] | None = None
    grounding_chunks: list[_Chunk] | None = None


class _Candidate(msgspec.Struct, frozen=True, rename="camel"):
    grounding_metadata: _Grounding | None = None


class _Generated(msgspec.Struct, frozen=True, rename="camel"):
    usage_metadata: _GoogleUsage
    candidates: list[_Candidate] | None = None


class _Embedded(msgspec.Struct, frozen=True, rename="camel"):
    usage_metadata: _GoogleUsage | None = None
    token_count: _Count | _Digits | None = None


_MODALITIES = {"AUDIO": "audio", "IMAGE": "image", "DOCUMENT": "image", "VIDEO": "video"}
"""Google's names → the price library's; documents are priced as images are."""


def _generated(body: _Generated) -> Tokens:
    # Thoughts are billed as output and are not among the candidates; what tools bring is billed as input.
    # Source: ai.google.dev/gemini-api/docs/pricing, ai.google.dev/api/generate-content#UsageMetadata
    usage = body.usage_metadata
    return Tokens(
        input=(usage.prompt_token_count or 0) + (usage.tool_use_prompt_token_count or 0),
        output=(usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0),
        cache_read=usage.cached_content_token_count or 0,
        modal=_modal(usage),
        web_searches=_searches([each.grounding_metadata for each in body.candidates or () if each.grounding_metadata]),
    )


def _searches(groundings: list[_Grounding]) -> int:
    """Count the queries to Google Search that are billed: each once, empty ones not at all.

    What is grounded without telling its queries, or by Google Maps, has a fee that is not known here.
    Source: ai.google.dev/gemini-api/docs/google-search#pricing
    """
    chunks = [chunk for each in groundings for chunk in each.grounding_chunks or ()]
    web = {query for each in groundings for query in each.web_search_queries or () if query.strip()}
    images = {query for each in groundings for query in each.image_search_queries or () if query.strip()}
    if any(chunk.maps is not None for chunk in chunks) or (chunks and not web and not images):
        _unknown("grounding whose fee is not told")
    return len(web) + len(images)


def _modal(usage: _GoogleUsage) -> tuple[tuple[str, int], ...]:
    given = _by_modality(usage.prompt_tokens_details, usage.tool_use_prompt_tokens_details)
    written = _by_modality(usage.candidates_tokens_details)
    read = _by_modality(usage.cache_tokens_details)
    counts = {f"input_{name}_tokens": count for name, count in given.items()}
    counts |= {f"output_{name}_tokens": count for name, count in written.items()}
    if not usage.cached_content_token_count or usage.cache_tokens_details is not None:
        # That none of the audio was in the cache is told, and not merely unknown.
        counts |= {f"cache_{name}_read_tokens": read.get(name, 0) for name in given}
    return tuple(counts.items())


def _by_modality(*details: _Modalities) -> dict[str, int]:
    counts: dict[str, int] = {}
    for each in (each for some in details for each in some or ()):
        name = _MODALITIES.get(each.modality)
        if name and each.token_count:
            counts[name] = counts.get(name, 0) + each.token_count
    return counts


_SNAKE = re.compile(rb'"[a-z_]+_(?:metadata|counts?|details|queries|chunks)"')
"""Google's fields under protobuf's own names, which its JSON may have instead of those in camelCase."""


def _google(shape: type[Any], tokens: Callable[[Any], Tokens]) -> _Read:
    decode = msgspec.json.Decoder(shape, strict=False).decode  # 64-bit numbers are written as text

    def read(body: bytes | msgspec.Raw) -> Tokens:
        if _SNAKE.search(body) is None:
            return tokens(decode(body))
        return tokens(msgspec.convert(_in_camel_case(msgspec.json.decode(body)), shape, strict=False))

    return read


def _in_camel_case(value: Any) -> Any:
    if isinstance(value, list):
        return [_in_camel_case(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {re.sub("_([a-z])", lambda found: found[1].upper(), name): _in_camel_case(of) for name, of in value.items()}


def _embedded(body: _Embedded) -> Tokens:
    if body.usage_metadata is not None:
        return _generated(_Generated(body.usage_metadata))
    if body.token_count is None:
        raise msgspec.ValidationError("no count of tokens")
    return Tokens(input=int(body.token_count))


# --- all of them ---


def _reader(shape: type[Any], tokens: Callable[[Any], Tokens]) -> _Read:
    decode = msgspec.json.Decoder(shape).decode
    return lambda body: tokens(decode(body))


_OPENAI_SHAPE: dict[str, _Read] = {
    "chat": _reader(_Chat, _chat),
    "default": _reader(_Chat, _chat),
    "embeddings": _reader(_Chat, _chat),
    "responses": _reader(_Responses, _responses),
    "moderations": lambda _: Tokens(),  # free of charge, and its responses carry no usage
}
_READERS: dict[str, dict[str, _Read]] = {
    "anthropic": {"default": _reader(_Anthropic, _anthropic)},
    "google": {"generate": _google(_Generated, _generated), "embed": _google(_Embedded, _embedded)},
}
"""All others are of the OpenAI shape, at whosever prices."""


def read_tokens(provider: str, flavor: str, body: bytes | msgspec.Raw) -> Tokens | None:
    """Return what a response body says was used; None when it does not say, or not in the provider's form.

    Raises KeyError for a flavor that the provider does not have.
    """
    read = _READERS.get(provider, {}).get(flavor) or _OPENAI_SHAPE[flavor]
    try:
        return read(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
