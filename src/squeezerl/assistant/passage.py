"""Passages: what the assistant can find, quote and cite."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

Kind = Literal["paper", "docs", "registry", "results", "yours"]


@dataclass(frozen=True, kw_only=True)
class Passage:
    """A few sentences, or one row of results, with where they stand.

    Args:
        id: unique and stable, for example "paper:finding-3" or "docs/squeeze.md#with-a-budget".
        title: what it is about.
        text: what is quoted.
        source: where it stands, for people: a page, a table, a file of results.
        kind: "yours" are documents that the user added; nobody of us has read them.
        about: the algorithm and the environment of a row of a table; `None` for other passages.
    """

    id: str
    title: str
    text: str
    source: str
    kind: Kind
    about: tuple[str, str] | None = None

    @property
    def whole(self) -> str:
        """Title and text, as they are searched."""
        return f"{self.title}\n{self.text}"


def content_hash(*texts: str) -> str:
    """A hash that tells these texts from others."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()
