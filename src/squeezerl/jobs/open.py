"""What can be said of a store's URL, and how to open it, where its packages may be missing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from squeezerl.errors import StoreError

if TYPE_CHECKING:
    from squeezerl.jobs.store import Store

SQLITE = "sqlite:///"


def sqlite_path(url: str) -> Path | None:
    """The file of a store in SQLite; `None` for another store."""
    if not url.startswith(SQLITE):
        return None
    return Path(url.removeprefix(SQLITE).partition("?")[0])


def open_store(url: str) -> Store:
    """Open a store, or say which packages that needs.

    Raises:
        StoreError: as `Store.open` does, or if SQLAlchemy or Alembic is missing.
    """
    try:
        from squeezerl.jobs.store import Store

        return Store.open(url)
    except ModuleNotFoundError as error:
        raise StoreError(f'studies need {error.name}: pip install "squeezerl[studies]"') from error
