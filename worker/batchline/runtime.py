"""The composition root of a worker process: settings, store and providers, built once per process at first use."""

from __future__ import annotations

import os
import random
import socket
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from batchline.engine.context import Context
from batchline.errors import KeyRefused, StoreError, UsageError
from batchline.providers import facts_of, make_provider, options_of
from batchline.providers.protocol import AccountAccess, Provider
from batchline.providers.watched import Watched
from batchline.settings import Account, Settings, load_settings
from batchline.store import Store

_built: dict[int, Context] = {}
_lock = threading.Lock()


def context() -> Context:
    """Return this process's context; a forked child builds its own, since connections do not survive a fork."""
    pid = os.getpid()
    with _lock:
        if pid not in _built:
            _built.clear()
            _built[pid] = build(load_settings())
        return _built[pid]


def build(settings: Settings) -> Context:
    """Build a context on the wall clock and real dice. Raises UsageError on an account with options that its provider has not."""
    for account in settings.accounts.values():
        facts_of(account)
    store = Store(
        settings.redis_url,
        lease_s=settings.lease_seconds,
        reply_ttl_s=settings.reply_ttl,
        replicas=settings.durability.replicas,
        durable_within_s=settings.durability.timeout,
        files_kept_s=settings.files_kept,
        ledger_kept_s=settings.ledger_kept,
    )
    return Context(
        settings=settings,
        store=store,
        provider=providers(settings, count=partial(_count, store)),
        clock=now_ms,
        dice=random.SystemRandom(),
        worker=f"{socket.gethostname()}:{os.getpid()}",
    )


def now_ms() -> int:
    """Return the wall clock, unix ms."""
    return time.time_ns() // 1_000_000


def _count(store: Store, account: str, call: str, code: str) -> None:
    """Count a failed call for the metrics. A store that is away too loses the count, and nothing else."""
    with suppress(StoreError):
        store.accounts.count_error(account, call, code, token=uuid.uuid4().hex)


def providers(settings: Settings, *, count: Callable[[str, str, str], None]) -> Callable[[str], Provider]:
    """Return a look-up of providers by account name; each is made once, at its first use.

    ``count`` is told account, call and code of each call that fails.
    """
    made: dict[str, Provider] = {}
    lock = threading.Lock()

    def look_up(name: str) -> Provider:
        with lock:
            if name not in made:
                account = settings.accounts[name]
                access = _access(name, account)
                made[name] = Watched(make_provider(account.provider, access), name, partial(count, name))
            return made[name]

    return look_up


def _access(name: str, account: Account) -> AccountAccess:
    def key() -> str:
        try:
            return account.read_key(name)
        except UsageError as error:
            raise KeyRefused(str(error), account=name, call="key", code="no_key") from error

    return AccountAccess(name=name, key=key, base_url=account.base_url, options=options_of(account))
