"""What one emulator is told at its start."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

BadLines = Literal["refuse", "job", "line"]
PartialState = Literal["JOB_STATE_PARTIALLY_SUCCEEDED", "BATCH_STATE_PARTIALLY_SUCCEEDED"]
Action = Literal[
    "drop_before", "drop_after", "error_before", "error_after", "hang_before", "hang", "cut_stream", "rate_limit"
]
DialectName = Literal["openai", "azure", "groq", "vllm"]
ACTIONS: tuple[Action, ...] = get_args(Action)

_TIMES = (
    *("latency_s", "validation_delay_s", "cancel_delay_s"),
    *("listing_lag_s", "missing_file_delay_s", "fault_seconds", "gemini_file_delay_s"),
)


@dataclass(frozen=True, slots=True)
class Options:
    """How the emulator behaves; every time is in seconds, every share between 0 and 1.

    `latency_s` counts from a batch's creation to its end, `validation_delay_s` from its creation to the start of
    OpenAI's asynchronous validation, `cancel_delay_s` from the cancel call to the end.  `error_rate` and `expire_rate`
    are drawn per request and execution from `seed`; expiry comes at the end of the latency, not after 24 hours.
    `api_key`: any other key gets a 401; None takes every key, but still wants one.  `state_dir` keeps files over a
    restart (None: a temporary directory, removed at the end); batches and the bill live in memory only.
    `enqueued_token_limits` are OpenAI's limits of input tokens in the unfinished batches of one model, by model or
    shell pattern (each model that matches has the whole limit); `creates_per_hour` is OpenAI's of new batches (None:
    none), `queued_requests_limit` is Anthropic's of requests in unfinished batches, shared by all models.
    `bytes_per_token`: how many bytes of text OpenAI's routes count as one token of input, so that the estimate of a
    worker can be wrong.
    `dialect`: the service that OpenAI's routes play (table in `openai_dialects`).  `prompt_cache`: OpenAI's answers
    tell of cached tokens where a prompt follows one with the same prefix (see `openai_cache`).
    `listing_lag_s`: a new batch or file is in list answers only that long after its creation; by its id it is found at
    once.  `missing_file_delay_s`: a batch whose input file is not there fails only that long after its creation.
    `fault_rates`: share of the calls to each action of `transport_faults`, drawn per call from `seed`, on the routes
    that `fault_routes` names (shell wildcards); those that hang do so for `fault_seconds`.
    Gemini: `enqueued_token_limits` hold for its models too, and a create call over them, or over
    `gemini_concurrent_batches` that have not ended, is refused.  `gemini_bad_lines`: a file with lines that are no JSON
    or have unknown fields is refused by the create call ("refuse", observed), makes the job fail ("job"), or only these
    lines fail ("line"; no JSON still fails the job).  `gemini_expire_rate`: share of the jobs that expire, without any
    result, drawn from `seed` in the order of creation (`expire_rate` does not apply).  `gemini_partial_state`: the state
    of a job of which some requests failed (None: succeeded).  `gemini_cancelled_results`: a cancelled job has, and
    bills, what it had done.  `gemini_echo_metadata` and `gemini_shuffle_inline`: whether inline answers carry their
    request's metadata, and whether they lose their order.  `gemini_error_code`: gRPC code of requests that fail.
    `gemini_file_delay_s`: an uploaded file is PROCESSING that long, and no batch can be made from it until then.
    """

    latency_s: float = 2.0
    error_rate: float = 0.0
    expire_rate: float = 0.0
    seed: int = 0
    api_key: str | None = None
    validation_delay_s: float = 0.1
    cancel_delay_s: float = 0.1
    state_dir: Path | None = None
    creates_per_hour: int | None = 2_000
    enqueued_token_limits: Mapping[str, int] = field(default_factory=dict)
    queued_requests_limit: int | None = 200_000
    bytes_per_token: float = 4.0
    dialect: DialectName = "openai"
    prompt_cache: bool = False
    listing_lag_s: float = 0.0
    missing_file_delay_s: float = 0.1
    fault_rates: Mapping[Action, float] = field(default_factory=dict)
    fault_routes: tuple[str, ...] = ("*.files.*", "*.batches.*")
    fault_seconds: float = 1.0
    max_file_bytes: int = 200_000_000
    max_messages_bytes: int = 256_000_000
    gemini_max_file_bytes: int = 2_000_000_000
    gemini_max_stored_bytes: int = 20_000_000_000
    gemini_concurrent_batches: int | None = 100
    gemini_bad_lines: BadLines = "refuse"
    gemini_expire_rate: float = 0.0
    gemini_partial_state: PartialState | None = None
    gemini_cancelled_results: bool = False
    gemini_echo_metadata: bool = True
    gemini_shuffle_inline: bool = False
    gemini_error_code: int = 13
    gemini_file_delay_s: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        for name in _TIMES:
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}: give a time of 0 seconds or more")
        if self.bytes_per_token <= 0:
            raise ValueError(f"bytes_per_token is {self.bytes_per_token}: give a number above 0")
        if self.dialect not in get_args(DialectName):
            raise ValueError(f"dialect is {self.dialect!r}: give one of {', '.join(get_args(DialectName))}")
        for name in ("error_rate", "expire_rate", "gemini_expire_rate"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}: give a share between 0 and 1")
        if self.error_rate + self.expire_rate > 1:
            raise ValueError("error_rate and expire_rate together are more than 1: lower one of them")
        if not all(0 <= rate <= 1 for rate in self.fault_rates.values()) or sum(self.fault_rates.values()) > 1:
            raise ValueError("fault_rates are shares of all calls: give rates between 0 and 1, together at most 1")
        if unknown := set(self.fault_rates) - set(ACTIONS):
            raise ValueError(f"fault_rates has {', '.join(sorted(unknown))}: the actions are {', '.join(ACTIONS)}")
