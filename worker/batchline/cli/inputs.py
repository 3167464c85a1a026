"""Input files: one request a line, in the three forms of docs/protocol.md. Read as a stream; errors name file, line and field."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import NoReturn, TypeVar

import msgspec

from batchline.cli.sources import Source
from batchline.compose import NAMES, TEXTS, Draft, check_id, compose, deadline_ms
from batchline.errors import InvalidRequest, UsageError
from batchline.providers import PROVIDERS, facts
from batchline.reply_to import parse_reply_to
from batchline.settings import Settings

Fields = dict[str, msgspec.Raw]
T = TypeVar("T")

_BATCH_LINE = frozenset({"custom_id", "method", "url", "body"})
"""The fields of a line of a provider's own batch file."""

_decode_fields = msgspec.json.Decoder(Fields).decode
_decode_text = msgspec.json.Decoder(str).decode
_decode_span = msgspec.json.Decoder(str | int | float).decode


class FieldError(Exception):
    """What is wrong with one field of one line; an empty ``field`` is the line itself."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f'field "{field}": {message}' if field else message)


class LineError(UsageError):
    """A line of a file that is no request."""


class SourceChanged(UsageError):
    """A file holds other requests than those that were checked: somebody writes to it."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says about all requests of a file.

    ``model`` takes the place of the lines' own; ``deadline`` and ``reply_to`` are for lines that name none.
    ``prefix`` goes before every id; ``shared``: all replies must come to ``reply_to``.
    """

    model: str | None = None
    deadline: str | None = None
    reply_to: str | None = None
    prefix: str = ""
    shared: bool = False


class Input(msgspec.Struct, frozen=True, kw_only=True):
    """A checked file: its SHA-256, the lanes of its requests, and for each id (without prefix), in order, its lane's index."""

    source: Source
    sha256: str
    lanes: tuple[str, ...]
    ids: Mapping[str, int]


def check_input(source: Source, settings: Settings, options: Options, *, now_ms: int) -> Input:
    """Read a whole file without enqueuing anything. Raises UsageError for its first bad line, or when it holds no request."""
    _check_options(options, now_ms)
    digest = hashlib.sha256()
    lanes: dict[str, int] = {}
    ids: dict[str, int] = {}
    for number, given in _read(source, options, digest.update):
        try:
            lane = _checked(given, settings, now_ms)
        except FieldError as error:
            _refuse(source, number, error)
        own_id = given.id or ""
        if own_id.removeprefix(options.prefix) in ids:
            _refuse_duplicate(source, options, own_id, number)
        ids[own_id.removeprefix(options.prefix)] = lanes.setdefault(lane, len(lanes))
    if not ids:
        raise UsageError(f"{source.name}: there is no request in this file")
    return Input(source=source, sha256=digest.hexdigest(), lanes=tuple(lanes), ids=ids)


def _check_options(options: Options, now_ms: int) -> None:
    try:
        if options.deadline is not None:
            deadline_ms(options.deadline, now_ms=now_ms)
        if options.reply_to is not None:
            parse_reply_to(options.reply_to)
    except InvalidRequest as error:
        raise UsageError(f"--{str(error).replace('_', '-', 1)}") from None


def read_drafts(checked: Input, options: Options) -> Iterator[Draft]:
    """Yield a checked file's requests as drafts. Raises UsageError, SourceChanged."""
    return (given for _, given in numbered_drafts(checked, options))


def numbered_drafts(checked: Input, options: Options) -> Iterator[tuple[int, Draft]]:
    """Yield a checked file's requests as drafts, each with the number of its line. Raises UsageError.

    Raises SourceChanged, after those that are still as they were, when it does not hold what was checked any more.
    """
    digest = hashlib.sha256()
    ids = iter(checked.ids)
    with suppress(LineError):
        for number, given in _read(checked.source, options, digest.update):
            if (given.id or "").removeprefix(options.prefix) != next(ids, None):
                break
            yield number, given
        else:
            if digest.hexdigest() == checked.sha256:
                return
    raise SourceChanged(
        f"{checked.source.name}: it was changed while it was read, and does not hold the {len(checked.ids):,} requests any more"
        " that were checked: run the command again when nothing writes to it"
    )


def _read(source: Source, options: Options, seen: Callable[[bytes], object]) -> Iterator[tuple[int, Draft]]:
    for number, line in source.lines():
        seen(line)
        if line.isspace():
            continue
        try:
            yield number, parse_line(line, options)
        except FieldError as error:
            _refuse(source, number, error)


def _refuse(source: Source, number: int, error: FieldError) -> NoReturn:
    raise LineError(f"{source.name}:{number}: {error}") from None


