"""What leaves for a provider is what its SDK's own types have, or what the SDK itself sends for the same call; nothing more.

Every call of every provider is recorded on a loopback server. Where the SDK describes a call's fields as a type, what was
sent must be of that type, and a key that the type does not have is an error. Google's SDK has no types for bodies as they
travel: there, and for addresses and headers everywhere, the SDK makes the same call on the same server and both are alike.
"""

from __future__ import annotations

import io
import json
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from email.parser import BytesParser
from functools import cache
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qsl, urlsplit

import anthropic
import msgspec
import openai
import pytest
from anthropic.types.messages import BatchCreateParams as MessageBatchCreateParams
from anthropic.types.messages import BatchListParams as MessageBatchListParams
from google import genai
from google.genai import types
from openai.types import BatchCreateParams, BatchListParams, FileCreateParams, FileListParams
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming
from pydantic import ConfigDict, TypeAdapter, ValidationError

from batchline.caching import mark_for
from batchline.providers.anthropic import VERSION, AnthropicProvider
from batchline.providers.gemini import GeminiProvider
from batchline.providers.gemini_http import API_VERSION
from batchline.providers.gemini_wire import file_name, tag
from batchline.providers.openai import OpenAIProvider
from batchline.providers.presets import PRESETS
from batchline.providers.protocol import AccountAccess, Job, Options, Progress
from batchline.settings import Cache

if TYPE_CHECKING:
    from tests.providers.conftest import Asked, Stage

KEY = "the-key"
LANE = "acme:chat:m"
JOB = Job(batch_id="b1", nonce="n1", endpoint="chat", model="m", rows=1, intent_ms=0, lane=LANE, input_ref="file-1")
SERVICES = (None, "azure", "groq", "vllm")
WINDOWS = {"groq": "7d", "vllm": "3h"}
"""Windows that these services have besides the one that OpenAI's type knows."""


# What was sent, and the types


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    # A list around it, since pydantic takes no configuration beside a TypedDict itself.
    return TypeAdapter(list[kind], config=ConfigDict(extra="forbid", arbitrary_types_allowed=True))


def fits(kind: Any, value: Any) -> None:
    """Fail unless the value is of an SDK's type, at every depth, with no key besides."""
    _read(_adapter(kind).validate_python([value]))


def _read(value: Any) -> None:
    """Pydantic checks what a type calls Iterable only once somebody reads it."""
    if isinstance(value, Mapping):
        value = value.values()
    if not isinstance(value, str | bytes) and hasattr(value, "__iter__"):
        for each in value:
            _read(each)


def query(asked: Asked) -> dict[str, str]:
    pairs = parse_qsl(urlsplit(asked.path).query, keep_blank_values=True)
    assert len(pairs) == len(dict(pairs))
    return dict(pairs)


def form(asked: Asked) -> dict[str, Any]:
    """Read a multipart body as the call's parameters: ``name[key]`` is a member of an object."""
    head = f"Content-Type: {asked.headers['content-type']}\r\n\r\n".encode()
    fields: dict[str, Any] = {}
    for part in BytesParser().parsebytes(head + asked.body).get_payload():
        options = cast("Any", part).get_params(header="content-disposition")
        name = dict(options)["name"]
        content = cast("Any", part).get_payload(decode=True)
        outer, _, inner = name.partition("[")
        if inner:
            fields.setdefault(outer, {})[inner.removesuffix("]")] = content.decode()
        elif filename := dict(options).get("filename"):
            fields[outer] = (filename, content, cast("Any", part).get_content_type())
        else:
            fields[outer] = content.decode()
    return fields


def told(asked: Asked) -> tuple[str, str, frozenset[str]]:
    """Return the method, the path without its query, and the names of the headers."""
    names = frozenset(name for name in asked.headers if not name.startswith("x-stainless-"))
    return asked.method, urlsplit(asked.path).path, names


