"""``batchline quote``: what a file of requests would cost, at list price and in batches, before anything is sent."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from batchline.cli.console import out, table
from batchline.cli.inputs import Input, Options, check_input, numbered_drafts
from batchline.cli.sources import opened
from batchline.errors import UsageError
from batchline.lanes import parse_lane
from batchline.providers import facts_of
from batchline.quoting import BY_BYTES, BY_OPTION, MOST_TOKENS, Estimate, Quote, Row, Terms, estimate, quote
from batchline.report.amounts import exact
from batchline.requests import usd
from batchline.settings import Settings, load_settings
from batchline.settings.prices import price_for

UNPRICED = "unpriced"
TOTAL = "total"
MOST_REQUESTS = 10**12
LEFT_OUT = (
    "fees of tools, what a prompt cache saves or costs, other prices of sound, images and video,"
    " and surcharges for a region that the body does not name are not in it"
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("quote")(command)


def command(
    source: Annotated[
        Path, typer.Argument(metavar="INPUT.jsonl", help="One request a line, as for `run`; - is standard input.")
    ],
    model: Annotated[str | None, typer.Option(help="The model of all requests, whatever the lines say.")] = None,
    input_tokens: Annotated[
        int | None,
        typer.Option(
            min=0, max=MOST_TOKENS, metavar="N", help="Input tokens of each request, in place of the estimate."
        ),
    ] = None,
    output_tokens: Annotated[
        int | None,
        typer.Option(min=0, max=MOST_TOKENS, metavar="N", help="Output tokens of each request, in place of the bound."),
    ] = None,
    requests: Annotated[
        int | None,
        typer.Option(
            min=1, max=MOST_REQUESTS, metavar="N", help="So many requests in all, of which the file is a sample."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Show what a file of requests would cost at list price and in batches. Needs no key, no store and no network.

    Input is estimated at four bytes of a request's body a token, and the same for every image or file that it carries. Output is the most that each body allows (max_tokens and
    its like), or as much as its input where it sets no limit. Whatever is better known can be given for all requests.
    """
    settings = load_settings()
    now_ms = time.time_ns() // 1_000_000
    options = Options(model=model)
    with opened(source, settings.spool_dir) as given:
        checked = check_input(given, settings, options, now_ms=now_ms)
        terms = [_terms(settings, lane) for lane in checked.lanes]
        counted = _counted(checked, options, terms, input_tokens=input_tokens, output_tokens=output_tokens)
    basis = BY_BYTES if input_tokens is None else BY_OPTION
    made = quote(terms, counted, when_ms=now_ms, requests=requests, input_basis=basis)
    at = datetime.fromtimestamp(now_ms / 1000, UTC).date().isoformat()
    if as_json:
        out().print(json.dumps(_document(made, at)), soft_wrap=True)
    else:
        _print(made, at, out())


def _counted(
    checked: Input, options: Options, terms: Sequence[Terms], *, input_tokens: int | None, output_tokens: int | None
) -> Counter[tuple[int, Estimate]]:
    """Count a checked file's requests by their lane's index and their estimate."""
    counted: Counter[tuple[int, Estimate]] = Counter()
    for (number, given), lane in zip(numbered_drafts(checked, options), checked.ids.values(), strict=True):
        try:
            each = estimate(terms[lane].endpoint, given.body, input_tokens=input_tokens, output_tokens=output_tokens)
        except UsageError as error:
            raise UsageError(f"{checked.source.name}:{number}: {error}") from None
        counted[lane, each] += 1
    return counted


def _terms(settings: Settings, name: str) -> Terms:
    lane = parse_lane(name)
    account = settings.accounts[lane.account]
    facts = facts_of(account)
    return Terms(
        account=lane.account,
        endpoint=lane.endpoint,
        model=lane.model,
        provider=facts.price_provider,
        free=not facts.endpoints[lane.endpoint].price_flavor,
        discount=account.discount,
        override=price_for(settings.prices, kind=account.provider, account=lane.account, model=lane.model),
    )


