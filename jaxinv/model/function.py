"""Any differentiable JAX function of a latent as a decoder, G(z) = f(z)."""

import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxinv.model.decoder import Decoder, Linearization, checked_latent
from jaxinv.model.layer import Layer
from jaxinv.model.traced import Traced, traced
from jaxinv.model.walk import COLUMN_BYTES


@dataclass(frozen=True, eq=False)
class _Programs:
    """What stays the same between calls; compared by identity, so nothing is compiled twice."""

    f: Callable[[Any], Any]
    latent_size: int
    shape: tuple[int, ...]
    single: Traced
    double: Traced


@dataclass(frozen=True, init=False, eq=False)
class FunctionGenerator:
    """A decoder that is a JAX function f of one latent, (k,) -> any shape, which is flattened.

    f is read once in each precision; the arrays that it captures (weights, of an object or a
    closure) become leaves of this pytree, so that they are arguments and not constants of what is
    compiled. In float64 its float32 weights are promoted, unless f itself rounds to float32.

    f: any callable, such as a closure or a module of Equinox, that JAX can trace and differentiate.
    latent_size: k.
    Raises ValueError where f is not such a function, or is finite or differentiable nowhere.

    >>> import jax.numpy as jnp
    >>> wave = lambda z: jnp.sin(jnp.outer(z, jnp.arange(5.0)))
    >>> g = jaxinv.FunctionGenerator(wave, latent_size=2)
    >>> g
    FunctionGenerator(2 -> (2, 5), <lambda>)
    >>> g([0.5, -1.0]).shape, g(np.zeros((3, 2))).shape
    ((10,), (3, 10))
    """

    arrays: tuple[Array, ...]
    programs: _Programs

    def __init__(self, f: Callable[[Any], Any], latent_size: int) -> None:
        k = _checked_size(latent_size)
        if not callable(f):
            raise ValueError(
                f"f is a {type(f).__name__}; expected a JAX function of one latent, (k,) -> array"
            )
        arrays: list[Array] = []
        double = traced(f, k, jnp.float64, arrays)
        single = traced(f, k, jnp.float32, arrays)
        if single.shape != double.shape:
            raise ValueError(
                f"f returns the shape {double.shape} in float64 and {single.shape} in float32; "
                "a function whose output shape changes is no decoder"
            )
        self._set(tuple(arrays), _Programs(f, k, double.shape, single, double))
        check_values(self, "f")

    def _set(self, arrays: tuple[Array, ...], programs: _Programs) -> None:
        object.__setattr__(self, "arrays", arrays)
        object.__setattr__(self, "programs", programs)

    @classmethod
    def from_torch(cls, module: Any, latent_size: int) -> "FunctionGenerator":
        """A decoder from any torch.nn module in eval mode that maps codes (B, k) to observations.

        It is exported to PyTorch's core operators, which JAX then computes; the result is compared
        with the module's own float64 forward pass. `Generator.from_torch` knows more about a module
        that is one chain of layers. Raises ValueError for what cannot be read, by name.

        >>> from torch import nn
        >>> module = nn.Sequential(nn.Linear(2, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 20))
        >>> jaxinv.FunctionGenerator.from_torch(module.eval(), latent_size=2)
        FunctionGenerator(2 -> (20,), Sequential)
        """
        # torch is an extra: its reader is imported when it is asked for.
        reader = import_module("jaxinv.formats.torch_function")
        return reader.from_torch(module, _checked_size(latent_size))

    @property
    def latent_size(self) -> int:
        """k, the length of a latent."""
        return self.programs.latent_size

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """The shape that f gives its output; observations are it flattened.

        >>> jaxinv.FunctionGenerator(lambda z: z.reshape(2, 3), 6).observation_shape
        (2, 3)
        """
        return self.programs.shape

    @property
    def observation_size(self) -> int:
        """n, the length of an observation."""
        return prod(self.observation_shape)

    @property
    def is_dense(self) -> bool:
        """False: a function is no chain of matrices."""
        return False

    @property
    def scratch(self) -> int:
        """The largest intermediate of f, in numbers, as it was read."""
        return self.programs.double.scratch

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Empty: a function is no chain of layers."""
        return ()

    def __call__(self, latent: Any) -> Array:
        """G(z) in float64, for one latent (k,) or a batch (B, k)."""
        with jax.enable_x64(True):
            return _value(self, checked_latent(latent, self.latent_size))

    def jacobian(self, latent: Any) -> Array:
        """J = df/dz at z, by forward mode: (n, k) or, batched, (B, n, k).

        >>> g = jaxinv.FunctionGenerator(lambda z: z**2, latent_size=2)
        >>> np.asarray(g.jacobian([1.0, 3.0]))
        array([[2., 0.],
               [0., 6.]])
        """
        with jax.enable_x64(True):
            z = checked_latent(latent, self.latent_size)
            columns = _columns(self, z.reshape(-1, self.latent_size)).mT
            return columns.reshape(*z.shape[:-1], *columns.shape[1:])

    def value(self, z: Float[Array, "*B k"]) -> Float[Array, "*B n"]:
        """G(z), in the precision of z, for use inside a traced computation.

        >>> import jax.numpy as jnp
        >>> g = jaxinv.FunctionGenerator(lambda z: z**2, latent_size=2)
        >>> g.value(jnp.ones((3, 2), jnp.float32)).dtype
        dtype('float32')
        """
        if z.ndim == 1:
            return self._one(z)
        rows = jax.vmap(self._one)(z.reshape(-1, z.shape[-1]))
        return rows.reshape(*z.shape[:-1], self.observation_size)

    def linearized(self, z: Float[Array, "B k"], precision: DTypeLike) -> Linearization:
        """G(z) in the precision of z, and J there in `precision`, from k pushes a latent.

        As many of them at a time as COLUMN_BYTES hold.

        >>> import jax.numpy as jnp
        >>> g = jaxinv.FunctionGenerator(lambda z: z**2, latent_size=2)
        >>> g.linearized(jnp.ones((3, 2)), jnp.float32).columns.shape
        (3, 2, 2)
        """

        k, size = self.latent_size, jnp.dtype(precision).itemsize
        together = int(max(1, min(k, COLUMN_BYTES // (len(z) * self.scratch * size))))

        def columns(one: Array) -> Array:
            def push(direction: Array) -> Array:
                return jax.jvp(self._one, (one,), (direction,))[1]

            return jax.lax.map(push, jnp.eye(k, dtype=one.dtype), batch_size=together)

        # The pushes compute f(z) once more; XLA shares what it can, and k pushes cost far more.
        return Linearization(self.value(z), jax.vmap(columns)(z.astype(precision)))

    def _one(self, z: Array) -> Array:
        """f(z) flattened, (k,) -> (n,), by the program of its precision."""
        program = self.programs.double if z.dtype == jnp.float64 else self.programs.single
        return program(self.arrays, z).astype(z.dtype)

    def __deepcopy__(self, memo: dict[int, Any]) -> "FunctionGenerator":
        # Nothing of it changes, and a copy would be traced and compiled anew.
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        # A program cannot be pickled; the function that it was read from may be.
        return FunctionGenerator, (self.programs.f, self.latent_size)

    def __repr__(self) -> str:
        f = self.programs.f
        name = getattr(f, "__name__", None) or type(f).__name__
        return f"FunctionGenerator({self.latent_size} -> {self.observation_shape}, {name})"


def _flattened(generator: FunctionGenerator) -> tuple[tuple[tuple[Any, Any]], _Programs]:
    return ((jax.tree_util.GetAttrKey("arrays"), generator.arrays),), generator.programs


def _unflattened(programs: _Programs, children: Iterable[Any]) -> FunctionGenerator:
    # A pytree's leaves may be anything; f is neither read nor checked again.
    generator = object.__new__(FunctionGenerator)
    (arrays,) = children
    generator._set(arrays, programs)
    return generator


jax.tree_util.register_pytree_with_keys(FunctionGenerator, _flattened, _unflattened)


def _checked_size(latent_size: Any) -> int:
    try:
        k = 0 if isinstance(latent_size, bool) else operator.index(latent_size)
    except TypeError:
        k = 0
    if k < 1:
        raise ValueError(f"latent_size is {latent_size!r}; expected a positive integer, k")
    return k


def check_values(decoder: Decoder, name: str) -> None:
    """Raise ValueError where a decoder or its derivative is of no use at 0 and at random latents.

    name: of the caller's function in it.
    """
    with jax.enable_x64(True):
        draws = jax.random.normal(jax.random.key(0), (2, 4, decoder.latent_size), jnp.float64)
        z, direction = draws[0].at[0].set(0.0), draws[1]
        try:
            value, pushed = jax.device_get(_pushed(decoder, z, direction))
        except Exception as error:  # whatever the primitives of f raise
            raise ValueError(
                f"{name} cannot be differentiated for a batch of latents: {_first_line(error)}; "
                "use operations that JAX can push derivatives through, or give a jax.custom_jvp"
            ) from error
    if not jnp.isfinite(value).all(axis=1).any():
        raise ValueError(
            f"{name} is not finite at z = 0 nor at any of 3 random latents z ~ N(0, I); "
            "look for a logarithm, a root or a division of what may be zero or negative"
        )
    if not jnp.isfinite(pushed).all(axis=1).any():
        raise ValueError(
            f"the derivative of {name} is not finite at z = 0 nor at any of 3 random latents; "
            "look for a root or a norm at zero behind a jnp.where"
        )
    if not pushed.any():
        raise ValueError(
            f"the derivative of {name} is zero everywhere that was looked at (z = 0 and 3 random "
            "latents), so no method can follow it; it may round, compare, or not use what it gets"
        )


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__


@jax.jit
def _value(generator: FunctionGenerator, z: Array) -> Array:
    return generator.value(z)


@jax.jit
def _columns(generator: FunctionGenerator, z: Array) -> Array:
    return generator.linearized(z, z.dtype).columns


@jax.jit
def _pushed(decoder: Decoder, z: Array, direction: Array) -> tuple[Array, Array]:
    return jax.jvp(decoder.value, (z,), (direction,))
