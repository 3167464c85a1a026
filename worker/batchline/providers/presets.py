"""OpenAI-compatible services as data: what each takes and how it differs from OpenAI itself. No calls, nothing to configure.

An account without a preset is OpenAI's, or of any service of the same shape at its ``base_url``: nothing is assumed then but
what OpenAI documents. What is marked UNCERTAIN could not be confirmed; the account works either way, as said there.

Fields that differ between services are not guessed from answers, with two exceptions that cost nothing: statuses are read
in any case of letters, and a list that names its next page itself (``paging.next_cursor``) is followed.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from types import MappingProxyType

import msgspec

from batchline.errors import UsageError
from batchline.providers.protocol import DefaultBudget, Endpoint, Limits, Options
from batchline.settings.services import EXPIRIES_S, HOME, WINDOWS_H, host_of, hours_of, is_elsewhere, window_problem

BASE_URL = f"https://{HOME}/v1"

DAY_S = 86_400
SPELLINGS: Mapping[str, str] = {"canceled": "cancelled", "canceling": "cancelling"}
"""Statuses, in small letters, that are one of OpenAI's in another spelling."""

ENDPOINTS: Mapping[str, Endpoint] = {
    "chat": Endpoint(path="/v1/chat/completions", price_flavor="chat", prefixed=True),
    "responses": Endpoint(path="/v1/responses", price_flavor="responses", prefixed=True),
    "embeddings": Endpoint(path="/v1/embeddings", price_flavor="embeddings"),
    # The old completions tell their usage in the shape of chat.
    "completions": Endpoint(path="/v1/completions", price_flavor="chat"),
    # Free of charge and without usage.
    "moderations": Endpoint(path="/v1/moderations", price_flavor=""),
}


class Preset(msgspec.Struct, frozen=True, kw_only=True):
    """What is true of a service.

    ``endpoints``: those that it offers in batches, with their paths in rows and create calls.
    ``limits``: of one batch; bytes are of the rows without line feeds.
    ``purpose``: what an upload is declared to be. ``metadata``: whether a batch takes our tag; where it does not, it is
    known by its file. ``expiries``: whether ``expires_after`` and ``output_expires_after`` are taken.
    ``shortest_expiry_s``: the shortest of these, in seconds; a shorter one is raised to it.
    ``windows_h``: the completion windows, in hours, from the first to the second. ``in_days``: whether "7d" is understood.
    ``statuses``: what it calls OpenAI's statuses. ``lasts_s``: how long a batch may run, counted from its creation, where its
    window does not end it; ``late_s``: how long before somebody should look, there. ``counts_unrun``: its count of failed rows has those as well that were not run before the end.
    ``output_means_ran``: a batch that failed and has an output file was not refused, whatever its counts say.
    ``by_offset``: ``after`` in its lists is a number of items, not an id. ``newest_first``: lists begin with the newest; where
    that is not known they are read to their end.
    ``results_kept_s``: how long results can be read at the least, counted from the submission.
    ``price_provider``: whose prices count, in the price library's words; empty: only those of the settings.
    ``cache_key``: whether it documents ``prompt_cache_key`` in a body.
    ``budgets`` and ``storage_bytes`` (of all files of a project): what it documents, nothing where that depends on the account.
    """

    name: str
    endpoints: Mapping[str, Endpoint]
    limits: Limits
    purpose: str = "batch"
    metadata: bool = True
    expiries: bool = True
    shortest_expiry_s: int = 3600
    windows_h: tuple[int, int] = (24, 24)
    in_days: bool = False
    statuses: Mapping[str, str] = MappingProxyType(SPELLINGS)
    lasts_s: int | None = None
    late_s: int | None = None
    counts_unrun: bool = False
    output_means_ran: bool = False
    by_offset: bool = False
    newest_first: bool = True
    results_kept_s: int = 30 * DAY_S
    price_provider: str
    cache_key: bool = False
    budgets: tuple[DefaultBudget, ...] = ()
    storage_bytes: int | None = None