def _refuse_duplicate(source: Source, options: Options, own_id: str, second: int) -> NoReturn:
    read = _read(source, options, lambda _: None)
    first = next((number for number, given in read if given.id == own_id), "?")
    shown = own_id.removeprefix(options.prefix)
    raise UsageError(f'{source.name}:{second}: field "id": {shown!r} stands in line {first} already')


def parse_line(line: bytes, options: Options) -> Draft:
    """Take one line apart. Raises FieldError."""
    # A null says no more than a field that is left out, except in a body.
    fields = {
        name: raw
        for name, raw in _object(line, "").items()
        if name not in NAMES or name == "body" or bytes(raw) != b"null"
    }
    if "custom_id" in fields:
        texts, body = _batch_line(fields)
        others: Fields = {}
    else:
        texts = {name: _text(fields[name], name) for name in TEXTS if name in fields}
        others = {name: fields[name] for name in ("deadline", "metadata") if name in fields}
        body = _body(fields)
    if "id" not in texts:
        raise FieldError("id", "is missing")
    if options.shared and "reply_to" in texts:
        raise FieldError("reply_to", "is not possible here, since this command reads the replies itself")
    model = options.model or texts.get("model")
    if model is not None:
        body = {"model": msgspec.Raw(msgspec.json.encode(model)), **_without(body, "model")}
    elif "model" in body:
        texts["model"] = _text(body["model"], "model")
    elif "lane" not in texts:
        raise FieldError("model", "is missing")
    given = {"reply_to": options.reply_to} | texts | ({"model": model} if model else {})
    return Draft(
        **given | {"id": options.prefix + check_field("id", lambda: check_id(texts["id"], spare=len(options.prefix)))},
        body=msgspec.json.encode(body),
        deadline=_decoded(others["deadline"], _decode_span, "deadline") if "deadline" in others else options.deadline,
        metadata=bytes(others["metadata"]) if "metadata" in others else None,
    )


def _body(fields: Fields) -> Fields:
    rest = {name: value for name, value in fields.items() if name not in NAMES}
    if "body" not in fields:
        return rest
    if rest:
        raise FieldError(next(iter(rest)), "is not known beside a body; put it into the body")
    return _object(bytes(fields["body"]), "body")


def _batch_line(fields: Fields) -> tuple[dict[str, str], Fields]:
    """Read a line of OpenAI's batch format. Source: developers.openai.com/api/docs/guides/batch"""  # noqa: D400, D415
    for name in fields:
        if name not in _BATCH_LINE:
            raise FieldError(name, "is not known in a batch line, which has custom_id, method, url and body")
    for name in ("url", "body"):
        if name not in fields:
            raise FieldError(name, "is missing")
    if "method" in fields and _text(fields["method"], "method") != "POST":
        raise FieldError("method", "is not POST")
    url = _text(fields["url"], "url")
    known = {
        endpoint.path: name
        for kind in PROVIDERS
        for name, endpoint in facts(kind).endpoints.items()
        if endpoint.path.startswith("/")  # Gemini's name the model, and are no URLs of such a line
    }
    if url not in known:
        raise FieldError("url", f"is none of {', '.join(known)}")
    texts = {"id": _text(fields["custom_id"], "custom_id"), "endpoint": known[url]}
    return texts, _object(bytes(fields["body"]), "body")


def _without(fields: Fields, name: str) -> Fields:
    return {key: value for key, value in fields.items() if key != name}


def _object(raw: bytes, field: str) -> Fields:
    if raw.startswith(b"\xef\xbb\xbf"):
        raise FieldError(field, "begins with a byte order mark (BOM): save it as UTF-8 without one")
    return _decoded(raw, _decode_fields, field)


def _text(raw: msgspec.Raw, field: str) -> str:
    return _decoded(raw, _decode_text, field)


def _decoded(raw: bytes | msgspec.Raw, decode: Callable[[bytes | msgspec.Raw], T], field: str) -> T:
    try:
        return decode(raw)
    except RecursionError:
        raise FieldError(field, "is nested too deeply") from None
    except UnicodeDecodeError:
        raise FieldError(field, "is not UTF-8") from None
    except msgspec.MsgspecError as error:
        raise FieldError(field, f"{'' if field else 'the line '}is not right: {error}") from None


def _checked(given: Draft, settings: Settings, now_ms: int) -> str:
    """Return the lane of a draft that would be accepted."""
    request, _ = check_field("", lambda: compose(given, settings, now_ms=now_ms, new_id=lambda: ""))
    return request.lane


def check_field(field: str, check: Callable[[], T]) -> T:
    """Return what ``check`` returns; its refusal becomes a FieldError, of the field that its message begins with if none is given."""
    try:
        return check()
    except InvalidRequest as error:
        first, _, rest = str(error).partition(" ")
        if first in NAMES and field in {"", first}:
            raise FieldError(first, rest) from None
        raise FieldError(field, str(error)) from None
    except UsageError as error:
        raise FieldError("model", str(error)) from None
