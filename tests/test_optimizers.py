import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fsb.errors import FsbError
from fsb.optimizers import adam, sgd


def path_of(optimizer, steps=50):
    """Parameters and rates along a quadratic, by scanned steps."""
    scales = jnp.array([1.0, 3.0, 0.01])

    def step(carry, _):
        params, state = carry
        updates, state = optimizer.update(scales * params, state, params)
        params = optax.apply_updates(params, updates)
        rate = state.hyperparams["learning_rate"] if hasattr(state, "hyperparams") else 0.0
        return (params, state), (params, rate)

    params = jnp.array([1.0, -2.0, 100.0])
    return jax.lax.scan(step, (params, optimizer.init(params)), None, steps)[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ours", "plain"),
    [
        (sgd(6e-4, 0.9), optax.sgd(6e-4, momentum=0.9)),
        (adam(3e-4), optax.adam(3e-4)),
        (adam(5e-3, b2=0.99999), optax.adam(5e-3, b2=0.99999)),
    ],
)
def test_same_bits_as_optax(ours, plain):
    (params, rates), (expected, _) = jax.jit(lambda: (path_of(ours), path_of(plain)))()
    np.testing.assert_array_equal(params, expected)
    assert rates.dtype == jnp.float32
    assert len(set(rates.tolist())) == 1


def test_sgd_by_hand():
    params, _ = path_of(sgd(0.1, 0.5), steps=2)
    np.testing.assert_allclose(params[:, 0], [0.9, 0.9 - 0.1 * (0.9 + 0.5)], rtol=1e-6)


def test_a_factor_of_the_rate_is_that_of_one_parameter():
    params = {"a": {"w": jnp.ones(2), "b": jnp.ones(1)}, "c": jnp.ones(1)}
    optimizer = sgd(0.1, 0.5, factors={"a/w": 4.0})
    state = optimizer.init(params)
    for rate in (0.1, 0.15):  # with momentum
        updates, state = optimizer.update(params, state, params)
        found = {"a/w": updates["a"]["w"], "a/b": updates["a"]["b"], "c": updates["c"]}
        for name, update in found.items():
            np.testing.assert_allclose(update, -rate * (4 if name == "a/w" else 1), rtol=1e-6)
    assert float(state.hyperparams["learning_rate"]) == pytest.approx(0.1)
    with pytest.raises(FsbError, match="factors: no parameter a/v; there are a/b, a/w, c"):
        sgd(0.1, factors={"a/v": 2.0}).init(params)


def test_rate_is_the_only_hyperparameter_in_the_state():
    state = adam(0.25).init(jnp.zeros(2))
    assert {key: float(value) for key, value in state.hyperparams.items()} == {
        "learning_rate": 0.25
    }


@pytest.mark.slow
def test_warmup_and_decay():
    _, rates = path_of(sgd(0.1, warmup_steps=10), steps=30)
    np.testing.assert_allclose(rates[:11], np.arange(11) / 100, rtol=1e-6)
    np.testing.assert_allclose(rates[10:], 0.1, rtol=1e-6)
    _, rates = path_of(adam(0.1, warmup_steps=10, decay_steps=30), steps=40)
    np.testing.assert_allclose(
        rates[jnp.array([0, 10, 20, 30, 39])], [0, 0.1, 0.05, 0, 0], atol=1e-8
    )
    _, rates = path_of(sgd(0.1, decay_steps=20), steps=21)
    np.testing.assert_allclose(rates[jnp.array([0, 10, 20])], [0.1, 0.05, 0], atol=1e-8)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: sgd(0.0), "learning_rate must be positive and finite, got 0.0"),
        (lambda: sgd(-1.0), "learning_rate must be positive"),
        (lambda: adam(float("nan")), "learning_rate must be positive and finite, got nan"),
        (lambda: adam(float("inf")), "learning_rate must be positive and finite, got inf"),
        (lambda: sgd(momentum=1.0), r"momentum must be in \[0, 1\), got 1.0"),
        (lambda: adam(b1=-0.1), r"b1 must be in \[0, 1\), got -0.1"),
        (lambda: adam(b2=1.0), r"b2 must be in \[0, 1\), got 1.0"),
        (lambda: sgd(warmup_steps=-1), "warmup_steps and decay_steps must be at least 0"),
        (lambda: sgd(warmup_steps=5, decay_steps=5), "decay_steps 0 or greater than warmup_steps"),
    ],
)
def test_refuses(make, says):
    with pytest.raises(FsbError, match=says):
        make()
