"""`batchline emulator`, also as `python -m batchline.emulator`."""

import argparse
from pathlib import Path
from typing import get_args

from batchline.emulator.options import ACTIONS, DialectName, Options
from batchline.emulator.serve import serve


def main(arguments: list[str] | None = None, *, program: str = "python -m batchline.emulator") -> None:
    """Parse the command line and serve. Leaves with code 2 where that cannot be."""
    parser = _parser(program)
    given = parser.parse_args(arguments)
    try:
        options = _options(given)
    except ValueError as error:
        parser.error(str(error))
    try:
        serve(given.host, given.port, options)
    except OSError as error:
        parser.error(f"cannot listen on {given.host}:{given.port}: {error}")


def _options(given: argparse.Namespace) -> Options:
    defaults = Options()
    return Options(
        latency_s=given.latency,
        error_rate=given.error_rate,
        expire_rate=given.expire_rate,
        seed=given.seed,
        api_key=given.api_key,
        validation_delay_s=given.validation_delay,
        state_dir=given.state,
        enqueued_token_limits=dict(given.enqueued_tokens),
        queued_requests_limit=given.queued_requests,
        creates_per_hour=given.creates_per_hour,
        cancel_delay_s=given.cancel_delay,
        bytes_per_token=given.bytes_per_token,
        dialect=given.dialect,
        prompt_cache=given.prompt_cache,
        listing_lag_s=given.listing_lag,
        missing_file_delay_s=given.missing_file_delay,
        gemini_file_delay_s=given.gemini_file_delay,
        fault_rates={action: rate for action in ACTIONS if (rate := getattr(given, f"fault_{action}"))},
        fault_routes=tuple(given.fault_route or defaults.fault_routes),
        fault_seconds=given.fault_seconds,
    )


def _parser(program: str) -> argparse.ArgumentParser:
    defaults = Options()
    parser = argparse.ArgumentParser(prog=program, description="A local stand-in for providers.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=_port, default=8700, help="0 takes a free port")
    parser.add_argument("--latency", type=float, default=defaults.latency_s, help="seconds from creation to end")
    parser.add_argument("--validation-delay", type=float, default=defaults.validation_delay_s, help="seconds")
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--error-rate", type=float, default=0.0, help="share of requests that fail with a 500")
    parser.add_argument("--expire-rate", type=float, default=0.0, help="share of requests that expire")
    parser.add_argument("--api-key", default=None, help="refuse every other key")
    parser.add_argument("--state", type=Path, default=None, metavar="DIR", help="keep uploaded and result files here")
    parser.add_argument("--cancel-delay", type=float, default=defaults.cancel_delay_s, help="seconds to a cancel's end")
    parser.add_argument(
        "--listing-lag", type=float, default=0.0, help="seconds until a new batch or file is in list answers"
    )
    parser.add_argument(
        "--missing-file-delay",
        type=float,
        default=defaults.missing_file_delay_s,
        help="seconds until a batch without its input file fails",
    )
    ready = "Gemini: seconds until batches can be made from an uploaded file"
    parser.add_argument("--gemini-file-delay", type=float, default=0.0, metavar="SECONDS", help=ready)
    played = "the service that OpenAI's routes play"
    parser.add_argument("--dialect", choices=get_args(DialectName), default=defaults.dialect, help=played)
    cached = "OpenAI: a prompt reads the prefix that it shares with the one before it from a cache"
    parser.add_argument("--prompt-cache", action="store_true", help=cached)
    _add_quotas(parser, defaults)
    _add_faults(parser, defaults)
    return parser


def _add_quotas(parser: argparse.ArgumentParser, defaults: Options) -> None:
    tokens = "OpenAI: limit of each model that matches, may be given again; the bill shows peaks and refusals"
    parser.add_argument(
        "--enqueued-tokens", type=_model_limit, action="append", default=[], metavar="MODEL=TOKENS", help=tokens
    )
    dense = "OpenAI: bytes of text that count as one token of input"
    parser.add_argument("--bytes-per-token", type=float, default=defaults.bytes_per_token, help=dense)
    requests = "Anthropic: limit of requests in unfinished batches"
    parser.add_argument("--queued-requests", type=int, default=defaults.queued_requests_limit, help=requests)
    creates = "OpenAI: limit of new batches"
    parser.add_argument("--creates-per-hour", type=int, default=defaults.creates_per_hour, help=creates)


def _add_faults(parser: argparse.ArgumentParser, defaults: Options) -> None:
    for action in ACTIONS:
        flag = f"--fault-{action.replace('_', '-')}"
        parser.add_argument(flag, type=float, default=0.0, metavar="RATE", help="share of the calls")
    routes = f"name of a route that the rates apply to, with wildcards (default {' '.join(defaults.fault_routes)})"
    parser.add_argument("--fault-route", action="append", metavar="NAME", help=routes)
    parser.add_argument("--fault-seconds", type=float, default=defaults.fault_seconds, help="how long a call hangs")


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: give 0 to 65535")
    return int(text)


def _model_limit(text: str) -> tuple[str, int]:
    model, _, tokens = text.rpartition("=")
    if not model or not tokens.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not MODEL=TOKENS")
    return model, int(tokens)


if __name__ == "__main__":
    main()
