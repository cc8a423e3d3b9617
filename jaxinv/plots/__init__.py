"""Pictures of results, each a figure of matplotlib that a notebook shows (extra `plots`).

    figure = jaxinv.plots.reconstructions(g, x, jaxinv.invert(g, x))
    figure.savefig("digits.png")

No state of matplotlib's is changed, pyplot's among it: a figure is freed when it is forgotten.
"""

from jaxinv.plots.images import reconstructions, residual_maps
from jaxinv.plots.intervals import latent_intervals
from jaxinv.plots.recovery import error_against_noise
from jaxinv.plots.search import search_course

__all__ = [
    "error_against_noise",
    "latent_intervals",
    "reconstructions",
    "residual_maps",
    "search_course",
]
