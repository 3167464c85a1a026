"""Providers: their errors and rate limits, the room that accounts have, and the files that wait there."""

from __future__ import annotations

from grafana.source.frame import framed
from grafana.source.panels import (
    BLUE,
    ORANGE,
    RED,
    YELLOW,
    About,
    Column,
    Panel,
    Query,
    Row,
    gauges,
    grid,
    lines,
    tile,
)
from grafana.source.promql import count, gain, now, or_zero, rate, share, total

ERRORS = "batchline_provider_errors_total"
RETRIES = "batchline_request_retries_total"
DOWN = "batchline_account_down"
USED, LIMIT = "batchline_budget_used", "batchline_budget_limit"
FILES, FILE_FAILURES = "batchline_provider_files", "batchline_provider_file_failures"
STORED, STORAGE_LIMIT = "batchline_provider_storage_bytes", "batchline_provider_storage_limit_bytes"
BUDGET = ("account", "model", "unit")
LIMITED, SERVER, AWAY = 'code="429"', 'code=~"5.."', 'code=~"timeout|connection"'
REST = 'code!~"429|5..|timeout|connection"'


def dashboard() -> str:
    """Return the dashboard's JSON."""
    rows = [
        Row(100, "Now", [_now()]),
        Row(200, "Errors", [_errors(), _kinds()]),
        Row(300, "Accounts", [_accounts()]),
        Row(400, "Budgets", [_budgets(), _room()]),
        Row(500, "Retries and files", [_rest(), _storage()]),
    ]
    return framed(
        "batchline-providers",
        "batchline / Providers",
        "Errors and rate limits by account, call and code; budgets, retries, and files and storage at the providers.",
        rows,
    )


def _now() -> list[Panel]:
    used, limit = total(now(USED), *BUDGET), total(now(LIMIT), *BUDGET)
    return [
        tile(
            About(
                1,
                "Accounts down",
                "Accounts whose calls are held back after trouble; they are tried again by and by.",
                "short",
                ("BatchlineProviderErrors",),
                width=4,
                height=4,
            ),
            count(now(DOWN)),
            limits=((1, ORANGE),),
        ),
        tile(
            About(
                2,
                "Provider errors",
                "Calls that failed in the time range, whatever the call and the code.",
                "short",
                ("BatchlineProviderErrors",),
                width=4,
                height=4,
            ),
            count(gain(ERRORS)),
            limits=((1, YELLOW), (100, ORANGE)),
            decimals=0,
        ),
        tile(
            About(
                3,
                "Rate limited",
                "Calls of the time range that the provider refused with 429: a limit of calls or tokens, a full batch queue, or no money.",
                "short",
                ("BatchlineProviderErrors", "BatchlineBudgetExhausted"),
                width=4,
                height=4,
            ),
            count(gain(ERRORS, LIMITED)),
            limits=((1, YELLOW), (100, ORANGE)),
            decimals=0,
        ),
        tile(
            About(
                4,
                "Keys refused",
                "Calls of the time range that were refused with 401 or 403: a key that is wrong, expired or not allowed to do this.",
                "short",
                ("BatchlineProviderErrors",),
                width=4,
                height=4,
            ),
            count(gain(ERRORS, 'code=~"401|403"')),
            limits=((1, RED),),
            decimals=0,
        ),
        tile(
            About(
                5,
                "Fullest budget",
                "The largest use of a budget that has a limit. At 100 % nothing more is sent there until something ends.",
                "percentunit",
                ("BatchlineBudgetExhausted",),
                width=4,
                height=4,
            ),
            or_zero(f"max({share(used, limit)})"),
            limits=((0.8, YELLOW), (1, ORANGE)),
            decimals=0,
        ),
        tile(
            About(
                6,
                "Files not deleted",
                "Files at providers whose deletion failed; it is tried again. They may hold prompts, and count against the provider's storage.",
                "short",
                ("BatchlineProviderErrors",),
                width=4,
                height=4,
            ),
            count(now(FILE_FAILURES)),
            limits=((1, YELLOW),),
        ),
    ]


def _errors() -> list[Panel]:
    return [
        lines(
            About(
                21,
                "Errors by account and code",
                "Failed calls per second. `timeout` and `connection` had no answer, `other` is any code that is not shown by itself.",
                "reqps",
                ("BatchlineProviderErrors",),
            ),
            Query(total(rate(ERRORS), "account", "code"), "{{account}} {{code}}"),
            stacked=True,
            window="2m",
        ),
        lines(
            About(
                22,
                "Errors by call",
                "Failed calls per second: upload, create, poll and results move batches on; find, recent and uploads are what reconciler and audit ask; delete_file tidies up.",
                "reqps",
                ("BatchlineProviderErrors", "BatchlineAmbiguousSubmissions"),
            ),
            Query(total(rate(ERRORS), "call"), "{{call}}"),
            stacked=True,
            window="2m",
        ),
    ]


def _kinds() -> list[Panel]:
    return [
        lines(
            About(
                23,
                "Rate limits by account",
                "Calls per second that were refused with 429.",
                "reqps",
                ("BatchlineProviderErrors", "BatchlineBudgetExhausted"),
            ),
            Query(total(rate(ERRORS, LIMITED), "account"), "{{account}}"),
            stacked=True,
            window="2m",
        ),
        lines(
            About(
                24,
                "Kinds of errors",
                "Failed calls per second: limits (429), the provider's own trouble (5xx), no answer at all, and the rest, which waiting alone does not mend.",
                "reqps",
                ("BatchlineProviderErrors",),
            ),
            Query(count(rate(ERRORS, LIMITED)), "rate limited"),
            Query(count(rate(ERRORS, SERVER)), "provider's trouble"),
            Query(count(rate(ERRORS, AWAY)), "no answer"),
            Query(count(rate(ERRORS, REST)), "other"),
            stacked=True,
            window="2m",
            colours={"rate limited": YELLOW, "provider's trouble": ORANGE, "no answer": BLUE, "other": RED},
        ),
    ]


