"""How often a chunk may go to the device and back: what a device would wait for, told by a CPU."""

import sys
from pathlib import Path

import pytest

import jaxinv

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import round_trips

# Programs and round trips of a chunk of 8 rows of 10-40-160: what they are now, and a fifth more
# where they follow from runs that an update of the compiler may lead elsewhere.
BUDGET = {
    "exact": (6, 6),
    "auto": (5, 5),
    "auto, noise": (260, 230),
    "linf": (72, 48),
    "lm": (68, 66),
    "gd": (7, 6),
}


@pytest.mark.parametrize("method", BUDGET)
def test_a_chunk_keeps_to_its_programs_and_round_trips(method):
    row = round_trips.measured(method, 8, quick=True)
    found = row["programs"], row["round trips"]
    assert all(count <= most for count, most in zip(found, BUDGET[method], strict=True)), row
    # Fewer than a third would be another method, or a count that counts nothing.
    assert all(count >= most / 3 for count, most in zip(found, BUDGET[method], strict=True)), row


@pytest.mark.parametrize("method", ["exact", "auto"])
def test_round_trips_do_not_grow_with_the_rows(method):
    # A LeakyReLU determines every row: one whose rank is in doubt is looked at by itself.
    few, many = (round_trips.measured(method, n, True, "leaky_relu:0.3") for n in (8, 200))
    assert few["round trips"] == many["round trips"] <= 10
    assert few["programs"] == many["programs"]


@pytest.mark.parametrize("method", ["exact", "auto"])
def test_observations_travel_once(method):
    row = round_trips.measured(method, 64, quick=False)
    assert 1.0 <= row["times observations and results"] <= 1.2, row


def test_a_copy_in_either_direction_is_counted():
    net = jaxinv.Generator.random((3, 8), seed=0)
    with round_trips.watched() as traffic:
        image = net([1.0, 2.0, 3.0])
        round_trips.np.asarray(image)
    assert (traffic.round_trips, traffic.bytes_down) == (1, 64)
    assert traffic.programs >= 1
