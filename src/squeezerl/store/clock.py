"""The database's clock: leases are granted and run out by one clock, whatever the hosts' say."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement


class Now(FunctionElement[float]):
    """Seconds since the epoch, in a query."""

    inherit_cache = True
    name = "now_s"
    type = sa.Double()


@compiles(Now, "sqlite")
def _sqlite(element: Now, compiler: Any, **keywords: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(Now, "postgresql")
def _postgresql(element: Now, compiler: Any, **keywords: Any) -> str:
    return "CAST(extract(epoch FROM clock_timestamp()) AS float8)"


NOW = Now()
