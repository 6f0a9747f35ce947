"""What can be said of a store's URL, and how to open it; SQLAlchemy is imported only then."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from squeezerl.jobs.store import Store

SQLITE = "sqlite:///"


def sqlite_path(url: str) -> Path | None:
    """The file of a store in SQLite; `None` for another store."""
    if not url.startswith(SQLITE):
        return None
    return Path(url.removeprefix(SQLITE).partition("?")[0])


def open_store(url: str) -> Store:
    """Open a store.

    Raises:
        StoreError: as `Store.open` does.
    """
    from squeezerl.jobs.store import Store

    return Store.open(url)
