"""A reply as the application sees it: the answer message with its JSON parts at hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batchline import requests
from batchline.errors import BatchlineError
from batchline.requests import BatchRef, CostUsd, ReplyError, Route, Status, Timing, Usage


class RequestFailed(BatchlineError):
    """A request was not answered: ``reply`` says why. Raised by ``Reply.raise_for_status`` only."""

    def __init__(self, message: str, reply: Reply) -> None:
        super().__init__(message)
        self.reply = reply


class Reply:
    """What became of one request. ``wire`` is the message itself, as docs/protocol.md describes it."""

    def __init__(self, wire: requests.Reply) -> None:
        self.wire = wire

    def __repr__(self) -> str:
        return f"Reply(id={self.id!r}, status={self.status!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reply) and self.wire == other.wire

    __hash__ = None  # type: ignore[assignment]  # its parts are mutable once decoded

    @property
    def id(self) -> str:
        """Return the request's id."""
        return self.wire.id

    @property
    def status(self) -> Status:
        """Return ``succeeded``, ``failed`` or ``cancelled``."""
        return self.wire.status

    @property
    def error(self) -> ReplyError | None:
        """Return why the request was not answered; None when it was."""
        return self.wire.error

    @property
    def usage(self) -> Usage | None:
        """Return the tokens used; None when nothing was run."""
        return self.wire.usage

    @property
    def cost(self) -> CostUsd | None:
        """Return list price, paid price and saving in dollars as decimal strings; None without a known price."""
        return self.wire.cost

    @property
    def route(self) -> Route:
        """Return ``batch`` or ``realtime``."""
        return self.wire.route

    @property
    def attempts(self) -> int:
        """Return how many times the request was sent to a provider."""
        return self.wire.attempts

    @property
    def batch(self) -> BatchRef | None:
        """Return the batch that brought the answer, None without one."""
        return self.wire.batch

    @property
    def timing(self) -> Timing:
        """Return when the request was enqueued, submitted, ended and settled, unix ms."""
        return self.wire.timing

    @property
    def metadata(self) -> Any:
        """Return the metadata that was enqueued with the request, None without any."""
        return self.wire.metadata

    @property
    def response(self) -> Any:
        """Return the provider's own response body, decoded; None unless the request succeeded."""
        return self.wire.response

    @property
    def text(self) -> str | None:
        """Return the answer's text for chat, responses, messages, completions and generate; None where it has none.

        What the model thought is left out. Of several answers to one request it is the first one's.
        """
        return answer_text(self.response)

    def raise_for_status(self) -> Reply:
        """Return this reply if it succeeded, else raise RequestFailed."""
        if self.status == "succeeded":
            return self
        why = f": {self.error.code}: {self.error.message}" if self.error else ""
        raise RequestFailed(f"request {self.id!r} {self.status}{why}", self)


def answer_text(response: Any) -> str | None:
    """Return the text of a provider's response body, decoded; None when its shape has none.

    Source: the response objects of developers.openai.com/api/reference (chat, completions, responses),
    docs.claude.com/en/api/messages and ai.google.dev/api/generate-content.
    """
    if not isinstance(response, Mapping):
        return None
    if response.get("choices"):
        return _choice_text(response["choices"][0])
    if response.get("object") == "response":
        parts = [part for item in response.get("output") or () for part in item.get("content") or ()]
        return _joined(parts, "output_text")
    if response.get("type") == "message":
        return _joined(response.get("content") or (), "text")
    if response.get("candidates"):
        return _candidate_text(response["candidates"][0])
    return None


def _choice_text(choice: Any) -> str | None:
    message = choice.get("message")
    found = message.get("content") if isinstance(message, Mapping) else choice.get("text")
    return found if isinstance(found, str) else None


def _joined(parts: Any, kind: str) -> str | None:
    texts = [part["text"] for part in parts if part.get("type") == kind]
    return "".join(texts) if texts else None


def _candidate_text(candidate: Any) -> str | None:
    # A candidate that was blocked has no content, and content that was cut off while the model thought has no parts.
    content = candidate.get("content") or {}
    texts = [part["text"] for part in content.get("parts") or () if "text" in part and not part.get("thought")]
    return "".join(texts) if texts else None