def _accounts() -> list[Panel]:
    by = ("account",)
    return [
        lines(
            About(
                31,
                "Account down",
                "1 while an account's calls are held back after trouble, by account.",
                "short",
                ("BatchlineProviderErrors",),
            ),
            Query(f"max by (account) ({now(DOWN)})", "{{account}}"),
            largest=1,
        ),
        grid(
            About(
                32,
                "Accounts",
                "Every account: how it stands now, and its errors and retries of the time range.",
                "short",
                ("BatchlineProviderErrors",),
            ),
            by,
            [
                Column("Down", f"max by (account) ({now(DOWN)})", "short", ((1, RED),)),
                Column("Errors", total(gain(ERRORS), *by), "short", ((1, YELLOW),)),
                Column("429", total(gain(ERRORS, LIMITED), *by), "short", ((1, YELLOW),)),
                Column("Requests sent again", total(gain(RETRIES), *by), "short"),
                Column("Files to delete", total(now(FILES), *by), "short"),
                Column("Not deleted", total(now(FILE_FAILURES), *by), "short", ((1, ORANGE),)),
                Column("Files there", total(now("batchline_provider_storage_files"), *by), "short"),
            ],
            sort="Errors",
            opens="batchline-overview",
        ),
    ]


def _budgets() -> list[Panel]:
    used, limit = total(now(USED), *BUDGET), total(now(LIMIT), *BUDGET)
    return [
        gauges(
            About(
                41,
                "Budget use now",
                "How much of each budget that has a limit is used: tokens and requests enqueued, by model or, as `all`, of the account; `batches` are open batches, `creates` the create calls of the last hour.",
                "percentunit",
                ("BatchlineBudgetExhausted",),
            ),
            Query(share(used, limit), "{{account}} {{model}} {{unit}}"),
            limits=((0.8, YELLOW), (1, ORANGE)),
            largest=1,
        ),
        lines(
            About(
                42,
                "Budget use",
                "The same over time. A budget that stays near 100 % holds its lanes back; above it, its limit was lowered for a while after a refusal.",
                "percentunit",
                ("BatchlineBudgetExhausted",),
            ),
            Query(share(used, limit), "{{account}} {{model}} {{unit}}"),
            limits=((1, ORANGE),),
        ),
    ]


def _room() -> list[Panel]:
    def used(unit: str) -> str:
        return total(now(USED, f'unit="{unit}"'), "account", "model")

    def limit(unit: str) -> str:
        return total(now(LIMIT, f'unit="{unit}"'), "account", "model")

    names = "{{account}} · {{model}}"
    return [
        lines(
            About(
                43,
                "Requests aboard by account and model",
                "Requests in open batches, and how many may be where there is a limit. Model `all` is what holds for the whole account.",
                "short",
                ("BatchlineBudgetExhausted",),
            ),
            Query(used("requests"), names),
            Query(limit("requests"), f"limit {names}"),
        ),
        lines(
            About(
                44,
                "Tokens aboard by account and model",
                "Estimated input tokens in open batches, and how many may be where there is a limit; it is lower for a while after a refusal.",
                "short",
                ("BatchlineBudgetExhausted",),
            ),
            Query(used("tokens"), names),
            Query(limit("tokens"), f"limit {names}"),
        ),
    ]


def _rest() -> list[Panel]:
    return [
        lines(
            About(
                51,
                "Requests sent again by reason",
                "Requests per second that go into another batch: the provider's error, an expired or cancelled batch, or a row that was missing from the results.",
                "reqps",
                ("BatchlineBatchErrorRatio", "BatchlineDeadLetters"),
            ),
            Query(total(rate(RETRIES), "reason"), "{{reason}}"),
            stacked=True,
            window="5m",
        ),
        lines(
            About(
                52,
                "Files at providers",
                "Files of settled batches that wait to be deleted, and those whose deletion failed.",
                "short",
                ("BatchlineProviderErrors",),
            ),
            Query(total(now(FILES), "account"), "waiting {{account}}"),
            Query(total(now(FILE_FAILURES), "account"), "failed {{account}}"),
        ),
    ]


def _storage() -> list[Panel]:
    stored = total(now(STORED), "account")
    return [
        lines(
            About(
                53,
                "Storage at providers",
                "Bytes of all files that the key sees, ours and others'; the audit adds them up every 15 minutes.",
                "bytes",
                ("BatchlineProviderStorageNearlyFull",),
            ),
            Query(total(now(STORED), "account", "whose"), "{{account}} {{whose}}"),
        ),
        gauges(
            About(
                54,
                "Storage use now",
                "How much of the storage of a project is in use, where its limit is known.",
                "percentunit",
                ("BatchlineProviderStorageNearlyFull",),
            ),
            Query(share(stored, total(now(STORAGE_LIMIT), "account")), "{{account}}"),
            limits=((0.8, YELLOW), (0.95, ORANGE)),
            largest=1,
        ),
    ]