# --- for programs ---


def _document(made: Quote, at: str) -> dict[str, Any]:
    total = made.total
    return {
        "prices": {"library": _library(), "at": at, "left_out": LEFT_OUT},
        "sample": made.sample,
        "rows": [_row(row) for row in made.rows],
        "total": {
            "requests": total.requests,
            "input_tokens": total.input_tokens,
            "output_tokens": total.output_tokens,
            "list_usd": usd(total.list_nano),
            "batch_usd": usd(total.batch_nano),
            "saved_usd": usd(total.saved_nano),
            "unpriced": total.unpriced,
        },
    }


def _row(row: Row) -> dict[str, Any]:
    return {
        "account": row.account,
        "endpoint": row.endpoint,
        "model": row.model,
        "requests": row.requests,
        "input_tokens": row.input_tokens,
        "output_tokens": row.output_tokens,
        "list_usd": _usd(row.list_nano),
        "batch_usd": _usd(row.batch_nano),
        "saved_usd": _usd(row.saved_nano),
        "basis": {
            "input": row.input_basis,
            "output": row.output_bases,
            "list": row.list_basis,
            "batch": row.batch_basis,
        },
    }


def _usd(nano: int | None) -> str | None:
    return None if nano is None else usd(nano)


def _library() -> str:
    return f"genai-prices {version('genai-prices')}"


# --- for people ---


def _print(made: Quote, at: str, console: Console) -> None:
    shown = table("lane", "requests", "tokens in", "tokens out", "list price", "batch price", "saved")
    for row in made.rows:
        counts = (f"{n:,}" for n in (row.requests, row.input_tokens, row.output_tokens))
        shown.add_row(_name(row), *counts, *(_amount(n) for n in (row.list_nano, row.batch_nano, row.saved_nano)))
    total = made.total
    if len(made.rows) != 1:
        counts = (f"{n:,}" for n in (total.requests, total.input_tokens, total.output_tokens))
        shown.add_row(TOTAL, *counts, *(_amount(n) for n in (total.list_nano, total.batch_nano, total.saved_nano)))
    console.print(shown)
    console.print()
    for line in _basis(made, at):
        console.print(line, soft_wrap=True)


def _basis(made: Quote, at: str) -> list[str]:
    """Say what each figure rests on, one line for each that differs."""
    lines = [f"prices: {_library()}, as of {at} (UTC); {LEFT_OUT}"]
    if made.sample != made.total.requests:
        lines.append(f"requests: {made.total.requests:,} as given, taken to be like the {made.sample:,} of the file")
    lines += [f"tokens in: {basis}" for basis in dict.fromkeys(row.input_basis for row in made.rows)]
    outputs: Counter[str] = Counter()
    for row in made.rows:
        outputs.update(row.output_bases)
    lines += [f"tokens out: {basis} ({_requests(count)})" for basis, count in outputs.items()]
    lines += [f"{_name(row)}: {_bases(row)}" for row in made.rows if row.priced]
    lines += [_unpriced(row) for row in made.rows if not row.priced]
    return lines


def _bases(row: Row) -> str:
    return row.list_basis or "" if row.list_basis == row.batch_basis else f"{row.list_basis}; {row.batch_basis}"


def _unpriced(row: Row) -> str:
    known = "no price is known" if row.list_nano is None else "no batch price is known"
    return (
        f"{_name(row)}: UNPRICED, {known} for this model: {_requests(row.requests)} not in the total; "
        "give one under 'prices' in the settings"
    )


def _requests(count: int) -> str:
    return f"{count:,} request" if count == 1 else f"{count:,} requests"


def _name(row: Row) -> str:
    return f"{row.account}:{row.endpoint}:{row.model}"


def _amount(nano: int | None) -> str:
    """Write an amount in full, with cents at the least."""
    if nano is None:
        return UNPRICED
    whole, _, parts = exact(nano).partition(".")
    return f"{whole}.{parts:0<2}"
