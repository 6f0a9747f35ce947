from __future__ import annotations

from pathlib import Path

import pytest
from cheap_jobs import cheap_job
from executor_contract import ExecutorContract

from squeezerl.errors import InvalidArgumentError

pytestmark = pytest.mark.slow


class TestLocal(ExecutorContract):
    name = "local"

    def test_an_address_is_refused(self, url: str, tmp_path: Path) -> None:
        self.put(url, cheap_job(1))
        with pytest.raises(InvalidArgumentError, match="`address` 'auto' is for `executor` 'ray'"):
            self.run(url, tmp_path, address="auto")
