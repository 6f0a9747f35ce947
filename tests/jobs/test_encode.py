from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from squeezerl.errors import StoreError
from squeezerl.jobs.encode import pack, unpack

DTYPES = st.one_of(
    hnp.boolean_dtypes(), hnp.integer_dtypes(endianness="="), hnp.floating_dtypes(endianness="=")
)
ARRAYS = hnp.arrays(DTYPES, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))


@given(st.dictionaries(st.text(max_size=5), ARRAYS, max_size=4))
def test_arrays_come_back_bit_by_bit(arrays: dict[str, Any]) -> None:
    found = unpack(pack(arrays))
    assert {*found} == {*arrays}
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()


def test_order_in_memory_does_not_matter() -> None:
    array = np.arange(12.0).reshape(3, 4)
    for given_ in (array.T, array[:, ::2], np.asfortranarray(array), array.astype(">f8")):
        np.testing.assert_array_equal(unpack(pack({"a": given_}))["a"], given_)


def test_no_arrays_come_back_as_no_arrays() -> None:
    assert unpack(None) == {}
    assert unpack(pack({})) == {}


@pytest.mark.parametrize(
    "array", [np.array([{}]), np.zeros(2, [("a", "f8")]), np.array(["2020"], "M8[D]"), "text"]
)
def test_other_kinds_are_refused(array: Any) -> None:
    with pytest.raises(StoreError, match="cannot be stored"):
        pack({"a": array})


def test_damage_is_an_error() -> None:
    blob = pack({"a": np.arange(100)})
    content = zlib.decompress(blob)
    damaged = [b"", blob[:-4], blob[:20], b"y" + blob[1:]]
    damaged += [zlib.compress(bad) for bad in (b"", b"\5", content[:-1], b"\xff" * 100)]
    damaged.append(zlib.compress(content.replace(b'"I64"', b'"O64"')))
    for bad in damaged:
        with pytest.raises(StoreError, match="damaged"):
            unpack(bad)
