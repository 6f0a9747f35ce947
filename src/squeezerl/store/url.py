"""URLs of stores, as far as they can be told apart without a database's package."""

from __future__ import annotations

from pathlib import Path

SQLITE = "sqlite:///"


def sqlite_path(url: str) -> Path | None:
    """The file of a store in SQLite; `None` for another store."""
    if not url.startswith(SQLITE):
        return None
    return Path(url.removeprefix(SQLITE).partition("?")[0])
