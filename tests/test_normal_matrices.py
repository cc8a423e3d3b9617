"""Normal matrices against NumPy, on every path: few and many observations, kept pairs, own rows."""

import jax
import numpy as np
import pytest

from jaxinv.linalg.normal_matrix import normal_matrices, pair_products


@pytest.mark.parametrize("shape", [(7, 1), (40, 20), (90, 65), (400, 150), (120, 257)])
@pytest.mark.parametrize("batch", [1, 15, 16, 40])
def test_the_lower_triangle_is_numpys(shape, batch):
    rng = np.random.default_rng(0)
    w, d = rng.standard_normal(shape), rng.random((batch, shape[0]))
    expected = np.tril(np.einsum("ni,bn,nj->bij", w, d, w, optimize=True))
    with jax.enable_x64(True):
        matrix = jax.numpy.asarray(w)
        for pairs in ((), pair_products(matrix)):
            found = jax.jit(normal_matrices)(matrix, d, pairs)
            assert found.shape == (batch, shape[1], shape[1])
            np.testing.assert_allclose(np.tril(found), expected, rtol=1e-12, atol=1e-12)


def test_each_observation_may_have_its_own_matrix():
    rng = np.random.default_rng(0)
    w, d = rng.standard_normal((20, 30, 6)), rng.random((20, 30))
    with jax.enable_x64(True):
        found = normal_matrices(jax.numpy.asarray(w), d)
    np.testing.assert_allclose(found, np.einsum("bni,bn,bnj->bij", w, d, w), rtol=1e-12, atol=1e-12)
