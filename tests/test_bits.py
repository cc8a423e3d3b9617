"""What a row's bits do not depend on: its neighbours, and calls before and beside this one."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import jaxinv
from jaxinv import Status

PARTS = ("latent", "status", "residual", "undetermined", "allowed_error")


def curved(seed):
    rng = np.random.default_rng(seed)
    inner, outer = rng.standard_normal((9, 4)) / 2, rng.standard_normal((33, 9)) / 3
    return jaxinv.Generator.from_layers([(inner, None, "tanh"), (outer, None, "sigmoid")])


NETS = {
    "relu": lambda seed: jaxinv.Generator.random((4, 12, 30), seed=seed),
    "tanh": lambda seed: jaxinv.Generator.random((4, 9, 33), seed=seed, activation="tanh"),
    "tanh, sigmoid": curved,
    "wide": lambda seed: jaxinv.Generator.random((20, 60, 200), seed=seed, activation="tanh"),
}


def observed(net, rows, noise, seed=0):
    rng = np.random.default_rng(seed)
    x = np.asarray(net(rng.standard_normal((rows, net.latent_size))))
    return x + noise * rng.standard_normal(x.shape)


def same(found, expected, rows):
    for name in PARTS:
        np.testing.assert_array_equal(
            np.asarray(getattr(found, name))[rows], np.asarray(getattr(expected, name))[rows], name
        )


@pytest.mark.parametrize("rows", [2, 5])
@pytest.mark.parametrize("method", ["auto", "lm", "exact", "linf"])
@pytest.mark.parametrize("kind", NETS)
def test_a_bad_row_in_any_place_leaves_the_bits_of_every_other(kind, method, rows):
    if kind == "wide" and method == "linf":
        pytest.skip("slow, and its programs are those of the small nets")
    noise = 0.0 if method == "exact" else 0.02
    stated = {"noise": noise} if method == "auto" else {}
    net = NETS[kind](0)
    x = observed(net, rows, noise)
    whole = jaxinv.invert(net, x, method, **stated)
    for place in range(rows):
        spoiled = np.where(np.arange(rows)[:, None] == place, np.nan, x)
        found = jaxinv.invert(net, spoiled, method, **stated)
        assert int(found.status[place]) == Status.BAD_INPUT
        same(found, whole, np.arange(rows) != place)


@pytest.mark.parametrize("method", ["auto", "lm", "exact", "linf"])
def test_calls_at_the_same_time_give_the_bits_of_one(method):
    net = NETS["relu"](0)
    x = observed(net, 6, 0.0 if method == "exact" else 0.02)
    alone = jaxinv.invert(net, x, method)
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: jaxinv.invert(net, x, method), range(8)):
            same(found, alone, slice(None))


def test_a_row_of_a_small_decoder_is_computed_alone_as_it_is_beside_others():
    generator = jaxinv.Generator.random((2, 8, 3), seed=0)
    far = 3.0 * np.random.default_rng(0).random((20, 3))
    together = np.asarray(jaxinv.invert(generator, far).latent)
    alone = np.stack([np.asarray(jaxinv.invert(generator, row).latent) for row in far])
    np.testing.assert_allclose(alone, together, rtol=1e-9, atol=1e-12)
