"""What a response says was used, read from the provider's own form. Everything else in the body is skipped. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from batchline.money import google
from batchline.money.tokens import Tokens, unknown
from batchline.requests import TokenCount

_Read = Callable[[bytes | msgspec.Raw], Tokens]


# --- the OpenAI shape: OpenAI, Azure, Groq, vLLM and others ---


class _WriteDetails(msgspec.Struct, frozen=True):
    ttl_12h_tokens: TokenCount | None = None


class _Details(msgspec.Struct, frozen=True):
    cached_tokens: TokenCount | None = None
    cache_write_tokens: TokenCount | None = None
    cache_write_tokens_details: _WriteDetails | None = None
    audio_tokens: TokenCount | None = None

    @property
    def long_writes(self) -> int:
        details = self.cache_write_tokens_details
        return (details.ttl_12h_tokens or 0) if details else 0


class _ChatUsage(msgspec.Struct, frozen=True):
    prompt_tokens: TokenCount
    completion_tokens: TokenCount | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None


class _Chat(msgspec.Struct, frozen=True):
    usage: _ChatUsage


class _ResponsesUsage(msgspec.Struct, frozen=True):
    input_tokens: TokenCount
    output_tokens: TokenCount
    input_tokens_details: _Details | None = None


class _Action(msgspec.Struct, frozen=True):
    type: str | None = None


class _Item(msgspec.Struct, frozen=True):
    type: str | None = None
    action: _Action | None = None


class _Searches(msgspec.Struct, frozen=True):
    num_requests: TokenCount


class _Images(msgspec.Struct, frozen=True):
    input_tokens: TokenCount | None = None
    output_tokens: TokenCount | None = None
    total_tokens: TokenCount | None = None


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
        unknown("the tokens of another model, which made images")
    if any(item.type in _OTHERWISE_PAID for item in items):
        unknown("a tool whose fee is not told")
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
    ephemeral_1h_input_tokens: TokenCount | None = None


class _ServerTools(msgspec.Struct, frozen=True):
    web_search_requests: TokenCount | None = None


class _Sampled(msgspec.Struct, frozen=True):
    input_tokens: TokenCount
    output_tokens: TokenCount
    cache_creation_input_tokens: TokenCount | None = None
    cache_read_input_tokens: TokenCount | None = None
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
        unknown("what another model did")
    return [each for each in iterations if each.type == "compaction"]


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
    "google": {
        "generate": google.reader(google.Generated, google.generated),
        "embed": google.reader(google.Embedded, google.embedded),
    },
}
"""All others are of the OpenAI shape, at whosever prices."""


def reader_of(provider: str, flavor: str) -> _Read | None:
    """Return what reads the answers of a price flavor; None for one that is not known, whose answers stay unpriced."""
    return _READERS.get(provider, {}).get(flavor) or _OPENAI_SHAPE.get(flavor)


def read_tokens(provider: str, flavor: str, body: bytes | msgspec.Raw) -> Tokens | None:
    """Return what a response body says was used; None when it does not say, or not in a form that is known."""
    read = reader_of(provider, flavor)
    try:
        return read(body) if read else None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
