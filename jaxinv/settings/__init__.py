"""Every method's and every solver's settings, as frozen dataclasses without arrays.

Tolerances are in the units of the observation unless a docstring says relative.
"""

from collections.abc import Mapping

from jaxinv.settings.checks import require
from jaxinv.settings.gradient_descent import GRADIENT_OPTIMIZERS, GradientDescent, Optimizer
from jaxinv.settings.joint import REFINEMENTS, Auto, Effort, LevenbergMarquardt, Refinement
from jaxinv.settings.layerwise import L1LP, Exact, LayerLP, LinfLP, RelaxedLP
from jaxinv.settings.solvers import ClarabelPool, CvxpySolver, InteriorPoint, Solver

__all__ = [
    "GRADIENT_OPTIMIZERS",
    "L1LP",
    "METHODS",
    "REFINEMENTS",
    "Auto",
    "ClarabelPool",
    "CvxpySolver",
    "Effort",
    "Exact",
    "GradientDescent",
    "InteriorPoint",
    "LayerLP",
    "LevenbergMarquardt",
    "LinfLP",
    "Method",
    "Optimizer",
    "Refinement",
    "RelaxedLP",
    "Solver",
    "resolve",
]

Method = Exact | LinfLP | L1LP | RelaxedLP | GradientDescent | LevenbergMarquardt | Auto

METHODS: Mapping[str, type[Method]] = {
    "exact": Exact,
    "linf": LinfLP,
    "l1": L1LP,
    "relaxed": RelaxedLP,
    "gd": GradientDescent,
    "lm": LevenbergMarquardt,
    "auto": Auto,
}


def resolve(method: str | Method) -> Method:
    """The settings behind a method's name, or the settings themselves."""
    if isinstance(method, str):
        require(method in METHODS, f"method {method!r} is not known; expected one of {[*METHODS]}")
        return METHODS[method]()
    require(
        isinstance(method, tuple(METHODS.values())),
        f"method is a {type(method).__name__}; expected one of {[*METHODS]} or its settings class",
    )
    return method
