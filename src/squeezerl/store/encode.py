"""Records to and from the text that the tables hold."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from squeezerl.errors import StoreError
from squeezerl.store.job import Job


def to_text(value: Any, what: str) -> str:
    """Plain JSON as compact text.

    Raises:
        StoreError: if it is not plain JSON; unknown numbers are `None`, not NaN.
    """
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise StoreError(f"{what} is not plain JSON: {error}") from error


def from_texts(texts: Sequence[str]) -> list[Any]:
    """Parse many at once, which is faster than one by one."""
    parsed: list[Any] = json.loads(f"[{','.join(texts)}]")
    return parsed


def clean(text: str) -> str:
    """Without what databases do not take in text: NUL and halves of surrogate pairs."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


def make_job(row: Any, params: dict[str, Any]) -> Job:
    """A job from its row."""
    job = Job(
        kind=row.kind,
        version=row.version,
        params=params,
        needs=tuple(row.needs.split()),
        exclusive=row.exclusive,
        estimate_s=row.estimate_s,
    )
    job.__dict__["id"] = row.id  # known: not to be hashed again
    return job