OPENAI = Preset(
    name="openai",
    endpoints=ENDPOINTS,
    limits=Limits(
        max_requests=50_000,
        # 200 MB, less one line feed a row. Source: developers.openai.com/api/docs/guides/batch
        max_bytes=200_000_000 - 50_000,
        max_inputs=50_000,
    ),
    price_provider="openai",
    cache_key=True,
    # How many tokens may be enqueued depends on the account's tier.
    budgets=(DefaultBudget(match="text-embedding-*", requests=1_000_000, shared=True),),
    storage_bytes=2_500_000_000_000,
)
"""OpenAI itself. Files are deleted 30 days after they were made, results as well; they may take 2.5 TB a project.

Source: developers.openai.com/api/docs/guides/batch; for the million of enqueued embeddings requests the help centre's article
9197833. That lists begin with the newest was observed, not documented.
"""

AZURE = Preset(
    name="azure",
    endpoints={name: ENDPOINTS[name] for name in ("chat", "responses", "embeddings")},
    limits=Limits(max_requests=100_000, max_bytes=200_000_000 - 100_000, max_inputs=50_000),
    shortest_expiry_s=EXPIRIES_S["azure"][0],
    # Results are kept no longer: a batch that has none by then has nothing to give.
    lasts_s=30 * DAY_S,
    # The service promises nothing beyond its target of a day: a week is ours.
    late_s=7 * DAY_S,
    newest_first=False,
    price_provider="azure",
    cache_key=True,
)
"""Azure OpenAI, Global-Batch (or Data-Zone-Batch) deployments: ``base_url`` is ``https://RES.openai.azure.com/openai/v1/``,
``model`` the name of the deployment.

100,000 requests and 200 MB a file; 500 files a resource, so let files be deleted. Jobs that take longer than 24 hours are not
ended. A job always has an error file, mostly an empty one, and counts may be null. A file with a byte order mark is refused,
so none is written. The quota of tokens is the deployment's own: set ``budgets``. Files may be told to expire after 14 to 30
days.
Source: learn.microsoft.com/azure/foundry/openai/how-to/batch and MicrosoftDocs/azure-ai-docs includes/global-batch-limits.md

UNCERTAIN: embeddings (the reference lists them, the guide of 2025-08 says no: a batch is refused as a whole then); the order
of lists, which are read to their end; how long results are kept without an expiry: 30 days are reckoned with. The API versions
before v1 have ``/chat/completions`` without ``/v1`` and other addresses: not offered. Prices are found by a model's name: name
deployments after their models, or set ``prices``.
"""

GROQ = Preset(
    name="groq",
    endpoints={"chat": Endpoint(path="/v1/chat/completions", price_flavor="default", prefixed=True)},
    limits=Limits(max_requests=50_000, max_bytes=100_000_000 - 50_000),
    expiries=False,
    windows_h=WINDOWS_H["groq"],
    in_days=True,
    newest_first=False,
    price_provider="groq",
)
"""Groq: ``base_url`` is ``https://api.groq.com/openai/v1``; chat only, windows from "24h" to "7d".

A list names its next page (``paging.next_cursor``), and ``errors`` of a batch is a bare list. One bad line does not fail the
batch: it is "completed", with that line's error.
Source: console.groq.com/docs/batch, the SDK's types/batch_create_params.py and types/file_create_params.py

UNCERTAIN: the size of a file (200 MB in the guide, 100 MB in the SDK: the smaller counts here); whether metadata comes back
(the SDK takes it, the guide's examples show null: a batch is found by its file as well); the order of lists, which are read to
their end; the discount (25 % in copies of the guide until 2025, 50 % in newer ones: the price library's batch rates count, and
the account's ``discount`` before them).
"""

