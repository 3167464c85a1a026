"""What Gemini refuses for certain in a batch. Pure.

A row holds the REST body of the realtime call, of which Google's parser knows each field in camelCase and in snake_case.
Sources: ai.google.dev/api/generate-content, ai.google.dev/api/embeddings and the SDK's types.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from batchline.errors import InvalidRequest
from batchline.lanes import Lane
from batchline.providers.checks.fields import (
    Object,
    Rule,
    Rules,
    keep,
    missing,
    objects,
    of_the_sdk,
    refuse,
    refuse_part,
    whole,
    within,
)
from batchline.providers.checks.schema import check_schema

_CONFIG = (
    "temperature",
    "topP",
    "topK",
    "candidateCount",
    "maxOutputTokens",
    "stopSequences",
    "presencePenalty",
    "frequencyPenalty",
    "seed",
    "logprobs",
    "responseLogprobs",
    "responseMimeType",
    "responseSchema",
    "responseJsonSchema",
    "responseModalities",
    "responseFormat",
    "thinkingConfig",
    "speechConfig",
    "mediaResolution",
    "imageConfig",
)
"""Fields of generationConfig, which at the top level make a row fail ("no such field"), as the SDK's flat form has them.

Observed: UKGovernmentBEIS/inspect_ai#3273
"""

_EMBEDS = re.compile(r"(gemini-|text-)?embedding-")
_GENERATES = re.compile(r"gemini-\d[\d.]*-(flash|pro)(?!.*embed)")


def _snake(camel: str) -> str:
    return re.sub(r"[A-Z]", lambda upper: "_" + upper.group().lower(), camel)


def _both(rules: Rules) -> Rules:
    """Return the rules under both names of each field."""
    return {name: rule for camel, rule in rules.items() for name in (camel, _snake(camel))}


def check(lane: Lane, body: Object) -> None:
    """Refuse (InvalidRequest) what Gemini would refuse in a batch of this lane."""
    if lane.beta is not None:
        refuse_part("beta")
    if lane.version is not None:
        refuse_part("version")
    _check_model(lane.model, lane.endpoint)
    if lane.endpoint == "generate":
        _check_generate(body)
    elif lane.endpoint == "embed":
        _check_embed(body)


@lru_cache(maxsize=1024)
def _check_model(model: str, endpoint: str) -> None:
    """Refuse a model whose kind is known on the other endpoint. Names that are not known may be anything."""
    if endpoint == "generate" and _EMBEDS.match(model):
        raise InvalidRequest(f"the lane's model {model} makes embeddings: its endpoint is embed, not generate")
    if endpoint == "embed" and _GENERATES.match(model):
        raise InvalidRequest(f"the lane's model {model} makes no embeddings: its endpoint is generate, not embed")


def _check_generate(body: Object) -> None:
    contents = body.get("contents")
    if contents is None:
        missing("contents")
    if not contents or type(contents) not in _CONTENTS:
        refuse("contents", "is no list of contents with one at least")
    keep(_TOP, body)


def _check_embed(body: Object) -> None:
    content = body.get("content")
    if content is None:
        missing("content", "give the texts as content.parts")
    if not isinstance(content, dict):
        refuse("content", "is not an object: give the texts as content.parts")
    if content.get("parts") in (None, [], {}):
        missing("content.parts", "give one text at least")
    keep(_EMBED, body)


def _config(field: str, given: Any) -> None:
    if not isinstance(given, dict):
        refuse(field, "is not an object")
    keep(_WITHIN, given, f"{field}.")


def _misplaced(camel: str) -> Rule:
    def rule(field: str, _: Any) -> None:
        refuse(field, f"belongs into generationConfig: put it there, as {camel}")

    return rule


def _tools(field: str, given: Any) -> None:
    for path, tool in objects(field, given):
        keep(_TOOL, tool, f"{path}.")


def _declarations(field: str, given: Any) -> None:
    for path, declared in objects(field, given):
        keep(_DECLARED, declared, f"{path}.")


def _schema(field: str, given: Any) -> None:
    check_schema(given, field)


_CONTENTS = frozenset({list, dict})
_WITHIN = _both(
    {
        "temperature": within(0, 2),
        "topP": within(0, 1),
        "maxOutputTokens": whole(1),
        "candidateCount": whole(1),
        "responseJsonSchema": _schema,
    }
)
_DECLARED = _both({"parametersJsonSchema": _schema})
_TOOL = _both({"functionDeclarations": _declarations})
_TOP: Rules = {
    **_both({"generationConfig": _config, "tools": _tools} | {camel: _misplaced(camel) for camel in _CONFIG}),
    "config": of_the_sdk(
        "put its fields into generationConfig; systemInstruction, tools and safetySettings stand beside"
    ),
}
_EMBED: Rules = {"config": of_the_sdk("put its fields, such as taskType, beside content")}
