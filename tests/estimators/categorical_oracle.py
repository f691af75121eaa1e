"""The account of ``oracle.py`` for categorical units: NumPy, no code shared with ``fsb``.

A test network has one or two layers of two units of K values each. A unit's value is a number of
its own for each of the K (``EMBEDDING``), and the six losses of ``oracle.py`` are taken of these
numbers. An estimator is described by the Jacobian that it pretends, eta_bar = W g: a function of
eta and z, or its mean given them.
"""

from __future__ import annotations

from itertools import pairwise, product
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import oracle as o
from scipy.special import ndtri
from scipy.stats import qmc

import fsb

UNITS = 2
ROWS = len(o.LOSSES)
EMBEDDING = {k: np.random.default_rng(k).uniform(-1, 1, (UNITS, k)) for k in (3, 5)}


class Layers(NamedTuple):
    """A network: the number of values of the units of each layer."""

    values: tuple[int, ...]

    def parameters(self, seed=0):
        rng = np.random.default_rng(seed)

        def draw(*shape, scale=1.0):
            return np.float32(scale * rng.uniform(-1, 1, (ROWS, *shape)))

        pairs = zip(self.values, self.values[1:], strict=False)
        return {
            "offset": [draw(UNITS, k, scale=1.5) for k in self.values],
            "weight": [draw(UNITS * k, UNITS * n) for k, n in pairs],
            "c": 1 + draw(UNITS, scale=0.5),
            "probe": [np.zeros((ROWS, UNITS, k), np.float32) for k in self.values],
        }

    def loss(self, params, sample, prefix="z"):
        """As ``fsb`` sees it. The gradient of a layer's probe is the layer's one-hot value."""
        draws, numbers = [], []
        for layer, (k, eta) in enumerate(zip(self.values, params["offset"], strict=True)):
            if draws:
                below = draws[-1].reshape(ROWS, -1)
                push = jnp.einsum("bi,bij->bj", below, params["weight"][layer - 1])
                eta = eta + push.reshape(eta.shape)
            draws.append(sample(f"{prefix}{layer}", fsb.Categorical(), eta))
            numbers.append((draws[-1] * np.float32(EMBEDDING[k])[None]).sum(-1))
        features = [f(jnp, numbers[-1][row]) for row, (f, _) in enumerate(o.LOSSES.values())]
        total = (params["c"] * jnp.stack(features)).sum(-1)
        if len(numbers) > 1:
            total = total + o.COUPLING * numbers[0].sum(-1) * numbers[-1].sum(-1)
        for probe, z in zip(params["probe"], draws, strict=True):
            total = total + (probe * jax.lax.stop_gradient(z)).sum((1, 2))
        return total


def logits(net, layer, values):
    """Of one layer of one row, given the layers above, [paths, units, K]."""
    eta = np.broadcast_to(net["offset"][layer], values[layer].shape)
    if layer:
        above = values[layer - 1].reshape(len(eta), -1)
        eta = eta + (above @ net["weight"][layer - 1]).reshape(eta.shape)
    return eta


def number(z):
    return (z * EMBEDDING[z.shape[-1]]).sum(-1)


def backward(net, loss, values, jacobian):
    """Back-propagation by hand through one row; values [paths, units, K] of each layer."""
    features, vjp = o.LOSSES[loss]
    slopes = [0.0 for _ in values]  # of the loss in a layer's numbers
    slopes[-1] = vjp(number(values[-1]), net["c"])
    if len(values) > 1:
        slopes[0] = slopes[0] + o.COUPLING * number(values[-1]).sum(-1, keepdims=True)
        slopes[-1] = slopes[-1] + o.COUPLING * number(values[0]).sum(-1, keepdims=True)
    grads = {"offset": [], "weight": [], "c": features(np, number(values[-1])), "probe": values}
    from_below = 0.0
    for layer in reversed(range(len(values))):
        z = values[layer]
        g = (
            from_below
            + np.broadcast_to(slopes[layer], z.shape[:2])[..., None] * (EMBEDDING[z.shape[-1]])
        )
        eta_bar = np.einsum("puij,puj->pui", jacobian(logits(net, layer, values), z), g)
        grads["offset"].insert(0, eta_bar)
        if layer:
            flat, above = eta_bar.reshape(len(z), -1), values[layer - 1]
            grads["weight"].insert(0, above.reshape(len(z), -1)[:, :, None] * flat[:, None])
            from_below = (flat @ net["weight"][layer - 1].T).reshape(above.shape)
    return grads


