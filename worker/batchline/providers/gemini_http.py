"""Google's SDK as we use it: its client for keys, addresses, files and errors, and the bytes of what Gemini answers.

The SDK's typed calls drop the error, the counts and the input file of an operation, and write requests anew in a shape of
their own. So JSON calls go through the client's own request (what each typed call is made of) with our bytes, and its
answer is handed on as it came. Loads the SDK: import it at the first call only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any, BinaryIO, Self, cast

import httpx2
from google import genai
from google.genai import types

from batchline.providers.failures import READ_S, timeouts
from batchline.providers.gemini_lines import Status
from batchline.providers.gemini_ready import Uploaded
from batchline.providers.lines import BadLine
from batchline.providers.transport import Line

API_VERSION = "v1beta"
"""The version under which the reference describes batches; the SDK's own choice would be v1, where they may lack fields."""

UPLOAD_S = 300.0
"""How long a call of an upload may take, in seconds; each carries 8 MB."""
DOWNLOAD_S = 7_200.0
"""How long Google is told that it may take over a whole download, in seconds."""


class Connection:
    """The SDK's client for the Developer API with one key. Nothing is retried here: the engine owns that.

    Every method raises google.genai.errors.APIError, or what the transport raises.
    """

    def __init__(self, key: str, base_url: str) -> None:
        self._base_url = base_url
        # One set of certificates, read as the other SDKs read it: this one would read its own three times, another way.
        trust = httpx2.create_ssl_context()
        # What an environment variable would set for every account is always given: address, version, which API it is.
        options = types.HttpOptions(
            base_url=base_url,
            api_version=API_VERSION,
            timeout=int(READ_S * 1000),
            retry_options=types.HttpRetryOptions(attempts=1),
            httpx_client=Line(timeout=timeouts(READ_S), verify=trust),
            client_args={"verify": trust},
            async_client_args={"verify": trust, "ssl": trust},
        )
        self._client = genai.Client(api_key=key, vertexai=False, http_options=options)

    def __enter__(self) -> Self:
        """Let the SDK's client be closed in the end, as the other SDKs' clients are."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the SDK's client."""
        self._client.close()

    def ask(
        self,
        method: str,
        path: str,
        content: bytes = b"",
        *,
        limits: httpx2.Timeout | None = None,
        total_s: float = READ_S,
    ) -> bytes:
        """Call Gemini once and return what it answers, as it is. ``total_s`` is what Google is told that it may take."""
        with closing(self._opened(method, path, content, limits or timeouts(total_s), total_s)) as response:
            return response.read()

    def download(self, name: str, *, read_s: float) -> Iterator[bytes]:
        """Yield the bytes of a file at Gemini, streamed; ``read_s`` bounds each single read."""
        path = f"{name}:download?alt=media"
        with closing(self._opened("get", path, b"", timeouts(read_s), DOWNLOAD_S)) as response:
            yield from response.iter_bytes()

    def upload(self, rows: BinaryIO, *, display_name: str) -> Uploaded:
        """Upload a file of rows, from where it stands, and return what became of it. Streams: 8 MB at a time.

        Raises BadLine as well, where Google's answers are not as promised.
        """
        options = types.HttpOptions(base_url=self._base_url, api_version=API_VERSION, timeout=int(UPLOAD_S * 1000))
        config = types.UploadFileConfig(display_name=display_name, mime_type="jsonl", http_options=options)
        try:
            file = self._client.files.upload(file=cast("Any", rows), config=config)
        except (KeyError, TypeError, ValueError):  # what the SDK raises where a header or a field is missing
            file = types.File()
        if not file.name:
            raise BadLine("without the file's name")
        error = Status(code=file.error.code, message=file.error.message) if file.error else Status()
        return Uploaded(name=file.name, state=file.state.value if file.state else "", error=error)

    def _opened(
        self, method: str, path: str, content: bytes, limits: httpx2.Timeout, total_s: float
    ) -> httpx2.Response:
        api = self._client._api_client  # noqa: SLF001 - see the module's text
        options = types.HttpOptions(timeout=max(1, int(total_s * 1000)))
        request = api._build_request(method, path, {}, options)  # noqa: SLF001
        request.data = content
        # The SDK's single figure would hold for connecting as well as for reading; httpx2 takes ours as it is.
        request.timeout = cast("float", limits)
        return cast("httpx2.Response", api._request(request, stream=True).response_stream)  # noqa: SLF001
