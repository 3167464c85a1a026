"""Logs by structlog: dotted stable event names, ids and figures, as JSON or for a console, to stderr.

Prompts and answers never get in: fields that would hold one are dropped, tracebacks are written without local variables and
without the messages of exceptions that may quote input, and the chatter of SDKs and HTTP clients, which print bodies at
DEBUG, is cut at WARNING. Loggers of the standard library (Celery's, for one) come out in the same form.
"""

from __future__ import annotations

import logging
import sys
import traceback
from types import TracebackType
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, WrappedLogger

from batchline.errors import BatchlineError

LogFormat = Literal["json", "console"]

_CONTENT = frozenset({"body", "messages", "prompt", "response", "answer"})
_SDKS = frozenset({"openai", "anthropic", "google", "google_genai"})
"""Google's writes under a name of its own, and its authentication under that of the package."""
_CHATTY = _SDKS | {"httpx", "httpx2", "httpcore", "httpcore2", "redis", "kombu", "amqp", "asyncio"}
_CHATTY_CELERY = ("celery.app.trace", "celery.worker.strategy")
"""These tell of each task that was received and what it returned; the engine's own events say it better."""
_QUIET_EXCEPTIONS = (BatchlineError, OSError, ImportError, NameError, AttributeError, TypeError, MemoryError)
"""Exceptions whose messages hold names, addresses and types, and never what was worked on."""
_QUIET_PACKAGES = frozenset({"redis", "kombu", "celery", "billiard"})

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


def configure(log_format: LogFormat | None = None, level: str = "INFO", *, stream: TextIO | None = None) -> None:
    """Set up logging for this process; may be called again.

    ``log_format`` None means console on a terminal, else JSON. ``stream`` is stderr unless given.
    """
    stream = stream or sys.stderr
    console = log_format == "console" or (log_format is None and stream.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        drop_content,
        _celery_failure,
        structlog.processors.ExceptionRenderer(render_exception),
    ]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.addFilter(_not_chatter)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _renderer(stream, console=console)],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)


def get(name: str) -> structlog.stdlib.BoundLogger:
    """Return a logger; ``log.info("batch.submitted", batch=..., rows=...)``."""
    log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return log


def drop_content(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Drop fields that would hold a prompt or an answer, and name them in ``dropped`` so that the slip is seen."""
    dropped = sorted(_CONTENT & event.keys())
    for key in dropped:
        del event[key]
    if dropped:
        event["dropped"] = dropped
    return event


def render_exception(exc_info: _ExcInfo) -> str:
    """Write an exception and its causes as text: types and places in full, messages only where they hold no content."""
    parts: list[str] = []
    exc: BaseException | None = exc_info[1]
    seen: set[int] = set()
    while exc is not None and id(exc) not in seen:
        seen.add(id(exc))
        place = "".join(traceback.format_tb(exc.__traceback__))
        parts.append(f"{place}{_headline(exc)}")
        exc = exc.__cause__ or (None if exc.__suppress_context__ else exc.__context__)
    return "\n\nfrom:\n".join(parts)


def _headline(exc: BaseException) -> str:
    kind = type(exc)
    name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
    quiet = isinstance(exc, _QUIET_EXCEPTIONS) or kind.__module__.partition(".")[0] in _QUIET_PACKAGES
    return f"{name}: {exc}" if quiet and str(exc) else name


def _celery_failure(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replace Celery's report of a failed task, whose text quotes the exception's message, by its ids."""
    data: Any = getattr(event.get("_record"), "data", None)
    if isinstance(data, dict) and "exc" in data:
        event["event"] = "celery.task_failed"
        event.update(task=data.get("name"), task_id=data.get("id"), outcome=data.get("description"))
    return event


def _not_chatter(record: logging.LogRecord) -> bool:
    # On the handler and not on the loggers: the OpenAI SDK sets its own logger's level when it is imported (OPENAI_LOG).
    chatty = record.name in _CHATTY_CELERY or record.name.partition(".")[0] in _CHATTY
    return record.levelno >= logging.WARNING or not chatty


def _renderer(stream: TextIO, *, console: bool) -> structlog.typing.Processor:
    if console:
        return structlog.dev.ConsoleRenderer(colors=stream.isatty())
    return structlog.processors.JSONRenderer()
