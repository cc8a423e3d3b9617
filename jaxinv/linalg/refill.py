"""A queue in front of a batched solver: a fixed number of places, refilled as instances end.

A batch runs as long as its slowest member, and an instance's last bits depend on the shape of the
batch that it is computed in. So there is one shape: instances wait in a queue, those that are done
make room, and a place that holds no instance stands still.
"""

from typing import TypeVar

import jax
import numpy as np
from jaxtyping import Array, Bool, Int

from jaxinv.linalg.on_device import on_host

SHARE = 8  # one place in so many must be done before a refill, which copies all of them, pays

State = TypeVar("State")


class Queue:
    """Which of the instances 0, 1, ... stands at each place (written in place).

    holds: (S,) the instance at each place, -1 where there is none. waiting: how many have not
    begun; they begin in order.
    """

    holds: Int[np.ndarray, " S"]
    waiting: int

    def __init__(self, places: int, instances: int) -> None:
        self.holds = np.full(places, -1)
        self.waiting = self._instances = instances

    @property
    def occupied(self) -> Bool[np.ndarray, " S"]:
        return np.asarray(self.holds >= 0)

    @property
    def unfinished(self) -> bool:
        """Whether an instance waits or stands at a place."""
        return self.waiting > 0 or bool(self.occupied.any())

    @property
    def instance(self) -> Int[np.ndarray, " S"]:
        """The instance whose data to load at each place: the first where a place is empty."""
        return np.maximum(self.holds, 0)

    @property
    def enough(self) -> int:
        """How many instances must be done before it pays to store them and to refill."""
        occupied = int(self.occupied.sum())
        return max(1, occupied // SHARE) if self.waiting else occupied

    def refill(self) -> Bool[np.ndarray, " S"]:
        """Let waiting instances take the empty places; returns which places are fresh."""
        empty = np.flatnonzero(~self.occupied)[: self.waiting]
        first = self._instances - self.waiting
        self.holds[empty] = np.arange(first, first + empty.size)
        self.waiting -= empty.size
        fresh = np.zeros(len(self.holds), bool)
        fresh[empty] = True
        return fresh

    def store(self, done: Bool[np.ndarray, " S"], now: State, kept: State) -> None:
        """Copy what stands at the places that are done to their instances, and empty the places.

        now: arrays with one entry a place. kept: NumPy arrays with one entry an instance, written.
        """
        instance = self.holds[done]
        for into, part in zip(jax.tree.leaves(kept), on_host(jax.tree.leaves(now)), strict=True):
            into[instance] = part[done]
        self.holds[done] = -1


def room(state: State, instances: int) -> State:
    """Zeros for so many instances, on the host, of the state's shapes and types."""

    def empty(part: Array) -> np.ndarray:
        return np.zeros((instances, *part.shape[1:]), part.dtype)

    rooms: State = jax.tree.map(empty, state)
    return rooms
