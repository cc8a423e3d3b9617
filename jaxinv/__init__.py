"""Batch inversion of deep generative models, one layer at a time.

    import jaxinv
    g = jaxinv.load_generator("mnist-leaky-20-200-500-784")
    r = jaxinv.invert(g, observations, "linf")
    r.latent, r.status, r.residual

Names are loaded on first use, so that `import jaxinv` and --help start without JAX.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxinv.call.invert import invert, invert_stream
    from jaxinv.certify.identifiability import Identifiability, identifiability
    from jaxinv.certify.rigorous import rigorous_radius
    from jaxinv.certify.uncertainty import Confidence, confidence
    from jaxinv.estimator import GeneratorInverter
    from jaxinv.formats import load_generator, save_generator, shipped_generators
    from jaxinv.model.activation import Activation
    from jaxinv.model.function import FunctionGenerator
    from jaxinv.model.generator import Generator
    from jaxinv.model.layer import Layer
    from jaxinv.model.likelihood.counts import Bernoulli, Poisson
    from jaxinv.model.likelihood.outliers import Huber, StudentT
    from jaxinv.model.linear.convolution import Convolution, TransposedConvolution
    from jaxinv.model.linear.resampling import pixel_shuffle
    from jaxinv.model.prior import GaussianPrior
    from jaxinv.outcome.inversion import Inversion, LayerReport
    from jaxinv.outcome.search_report import Ending, SearchReport, Start
    from jaxinv.outcome.status import Status
    from jaxinv.sampling.modes import Modes, modes
    from jaxinv.sampling.posterior import Posterior, posterior
    from jaxinv.settings import (
        L1LP,
        Auto,
        ClarabelPool,
        CvxpySolver,
        Exact,
        GradientDescent,
        InteriorPoint,
        LevenbergMarquardt,
        LinfLP,
        RelaxedLP,
    )

__version__ = "0.2.0"

_HOME = {
    "Activation": "model.activation",
    "Auto": "settings",
    "Bernoulli": "model.likelihood.counts",
    "ClarabelPool": "settings",
    "Confidence": "certify.uncertainty",
    "Convolution": "model.linear.convolution",
    "CvxpySolver": "settings",
    "Ending": "outcome.search_report",
    "Exact": "settings",
    "FunctionGenerator": "model.function",
    "GaussianPrior": "model.prior",
    "Generator": "model.generator",
    "GeneratorInverter": "estimator",
    "GradientDescent": "settings",
    "Huber": "model.likelihood.outliers",
    "Identifiability": "certify.identifiability",
    "InteriorPoint": "settings",
    "Inversion": "outcome.inversion",
    "L1LP": "settings",
    "Layer": "model.layer",
    "LayerReport": "outcome.inversion",
    "LevenbergMarquardt": "settings",
    "LinfLP": "settings",
    "Modes": "sampling.modes",
    "Poisson": "model.likelihood.counts",
    "Posterior": "sampling.posterior",
    "RelaxedLP": "settings",
    "SearchReport": "outcome.search_report",
    "Start": "outcome.search_report",
    "Status": "outcome.status",
    "StudentT": "model.likelihood.outliers",
    "TransposedConvolution": "model.linear.convolution",
    "confidence": "certify.uncertainty",
    "identifiability": "certify.identifiability",
    "invert": "call.invert",
    "invert_stream": "call.invert",
    "load_generator": "formats",
    "modes": "sampling.modes",
    "pixel_shuffle": "model.linear.resampling",
    "posterior": "sampling.posterior",
    "rigorous_radius": "certify.rigorous",
    "save_generator": "formats",
    "shipped_generators": "formats",
}

__all__ = [
    "L1LP",
    "Activation",
    "Auto",
    "Bernoulli",
    "ClarabelPool",
    "Confidence",
    "Convolution",
    "CvxpySolver",
    "Ending",
    "Exact",
    "FunctionGenerator",
    "GaussianPrior",
    "Generator",
    "GeneratorInverter",
    "GradientDescent",
    "Huber",
    "Identifiability",
    "InteriorPoint",
    "Inversion",
    "Layer",
    "LayerReport",
    "LevenbergMarquardt",
    "LinfLP",
    "Modes",
    "Poisson",
    "Posterior",
    "RelaxedLP",
    "SearchReport",
    "Start",
    "Status",
    "StudentT",
    "TransposedConvolution",
    "confidence",
    "identifiability",
    "invert",
    "invert_stream",
    "load_generator",
    "modes",
    "pixel_shuffle",
    "posterior",
    "rigorous_radius",
    "save_generator",
    "shipped_generators",
]


# Rooms with public names of their own.
_ROOMS = ("certify", "hardness", "measurements", "plots")


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"jaxinv.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'jaxinv' has no attribute {name!r}")
    value = getattr(import_module(f"jaxinv.{_HOME[name]}"), name)
    globals()[name] = value
    return value
