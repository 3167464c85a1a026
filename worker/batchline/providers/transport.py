"""The HTTP client that all SDKs are given. Loads httpx2: import it at the first call only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, cast

import httpx2

from batchline.providers.failures import READ_S, timeouts
from batchline.providers.fences import Fence, Fenced

_FENCE = "batchline.fence"


def line_of(client: type[httpx2.Client]) -> httpx2.Client:
    """Return a client of an SDK's own kind (its limits and socket options), changed as ``Line`` says."""
    return cast("httpx2.Client", type("SdkLine", (Line, client), {})(timeout=timeouts(READ_S)))


class Line(httpx2.Client):
    """An SDK's HTTP client. It follows no redirect: prompts and key would go along, and a create would be sent again.

    A fenced body leaves in pieces, none of them late, and its answer is over in time however it trickles in: a limit of the
    transport holds for a single read only. (That is all that bounds the answer's head.)
    """

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
        """Send a request. Raises ReadTimeout where the answer to a fenced body is not over in time."""
        fence = request.extensions.get(_FENCE)
        if fence is None:
            return super().send(request, *args, **kwargs)
        response = super().send(request, *args, **kwargs | {"stream": True})
        try:
            _bound(response, request, fence)
            if not kwargs.get("stream"):
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
    response.stream = _Bounded(
        cast("httpx2.SyncByteStream", response.stream), request, fence, fence.answer_by - left_s / 2
    )


class _Bounded(httpx2.SyncByteStream):
    """An answer's bytes, as long as they come in time."""

    def __init__(self, stream: httpx2.SyncByteStream, request: httpx2.Request, fence: Fence, until: float) -> None:
        self._stream = stream
        self._request = request
        self._fence = fence
        self._until = until

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._stream:
            if self._fence.clock() > self._until:
                raise _over(self._request)
            yield chunk

    def close(self) -> None:
        self._stream.close()


def _over(request: httpx2.Request) -> httpx2.ReadTimeout:
    return httpx2.ReadTimeout("the call's time is over", request=request)
