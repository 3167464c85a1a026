"""What requests would cost before anything is sent: tokens estimated, list and batch price, and the basis of each figure. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

import msgspec

from batchline.errors import UsageError
from batchline.money import Tokens, price_basis, price_usage
from batchline.settings.prices import PriceOverride

BYTES_PER_TOKEN = 4
"""Of a request's body as it is sent, English text in JSON; the worker estimates with the same until answers correct it."""

MOST_TOKENS = 10**9
"""Of one request, in and out each: far beyond what any model takes."""

PART_TOKENS = 1_600
"""Of each image, sound or file that a body carries in base64: what a large image has at Anthropic, its newest models apart.

Sizes are not looked at: less at OpenAI and Gemini mostly, more for long documents. Source: platform.claude.com/docs/en/build-with-claude/vision
"""

BY_PARTS = f"{PART_TOKENS:,} for each image, sound or file in base64, whatever its size"
BY_BYTES = f"estimated: a token for each {BYTES_PER_TOKEN} bytes of the body"
BY_OPTION = "as given"
BY_LIMIT = "upper bound: the body's own limit on its output"
BY_INPUT = "assumed: as many as its input, since the body sets no limit"
NO_OUTPUT = "none: this endpoint has no output that is paid for"
FREE = "free of charge"
IN_THE_US = "a tenth more where the body says inference_geo: us"

_LIMITS = ("max_completion_tokens", "max_tokens", "max_output_tokens", "maxOutputTokens")
_ANSWERS = ("n", "best_of", "candidateCount", "candidate_count")
_NESTED = ("generationConfig", "generation_config")
_WITHOUT_OUTPUT = frozenset({"embeddings", "embed", "moderations"})
_LEGACY_LIMIT = 16
"""What /v1/completions writes at most where the body does not say. Source: developers.openai.com/api/reference/resources/completions"""


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """Who is paid for the requests of a lane, and at which price: ``provider`` is whose prices count, empty for nobody's."""

    account: str
    endpoint: str
    model: str
    provider: str
    free: bool = False
    discount: Decimal | None = None
    override: PriceOverride | None = None