def forward(net, weights):
    """All paths through one row: their weights [paths], and one-hot values of each layer."""
    weight, values = np.ones(1), []
    for layer, offset in enumerate(net["offset"]):
        k = offset.shape[-1]
        choices = np.array(list(product(range(k), repeat=UNITS)))
        values = [np.repeat(z, len(choices), 0) for z in values]
        values.append(np.tile(np.eye(k)[choices], (len(weight), 1, 1)))
        weight = np.repeat(weight, len(choices))
        weight = weight * (weights(logits(net, layer, values)) * values[-1]).sum(-1).prod(-1)
    return weight, values


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def argmax(x):
    return np.eye(x.shape[-1])[x.argmax(-1)]


class Formula(NamedTuple):
    """An estimator's categorical side.

    jacobian: ``jacobian(eta, z) -> W``, [..., K] and [..., K] to [..., K, K].
    exact_for: losses of one layer whose mean is the true gradient.
    weights: ``weights(eta)``, of the K values of a unit; None for relaxed values.
    is_mean: the Jacobian is the mean given eta and z.
    """

    jacobian: object
    exact_for: tuple[str, ...] = ()
    weights: object = softmax
    is_mean: bool = False

    def mean(self, net, loss):
        weight, values = forward(net, self.weights)
        return o.average(weight, backward(net, loss, values, self.jacobian))


def true_gradient(net, loss):
    """In the offsets of one layer: the sum of f grad p."""
    weight, (z,) = forward(net, softmax)
    value = (net["c"] * o.LOSSES[loss][0](np, number(z))).sum(-1)
    return np.tensordot(weight * value, z - softmax(logits(net, 0, [z])), 1)


# --- Jacobians W, eta_bar = W g


def outer(a, b):
    return a[..., :, None] * b[..., None, :]


def of_softmax(p):
    return p[..., None] * np.eye(p.shape[-1]) - outer(p, p)


def mean_jacobian(eta, z):
    return of_softmax(softmax(eta))


def identity(eta, z):
    return np.broadcast_to(np.eye(eta.shape[-1]), (*eta.shape, eta.shape[-1]))


def darn(centre, eta, z):
    p = softmax(eta)
    c = {"uniform": np.ones_like(p) / p.shape[-1], "half": np.ones_like(p) / 2, "mean": p}[centre]
    return outer(z - p, z - c)


def zgr(eta, z):
    return (mean_jacobian(eta, z) + darn("mean", eta, z)) / 2


def reinmax(temperature, eta, z):
    q = (softmax(eta / temperature) + z) / 2
    return 2 * of_softmax(q) - mean_jacobian(eta, z) / 2


def gst(gap, temperature, eta, z):
    """As published, in two moves of the logits."""
    p_drawn = (softmax(eta) * z).sum(-1, keepdims=True)
    gap = -np.log(1 - p_drawn) / p_drawn if gap == "probability" else gap
    top = eta.max(-1, keepdims=True)
    up = (top - (eta * z).sum(-1, keepdims=True)) * z
    down = -np.maximum(eta + gap - top, 0) * (1 - z)
    return of_softmax(softmax((eta + up + down) / temperature)) / temperature


def relaxed(temperature, eta, z):
    return of_softmax(z) / temperature


def expected_relaxed(temperature, eta, z, log2_draws=13, more=0.0):
    """Mean of the relaxed Jacobian given the draw: exponential races won by the drawn value.

    ``more`` times eta is added to the noisy logits, once the race has been run.
    """
    k = eta.shape[-1]
    cases, index = np.unique(
        np.concatenate([eta, z], -1).reshape(-1, 2 * k), axis=0, return_inverse=True
    )
    eta, drawn = cases[:, None, :k], cases[:, None, k:]
    u = qmc.Sobol(k, seed=0).random_base2(log2_draws)
    wait = -np.log1p(-u)  # standard exponential
    first = (wait * drawn).sum(-1, keepdims=True)
    time = first + (1 - drawn) * wait / softmax(eta)
    v = softmax((more * eta - np.log(time)) / temperature)
    mean = np.stack([v_case.T @ v_case / len(v_case) for v_case in v])
    mean = (v.mean(1)[..., None] * np.eye(k) - mean) / temperature
    return mean[index.reshape(z.shape[:-1])]


def reinmax_rao(temperature, eta, z):
    midpoint = np.log((softmax(eta) + z) / 2)
    return 2 * expected_relaxed(temperature, midpoint, z) - mean_jacobian(eta, z) / 2


