r"""Inversion as an estimator of scikit-learn: codes, images of codes, and how well each is fitted.

scikit-learn is an extra. Without it the name can still be imported, as `from jaxinv import *` does,
and says what to install once an estimator is made.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from jaxinv.call.invert import invert
from jaxinv.call.request import Options, requested
from jaxinv.model.decoder import Decoder
from jaxinv.model.given import real_array
from jaxinv.model.likelihood.base import NoiseModel
from jaxinv.model.prior import GaussianPrior
from jaxinv.outcome.inversion import Inversion
from jaxinv.settings import Method

LOG_TAU = float(np.log(2.0 * np.pi))

_missing: ImportError | None = None
try:
    from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
    from sklearn.utils.validation import check_array, check_is_fitted, validate_data
except ImportError as error:
    _missing = error

    class BaseEstimator:  # type: ignore[no-redef]
        pass

    class ClassNamePrefixFeaturesOutMixin:  # type: ignore[no-redef]
        pass

    class TransformerMixin:  # type: ignore[no-redef]
        pass


class GeneratorInverter(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Codes of observations as an estimator of scikit-learn (extra `sklearn`).

    generator: a decoder, or a function that makes one of the training data (N, n), as training
    does: `fit` calls it. method: of `invert`, a name or its settings. noise: standard deviation of
    each entry, positive, one for all or (n,); or a noise model, such as `Poisson`. prior: a
    `GaussianPrior` of the code, which asks for noise or prior_weight. prior_weight, precision,
    seed: as for `invert`.

    An entry of X that is NaN is missing: it is masked in `invert` and left out of scores, and
    inverse_transform of the codes fills it in. A row of nothing but NaN fails. The function that
    makes a decoder is given the data with their NaN.

    fit: takes the decoder as it is and checks that it makes what X holds. transform: codes, NaN
    where a row failed. inverse_transform: G(z). score_samples: how well a code explains a row.
    invert: the same with everything that is said of each row. generator_: the decoder that is used.
    n_features_in_: n.

    A row's random starting points go by its number: where a decoder leaves several minima, a row
    may end in another one in other company.

    >>> g = jaxinv.Generator.random((2, 8, 20), seed=0)
    >>> x = np.asarray(g(np.ones((3, 2))))
    >>> model = jaxinv.GeneratorInverter(g).fit(x)
    >>> model.transform(x).round(6).tolist()
    [[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]]
    """

    def __init__(
        self,
        generator: Decoder | Callable[[np.ndarray], Decoder],
        method: str | Method = "auto",
        *,
        noise: Any = None,
        prior: GaussianPrior | None = None,
        prior_weight: float | None = None,
        precision: str | float | None = None,
        seed: int = 0,
    ) -> None:
        if _missing is not None:
            raise ImportError(
                "GeneratorInverter needs scikit-learn: pip install 'jaxinv[sklearn]'"
            ) from _missing
        self.generator = generator
        self.method = method
        self.noise = noise
        self.prior = prior
        self.prior_weight = prior_weight
        self.precision = precision
        self.seed = seed

    def fit(self, X: Any, y: Any = None) -> "GeneratorInverter":
        """Take the decoder, or have it made of X, (N, n); y is not looked at.

        Raises ValueError where the decoder is none, or makes observations of another length, and
        where method, noise, prior or another argument is none that `invert` takes.

        >>> g = jaxinv.Generator.random((2, 8, 20), seed=0)
        >>> jaxinv.GeneratorInverter(g).fit(np.zeros((3, 20))).n_features_in_
        20
        """
        data = validate_data(self, X, dtype="numeric", ensure_all_finite="allow-nan")
        given = self.generator
        decoder = given if isinstance(given, Decoder) or not callable(given) else given(data)
        if not isinstance(decoder, Decoder):
            raise ValueError(
                f"generator {'gave' if callable(given) else 'is'} a {type(decoder).__name__}; "
                "expected a Generator, a FunctionGenerator, or a function that makes one of X"
            )
        if decoder.observation_size != data.shape[1]:
            raise ValueError(
                f"X has {data.shape[1]} features; the generator makes observations of "
                f"{decoder.observation_size} entries"
            )
        if self.noise is not None and not isinstance(self.noise, NoiseModel):
            self._deviation(data.shape[1])
        requested(decoder, data.shape[1], self.method, Options(**self._options()))
        self.generator_ = decoder
        return self

    def invert(self, X: Any) -> Inversion:
        """What `jaxinv.invert` says of each row of X, (B, n): status, residual and the rest.

        >>> g = jaxinv.Generator.random((2, 8, 20), seed=0)
        >>> x = np.asarray(g(np.ones((3, 2))))
        >>> jaxinv.GeneratorInverter(g, "exact").fit(x).invert(x)
        Inversion(latent (3, 2): 3 SOLVED)
        """
        return self._inverted(X)[1]

    def transform(self, X: Any) -> Float[np.ndarray, "B k"]:
        """The codes of X, (B, n), in float64; NaN where a row failed.

        >>> g = jaxinv.Generator.random((2, 8, 20), seed=0)
        >>> x = np.asarray(g([[0.5, -1.0]]))
        >>> jaxinv.GeneratorInverter(g).fit_transform(x).round(6).tolist()
        [[0.5, -1.0]]
        """
        return np.array(self.invert(X).latent)

    def inverse_transform(self, X: Any) -> Float[np.ndarray, "B n"]:
        """G(z) of codes, (B, k), in float64; NaN of codes that are NaN.

        >>> g = jaxinv.Generator.random((2, 8, 20), seed=0)
        >>> model = jaxinv.GeneratorInverter(g).fit(np.zeros((1, 20)))
        >>> model.inverse_transform(np.ones((3, 2))).shape
        (3, 20)
        """
        check_is_fitted(self)
        codes = check_array(X, dtype=np.float64, ensure_all_finite="allow-nan")
        return np.array(self.generator_(codes))

    def score_samples(self, X: Any) -> Float[np.ndarray, " B"]:
        """How well the code found explains each row of X: the lower, the odder; NaN if it failed.

            -||x - G(z)||^2                                      without noise
            log N(x; G(z), noise^2)                              with noise, in nats
            log p(x; G(z))                                       with a noise model, in nats
            the same + log N(z; mean, L L')                      with a prior as well

        at the code z that is found, which is a profile likelihood, and not the marginal one. Over
        the entries that are there: a row that misses some has fewer terms. A prior of weight lambda
        counts as the one of covariance L L' noise^2 / lambda, or without noise as
        -lambda ||L^-1 (z - mean)||^2.

        >>> g = jaxinv.Generator.from_layers([([[1.0], [1.0]], None, "identity")])
        >>> x = [[1.0, 1.0], [1.0, -1.0]]
        >>> jaxinv.GeneratorInverter(g).fit(x).score_samples(x).round(6).tolist()
        [0.0, -2.0]
        """
        data, inversion = self._inverted(X)
        latent = np.asarray(inversion.latent)
        score = self._fit_scores(data.astype(np.float64), np.asarray(self.generator_(latent)))
        score[~np.isfinite(latent).all(1)] = np.nan
        if self.prior is None and self.prior_weight is None:
            return score
        mean, factor = (self.prior or GaussianPrior()).of_size(latent.shape[1])
        standard = np.linalg.solve(factor, (latent - mean).T).T
        if self.prior_weight is None:
            return score + _log_normal(standard, factor)
        if self.noise is None:
            return score - self.prior_weight * np.sum(standard**2, axis=1)
        spread = float(self.noise) / np.sqrt(self.prior_weight)
        return score + _log_normal(standard / spread, factor * spread)

    def score(self, X: Any, y: Any = None) -> float:
        """The mean of `score_samples`, as model selection asks for it; y is not looked at.

        >>> g = jaxinv.Generator.from_layers([([[1.0], [1.0]], None, "identity")])
        >>> x = [[1.0, 1.0], [1.0, -1.0]]
        >>> round(jaxinv.GeneratorInverter(g).fit(x).score(x), 6)
        -1.0
        """
        return float(np.mean(self.score_samples(X)))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    @property
    def _n_features_out(self) -> int:
        return self.generator_.latent_size

    def _options(self) -> dict[str, Any]:
        names = ("noise", "prior", "prior_weight", "precision", "seed")
        return {name: getattr(self, name) for name in names}

    def _inverted(self, X: Any) -> tuple[np.ndarray, Inversion]:
        check_is_fitted(self)
        # In the dtype that arrives: it says how exactly the observations are known.
        data = validate_data(self, X, dtype="numeric", reset=False, ensure_all_finite="allow-nan")
        given = np.ma.masked_invalid(data)
        return data, invert(self.generator_, given, self.method, **self._options())

    def _fit_scores(
        self, x: Float[np.ndarray, "B n"], made: Float[np.ndarray, "B n"]
    ) -> Float[np.ndarray, " B"]:
        """How well G(z) fits each row, in the entries that are there."""
        there = ~np.isnan(x)
        if isinstance(self.noise, NoiseModel):
            with jax.enable_x64(True):
                terms = np.asarray(self.noise.log_density(made, np.where(there, x, 0.0)))
        elif self.noise is None:
            terms = -((x - made) ** 2)
        else:
            deviation = self._deviation(x.shape[1])
            terms = -0.5 * ((x - made) / deviation) ** 2 - np.log(deviation) - 0.5 * LOG_TAU
        return np.sum(terms, axis=1, where=there)

    def _deviation(self, n: int) -> Float[np.ndarray, " n"]:
        given = real_array("noise", self.noise)
        if given.shape not in ((), (n,)):
            raise ValueError(f"noise has shape {given.shape}; expected one number or ({n},)")
        if not (np.isfinite(given) & (given > 0)).all():
            raise ValueError("noise must be positive and finite, a standard deviation")
        return np.broadcast_to(given, (n,))


def _log_normal(
    standard: Float[np.ndarray, "B k"], factor: Float[np.ndarray, "k k"]
) -> Float[np.ndarray, " B"]:
    """log N(z; mean, L L') of L^-1 (z - mean); L need not be triangular."""
    size = standard.shape[1]
    peak = -0.5 * size * LOG_TAU - np.linalg.slogdet(factor)[1]
    return peak - 0.5 * np.sum(standard**2, axis=1)
