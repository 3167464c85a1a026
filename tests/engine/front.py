"""Services of OpenAI's shape for the engine's tests: an account of a preset, at an emulator of its dialect.

What an emulator does not tell as a service does (pages, metadata, counts) is told between it and the SDK by a `Front`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

from batchline.providers import make_provider, options_of
from batchline.providers.protocol import AccountAccess
from batchline.settings import Account

ACCOUNT = "mine"
ROOTS = {"azure": "/openai/v1", "groq": "/openai/v1", "vllm": "/v1", None: "/v1"}
MODELS = {"azure": "gpt-5-mini", "groq": "openai/gpt-oss-120b", "vllm": "my-llama", None: "my-own"}
Json = dict[str, Any]


class Front:
    """Stands before an emulator: notes what is asked of it, and lets batches and their lists be told in another way."""

    def __init__(self, app: Any) -> None:
        self.asked: list[tuple[str, str, bytes, Json]] = []
        """Method, path, body and query of each call."""
        self.batch: Callable[[Json], Json] = lambda batch: batch
        self.listed: Callable[[list[Json], Json], Json] | None = None
        """Makes a page of the whole list and the query."""
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path, query = scope["path"], parse_qs(scope["query_string"].decode())
        plain = {name: values[0] for name, values in query.items()}
        at = len(self.asked)
        self.asked.append((scope["method"], path, b"", plain))

        async def heard() -> Any:
            message = await receive()
            method, path, body, query = self.asked[at]
            self.asked[at] = (method, path, body + message.get("body", b""), query)
            return message

        if "/batches" not in path:
            await self._app(scope, heard, send)
            return
        lists = scope["method"] == "GET" and path.endswith("/batches")
        if lists and self.listed:
            scope = scope | {"query_string": b"limit=100"}
        parts: list[Any] = []

        async def said(message: Any) -> None:
            parts.append(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                for each in self._told(parts, plain if lists else None):
                    await send(each)

        await self._app(scope, heard, said)

    def _told(self, parts: list[Any], query: Json | None) -> list[Any]:
        start, body = parts[0], json.loads(b"".join(part.get("body", b"") for part in parts[1:]))
        if "data" in body:
            body["data"] = [self.batch(batch) for batch in body["data"]]
            if self.listed and query is not None:
                body = self.listed(body["data"], query)
        elif body.get("object") == "batch":
            body = self.batch(body)
        raw = json.dumps(body).encode()
        headers = [pair for pair in start["headers"] if pair[0].lower() != b"content-length"]
        headers.append((b"content-length", str(len(raw)).encode()))
        return [start | {"headers": headers}, {"type": "http.response.body", "body": raw}]

    def bodies(self, method: str, end: str) -> list[bytes]:
        """Return the bodies of the calls of a path that ends so."""
        return [body for how, path, body, _ in self.asked if how == method and path.endswith(end)]

    def creates(self) -> list[Json]:
        """Return what the creates said."""
        return [json.loads(body) for body in self.bodies("POST", "/batches")]

    def lists(self) -> list[Json]:
        """Return the queries of the calls for the list of batches."""
        return [query for how, path, _, query in self.asked if how == "GET" and path.endswith("/batches")]


def serve(bench: Any, preset: str | None, *, fields: Json | None = None, **options: Any) -> Front:
    """Start an emulator of a preset's dialect, and make an account of it."""
    bench.start(dialect=preset or "openai", **options)
    front = bench.wire.app = Front(bench.wire.app)
    url = bench.wire.url + ROOTS[preset]
    account = Account.model_validate({"provider": "openai", "preset": preset, "base_url": url, **(fields or {})})
    bench.settings = bench.settings.model_copy(update={"accounts": {**bench.settings.accounts, ACCOUNT: account}})
    access = AccountAccess(name=ACCOUNT, key=lambda: "sk-test", base_url=url, options=options_of(account))
    bench.services[ACCOUNT] = make_provider("openai", access)
    return front


def lane_of(preset: str | None) -> str:
    """Return the chat lane of a preset's account."""
    return f"{ACCOUNT}:chat:{MODELS[preset]}"
