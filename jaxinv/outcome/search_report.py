"""What a search over starting points did for each row: runs made, where the best began, its end."""

from collections import Counter
from dataclasses import dataclass
from enum import IntEnum
from functools import partial

import jax
import numpy as np
from jaxtyping import Array, Bool, Int


class Start(IntEnum):
    """Where the run began that ended in the minimum kept.

    >>> jaxinv.Start.LAYERWISE.sentence
    'At the layer-wise estimate of the latent.'
    """

    NONE = 0
    LAYERWISE = 1
    PREFIX = 2
    RANDOM = 3
    SOFTENED = 4
    NEARBY = 5
    GIVEN = 6

    @property
    def sentence(self) -> str:
        """What the start means, in words."""
        return _STARTS[self]


class Ending(IntEnum):
    """Why no further run was made.

    >>> jaxinv.Ending.REPRODUCED.sentence
    'The observation is reproduced, to the tolerance or to the stated noise.'
    """

    NONE = 0
    REPRODUCED = 1
    AGREED = 2
    BUDGET_SPENT = 3
    EXPLAINED = 4
    CONFIRMED = 5
    SEARCHED = 6

    @property
    def sentence(self) -> str:
        """What the ending means, in words."""
        return _ENDINGS[self]


_STARTS = {
    Start.NONE: "No run was made: the row was bad input, or its square overflows.",
    Start.LAYERWISE: "At the layer-wise estimate of the latent.",
    Start.PREFIX: "At a fit of the first layers to the hidden vector that peeling found.",
    Start.RANDOM: "At a random point.",
    Start.SOFTENED: "At a random point, the ReLUs' dead sides given a slope that then fell to 0.",
    Start.GIVEN: "At a point that the caller gave.",
    Start.NEARBY: "At a random point near one of the lowest minima found before.",
}

_ENDINGS = {
    Ending.NONE: "No run was made: the row was bad input, or its square overflows.",
    Ending.REPRODUCED: "The observation is reproduced, to the tolerance or to the stated noise.",
    Ending.AGREED: "Independent runs ended in the lowest minimum known; its misfit is noise.",
    Ending.EXPLAINED: "The residual is no larger than the noise that the last layer alone shows.",
    Ending.CONFIRMED: "Independent runs ended in the lowest minimum known; its misfit is no noise.",
    Ending.SEARCHED: "The chance that another run lowers the residual by 1% is estimated as small.",
    Ending.BUDGET_SPENT: "Every run of the row's budget was made, and its lowest minimum kept.",
}


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["runs", "prefix_runs", "peeled", "start", "agreeing", "ending", "clipped"],
    meta_fields=[],
)
@dataclass(frozen=True)
class SearchReport:
    """What "auto" and "lm" did, one entry a row.

    runs: Levenberg-Marquardt runs made on the whole net, 0 where the layer-wise estimate fits.
    prefix_runs: those made on its first layers. peeled: outer layers whose active rows determined
    their input, so that the search could leave them out; 0 where no layer was peeled. start:
    (`Start`) where the best run began. agreeing: independent runs that ended in its minimum.
    ending: (`Ending`) why the search ended. clipped: whether a starting point that the caller gave
    lay outside latent_bounds, and was moved to their edge.

    >>> g = jaxinv.Generator.random((2, 8, 20), seed=0)
    >>> search = jaxinv.invert(g, g(np.ones((3, 2)))).search
    >>> search.runs.tolist(), jaxinv.Ending(int(search.ending[0])).name
    ([0, 0, 0], 'REPRODUCED')
    """

    runs: Int[Array, "*batch"]
    prefix_runs: Int[Array, "*batch"]
    peeled: Int[Array, "*batch"]
    start: Int[Array, "*batch"]
    agreeing: Int[Array, "*batch"]
    ending: Int[Array, "*batch"]
    clipped: Bool[Array, "*batch"]

    def __str__(self) -> str:
        words = (
            f"{count} {kind(value).name}"
            for kind, values in ((Start, self.start), (Ending, self.ending))
            for value, count in Counter(np.atleast_1d(np.asarray(values)).tolist()).most_common()
        )
        runs = np.asarray(self.runs) + np.asarray(self.prefix_runs)
        told = f"{runs.mean() if runs.size else 0:.3g} runs a row, {', '.join(words)}"
        clipped = int(np.asarray(self.clipped).sum())
        return told + (f", {clipped} with a given start clipped" if clipped else "")
