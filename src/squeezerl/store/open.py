"""Opening a store where its libraries may be missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from squeezerl.errors import StoreError

if TYPE_CHECKING:
    from squeezerl.store.store import Store


def open_store(url: str) -> Store:
    """Open a store, and say what to install if it cannot be.

    Raises:
        StoreError: as `Store.open`, or if SQLAlchemy or Alembic are missing.
    """
    try:
        from squeezerl.store.store import Store

        return Store.open(url)
    except ModuleNotFoundError as error:
        raise StoreError(f'studies need {error.name}: pip install "squeezerl[studies]"') from error
