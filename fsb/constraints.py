"""Ranges of settings, choices among options, and checks of arguments: each error is one line."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import jax
import jax.numpy as jnp
from annotated_types import Ge, Le

from fsb.errors import FsbError, unknown
from fsb.types import Array, Distribution, Estimator, Eta

T = TypeVar("T")


Count = Annotated[int, Ge(1)]
Natural = Annotated[int, Ge(0)]
Seed = Annotated[int, Ge(0), Le(2**32 - 1)]

METHODS = ("sample", "noise", "from_noise", "mean", "log_prob", "entropy", "support", "decode")


def choose(name: str, word: str, options: Mapping[str, T]) -> T:
    """The option that a word names.

    Args:
      name: of the setting, for the error.

    Raises:
      FsbError: if there is no such option.

    >>> choose("shape", "round", {"round": 0, "square": 4})
    0
    >>> choose("shape", "rund", {"round": 0, "square": 4})
    Traceback (most recent call last):
    fsb.errors.FsbError: shape: unknown 'rund'; did you mean round? (choices: round, square)
    """
    if word not in options:
        raise unknown(name, word, options)
    return options[word]


def known(setting: Any) -> bool:
    """Whether a setting has a value now; if a JAX transformation traces it, it has none to check.

    >>> known(0.5), jax.vmap(lambda t: jnp.float32(known(t)))(jnp.ones(1)).tolist()
    (True, [0.0])
    """
    return not isinstance(setting, jax.core.Tracer)


def checked_site(name: str, dist: Distribution, eta: Eta) -> Eta:
    """Checks the arguments of ``sample(name, dist, eta)`` and returns eta in canonical form.

    The leaves of the result are floating-point arrays. If the distribution has a method
    ``canonical``, every parameter has the shape of the units and every logit is finite or
    understood.

    Raises:
      FsbError: if the name is not a string, the distribution not an instance, or eta not made of
        floating-point arrays.

    >>> from fsb.distributions import Normal
    >>> [x.shape for x in checked_site("z", Normal(), (jnp.zeros((4, 3)), 1.0))]
    [(4, 3), (4, 3)]
    """
    if not isinstance(name, str):
        raise FsbError(f"sample(name, dist, eta): the name must be a string, not {described(name)}")
    where = f"site {name!r}"
    if inspect.isclass(dist):
        raise FsbError(f"{where}: {dist.__name__} is a class; write {dist.__name__}()")
    missing = [method for method in METHODS if not hasattr(dist, method)]
    if missing or not hasattr(dist, "reparameterized"):
        raise FsbError(
            f"{where}: the second argument must be a distribution, such as Bernoulli(), "
            f"not {described(dist)}; it has no {(missing or ['reparameterized'])[0]}"
        )
    leaves = jax.tree.leaves(eta)
    if not any(hasattr(leaf, "shape") for leaf in leaves):
        raise FsbError(f"{where}: eta must be an array [B, D...], not {described(eta)}")
    for leaf in leaves:
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            raise FsbError(f"{where}: eta must be floating-point, not {jnp.result_type(leaf)}")
    eta = jax.tree.map(jnp.asarray, eta)
    try:
        return getattr(dist, "canonical", lambda eta: eta)(eta)
    except (TypeError, ValueError) as error:
        shapes = ", ".join(str(jnp.shape(leaf)) for leaf in leaves)
        cure = f"; {error}" if isinstance(error, FsbError) else ""
        raise FsbError(
            f"{where}: {type(dist).__name__} does not take eta of shapes {shapes}{cure}"
        ) from error


def checked_losses(losses: Any) -> Array:
    """The losses of a run as floating-point numbers [B].

    Integers and Booleans are converted: JAX does not differentiate functions of integers.

    Raises:
      FsbError: if they are not an array [B] with B > 0.

    >>> checked_losses(jnp.array([True, False])).tolist()
    [1.0, 0.0]
    """
    if isinstance(losses, (tuple, list, dict)) or not hasattr(losses, "shape"):
        cures: dict[Any, str] = {
            tuple: "; with has_aux=True it may return (losses, aux)",
            list: "; stack them with jax.numpy.stack",
        }
        cure = cures.get(type(losses), "")
        raise FsbError(f"a loss must return an array [B], not {described(losses)}{cure}")
    if len(losses.shape) != 1:
        cure = (
            "leave out the mean over the batch; a single example is a batch of one, eta [1, D...]"
        )
        if losses.shape:
            cure = "sum over all axes but the first"
        raise FsbError(
            f"a loss must return one value per example, shape [B]; got {losses.shape}; {cure}"
        )
    if not losses.shape[0]:
        raise FsbError("a loss must return one value per example; the batch is empty")
    if jnp.issubdtype(losses.dtype, jnp.complexfloating):
        raise FsbError(f"a loss must return real numbers, not {losses.dtype}")
    if jnp.issubdtype(losses.dtype, jnp.inexact):
        return losses
    return jnp.asarray(losses, jnp.result_type(float))


def check_estimator_and_loss(caller: str, estimator: Estimator, loss: Any) -> None:
    """Checks the first two arguments of ``value_and_grad`` and its relatives.

    Raises:
      FsbError: if the first is no estimator or the second no function.

    >>> import fsb
    >>> check_estimator_and_loss("value_and_grad", fsb.st, len)
    Traceback (most recent call last):
    fsb.errors.FsbError: value_and_grad: st is a function that makes an estimator; write st()
    """
    if not isinstance(estimator, Estimator):
        if isinstance(loss, Estimator):
            raise FsbError(f"{caller}(estimator, loss): the two arguments are swapped")
        if inspect.isfunction(estimator):
            name = estimator.__name__
            raise FsbError(
                f"{caller}: {name} is a function that makes an estimator; write {name}()"
            )
        raise FsbError(
            f"{caller}: the estimator must be one, not {described(estimator)}; such as fsb.st()"
        )
    if not callable(loss):
        raise FsbError(f"{caller}: the loss must be a function, not {described(loss)}")


def check_key(key: Any) -> None:
    """Checks that an argument is a random key.

    Raises:
      FsbError: if it is not.

    >>> check_key(0)
    Traceback (most recent call last):
    fsb.errors.FsbError: the key must be a random key such as jax.random.key(0), not an int
    """
    dtype = getattr(key, "dtype", None)
    typed = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)
    if not (typed or dtype == jnp.uint32):
        raise FsbError(
            f"the key must be a random key such as jax.random.key(0), not {described(key)}"
        )


def described(value: Any) -> str:
    """What a value is, in two or three words.

    >>> described(3.0), described([1]), described(jnp.zeros((2, 3)))
    ('a float', 'a list', 'an array float32[2, 3]')
    """
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"an array {value.dtype}{list(value.shape)}"
    if inspect.isfunction(value):
        return f"the function {value.__name__}"
    if inspect.isclass(value):
        return f"the class {value.__name__}"
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
