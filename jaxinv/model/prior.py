"""What is known of a latent before anything is observed: a Gaussian distribution."""

from typing import Any

import numpy as np
from jaxtyping import Float

from jaxinv.model.given import real_array

LEAST_RATIO = 1e-12  # of a factor's singular values: below it a covariance is not definite


class GaussianPrior:
    """A Gaussian prior of the latent, z ~ N(mean, S^2) with S = diag(scale), or N(mean, L L').

    With `noise=` a latent is the most probable one given the observation (maximum a posteriori),

        minimise  ||W (x - G(z))||_2^2 / noise^2 + ||S^-1 (z - mean)||_2^2,

    and with `prior_weight=` lambda that of compressed sensing with generative models (CSGM),

        minimise  ||W (y - A G(z))||_2^2 + lambda ||S^-1 (z - mean)||_2^2

    (Bora, Jalal, Price and Dimakis 2017, arXiv 1703.03208). mean, scale: in units of the latent,
    scalars or (k,), scale positive. factor: (k, k), in place of scale, L of the covariance L L',
    such as its Cholesky factor; S^-1 above is then L^-1. Raises ValueError where a scale is not
    positive, or the covariance is not positive definite.

    >>> g = jaxinv.Generator.from_layers([([[1.0], [1.0]], None, "identity")])
    >>> r = jaxinv.invert(g, [3.0, 3.0], prior=jaxinv.GaussianPrior(scale=1.0), noise=1.0)
    >>> np.round(r.latent, 6).tolist()  # (1 + 1) 3 / (1 + 1 + 1)
    [2.0]
    """

    def __init__(self, mean: Any = 0.0, scale: Any = 1.0, factor: Any = None) -> None:
        self.mean = real_array("the prior's mean", mean)
        if self.mean.ndim > 1 or not np.isfinite(self.mean).all():
            raise ValueError(
                f"the prior's mean has shape {self.mean.shape}; expected finite numbers, a scalar "
                "or (k,)"
            )
        self.scale = real_array("the prior's scale", scale)
        if self.scale.ndim > 1 or not (np.isfinite(self.scale) & (self.scale > 0)).all():
            raise ValueError(
                f"the prior's scale {_short(self.scale)} must be positive and finite, a scalar or "
                "(k,); a covariance is given by factor="
            )
        self.factor = None if factor is None else _checked_factor(factor, self.scale)

    @property
    def correlated(self) -> bool:
        """Whether entries of the latent depend on each other.

        >>> jaxinv.GaussianPrior(factor=[[1.0, 0.0], [1.0, 1.0]]).correlated
        True
        """
        factor = self.factor
        return factor is not None and bool((factor != np.diag(np.diag(factor))).any())

    def of_size(self, k: int) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, "k k"]]:
        """The mean (k,) and a factor (k, k) of the covariance, for latents of this length.

        Raises ValueError where the prior is one of latents of another length.

        >>> jaxinv.GaussianPrior(mean=1.0, scale=2.0).of_size(2)
        (array([1., 1.]), array([[2., 0.],
               [0., 2.]]))
        """
        for name in ("mean", "scale", "factor"):
            given = getattr(self, name)
            if given is not None and given.ndim and len(given) != k:
                raise ValueError(
                    f"the prior's {name} has shape {given.shape}; the generator's latents have "
                    f"{k} entries"
                )
        mean = np.broadcast_to(self.mean, (k,))
        if self.factor is not None:
            return mean, self.factor
        return mean, np.diag(np.broadcast_to(self.scale, (k,)))

    def __repr__(self) -> str:
        spread = f"scale={_short(self.scale)}"
        if self.factor is not None:
            spread = f"factor of shape {self.factor.shape}"
        return f"GaussianPrior(mean={_short(self.mean)}, {spread})"


def _checked_factor(factor: Any, scale: np.ndarray) -> Float[np.ndarray, "k k"]:
    given = real_array("the prior's factor", factor)
    if given.ndim != 2 or given.shape[0] != given.shape[1] or not given.size:
        raise ValueError(
            f"the prior's factor has shape {given.shape}; expected (k, k), L of the covariance L L'"
        )
    if scale.ndim or scale != 1.0:
        raise ValueError("a prior takes scale= or factor=, not both; multiply the factor")
    if not np.isfinite(given).all():
        raise ValueError("the prior's factor holds entries that are NaN or infinite")
    singular = np.linalg.svd(given, compute_uv=False)
    if not singular[-1] > LEAST_RATIO * singular[0]:
        raise ValueError(
            "the prior's covariance L L' is not positive definite: its factor has singular values "
            f"from {singular[-1]:.3g} to {singular[0]:.3g}; add to its diagonal, or use scale="
        )
    return given


def _short(values: np.ndarray) -> str:
    return f"{float(values):g}" if not values.ndim else np.array2string(values, threshold=6)
