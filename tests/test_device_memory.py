"""Chunks, lanes, slots and blocks follow from what the device says it has."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest

import jaxinv
from jaxinv.call.invert import LARGEST_CHUNK, LARGEST_ON_DEVICE, LARGEST_SEARCH, default_chunk
from jaxinv.certify.local_rank import local_rank
from jaxinv.certify.surroundings import block_size
from jaxinv.joint.descent.lanes import default_lanes
from jaxinv.linalg.device_memory import share_of_memory, stated_memory
from jaxinv.lp.slots import default_slots

NET = jaxinv.Generator.random((60, 250, 600), seed=0)
GIB = 1 << 30


@pytest.fixture
def card(monkeypatch):
    """A device that says it has so many bytes."""

    def of(memory):
        said = SimpleNamespace(memory_stats=lambda: {"bytes_limit": memory})
        monkeypatch.setattr(jax, "local_devices", lambda: [said])
        monkeypatch.setattr(jax, "default_backend", lambda: "gpu")

    return of


def bytes_of(rows):
    """What the normal matrices of a chunk's widest layer take, their factors and copies with it."""
    return 3 * 8 * rows * (250**2 + 4 * 600)


def test_a_cpu_states_nothing_and_keeps_its_constants():
    assert stated_memory() is None
    assert share_of_memory(4, 17) == 17
    assert default_chunk(NET, "exact") == 172
    assert default_chunk(NET, "exact", 100 * GIB) == LARGEST_CHUNK
    assert default_chunk(NET, "auto", 100 * GIB) == LARGEST_SEARCH


@pytest.mark.parametrize("gib", [8, 24, 60, 105])
def test_a_card_is_filled_by_two_chunks_and_not_over_filled(card, gib):
    card(gib * GIB)
    rows = default_chunk(NET, "exact")
    # Two chunks are in flight; down to a power of two at least half of what is stated counts.
    assert 2 * bytes_of(rows) <= gib * GIB / 2
    assert 2 * bytes_of(rows + 1) > gib * GIB / 4 or rows == LARGEST_ON_DEVICE
    assert default_chunk(NET, "auto") >= rows


def test_a_card_of_80_gb_takes_thousands_of_rows(card):
    card(60 * GIB)  # three quarters of it, which is what JAX takes
    assert 5000 < default_chunk(NET, "exact") < 6000
    assert default_chunk(jaxinv.Generator.random((4, 12, 40), seed=0), "exact") == LARGEST_ON_DEVICE
    assert block_size(NET, 16384, True) == 1024
    small = default_lanes(NET), default_slots(250), block_size(NET, 16384, True)
    card(4 * GIB)
    assert default_slots(250) < small[1]
    assert block_size(NET, 16384, True) < small[2]
    assert default_lanes(NET) <= small[0]


def test_what_another_process_leaves_changes_no_shape(card):
    shapes = []
    for memory in (60 * GIB, 59.3 * GIB, 45 * GIB):
        card(int(memory))
        shapes.append((default_chunk(NET, "linf"), default_slots(250), default_lanes(NET)))
    assert shapes[0] == shapes[1] == shapes[2]


def test_a_stated_memory_counts_before_the_devices_own(card):
    card(60 * GIB)
    assert default_chunk(NET, "exact", 1 << 28) == 172


def test_ranks_are_those_of_each_row_by_itself_in_however_many_blocks():
    net = jaxinv.Generator.random((3, 9, 20), seed=1)
    latent = np.random.default_rng(0).standard_normal((150, 3))
    latent[70] = 0.0  # no unit is on: rank 0
    observed = np.ones((150, 20), bool)
    whole = local_rank(net, latent, observed)
    for row in (0, 63, 64, 70, 149):
        jacobian = np.asarray(net.jacobian(latent[row]))
        sigma = np.linalg.svd(jacobian, compute_uv=False)
        assert whole.rank[row] == np.linalg.matrix_rank(jacobian)
        if whole.rank[row] == 3:
            expected = np.linalg.norm(1 / sigma)
            # From above, by a hundredth for what single precision may have rounded off.
            assert expected * (1 - 1e-9) <= whole.gain[row] <= 1.02 * expected
