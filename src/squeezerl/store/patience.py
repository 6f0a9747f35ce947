"""A lost connection, a restarted server and a lock are waited out."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

import sqlalchemy as sa

from squeezerl.errors import StoreError, StoreUnreachableError

PATIENCE_S = 60.0
T = TypeVar("T")
_LONGEST_WAIT_S = 2.0
_SQLITE_PASSING = {5, 6, 15}  # busy, locked, protocol (a race for the write-ahead log)
_SQLITE_FOREIGN = {14, 26}  # cannot be opened, is not a database
# Deadlock, serialization, too many connections, lock; and the server stops, starts or is gone.
_SQLSTATES = ("40P01", "40001", "53300", "55P03", "57P", "08", "25P03")
# Refusals at connecting come without a state.
_REFUSALS = ("authentication failed", "does not exist", "no password", "not known", "pg_hba.conf")


def patiently(action: Callable[[], T], patience_s: float, where: str) -> T:
    """Do it, again and again while the database is away or locked.

    `action` must come to the same when it has happened already: whether a commit took place cannot
    be known when the connection is lost in it.

    Raises:
        StoreUnreachableError: if the database is still away after so many seconds.
        StoreError: if it refuses.
    """
    deadline = time.monotonic() + patience_s
    wait = 0.02
    while True:
        try:
            return action()
        except sa.exc.DBAPIError as error:
            reason = str(error.orig).strip().splitlines()
            told = f"{where}: {reason[0] if reason else type(error.orig).__name__}"
            if not _passes(error):
                raise StoreError(told) from error
            if time.monotonic() > deadline:
                raise StoreUnreachableError(f"{told} (for {patience_s:.0f} s)") from error
        time.sleep(wait * random.uniform(0.5, 1.0))
        wait = min(2 * wait, _LONGEST_WAIT_S)


def _passes(error: sa.exc.DBAPIError) -> bool:
    """Whether it may well work in a moment."""
    code = getattr(error.orig, "sqlite_errorcode", None)
    if code is not None:
        return (code & 0xFF) in _SQLITE_PASSING
    if state := getattr(error.orig, "sqlstate", None):
        return str(state).startswith(_SQLSTATES)
    if error.connection_invalidated:
        return True
    lost = isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError)
    return lost and not any(words in str(error.orig) for words in _REFUSALS)
