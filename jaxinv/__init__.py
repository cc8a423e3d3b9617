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
    from jaxinv.formats import load_generator, save_generator, shipped_generators
    from jaxinv.model.activation import Activation
    from jaxinv.model.function import FunctionGenerator
    from jaxinv.model.generator import Generator
    from jaxinv.model.layer import Layer
    from jaxinv.model.linear.convolution import Convolution, TransposedConvolution
    from jaxinv.model.linear.resampling import pixel_shuffle
    from jaxinv.model.prior import GaussianPrior
    from jaxinv.outcome.inversion import Inversion, LayerReport
    from jaxinv.outcome.search_report import Ending, SearchReport, Start
    from jaxinv.outcome.status import Status
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

__version__ = "0.1.0"

_HOME = {
    "Activation": "model.activation",
    "Auto": "settings",
    "ClarabelPool": "settings",
    "Confidence": "certify.uncertainty",
    "Convolution": "model.linear.convolution",
    "CvxpySolver": "settings",
    "Ending": "outcome.search_report",
    "Exact": "settings",
    "FunctionGenerator": "model.function",
    "GaussianPrior": "model.prior",
    "Generator": "model.generator",
    "GradientDescent": "settings",
    "Identifiability": "certify.identifiability",
    "InteriorPoint": "settings",
    "Inversion": "outcome.inversion",
    "L1LP": "settings",
    "Layer": "model.layer",
    "LayerReport": "outcome.inversion",
    "LevenbergMarquardt": "settings",
    "LinfLP": "settings",
    "RelaxedLP": "settings",
    "SearchReport": "outcome.search_report",
    "Start": "outcome.search_report",
    "Status": "outcome.status",
    "TransposedConvolution": "model.linear.convolution",
    "confidence": "certify.uncertainty",
    "identifiability": "certify.identifiability",
    "invert": "call.invert",
    "invert_stream": "call.invert",
    "load_generator": "formats",
    "pixel_shuffle": "model.linear.resampling",
    "rigorous_radius": "certify.rigorous",
    "save_generator": "formats",
    "shipped_generators": "formats",
}

__all__ = [
    "L1LP",
    "Activation",
    "Auto",
    "ClarabelPool",
    "Confidence",
    "Convolution",
    "CvxpySolver",
    "Ending",
    "Exact",
    "FunctionGenerator",
    "GaussianPrior",
    "Generator",
    "GradientDescent",
    "Identifiability",
    "InteriorPoint",
    "Inversion",
    "Layer",
    "LayerReport",
    "LevenbergMarquardt",
    "LinfLP",
    "RelaxedLP",
    "SearchReport",
    "Start",
    "Status",
    "TransposedConvolution",
    "confidence",
    "identifiability",
    "invert",
    "invert_stream",
    "load_generator",
    "pixel_shuffle",
    "rigorous_radius",
    "save_generator",
    "shipped_generators",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'jaxinv' has no attribute {name!r}")
    value = getattr(import_module(f"jaxinv.{_HOME[name]}"), name)
    globals()[name] = value
    return value
