"""The HTTP client that all SDKs are given. Loads httpx2: import it at the first call only."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, cast

import httpx2

from batchline.providers.failures import READ_S, timeouts
from batchline.providers.fences import Fence, Fenced

ANSWER_S = 120.0
"""Longest time, in seconds, that the body of an answer may take that is read as a whole; or as long as one read of it may."""

PACE_BYTES = 64 * 1024
"""Fewest bytes of an answer that is read piece by piece, for each time that a single read may take (one or two minutes)."""

_FENCE = "batchline.fence"


def line_of(client: type[httpx2.Client], clock: Callable[[], float]) -> httpx2.Client:
    """Return a client of an SDK's own kind (its limits and socket options), changed as ``Line`` says."""
    kind = type("SdkLine", (Line, client), {"clock": staticmethod(clock)})
    return cast("httpx2.Client", kind(timeout=timeouts(READ_S)))


class Line(httpx2.Client):
    """An SDK's HTTP client. It follows no redirect: prompts and key would go along, and a create would be sent again.

    A fenced body leaves in pieces, none of them late, and its answer is over in time however it trickles in: a limit of the
    transport holds for a single read only. (That is all that bounds an answer's head.) All other answers have bounds of their
    own: in all where they are read as a whole, by their pace where they are read piece by piece.
    """

    clock: Callable[[], float] = staticmethod(time.monotonic)

    def __init__(self, **options: Any) -> None:
        super().__init__(**options | {"follow_redirects": False})

    def build_request(self, *args: Any, **kwargs: Any) -> httpx2.Request:
        """Build a request as the SDK asks for it."""
        body = kwargs.get("content")
        if isinstance(body, Fenced):
            headers = httpx2.Headers(kwargs.get("headers"))
            headers["Content-Length"] = str(len(body))
            kwargs |= {"content": body.pieces(), "headers": headers}
        request = super().build_request(*args, **kwargs)
        if isinstance(body, Fence):
            request.extensions[_FENCE] = body
        return request

    def send(self, request: httpx2.Request, *args: Any, **kwargs: Any) -> httpx2.Response:
        """Send a request. Raises ReadTimeout where its answer is not over in time, or comes in too slowly."""
        fence, streamed = request.extensions.get(_FENCE), kwargs.get("stream")
        response = super().send(request, *args, **kwargs | {"stream": True})
        read_s = request.extensions["timeout"]["read"] or READ_S
        try:
            if fence is not None:
                _bound(response, request, fence)
            elif streamed:
                response.stream = _Paced(_stream(response), request, self.clock, read_s)
            else:
                until = self.clock() + max(ANSWER_S, read_s)
                response.stream = _Bounded(_stream(response), request, self.clock, until)
            if not streamed:
                response.read()
        except BaseException:
            response.close()
            raise
        return response

    def __del__(self) -> None:
        """Close what is left open when the key has changed, as the SDKs do with clients of their own."""
        with suppress(Exception):
            self.close()


def _bound(response: httpx2.Response, request: httpx2.Request, fence: Fence) -> None:
    """Let the rest of an answer take no longer than is left, of which a single read may take half."""
    left_s = fence.answer_by - fence.clock()
    if left_s <= 0:
        raise _over(request)
    # The transport looks its limits up again before it reads the body.
    request.extensions["timeout"] = {**request.extensions["timeout"], "read": min(left_s / 2, READ_S)}
    response.stream = _Bounded(_stream(response), request, fence.clock, fence.answer_by - left_s / 2)


def _stream(response: httpx2.Response) -> httpx2.SyncByteStream:
    return cast("httpx2.SyncByteStream", response.stream)


class _Bounded(httpx2.SyncByteStream):
    """An answer's bytes, as long as they come in time: until then, in seconds of the clock."""

    def __init__(
        self, stream: httpx2.SyncByteStream, request: httpx2.Request, clock: Callable[[], float], bound_s: float
    ) -> None:
        self._stream = stream
        self._request = request
        self._clock = clock
        self._bound_s = bound_s

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._stream:
            if self._clock() > self._bound_s:
                raise _over(self._request)
            yield chunk

    def close(self) -> None:
        self._stream.close()


class _Paced(_Bounded):
    """An answer's bytes, as long as enough of them come in each so many seconds of waiting; who reads them may be slow."""

    def __iter__(self) -> Iterator[bytes]:
        waited_s, came, chunks = 0.0, 0, iter(self._stream)
        while True:
            began = self._clock()
            chunk = next(chunks, None)
            if chunk is None:
                return
            waited_s, came = waited_s + self._clock() - began, came + len(chunk)
            if waited_s > self._bound_s:
                if came < PACE_BYTES:
                    raise _over(self._request)
                waited_s, came = 0.0, 0
            yield chunk


def _over(request: httpx2.Request) -> httpx2.ReadTimeout:
    return httpx2.ReadTimeout("the call's time is over", request=request)
