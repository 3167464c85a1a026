"""What Google's responses say was used, in the shapes of generateContent and of embeddings. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from batchline.money.tokens import Tokens, unknown
from batchline.requests import TokenCount


class _Modality(msgspec.Struct, frozen=True, rename="camel"):
    modality: str = "TEXT"
    token_count: TokenCount = 0


_Modalities = tuple[_Modality, ...] | None


class _GoogleUsage(msgspec.Struct, frozen=True, rename="camel"):
    prompt_token_count: TokenCount | None = None
    cached_content_token_count: TokenCount | None = None
    candidates_token_count: TokenCount | None = None
    thoughts_token_count: TokenCount | None = None
    tool_use_prompt_token_count: TokenCount | None = None
    prompt_tokens_details: _Modalities = None
    prompt_token_details: _Modalities = None
    """The same of embeddings. Source: ai.google.dev/api/embeddings"""
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


class Generated(msgspec.Struct, frozen=True, rename="camel"):
    """A GenerateContentResponse."""

    usage_metadata: _GoogleUsage
    candidates: list[_Candidate] | None = None


class Embedded(msgspec.Struct, frozen=True, rename="camel"):
    """An EmbedContentResponse: its usage, or the plain count that older ones have."""

    usage_metadata: _GoogleUsage | None = None
    token_count: TokenCount | None = None


_MODALITIES = {"AUDIO": "audio", "IMAGE": "image", "DOCUMENT": "image", "VIDEO": "video"}
"""Google's names → the price library's; documents are priced as images are."""


def generated(body: Generated) -> Tokens:
    """Return what generateContent used; a prompt has tokens, so usage that does not count them has no price."""
    # Thoughts are billed as output and are not among the candidates; what tools bring is billed as input.
    # Source: ai.google.dev/gemini-api/docs/pricing, ai.google.dev/api/generate-content#UsageMetadata
    usage = body.usage_metadata
    if usage.prompt_token_count is None:
        unknown("no count of the prompt's tokens")
    return Tokens(
        input=usage.prompt_token_count + (usage.tool_use_prompt_token_count or 0),
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
        unknown("grounding whose fee is not told")
    return len(web) + len(images)


def _modal(usage: _GoogleUsage) -> tuple[tuple[str, int], ...]:
    given = _by_modality(
        usage.prompt_tokens_details or usage.prompt_token_details, usage.tool_use_prompt_tokens_details
    )
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


def reader(shape: type[Any], tokens: Callable[[Any], Tokens]) -> Callable[[bytes | msgspec.Raw], Tokens]:
    """Return a reader of one of Google's responses, under either spelling of its fields."""
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


def embedded(body: Embedded) -> Tokens:
    """Return what an embedding used, by its usage, else by its plain count of tokens."""
    usage = body.usage_metadata
    if usage is not None and usage.prompt_token_count is not None:
        return generated(Generated(usage))
    if body.token_count is None:
        unknown("no count of tokens")
    return Tokens(input=body.token_count)
