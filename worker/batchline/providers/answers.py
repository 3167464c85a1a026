"""Results from what a provider answered: lines of a result file, and the answer to a realtime call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import msgspec

from batchline.errors import Permanent, Retryable
from batchline.providers.failures import is_nobody_home, is_request_at_fault, read_error
from batchline.providers.lines import BadLine, LineTooLong, decode_line
from batchline.providers.protocol import Result
from batchline.requests import Usage

_ANY = msgspec.json.Decoder(msgspec.Raw)


def parsed(lines: Iterable[bytes], parse: Callable[[bytes], Result], *, account: str, source: str) -> Iterator[Result]:
    """Parse result lines; blank ones are passed over.

    Raises Retryable after the last line when one of them did not parse (a cut stream ends in one): the others are whole,
    and what cannot be read is never "missing". Raises Permanent on a line that is longer than may be held in memory.
    """
    number = 0
    torn, code = "", ""
    try:
        for line in lines:
            number += 1
            if line and not line.isspace():
                try:
                    result = parse(line)
                except BadLine as exc:
                    torn, code = torn or f"line {number} of {source} is {exc}", code or exc.code
                else:
                    yield result
    except LineTooLong as exc:
        message = f"results of account {account!r}: in {source}, after line {number}, {exc}"
        raise Permanent(message, account=account, call="results", code="line_too_long") from None
    if torn:
        message = f"results of account {account!r}: {torn}; the pass starts over"
        raise Retryable(message, account=account, call="results", code=code)


def answered(content: bytes, usage_of: Callable[[bytes], Usage | None]) -> Result:
    """Return the result of a realtime call that succeeded. Raises BadLine when the body is no JSON text."""
    body = decode_line(content, _ANY)
    return Result(custom_id="", kind="succeeded", body=body, usage=usage_of(bytes(body)), size=len(content))


def rejected(status: int, content: bytes) -> Result | None:
    """Return the result of a realtime call whose request was refused for good, None where something else is at fault."""
    told = read_error(content)
    if not is_request_at_fault(status, told) or status == 403 or is_nobody_home(status, told):
        return None
    return Result(
        custom_id="",
        kind="rejected",
        code=told.code or str(status),
        message=told.message or f"the provider answered {status}",
        size=len(content),
    )