VLLM = Preset(
    name="vllm",
    endpoints={
        name: msgspec.structs.replace(endpoint, prefixed=endpoint.prefixed or name == "completions")
        for name, endpoint in ENDPOINTS.items()
    },
    limits=Limits(max_requests=50_000, max_bytes=200_000_000 - 50_000),
    windows_h=WINDOWS_H["vllm"],
    counts_unrun=True,
    output_means_ran=True,
    by_offset=True,
    newest_first=False,
    price_provider="",
)
"""vLLM behind llm-d's batch gateway, self-hosted: ``base_url`` ends in ``/v1``. Nobody's prices: set ``prices`` where needed.

50,000 lines and 209,715,200 bytes a file unless its operator says otherwise (``max_batch_requests``, ``max_batch_bytes``).
``after`` in lists is a number, lists are in the order of the ids. Windows are durations of Go: hours, no days. Lines of what
was not run may have the codes ``batch_cancelled`` and ``batch_failed``, and are counted as failed. A batch that failed on its way keeps the results
that it has; after a crash of the gateway its counts are 0 all the same. A batch that has ended, or is about to, answers a cancel with 400. Files are kept 90 days.
Source: github.com/llm-d/llm-d-batch-gateway (internal/apiserver, internal/shared/openai/batch.go, cmd/*/config.yaml), 2026

UNCERTAIN: how long its operator keeps files: 30 days are reckoned with.
"""

PRESETS: Mapping[str, Preset] = {preset.name: preset for preset in (OPENAI, AZURE, GROQ, VLLM)}


def preset_of(name: str | None) -> Preset:
    """Return a preset by its name, OpenAI's for None. Raises UsageError on a name that is none."""
    try:
        return PRESETS[name or OPENAI.name]
    except KeyError:
        raise UsageError(f"unknown preset {name!r}; known are {', '.join(PRESETS)}") from None


def window_of(name: str | None, asked: str | None) -> str:
    """Return the completion window to ask for: "24h" unless the account has another, in the service's own units.

    Without a preset any window goes as it is written, but a day, which OpenAI and all that do as it does know as "24h".
    Raises UsageError on one that the preset's service does not offer.
    """
    preset = preset_of(name)
    if asked is None or (name is None and hours_of(asked) == 24):
        return f"{max(24, preset.windows_h[0])}h"
    if name is None:
        return asked
    if problem := window_problem(name, asked):
        raise UsageError(problem)
    return asked if preset.in_days else f"{hours_of(asked)}h"


def window_s(name: str | None, asked: str | None) -> int:
    """Return how long a batch may take, in seconds: its window, or longer where that does not end it. Raises UsageError."""
    return preset_of(name).late_s or hours_of(window_of(name, asked)) * 3600 or DAY_S


def expiry_of(preset: Preset, asked_s: int | None) -> int | None:
    """Return after how long files are to expire, in seconds; None where the service takes no such wish, or there is none."""
    return max(asked_s, preset.shortest_expiry_s) if asked_s and preset.expiries else None


def takes_cache_key(options: Options) -> bool:
    """Whether an account's service documents ``prompt_cache_key``: one that does not may refuse each row that has it.

    So Groq's does. Without a preset it is known of OpenAI alone, for which the emulator stands on this machine.
    Source: developers.openai.com/api/docs/guides/prompt-caching, learn.microsoft.com/azure/ai-foundry/openai/how-to/prompt-caching,
    github.com/eigent-ai/eigent/issues/1827 (Groq)
    """
    return preset_of(options.preset).cache_key and _is_known(options)


def priced_by(options: Options) -> str:
    """Return whose prices count, by the price library's name: as the account says, else as its preset says.

    Without either they are OpenAI's at OpenAI, and on this machine, where the emulator stands for it; nobody's (empty) elsewhere.
    """
    if options.price_as is not None:
        return options.price_as
    return preset_of(options.preset).price_provider if _is_known(options) else ""


def _is_known(options: Options) -> bool:
    """Whether it is known whose service an account is of."""
    return options.preset is not None or not is_elsewhere(options.base_url) or _is_here(host_of(options.base_url))


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:  # a name
        return False
