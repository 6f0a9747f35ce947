"""The heartbeat of a worker: extends the lease of the job that it works on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import final

from squeezerl.errors import StoreError
from squeezerl.store.records import Claim
from squeezerl.store.store import Store

_BEATS_A_LEASE = 6


@final
class Heart:
    """Beats in a thread of its own for one claim at a time."""

    def __init__(self, store: Store, lease_s: float) -> None:
        self._store = store
        self._lease_s = lease_s
        self._claim: Claim | None = None
        self._lost = False
        self._progress: float | None = None
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop beating."""
        self._closed.set()
        self._thread.join()

    @property
    def lost(self) -> bool:
        """Whether the lease of the claim was lost."""
        return self._lost

    def tell(self, progress: float) -> None:
        """Let the next beat tell the share that is done."""
        self._progress = progress

    @contextmanager
    def holding(self, claim: Claim) -> Iterator[None]:
        """Beat for a claim."""
        self._set(claim)
        try:
            yield
        finally:
            self._set(None)

    def _set(self, claim: Claim | None) -> None:
        with self._lock:
            self._claim, self._lost, self._progress = claim, False, None

    def _beat(self) -> None:
        while not self._closed.wait(self._lease_s / _BEATS_A_LEASE):
            with self._lock:
                claim, progress = self._claim, self._progress
            if claim is None:
                continue
            try:
                held = self._store.heartbeat(claim, self._lease_s, progress)
            except StoreError:
                continue  # whoever hands in the result will see
            with self._lock:
                if not held and self._claim is claim:
                    self._lost = True
