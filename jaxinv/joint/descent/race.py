r"""Runs that race: of several from one observation's starts, few are carried to their end.

All of them run for LEG cycles in single precision (`chords`), then the half with the lower losses,
then a quarter, which runs until a cycle no longer pays (successive halving; Jamieson and Talwalkar
2016). Fewer than HALVED starts all run to their end. Which of its own runs an observation drops is
all that its other runs decide.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from jaxinv.joint.descent.chords import cycle
from jaxinv.joint.descent.levenberg_marquardt import FIRST_DAMPING, Box, Runs, harder
from jaxinv.linalg.blocks import blocks
from jaxinv.linalg.norms import row_norms
from jaxinv.linalg.on_device import on_device, on_host
from jaxinv.model.decoder import Decoder

HALVED = 4  # starts from which on a race is run
LEG, LONGEST = 2, 12  # cycles before each halving, and of the last leg at most
SMALL_DECREASE = 1e-2  # of the loss, by a cycle: where a run is left to its last steps
NEAR = 1e-8  # of the observation's square: a loss from which any run finds the end
ROUNDED = 1e-12  # of the observation's square: a loss that single precision cannot lower


@dataclass(frozen=True)
class Track:
    """What runs fit, in single precision and scaled to an observation of weighted norm one.

    observation: (B, n). weight: (B, n), 0 where not observed. size: (B,), the norm that it was.
    lanes: runs computed together.
    """

    decoder: Decoder
    observation: Float[np.ndarray, "B n"]
    weight: Float[np.ndarray, "B n"]
    size: Float[np.ndarray, " B"]
    box: Box
    lanes: int

    @cached_property
    def sides(self) -> Box:
        """The box on the device, in single precision."""
        return Box(*(on_device(side, np.float32) for side in self.box))

    def race(
        self,
        row: Int[np.ndarray, " R"],
        start: Float[np.ndarray, "R s k"],
        softness: Float[np.ndarray, " s"],
    ) -> tuple[Int[np.ndarray, " T"], Float[np.ndarray, " T"], Runs]:
        """Whose the runs are that reach the end, from which softness they came, and the runs.

        Those of a row the lowest first.

        softness: slope that the ReLUs' dead sides have in each of a row's runs at first.
        """
        field = _Field.at(row, np.clip(start, self.box.low, self.box.high), softness)
        while (soft := np.flatnonzero(field.softness)).size:
            field = self._advanced(field, soft).hardened()
        if start.shape[1] >= HALVED:
            for _ in range(2):
                for _ in range(LEG):
                    field = self._advanced(field, np.arange(field.loss.size))
                field = field.halved()
        field = self._ended(field, ROUNDED)
        field = field.ordered(field.loss.shape[1])
        owner, began = np.repeat(row, field.loss.shape[1]), softness[field.number].ravel()
        with np.errstate(over="ignore", invalid="ignore"):
            loss = field.loss.ravel() * self.size[owner] ** 2
        # Infinity times nothing: too large an observation for a loss.
        loss = np.where(np.isnan(loss), np.inf, loss)
        latent = field.latent.reshape(loss.size, -1).astype(np.float64)
        nothing = np.zeros(loss.size, np.int64)
        return owner, began, Runs(latent, loss, nothing, nothing.astype(bool))

    def ends(
        self, row: Int[np.ndarray, " R"], start: Float[np.ndarray, "R s k"]
    ) -> Float[np.ndarray, "R s k"]:
        """Where each of these runs ends, or is so near its end that another may take over."""
        none = np.zeros(start.shape[1])
        field = _Field.at(row, np.clip(start, self.box.low, self.box.high), none)
        return self._ended(field, NEAR).latent.astype(np.float64)

    def _ended(self, field: "_Field", least: float) -> "_Field":
        """Every run until a cycle no longer pays, or leaves no more than the least loss."""
        left = np.arange(field.loss.size)
        for _ in range(LONGEST):
            before = field.loss.ravel()[left]
            field = self._advanced(field, left)
            now = field.loss.ravel()[left]
            with np.errstate(invalid="ignore"):  # infinity less infinity
                pays = before - now > SMALL_DECREASE * now
            left = left[pays & (now > least)]
            if not left.size:
                break
        return field

    def _advanced(self, field: "_Field", which: Int[np.ndarray, " T"]) -> "_Field":
        """One cycle of these runs, in blocks of one shape."""
        count = field.loss.shape[1]
        latent = field.latent.reshape(-1, field.latent.shape[-1]).copy()
        loss, damping = field.loss.ravel().copy(), field.damping.ravel().copy()
        for some, padded in blocks(which, self.lanes):
            row = field.row[padded // count]
            runs = latent[padded], damping[padded], field.softness.ravel()[padded]
            parts = self.observation[row], self.weight[row], *runs
            end = cycle(self.decoder, *(on_device(part) for part in parts), self.sides)
            latent[some], loss[some], damping[some] = (p[: len(some)] for p in on_host(end[:3]))
        # A run that has left the finite numbers is behind all others.
        loss = np.where(np.isfinite(loss), loss, np.inf)
        shape = field.loss.shape
        return replace(
            field,
            latent=latent.reshape(field.latent.shape),
            loss=loss.reshape(shape),
            damping=damping.reshape(shape),
        )


@dataclass(frozen=True)
class _Field:
    """The runs still in the race.

    row: (R,). latent: (R, s, k). loss, damping, softness, number: (R, s), the last their places at
    the start.
    """

    row: Int[np.ndarray, " R"]
    latent: Float[np.ndarray, "R s k"]
    loss: Float[np.ndarray, "R s"]
    damping: Float[np.ndarray, "R s"]
    softness: Float[np.ndarray, "R s"]
    number: Int[np.ndarray, "R s"]

    @classmethod
    def at(
        cls,
        row: Int[np.ndarray, " R"],
        start: Float[np.ndarray, "R s k"],
        softness: Float[np.ndarray, " s"],
    ) -> "_Field":
        """Before the first step."""
        shape, single = start.shape[:2], np.float32
        loss, damping = np.full(shape, np.inf, single), np.full(shape, FIRST_DAMPING, single)
        soft = np.broadcast_to(softness.astype(single), shape)
        number = np.broadcast_to(np.arange(shape[1]), shape)
        with np.errstate(over="ignore"):  # a start beyond single precision's range loses the race
            return cls(row, start.astype(single), loss, damping, soft, number)

    def hardened(self) -> "_Field":
        """The same runs on harder nets, of which neither loss nor damping is known yet."""
        soft = self.softness > 0
        return replace(
            self,
            loss=np.where(soft, np.float32(np.inf), self.loss),
            damping=np.where(soft, np.float32(FIRST_DAMPING), self.damping),
            softness=harder(self.softness),
        )

    def ordered(self, keep: int) -> "_Field":
        """The `keep` lowest of each row, the lowest first."""
        order = np.argsort(self.loss, axis=1, kind="stable")[:, :keep]
        first = np.arange(len(order))[:, None]
        parts = self.latent, self.loss, self.damping, self.softness, self.number
        return _Field(self.row, *(part[first, order] for part in parts))

    def halved(self) -> "_Field":
        """The better half."""
        return self.ordered(self.loss.shape[1] // 2)


def track(
    decoder: Decoder,
    observation: Float[np.ndarray, "B n"],
    weight: Float[np.ndarray, "B n"],
    box: Box,
    lanes: int,
) -> Track:
    """The track of a batch."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        size = row_norms(weight * observation)
        size = np.where((size > 0) & np.isfinite(size), size, 1.0)
        scaled = weight / size[:, None]
        single = observation.astype(np.float32), scaled.astype(np.float32)
    return Track(decoder, *single, size, Box(*on_host(tuple(box))), lanes)
