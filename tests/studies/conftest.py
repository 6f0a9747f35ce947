"""A study that is done, for all tests that look at its results."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from finished import Finished, finish


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    """The study of `finished.STUDY`."""
    done = finish(tmp_path_factory.mktemp("finished"))
    yield done
    done.store.close()
