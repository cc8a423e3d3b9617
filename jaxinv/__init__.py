"""Batch inversion of deep generative models, one layer at a time.

    import jaxinv
    g = jaxinv.load_generator("mnist-leaky-20-200-500-784")
    r = jaxinv.invert(g, observations, "linf")
    r.latent, r.status, r.residual

Names are loaded on first use, so that `import jaxinv` and --help start without JAX.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxinv.activation import Activation
    from jaxinv.certify.identifiability import Identifiability, identifiability
    from jaxinv.certify.rigorous import rigorous_radius
    from jaxinv.certify.uncertainty import Confidence, confidence
    from jaxinv.formats import load_generator, save_generator, shipped_generators
    from jaxinv.generator import Generator
    from jaxinv.invert import invert, invert_stream
    from jaxinv.layer import Layer
    from jaxinv.methods import (
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
    from jaxinv.result import Inversion, LayerReport
    from jaxinv.search_report import Ending, SearchReport, Start
    from jaxinv.status import Status

__version__ = "0.1.0"

_HOME = {
    "Activation": "activation",
    "Auto": "methods",
    "ClarabelPool": "methods",
    "Confidence": "certify.uncertainty",
    "CvxpySolver": "methods",
    "Ending": "search_report",
    "Exact": "methods",
    "Generator": "generator",
    "GradientDescent": "methods",
    "Identifiability": "certify.identifiability",
    "InteriorPoint": "methods",
    "Inversion": "result",
    "L1LP": "methods",
    "Layer": "layer",
    "LayerReport": "result",
    "LevenbergMarquardt": "methods",
    "LinfLP": "methods",
    "RelaxedLP": "methods",
    "SearchReport": "search_report",
    "Start": "search_report",
    "Status": "status",
    "confidence": "certify.uncertainty",
    "identifiability": "certify.identifiability",
    "invert": "invert",
    "invert_stream": "invert",
    "load_generator": "formats",
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
    "CvxpySolver",
    "Ending",
    "Exact",
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
    "confidence",
    "identifiability",
    "invert",
    "invert_stream",
    "load_generator",
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


class _Package(ModuleType):
    """`jaxinv.invert` is the function, even after something has imported the file of that name."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
