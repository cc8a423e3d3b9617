"""PyTorch's second-order methods, an observation at a time: torch's L-BFGS, PyPose's LM, float64.

Both libraries see all their parameters as one problem: over a batch L-BFGS shares one curvature
between the rows, and PyPose forms one Jacobian of B n times B k entries. One observation after the
other is the faster and the better answer. A row that is not reproduced starts again.
"""

import importlib.util
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

import jaxinv
from benchmarks.peers_race import Progress, Rival

REPRODUCED = 1e-7  # relative residual
STARTS, STEPS, ENOUGH = 20, 100, 1e-16  # of a start; a squared relative residual that ends it

Descent = Callable[[Any, Any, Any], Iterator[Any]]


def image_of(generator: jaxinv.Generator, dtype: Any) -> Callable[[Any], Any]:
    """G as a function of tensors (B, k), of the activations that the race's nets have."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"

    def tensor(values: Any) -> Any:
        return torch.tensor(np.asarray(values), dtype=dtype, device=device)

    layers = [(tensor(a.weight), tensor(a.bias), a.activation) for a in generator.layers]

    def image(z: Any) -> Any:
        for weight, bias, activation in layers:
            z = torch.nn.functional.linear(z, weight, bias)
            if activation.kind == "leaky_relu":
                z = torch.nn.functional.leaky_relu(z, activation.slope)
            else:
                z = {"relu": torch.relu, "sigmoid": torch.sigmoid}[activation.kind](z)
        return z

    return image


def one_by_one(descend: Descent, generator: jaxinv.Generator, x: np.ndarray) -> Iterator[Progress]:
    """Each row until it is reproduced or its starts are spent.

    descend: from G, an observation and a start to iterates (k,), until the start is spent.
    """
    import torch

    rng, image = np.random.default_rng(0), image_of(generator, torch.float64)
    latent = np.full((len(x), generator.latent_size), np.nan)
    for row, observed in enumerate(x):
        target, size = torch.tensor(observed), np.linalg.norm(observed)
        least = np.inf
        for _ in range(STARTS):
            start = torch.tensor(rng.standard_normal(generator.latent_size))
            for found in descend(image, target, start):
                with torch.no_grad():
                    misfit = float((image(found) - target).norm())
                if misfit < least:
                    least, latent[row] = misfit, found.detach().numpy()
                yield Progress(latent.copy(), row + 1)
            if least <= REPRODUCED * size:
                break


def by_lbfgs(image: Callable[[Any], Any], target: Any, start: Any) -> Iterator[Any]:
    """torch.optim.LBFGS with its strong Wolfe line search."""
    import torch

    z = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [z], max_iter=20, tolerance_grad=0.0, tolerance_change=0.0, line_search_fn="strong_wolfe"
    )

    def loss() -> Any:
        optimizer.zero_grad()
        value = ((image(z) - target) ** 2).sum()
        value.backward()
        return value

    enough = ENOUGH * float((target**2).sum())
    for _ in range(STEPS // 20):
        before = optimizer.step(loss).item()
        yield z
        if before <= enough:
            return


def by_pypose(image: Callable[[Any], Any], target: Any, start: Any) -> Iterator[Any]:
    """pypose.optim.LM as it comes: Cholesky, trust region."""
    import pypose
    import torch

    class Code(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.z = torch.nn.Parameter(start.clone())

        def forward(self, _: Any) -> Any:
            return image(self.z)

    code = Code()
    optimizer = pypose.optim.LM(code)
    enough = ENOUGH * float((target**2).sum())
    before = np.inf
    for _ in range(STEPS):
        loss = optimizer.step(None, target).item()
        yield code.z
        if loss <= enough or before - loss <= 1e-8 * loss:
            return
        before = loss


def by_libraries() -> dict[str, Rival]:
    """Those whose packages are installed, by name."""
    table: dict[str, Rival] = {}
    if importlib.util.find_spec("torch"):
        table["PyTorch L-BFGS loop"] = partial(one_by_one, by_lbfgs)
    if importlib.util.find_spec("pypose"):
        table["PyPose LM loop"] = partial(one_by_one, by_pypose)
    return table
