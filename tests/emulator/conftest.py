"""Emulators behind one loopback server, on clocks that stand still until a test moves them, and the real SDKs.

One server for the session, one emulator a test, each under a path of its own: starting a server takes far longer than
starting an emulator.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from google import genai
from starlette.applications import Starlette
from starlette.routing import Mount

from batchline.emulator import Options
from batchline.emulator.app import create_app
from batchline.emulator.serve import serving
from batchline.emulator.world import Emulator

CHAT = "/v1/chat/completions"


class Clock:
    """Unix seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Clients:
    """What a test session needs only one of: making a client loads certificates, which takes its time."""

    openai: openai.OpenAI
    anthropic: anthropic.Anthropic
    transport: httpx2.Client


class Sim:
    """One running emulator with clients for it."""

    def __init__(self, url: str, emulator: Emulator, clock: Clock, clients: Clients) -> None:
        self.url = url
        self.emulator = emulator
        self.clock = clock
        self.openai = clients.openai.with_options(base_url=f"{self.url}/v1")
        self.anthropic = clients.anthropic.with_options(base_url=self.url)
        self._transport = clients.transport

    @cached_property
    def gemini(self) -> genai.Client:
        """The SDK's client, made when it is first asked for: it takes its time."""
        return self.use_google("v1")

    def use_google(self, version: str) -> genai.Client:
        options = genai.types.HttpOptions(
            base_url=self.url, api_version=version, httpx_client=self._transport, timeout=30_000
        )
        self.__dict__["gemini"] = genai.Client(api_key="goog-test", http_options=options)
        return self.gemini

    def google(self, method: str, path: str, *, headers: dict[str, str] | None = None, **more: Any) -> httpx2.Response:
        """Call Google's API without its SDK."""
        return self.call(method, path, headers={"x-goog-api-key": "goog-test", **(headers or {})}, **more)

    def call(self, method: str, path: str, *, headers: dict[str, str] | None = None, **more: Any) -> httpx2.Response:
        """Call without an SDK."""
        sent = {"authorization": "Bearer sk-test", "anthropic-version": "2023-06-01", **(headers or {})}
        return self._transport.request(method, self.url + path, headers=sent, **more)

    def pass_time(self, seconds: float) -> None:
        self.clock.now += seconds
        self.emulator.settle()

    def bill(self) -> Any:
        return self.call("GET", "/_emulator/bill").json()

    def upload(self, lines: list[Any]) -> str:
        raw = b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)
        return self.openai.files.create(file=("in.jsonl", io.BytesIO(raw)), purpose="batch").id

    def submit(self, lines: list[Any], endpoint: Any = CHAT, **more: Any) -> str:
        file_id = self.upload(lines)
        created = self.openai.batches.create(completion_window="24h", endpoint=endpoint, input_file_id=file_id, **more)
        assert created.status == "validating"
        return created.id

    def run(self, lines: list[Any], endpoint: Any = CHAT) -> Any:
        batch_id = self.submit(lines, endpoint)
        self.pass_time(10)
        return self.openai.batches.retrieve(batch_id)

    def lines(self, file_id: str | None) -> list[Any]:
        if file_id is None:
            return []
        raw = self.openai.files.content(file_id).content
        return [json.loads(line) for line in raw.split(b"\n") if line]

    def run_messages(self, requests: list[Any], **more: Any) -> list[Any]:
        created = self.anthropic.messages.batches.create(requests=requests, **more)
        self.pass_time(10)
        ended = self.anthropic.messages.batches.retrieve(created.id)
        assert ended.processing_status == "ended"
        return self.results(created.id)

    def results(self, batch_id: str) -> list[Any]:
        raw = self.call("GET", f"/v1/messages/batches/{batch_id}/results").content
        return [json.loads(line) for line in raw.split(b"\n") if line]


Start = Callable[..., Sim]


@pytest.fixture(scope="session")
def clients() -> Iterator[Clients]:
    """The SDKs' clients, without an address."""
    with (
        openai.OpenAI(base_url="http://unset.invalid", api_key="sk-test", max_retries=0) as of_openai,
        anthropic.Anthropic(base_url="http://unset.invalid", api_key="sk-test", max_retries=0) as of_anthropic,
        httpx2.Client(timeout=30) as transport,
    ):
        yield Clients(of_openai, of_anthropic, transport)


@dataclass(frozen=True)
class House:
    """The one server, and the application to which emulators are added."""

    url: str
    app: Starlette


@pytest.fixture(scope="session")
def house() -> Iterator[House]:
    """The session's server."""
    app = Starlette()
    with serving(app) as url:
        yield House(url, app)


@pytest.fixture
def start(house: House, clients: Clients) -> Iterator[Start]:
    """Starts emulators with the options of a test, and stops them after it."""
    with ExitStack() as stack:

        def start_one(**options: Any) -> Sim:
            clock = Clock()
            app = create_app(Options(**options), clock)
            emulator: Emulator = app.state.emulator
            stack.callback(emulator.close)
            path = f"/{len(house.app.routes)}"
            house.app.routes.append(Mount(path, app))
            return Sim(house.url + path, emulator, clock, clients)

        yield start_one


@pytest.fixture
def sim(start: Start) -> Sim:
    """An emulator with default options."""
    return start()


def _chat(text: str, custom_id: str | None = None, model: str = "gpt-5-mini", **more: Any) -> dict[str, Any]:
    body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
    return {"custom_id": custom_id or f"id-{text}", "method": "POST", "url": CHAT, "body": body}


def _message(text: str, custom_id: str, model: str = "claude-haiku-4-5", **more: Any) -> dict[str, Any]:
    params = {"model": model, "max_tokens": 64, "messages": [{"role": "user", "content": text}], **more}
    return {"custom_id": custom_id, "params": params}


@pytest.fixture
def chat() -> Callable[..., dict[str, Any]]:
    """Builds a line of an OpenAI chat batch."""
    return _chat


@pytest.fixture
def message() -> Callable[..., dict[str, Any]]:
    """Builds a request of an Anthropic batch."""
    return _message
