"""When batches can be made from a file that was uploaded to Gemini: what its state says, and the wait for it.

A create call from a file that is still processed is refused with 400 FAILED_PRECONDITION. How long that takes is not
documented for files of rows; large ones take longer. Sources: ai.google.dev/api/files (State),
github.com/Embassy-of-the-Free-Mind/sourcelibrary-v2/pull/2186.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from batchline.errors import Retryable
from batchline.providers.failures import MAX_QUOTED
from batchline.providers.gemini_lines import Status, fields, read_status
from batchline.providers.lines import BadLine, decode_line

READY_S = 600.0
"""How long a file may be processed, in seconds, before it is given up and uploaded again later. Ours."""
LOOK_S = 5.0
"""The longest wait between two looks at it, in seconds; the first is a tenth of that. Ours."""

_RAW = msgspec.json.Decoder(msgspec.Raw)
_TEXT = msgspec.json.Decoder(str)
_NO_RAW = msgspec.Raw(b'""')


class Uploaded(msgspec.Struct, frozen=True, kw_only=True):
    """A file at Gemini: its name ("files/…"), its state as the reference names it ("": not told), and why it failed."""

    name: str
    state: str = ""
    error: Status = Status()


def parse_uploaded(content: bytes) -> Uploaded:
    """Read a file's record. Raises msgspec.DecodeError or BadLine."""
    told = fields(decode_line(content, _RAW))
    if "name" not in told:
        raise BadLine("without the file's name")
    error = read_status(told["error"]) if "error" in told else Status()
    return Uploaded(name=_TEXT.decode(told["name"]), state=_TEXT.decode(told.get("state", _NO_RAW)), error=error)


def wait_until_ready(
    file: Uploaded,
    look: Callable[[], Uploaded],
    *,
    account: str,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
    check: Callable[[], object],
) -> None:
    """Look at a file until it is processed, for ``READY_S`` seconds at most.

    ``check`` is called before each wait and may break it off by raising. A state that is not known does not hold up: the create
    call tells. Raises Retryable where the file is not ready in time, or its processing failed: its rows are not at fault.
    """
    until, wait_s = clock() + READY_S, LOOK_S / 10
    while file.state == "PROCESSING":
        if clock() >= until:
            raise _useless(file, account, f"is still processed after {READY_S:.0f} s", "file_not_ready")
        check()
        sleep(wait_s)
        wait_s = min(wait_s * 2, LOOK_S)
        try:
            file = look()
        except Retryable:
            continue
    if file.state == "FAILED":
        told = f"{file.error.name} {file.error.message or ''}".strip()[:MAX_QUOTED] or "no reason was told"
        raise _useless(file, account, f"could not be processed ({told})", "file_failed")


def _useless(file: Uploaded, account: str, what: str, code: str) -> Retryable:
    text = f"upload on account {account!r}: {file.name} {what}; its rows are uploaded again later"
    return Retryable(text, account=account, call="upload", code=code)
