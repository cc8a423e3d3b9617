"""How many programs a first call compiles: on a small net that is most of what it takes.

What is written as single operations of JAX outside its jitted pieces becomes a program each, thirty
milliseconds and more, for every shape. A budget that is exceeded names the programs.
"""

import jax
import numpy as np
import pytest

import jaxinv

# What a first call takes of this net, of two layers, each of a shape of its own. `G` itself is one.
BUDGET = {
    "exact": 6,
    "linf": 15,
    "l1": 20,
    "lm": 13,
    "auto": 17,
    "gd": 6,
}
COMPILED = "/jax/core/compile/backend_compile_duration"


@pytest.fixture(scope="module")
def listened():
    """The name of every program that JAX compiles, in whatever thread."""
    names = []

    def listen(event, seconds, **details):
        if event == COMPILED:
            names.append(details.get("fun_name", "?"))

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield names
    jax.monitoring.clear_event_listeners()


@pytest.fixture(scope="module")
def case():
    """A net and noisy observations of it, nothing of them compiled by the test."""
    net = jaxinv.Generator.random((4, 12, 40), seed=0)
    rng = np.random.default_rng(0)
    x = np.asarray(net(rng.standard_normal((8, 4))))
    return net, x + 0.01 * np.sqrt((x**2).mean()) * rng.standard_normal(x.shape)


@pytest.mark.parametrize("method", BUDGET)
def test_a_first_call_keeps_to_its_budget_and_a_second_compiles_nothing(case, listened, method):
    jax.clear_caches()
    listened.clear()
    found = jaxinv.invert(*case, method)
    assert np.isfinite(np.asarray(found.latent)).all()
    # Fewer than half would be another method, or a count that counts nothing.
    assert BUDGET[method] / 2 <= len(listened) <= BUDGET[method], sorted(listened)
    listened.clear()
    jaxinv.invert(*case, method)
    assert listened == []