def like_the_sdk(stage: Stage, ours: Callable[[], object], theirs: Callable[[], object]) -> tuple[Asked, Asked]:
    """Make a call both ways, each of one request; the address, the way in and the names of the headers must be alike."""
    before = len(stage.asked)
    ours()
    _ignoring_warnings(theirs)
    one, two = stage.asked[before:]
    assert told(one) == told(two)
    for name in ("authorization", "x-goog-api-key", "accept", "anthropic-beta", "openai-beta"):
        assert one.headers.get(name) == two.headers.get(name)
    return one, two


def _ignoring_warnings(call: Callable[[], object]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Google calls embeddings in batches experimental
        call()


def test_a_key_that_a_type_does_not_have_is_an_error_at_any_depth() -> None:
    """The check that all others stand on."""
    ours = {"anchor": "created_at", "seconds": 3600}
    create = {"completion_window": "24h", "endpoint": "/v1/responses", "input_file_id": "f"}
    params: dict[str, Any] = {"model": "m", "max_tokens": 1, "messages": []}
    request = {"custom_id": "a", "params": params}
    fits(BatchCreateParams, create | {"output_expires_after": ours})
    fits(MessageBatchCreateParams, {"requests": [request]})
    for kind, value in (
        (BatchCreateParams, create | {"nonce": "n"}),
        (BatchCreateParams, create | {"output_expires_after": ours | {"days": 3}}),
        (BatchListParams, {"limit": "100", "order": "desc"}),
        (FileListParams, {"limit": "many"}),
        (MessageBatchCreateParams, {"requests": [request], "metadata": {}}),
        (MessageBatchCreateParams, {"requests": [request | {"tag": "b"}]}),
        (MessageBatchCreateParams, {"requests": [{"custom_id": "a", "params": params | {"nonce": 1}}]}),
    ):
        with pytest.raises(ValidationError):
            fits(kind, value)


# OpenAI, and the services of its shape


def service(stage: Stage, preset: str | None, **options: Any) -> OpenAIProvider:
    access = AccountAccess(
        name="acme", key=lambda: KEY, base_url=f"{stage.url}/v1", options=Options(preset=preset, **options)
    )
    return OpenAIProvider(access, now=lambda: 0.0)


def raw_openai(stage: Stage) -> openai.OpenAI:
    return openai.OpenAI(api_key=KEY, base_url=f"{stage.url}/v1", max_retries=0)


@pytest.fixture(params=SERVICES, ids=lambda preset: preset or "openai")
def preset(request: pytest.FixtureRequest) -> str | None:
    return cast("str | None", request.param)


@pytest.mark.parametrize("expiry_s", [None, 86_400])
def test_an_upload_has_fields_of_the_sdks_type_only(stage: Stage, preset: str | None, expiry_s: int | None) -> None:
    stage.says({"id": "file-1"})
    rows = b'{"custom_id":"a"}\n'
    service(stage, preset, files_expire_s=expiry_s).upload(io.BytesIO(rows), JOB)
    fields = form(stage.asked[0])
    fits(FileCreateParams, fields)
    assert fields["file"] == ("batchline-b1-n1.jsonl", rows, "application/jsonl")
    assert set(fields) - {"file", "purpose"} == ({"expires_after"} if expiry_s and preset != "groq" else set())


@pytest.mark.parametrize("endpoint", PRESETS["openai"].endpoints)
@pytest.mark.parametrize("expiry_s", [None, 86_400])
def test_a_create_has_fields_of_the_sdks_type_only(
    stage: Stage, preset: str | None, endpoint: str, expiry_s: int | None
) -> None:
    provider = service(stage, preset, files_expire_s=expiry_s, completion_window=WINDOWS.get(preset or ""))
    if endpoint not in provider.endpoints:
        assert (preset, endpoint) in {
            ("azure", "completions"),
            ("azure", "moderations"),
            *(("groq", each) for each in ("responses", "embeddings", "completions", "moderations")),
        }
        return
    stage.says({"id": "batch_1", "status": "validating"})
    provider.create(io.BytesIO(), msgspec.structs.replace(JOB, endpoint=endpoint), timeout_s=30)
    body = stage.asked[0].json
    # OpenAI's type has one window; the others are those of the service's own documentation (presets.py).
    fits(BatchCreateParams, body | {"completion_window": "24h"})
    assert body["completion_window"] == WINDOWS.get(preset or "", "24h")
    assert query(stage.asked[0]) == {}


def test_lists_are_asked_for_in_the_sdks_words(stage: Stage, preset: str | None) -> None:
    batch = {"id": "batch_1", "status": "completed", "created_at": 9_000_000_000}
    file = {"id": "file-1", "purpose": "batch", "created_at": 9_000_000_000}
    for item in (batch, file, file):
        stage.says({"data": [item], "has_more": True}, {"data": [], "has_more": False})
    provider = service(stage, preset)
    assert [len(list(found)) for found in (provider.recent(1), provider.uploads(1))] == [1, 1]
    provider.storage()
    batches, files = stage.asked[:2], stage.asked[2:]
    for asked in batches:
        fits(BatchListParams, query(asked))
    for asked in files:
        fits(FileListParams, query(asked))
    second = "1" if preset == "vllm" else "batch_1"
    assert [query(asked) for asked in batches] == [{"limit": "100"}, {"limit": "100", "after": second}]
    assert [sorted(query(asked)) for asked in files] == [
        ["limit", "order", "purpose"],
        ["after", "limit", "order", "purpose"],
        ["limit", "order"],
        ["after", "limit", "order"],
    ]
    assert [asked.body for asked in stage.asked] == [b""] * 6


def test_the_next_page_of_a_service_that_names_it_is_asked_for_by_that_name(stage: Stage) -> None:
    """``cursor`` is the one word that is not of the SDK: it is the service's own, and sent to nobody who did not name it."""
    stage.says({"data": [], "paging": {"next_cursor": "c"}}, {"data": []})
    list(service(stage, "groq").recent(1))
    assert [query(asked) for asked in stage.asked] == [{"limit": "100"}, {"limit": "100", "cursor": "c"}]


OPENAI_CALLS: Mapping[str, tuple[Callable[[OpenAIProvider], object], Callable[[openai.OpenAI], object]]] = {
    "upload": (
        lambda ours: ours.upload(io.BytesIO(b"{}"), JOB),
        lambda sdk: sdk.files.create(file=("batchline-b1-n1.jsonl", b"{}"), purpose="batch"),
    ),
    "create": (
        lambda ours: ours.create(io.BytesIO(), JOB, timeout_s=30),
        lambda sdk: sdk.batches.create(
            completion_window="24h", endpoint="/v1/chat/completions", input_file_id="file-1"
        ),
    ),
    "retrieve": (lambda ours: ours.poll("batch_1"), lambda sdk: sdk.batches.retrieve("batch_1")),
    "cancel": (lambda ours: ours.cancel("batch_1"), lambda sdk: sdk.batches.cancel("batch_1")),
    "list": (lambda ours: list(ours.recent(1)), lambda sdk: list(sdk.batches.list())),
    "files list": (lambda ours: list(ours.uploads(1)), lambda sdk: list(sdk.files.list())),
    "files delete": (lambda ours: ours.delete_file("file-1"), lambda sdk: sdk.files.delete("file-1")),
    "content": (
        lambda ours: list(ours.results(Progress(provider_id="b", status="completed", results=("file-1",)))),
        lambda sdk: sdk.files.content("file-1"),
    ),
}


@pytest.mark.parametrize("call", OPENAI_CALLS)
def test_an_openai_call_goes_where_the_sdks_own_goes_with_its_headers(
    stage: Stage, preset: str | None, call: str
) -> None:
    stage.says(b"" if call == "content" else {"id": "x", "status": "completed", "data": []})
    ours, theirs = OPENAI_CALLS[call]
    sdk = raw_openai(stage)
    one, two = like_the_sdk(stage, lambda: ours(service(stage, preset)), lambda: theirs(sdk))
    if call not in {"upload", "create"}:
        assert one.body == two.body == b""


def test_the_request_wide_beta_of_openai_is_a_header_of_the_create(stage: Stage) -> None:
    stage.says({"id": "batch_1", "status": "validating"})
    service(stage, None).create(io.BytesIO(), msgspec.structs.replace(JOB, beta="assistants=v2"), timeout_s=30)
    assert stage.asked[0].headers["openai-beta"] == "assistants=v2"
    assert "openai-beta" not in json.dumps(stage.asked[0].json).lower()


@pytest.mark.parametrize(
    ("endpoint", "kind", "body"),
    [
        ("chat", CompletionCreateParamsNonStreaming, {"model": "m", "messages": [{"role": "system", "content": "be"}]}),
        ("responses", ResponseCreateParamsNonStreaming, {"model": "m", "input": "hi", "instructions": "be"}),
    ],
)
def test_a_row_has_openais_keys_and_the_cache_key_is_one_of_its_bodys(
    stage: Stage, endpoint: str, kind: Any, body: dict[str, Any]
) -> None:
    row = service(stage, None).render("a", endpoint, msgspec.json.encode(body))
    mark = mark_for("openai", endpoint, Cache(openai_key=True), takes_key=True)
    assert mark is not None
    assert list(json.loads(row)) == ["custom_id", "method", "url", "body"]
    marked = json.loads(mark(row, 1))["body"]
    assert set(marked) - set(body) == {"prompt_cache_key"}
    fits(kind, marked)


# Anthropic

MESSAGE_JOB = Job(batch_id="b1", nonce="n1", endpoint="messages", model="m", rows=1, intent_ms=0, lane="a:messages:m")
PARAMS: dict[str, Any] = {
    "model": "claude-opus-5-5",
    "max_tokens": 10,
    "system": "be",
    "messages": [{"role": "user", "content": "hi"}],
}
MESSAGE_BATCH = {
    "id": "msgbatch_1",
    "processing_status": "ended",
    "request_counts": {"processing": 0, "succeeded": 1, "errored": 0, "canceled": 0, "expired": 0},
    "created_at": "2286-01-01T00:00:00Z",
    "expires_at": "2286-01-02T00:00:00Z",
}


@pytest.fixture
def claude(stage: Stage) -> AnthropicProvider:
    return AnthropicProvider(AccountAccess(name="acme", key=lambda: KEY, base_url=stage.url), now=lambda: 0.0)


@pytest.fixture
def raw_claude(stage: Stage) -> anthropic.Anthropic:
    # The version is what we choose (VERSION), and how it is chosen is the SDK's.
    return anthropic.Anthropic(
        api_key=KEY, base_url=stage.url, max_retries=0, default_headers={"anthropic-version": VERSION}
    )


@pytest.mark.parametrize("ttl", [None, "5m", "1h"])
def test_a_message_batch_is_of_the_sdks_type_with_the_mark_as_well(
    stage: Stage, claude: AnthropicProvider, ttl: Any
) -> None:
    stage.says(MESSAGE_BATCH)
    row = claude.render("a", "messages", msgspec.json.encode(PARAMS))
    if ttl:
        mark = mark_for("anthropic", "messages", Cache(anthropic_ttl=ttl), takes_key=False)
        assert mark is not None
        row = mark(row, 1)
        assert b'"cache_control":{"type":"ephemeral","ttl":"%s"}' % ttl.encode() in row
    claude.create(io.BytesIO(row + b"\n"), MESSAGE_JOB, timeout_s=60)
    fits(MessageBatchCreateParams, stage.asked[0].json)
    assert query(stage.asked[0]) == {}


def test_message_batches_are_listed_in_the_sdks_words(stage: Stage, claude: AnthropicProvider) -> None:
    stage.says({"data": [MESSAGE_BATCH], "has_more": True, "last_id": "msgbatch_1"}, {"data": [], "has_more": False})
    assert len(list(claude.recent(1))) == 1
    for asked in stage.asked:
        fits(MessageBatchListParams, query(asked))
    assert [query(asked) for asked in stage.asked] == [{"limit": "100"}, {"limit": "100", "after_id": "msgbatch_1"}]


CLAUDE_CALLS: Mapping[str, tuple[Callable[[AnthropicProvider], object], Callable[[anthropic.Anthropic], object]]] = {
    "retrieve": (lambda ours: ours.poll("msgbatch_1"), lambda sdk: sdk.messages.batches.retrieve("msgbatch_1")),
    "cancel": (lambda ours: ours.cancel("msgbatch_1"), lambda sdk: sdk.messages.batches.cancel("msgbatch_1")),
    "list": (lambda ours: list(ours.recent(1)), lambda sdk: list(sdk.messages.batches.list())),
}


@pytest.mark.parametrize("call", CLAUDE_CALLS)
def test_an_anthropic_call_goes_where_the_sdks_own_goes_with_its_headers(
    stage: Stage, claude: AnthropicProvider, raw_claude: anthropic.Anthropic, call: str
) -> None:
    stage.says({"data": [], "has_more": False} if call == "list" else MESSAGE_BATCH)
    ours, theirs = CLAUDE_CALLS[call]
    one, two = like_the_sdk(stage, lambda: ours(claude), lambda: theirs(raw_claude))
    assert one.body == two.body == b""


@pytest.mark.parametrize("beta", [None, "output-300k-2026-03-24"])
def test_a_message_batch_is_created_as_the_sdk_creates_it_byte_for_byte(
    stage: Stage, claude: AnthropicProvider, raw_claude: anthropic.Anthropic, beta: str | None
) -> None:
    stage.says(MESSAGE_BATCH)
    row = claude.render("a", "messages", msgspec.json.encode(PARAMS))
    requests = cast("Any", [{"custom_id": "a", "params": PARAMS}])
    headers = {"anthropic-beta": beta} if beta else None
    one, two = like_the_sdk(
        stage,
        lambda: claude.create(io.BytesIO(row), msgspec.structs.replace(MESSAGE_JOB, beta=beta), timeout_s=60),
        lambda: raw_claude.messages.batches.create(requests=requests, extra_headers=headers),
    )
    assert one.body == two.body
    assert one.headers["anthropic-version"] == two.headers["anthropic-version"]


def test_results_are_fetched_as_the_sdk_fetches_them(
    stage: Stage, claude: AnthropicProvider, raw_claude: anthropic.Anthropic
) -> None:
    url = f"{stage.url}/v1/messages/batches/msgbatch_1/results"
    stage.says(b"", MESSAGE_BATCH | {"results_url": url, "ended_at": None, "type": "message_batch"}, b"")
    progress = Progress(provider_id="msgbatch_1", status="ended", results=(url,))
    assert list(claude.results(progress)) == []
    list(raw_claude.messages.batches.results("msgbatch_1"))
    ours, _, theirs = stage.asked
    assert told(ours) == told(theirs)
    assert ours.headers["accept"] == theirs.headers["accept"]


# Gemini

OPERATION = {"name": "batches/1", "metadata": {"state": "BATCH_STATE_RUNNING", "createTime": "2286-01-01T00:00:00Z"}}
GENERATE = Job(
    batch_id="b1",
    nonce="n1",
    endpoint="generate",
    model="gemini-3.8-flash",
    rows=1,
    intent_ms=0,
    lane="gemini:generate:gemini-3.8-flash",
)
EMBED = msgspec.structs.replace(
    GENERATE, endpoint="embed", model="gemini-embedding-2", lane="gemini:embed:gemini-embedding-2"
)
PROMPT = types.Content(parts=[types.Part(text="hi")], role="user")
SYSTEM = types.Content(parts=[types.Part(text="sys")])
REQUEST = {
    "contents": [{"parts": [{"text": "hi"}], "role": "user"}],
    "systemInstruction": {"parts": [{"text": "sys"}]},
    "generationConfig": {"temperature": 0.2, "maxOutputTokens": 5},
}
EMBED_REQUEST = {"content": {"parts": [{"text": "hi"}], "role": "user"}, "outputDimensionality": 8}


def gemini(stage: Stage, *, inline: bool = False) -> GeminiProvider:
    access = AccountAccess(name="acme", key=lambda: KEY, base_url=stage.url, options=Options(inline=inline))
    return GeminiProvider(access, now=lambda: 0.0)


@pytest.fixture
def google(stage: Stage) -> Iterator[genai.Client]:
    # The version is what we choose (API_VERSION): its reference is the one that has these fields.
    options = types.HttpOptions(base_url=stage.url, api_version=API_VERSION, timeout=30_000)
    with genai.Client(api_key=KEY, vertexai=False, http_options=options) as client:
        yield client


def camel(value: Any) -> Any:
    """Return JSON with its keys in camelCase: protobuf takes either, and the SDK's embeddings say ``file_name``."""
    if isinstance(value, list):
        return [camel(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {re.sub("_(.)", lambda letter: letter[1].upper(), name): camel(each) for name, each in value.items()}


def without_metadata(body: Any) -> Any:
    """Return a create's body without what names its rows: the SDK's type for embeddings has no place for it.

    The reference has: metadata of an InlinedEmbedContentRequest. Source: ai.google.dev/api/batch-api
    """
    requests = body["batch"]["inputConfig"]["requests"]["requests"]
    assert [each.pop("metadata") for each in requests] == [{"key": "r1"}]
    return body


def rows(provider: GeminiProvider, job: Job, request: dict[str, Any]) -> io.BytesIO:
    return io.BytesIO(provider.render("r1", job.endpoint, msgspec.json.encode(request)) + b"\n")


def inline_generate(sdk: genai.Client) -> object:
    request = types.InlinedRequest(
        contents=[PROMPT],
        metadata={"key": "r1"},
        config=types.GenerateContentConfig(temperature=0.2, max_output_tokens=5, system_instruction=SYSTEM),
    )
    config = types.CreateBatchJobConfig(display_name=tag(GENERATE))
    return sdk.batches.create(model=GENERATE.model, src=[request], config=config)


def inline_embed(sdk: genai.Client) -> object:
    request = types.EmbedContentBatch(contents=[PROMPT], config=types.EmbedContentConfig(output_dimensionality=8))
    source = types.EmbeddingsBatchJobSource(inlined_requests=request)
    config = types.CreateEmbeddingsBatchJobConfig(display_name=tag(EMBED))
    return sdk.batches.create_embeddings(model=EMBED.model, src=source, config=config)


def file_generate(sdk: genai.Client) -> object:
    config = types.CreateBatchJobConfig(display_name=tag(GENERATE))
    return sdk.batches.create(model=GENERATE.model, src="files/in", config=config)


def file_embed(sdk: genai.Client) -> object:
    source = types.EmbeddingsBatchJobSource(file_name="files/in")
    config = types.CreateEmbeddingsBatchJobConfig(display_name=tag(EMBED))
    return sdk.batches.create_embeddings(model=EMBED.model, src=source, config=config)


@pytest.mark.parametrize(
    ("job", "request_", "theirs"),
    [(GENERATE, REQUEST, inline_generate), (EMBED, EMBED_REQUEST, inline_embed)],
    ids=["generate", "embed"],
)
def test_a_create_with_its_rows_says_what_the_sdks_own_says(
    stage: Stage, google: genai.Client, job: Job, request_: dict[str, Any], theirs: Callable[[genai.Client], object]
) -> None:
    stage.says(OPERATION)
    ours = gemini(stage, inline=True)
    lines = rows(ours, job, request_)
    one, two = like_the_sdk(stage, lambda: ours.create(lines, job, timeout_s=60), lambda: theirs(google))
    assert (without_metadata(one.json) if job is EMBED else one.json) == two.json


@pytest.mark.parametrize(("job", "theirs"), [(GENERATE, file_generate), (EMBED, file_embed)], ids=["generate", "embed"])
def test_a_create_from_a_file_says_what_the_sdks_own_says(
    stage: Stage, google: genai.Client, job: Job, theirs: Callable[[genai.Client], object]
) -> None:
    stage.says(OPERATION)
    with_file = msgspec.structs.replace(job, input_ref="files/in")
    ours = gemini(stage)
    one, two = like_the_sdk(stage, lambda: ours.create(io.BytesIO(), with_file, timeout_s=60), lambda: theirs(google))
    assert one.json == camel(two.json)


def test_a_row_of_a_file_is_a_key_and_a_request(stage: Stage) -> None:
    row = json.loads(rows(gemini(stage), GENERATE, REQUEST).getvalue())
    assert row == {"key": "r1", "request": REQUEST}


def test_a_gemini_upload_is_the_sdks_own(stage: Stage, google: genai.Client) -> None:
    for _ in range(2):
        stage.says({}, x_goog_upload_url=f"{stage.url}/up")
        stage.says({"file": {"name": "files/in"}}, x_goog_upload_status="final")
    gemini(stage).upload(io.BytesIO(b"{}\n"), GENERATE)
    config = types.UploadFileConfig(display_name=file_name("b1", "n1"), mime_type="jsonl")
    google.files.upload(file=io.BytesIO(b"{}\n"), config=config)
    start, sent, their_start, they_sent = stage.asked
    assert [told(start)[:2], start.json] == [told(their_start)[:2], their_start.json]
    assert {name for name in start.headers if name.startswith("x-goog")} == {
        name for name in their_start.headers if name.startswith("x-goog")
    }
    assert (sent.body, sent.headers["x-goog-upload-command"]) == (
        they_sent.body,
        they_sent.headers["x-goog-upload-command"],
    )


GEMINI_CALLS: Mapping[str, tuple[Callable[[GeminiProvider], object], Callable[[genai.Client], object]]] = {
    "get": (lambda ours: ours.poll("batches/1"), lambda sdk: sdk.batches.get(name="batches/1")),
    "cancel": (lambda ours: ours.cancel("batches/1"), lambda sdk: sdk.batches.cancel(name="batches/1")),
    "list": (lambda ours: list(ours.recent(1)), lambda sdk: list(sdk.batches.list(config={"page_size": 100}))),
    "files list": (lambda ours: list(ours.uploads(1)), lambda sdk: list(sdk.files.list(config={"page_size": 100}))),
    "files delete": (lambda ours: ours.delete_file("files/in"), lambda sdk: sdk.files.delete(name="files/in")),
    "download": (
        lambda ours: list(ours.results(Progress(provider_id="b", status="SUCCEEDED", results=("files/out",)))),
        lambda sdk: sdk.files.download(file="files/out"),
    ),
}


@pytest.mark.parametrize("call", GEMINI_CALLS)
def test_a_gemini_call_goes_where_the_sdks_own_goes(stage: Stage, google: genai.Client, call: str) -> None:
    stage.says(b"" if call == "download" else OPERATION if call == "get" else {})
    ours, theirs = GEMINI_CALLS[call]
    one, two = like_the_sdk(stage, lambda: ours(gemini(stage)), lambda: theirs(google))
    assert query(one) == query(two)
    assert (one.body or b"{}") == (two.body or b"{}")


def test_the_next_page_of_geminis_lists_is_asked_for_as_the_sdk_does(stage: Stage, google: genai.Client) -> None:
    for _ in range(2):
        stage.says({"operations": [OPERATION], "nextPageToken": "t/1"}, {"operations": [OPERATION]})
    list(gemini(stage).recent(1))
    list(google.batches.list(config={"page_size": 100}))
    assert [query(asked) for asked in stage.asked[:2]] == [query(asked) for asked in stage.asked[2:]]