class Estimate(msgspec.Struct, frozen=True):
    """Tokens of one request, and on what basis its output is known; ``parts``: whether its input counts images or files.

    ``us_only``: it asks to be run in the United States, in Anthropic's words.
    """

    input: int
    output: int
    output_basis: str
    parts: bool = False
    us_only: bool = False


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What the requests of one model at one account cost, in nano-dollars; None where a price is not known.

    ``output_bases``: how many requests' output is known on which basis.
    """

    account: str
    endpoint: str
    model: str
    requests: int
    input_tokens: int
    output_tokens: int
    list_nano: int | None
    batch_nano: int | None
    list_basis: str | None
    batch_basis: str | None
    input_basis: str
    output_bases: Mapping[str, int]

    @property
    def priced(self) -> bool:
        """Whether both prices are known."""
        return self.list_nano is not None and self.batch_nano is not None

    @property
    def saved_nano(self) -> int | None:
        """What the batch saves; None where either price is not known."""
        return None if self.list_nano is None or self.batch_nano is None else self.list_nano - self.batch_nano


class Total(msgspec.Struct, frozen=True, kw_only=True):
    """The sum over all rows; its money leaves out the requests of models without a known price (``unpriced``)."""

    requests: int
    input_tokens: int
    output_tokens: int
    list_nano: int
    batch_nano: int
    unpriced: int

    @property
    def saved_nano(self) -> int:
        """What the batches save."""
        return self.list_nano - self.batch_nano


class Quote(msgspec.Struct, frozen=True, kw_only=True):
    """Rows, dearest first, and their total. ``sample``: of how many requests it was made; the rest is taken to be like them."""

    sample: int
    rows: tuple[Row, ...]
    total: Total


def estimate(
    endpoint: str, body: bytes, *, input_tokens: int | None = None, output_tokens: int | None = None
) -> Estimate:
    """Estimate the tokens of a request from its body, or take them as given.

    Raises UsageError for one that asks for more output than ``MOST_TOKENS``.
    """
    document = msgspec.json.decode(body)
    parts = [len(part) for part in _parts(document)] if input_tokens is None else []
    text = max(0, len(body) - sum(parts))
    tokens = -(-text // BYTES_PER_TOKEN) + len(parts) * PART_TOKENS if input_tokens is None else input_tokens
    output, basis = _output(endpoint, document, tokens, output_tokens)
    if output > MOST_TOKENS:
        raise UsageError(f"it asks for {output:,} tokens of output; more than {MOST_TOKENS:,} cannot be meant")
    return Estimate(tokens, output, basis, bool(parts), document.get("inference_geo") == "us")


_BASE64 = re.compile(r"[A-Za-z0-9+/=_-]{256}")
"""How a part begins; what is shorter is counted as text."""
_DATA_URL = re.compile(r"data:(?!text/)[^,]{0,200};base64,")
_FORMATS = ("media_type", "mimeType", "mime_type", "format")


def _parts(value: Any) -> Iterator[str]:
    """Yield what a body carries in base64: ``data:`` URLs, and ``data`` beside its format (Anthropic, Gemini, OpenAI's sound)."""
    if isinstance(value, list):
        for each in value:
            yield from _parts(each)
    if not isinstance(value, dict):
        return
    for name, each in value.items():
        if not isinstance(each, str):
            yield from _parts(each)
        elif _carries(name, each, value):
            yield each


def _carries(name: str, text: str, beside: Mapping[str, Any]) -> bool:
    """Tell whether a field holds base64 of something that is no text."""
    if url := _DATA_URL.match(text):
        return _BASE64.match(text, url.end()) is not None
    if not _BASE64.match(text):
        return False
    if name == "file_data":
        return True
    formats = [beside[each] for each in _FORMATS if isinstance(beside.get(each), str)]
    return name == "data" and any(not each.startswith("text/") for each in formats)


def _output(endpoint: str, document: Mapping[str, Any], tokens: int, given: int | None) -> tuple[int, str]:
    if endpoint in _WITHOUT_OUTPUT:
        return 0, NO_OUTPUT
    if given is not None:
        return given, BY_OPTION
    limit = _limit(endpoint, document)
    return (tokens, BY_INPUT) if limit is None else (limit, BY_LIMIT)


def _limit(endpoint: str, body: Mapping[str, Any]) -> int | None:
    """Return the most output tokens that a body asks for, all of its answers together; None where it does not say."""
    places = [body, *(body[name] for name in _NESTED if isinstance(body.get(name), dict))]
    most = _largest(places, _LIMITS)
    if most is None and endpoint == "completions":
        most = _LEGACY_LIMIT
    return None if most is None else most * (_largest(places, _ANSWERS) or 1)


def _largest(places: Iterable[Mapping[str, Any]], names: Iterable[str]) -> int | None:
    found = [place.get(name) for place in places for name in names]
    counts = [each for each in found if isinstance(each, int) and not isinstance(each, bool) and each > 0]
    return max(counts, default=None)


def quote(
    terms: Sequence[Terms],
    counted: Mapping[tuple[int, Estimate], int],
    *,
    when_ms: int,
    requests: int | None = None,
    input_basis: str = BY_BYTES,
) -> Quote:
    """Price requests: how many there are of each of the ``terms`` (by index) with each estimate.

    ``requests``: how many there will be in all, of which these are a sample. Each request is priced alone, since a long prompt
    may have a price of its own.
    """
    sample = sum(counted.values())
    wanted = sample if requests is None else requests
    groups: dict[int, dict[Estimate, int]] = {}
    for (index, each), count in counted.items():
        groups.setdefault(index, {})[each] = count
    shares = _apportioned({index: sum(group.values()) for index, group in groups.items()}, wanted)
    scale = Fraction(wanted, sample) if sample else Fraction(1)
    rows = [
        _row(terms[index], group, requests=shares[index], scale=scale, when_ms=when_ms, input_basis=input_basis)
        for index, group in groups.items()
    ]
    rows.sort(key=lambda row: (not row.priced, -(row.list_nano or 0), row.account, row.endpoint, row.model))
    return Quote(sample=sample, rows=tuple(rows), total=_total(rows))


def _row(
    terms: Terms, group: Mapping[Estimate, int], *, requests: int, scale: Fraction, when_ms: int, input_basis: str
) -> Row:
    listed, list_basis = _sum(terms, group, when_ms, batch=False)
    batch, batch_basis = _sum(terms, group, when_ms, batch=True)
    bases: dict[str, int] = {}
    for each, count in group.items():
        bases[each.output_basis] = bases.get(each.output_basis, 0) + count
    return Row(
        account=terms.account,
        endpoint=terms.endpoint,
        model=terms.model,
        requests=requests,
        input_tokens=round(sum(each.input * count for each, count in group.items()) * scale),
        output_tokens=round(sum(each.output * count for each, count in group.items()) * scale),
        list_nano=None if listed is None else round(listed * scale),
        batch_nano=None if batch is None else round(batch * scale),
        list_basis=list_basis,
        batch_basis=batch_basis,
        input_basis=f"{input_basis}; {BY_PARTS}" if any(each.parts for each in group) else input_basis,
        output_bases={basis: round(count * scale) for basis, count in bases.items()},
    )


def _sum(terms: Terms, group: Mapping[Estimate, int], when_ms: int, *, batch: bool) -> tuple[int | None, str | None]:
    """Return the nano-dollars of a group of requests and where their price is from; None and None where it is not known."""
    if terms.free:
        return 0, FREE
    total = 0
    for each, count in group.items():
        cost = price_usage(
            terms.provider,
            terms.model,
            # As in a settlement, where only Anthropic's answers tell it.
            Tokens(input=each.input, output=each.output, us_only=each.us_only and terms.provider == "anthropic"),
            when_ms,
            route="batch" if batch else "realtime",
            discount=terms.discount,
            override=terms.override,
        )
        if cost is None:
            return None, None
        total += cost.paid_nano * count
    basis = price_basis(
        terms.provider, terms.model, when_ms, batch=batch, discount=terms.discount, override=terms.override
    )
    us_only = terms.provider == "anthropic" and any(each.us_only for each in group)
    return total, f"{basis}, {IN_THE_US}" if us_only else basis


def _apportioned(counts: Mapping[int, int], wanted: int) -> dict[int, int]:
    """Share out requests in proportion to the sample's, whole ones, their sum exact; what is left over goes to the largest rests."""
    sample = sum(counts.values())
    exact = {index: Fraction(count * wanted, sample) for index, count in counts.items()}
    whole = {index: int(each) for index, each in exact.items()}
    by_rest = sorted(counts, key=lambda index: (whole[index] - exact[index], index))
    for index in by_rest[: wanted - sum(whole.values())]:
        whole[index] += 1
    return whole


def _total(rows: Iterable[Row]) -> Total:
    rows = list(rows)
    priced = [row for row in rows if row.priced]
    return Total(
        requests=sum(row.requests for row in rows),
        input_tokens=sum(row.input_tokens for row in rows),
        output_tokens=sum(row.output_tokens for row in rows),
        list_nano=sum(row.list_nano or 0 for row in priced),
        batch_nano=sum(row.batch_nano or 0 for row in priced),
        unpriced=sum(row.requests for row in rows if not row.priced),
    )