def decoupled(forward, backward, eta, z):
    """Mean given the draw of argmax(eta / forward + noise), of softmax(eta / backward + noise)."""
    more = forward / backward - 1
    return expected_relaxed(1.0, eta / forward, z, more=more) / backward


def gaussian(k, log2_draws=11):
    return ndtri(qmc.Sobol(k, seed=0).random_base2(log2_draws))


def denoised(end, steps, eta, noised):
    """The probabilities that ReDGE ends at from noise [N, K]: eta [..., K] -> [..., N, K].

    For complex eta too: so the imaginary part of a small step along it is the derivative.
    """
    times = np.linspace(1, end, steps)
    at = lambda t, noised: softmax(eta[..., None, :] + (1 - t) / t**2 * noised)
    for t, s in pairwise(times):
        value = at(t, noised)
        noised = (1 - s) * value + s * (noised - (1 - t) * value) / t
    return at(end, noised)


def denoised_probabilities(end, steps, eta):
    return denoised(end, steps, eta, gaussian(eta.shape[-1])).mean(-2)


def denoised_jacobian(end, steps, eta, z):
    """Mean given the value of the transposed derivative, [row of eta, column of z]."""
    k = eta.shape[-1]
    cases, index = np.unique(eta.reshape(-1, k), axis=0, return_inverse=True)
    at = cases[:, None] + 1e-20j * np.eye(k)
    v = denoised(end, steps, at, gaussian(k))  # [case, row, noise, column]
    of_value = (
        np.einsum("crnz,crnk->czrk", v.real, v.imag) / v.real.sum(2).swapaxes(1, 2)[..., None]
    )
    return 1e20 * np.einsum("...zrk,...z->...rk", of_value[index.reshape(z.shape[:-1])], z)


def exact_for_quadratics(eta, z):
    """MVE(inf) in closed form: W_i e_i = (e_i - p)/2, W_i e_j = p_j/(p_i + p_j) C^T (e_j - e_i)."""
    p = softmax(eta)
    k = p.shape[-1]
    rates = outer(p, p) / (p[..., :, None] + p[..., None, :]) * (1 - np.eye(k))
    laplacian = rates.sum(-1)[..., None] * np.eye(k) - rates
    c = np.linalg.pinv(laplacian) @ of_softmax(p) / 2
    edges = np.eye(k)[None, :] - np.eye(k)[:, None]  # [i, j]: e_j - e_i
    away = np.einsum("...ij,...ar,ija->...ijr", rates, c, edges) / p[..., :, None, None]
    own = 0.5 * (np.eye(k) - p[..., None, :])
    w = away + np.eye(k)[:, :, None] * own[..., :, None, :]  # [i, j, r]: row r of W_i e_j
    return np.einsum("...ijr,...i->...rj", w, z)


def least_squares(t, eta, z):
    """MVE(t): minimum of E |W|^2 + t |bias|^2 by Lagrange, for V_ij = p_i W_ij, row by row.

    The bias for z^T A z / 2 is the symmetric part of V less diag(J row) / 2.
    """
    p = softmax(eta)
    k, lead = p.shape[-1], p.shape[:-1]
    eye = np.eye(k)
    symmetric = 0.5 * (np.eye(k * k) + np.eye(k * k).reshape(k, k, k, k).swapaxes(2, 3).reshape(
        k * k, k * k
    ))  # fmt: skip
    sums = np.kron(np.ones((1, k)), eye)  # of V over i, [j, ij]
    hessian = np.repeat(1 / p, k, -1)[..., None] * np.eye(k * k) + t * symmetric
    corner = np.zeros((*lead, k, k))
    constraint = np.broadcast_to(sums, (*lead, k, k * k))
    kkt = np.block([[hessian, constraint.swapaxes(-1, -2)], [constraint, corner]])
    rows = of_softmax(p)  # [j, r]
    diagonal = np.einsum("ij,...jr->...ijr", eye, rows).reshape(*lead, k * k, k)
    solution = np.linalg.solve(kkt, np.concatenate([t * diagonal / 2, rows], -2))
    v = solution[..., : k * k, :].reshape(*lead, k, k, k)  # [i, j, r]
    return np.einsum("...ijr,...i->...rj", v / p[..., :, None, None], z)


def boolean(jacobian):
    """The slope of a Boolean unit, as in ``oracle.py``: that of two values with logits 0, eta."""

    def slope(eta, z, encoding):
        high = z > sum(encoding) / 2
        one_hot = np.stack([~high, high], -1).astype(float)
        w = jacobian(np.stack([0 * eta, eta], -1), one_hot)
        return (w @ np.array(encoding))[..., 1]

    return slope
