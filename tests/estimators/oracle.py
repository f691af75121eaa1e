"""An independent account, in NumPy, of what an estimator should return on average.

A test network is a chain of one to three layers of units, each in an encoding of its own, with six
losses side by side (one a row of the batch). Each estimator is described by two formulas: which
values a unit takes with which weight, and which slope dz/deta it pretends to have there. The rest
is the chain rule, written out by hand, and a sum over all paths through the network.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import fsb

ZERO_ONE, QUARTER, HALF, ONE = (0.0, 1.0), (-0.25, 0.25), (-0.5, 0.5), (-1.0, 1.0)
KINK = 0.1  # the target of the losses; where |z - t| has its corner
MIX, SHIFT = np.split(np.random.default_rng(0).uniform(-1.2, 1.2, (7, 6)), [6])


def mlp(xp, x):
    n = x.shape[-1]
    return xp.tanh(2 * x @ MIX[:n, :n] + SHIFT[0, :n])


def mlp_vjp(x, c):
    n = x.shape[-1]
    return 2 * ((1 - mlp(np, x) ** 2) * c) @ MIX[:n, :n].T


# Each loss is c . features(x); beside the features stands x -> c . d features / dx.
LOSSES = {
    "linear": (lambda xp, x: x, lambda x, c: c + 0 * x),
    "quadratic": (
        lambda xp, x: (x - KINK) ** 2 + x * xp.roll(x, -1, -1),
        lambda x, c: c * (2 * (x - KINK) + np.roll(x, -1, -1)) + np.roll(c * x, 1, -1),
    ),
    "cubic": (lambda xp, x: (x - KINK) ** 3 + x, lambda x, c: c * (3 * (x - KINK) ** 2 + 1)),
    "sin": (lambda xp, x: xp.sin(1.7 * x + 0.3), lambda x, c: c * 1.7 * np.cos(1.7 * x + 0.3)),
    "abs": (lambda xp, x: xp.abs(x - KINK), lambda x, c: c * np.sign(x - KINK)),
    "mlp": (mlp, mlp_vjp),
}
COUPLING = 0.4  # of the first layer with the last, past the layers between


class Chain(NamedTuple):
    """Layers of a network, first to last: units (at most 8 in all) and encoding of each."""

    widths: tuple[int, ...]
    encodings: tuple[tuple[float, float], ...]

    def parameters(self, seed=0, dtype=np.float32):
        """Offsets and weights of the logits, coefficients of the losses, probes; a row a loss."""
        rng = np.random.default_rng(seed)
        rows = len(LOSSES)

        def draw(*shape, scale=1.0):
            return np.asarray(scale * rng.uniform(-1, 1, (rows, *shape)), dtype)

        spans = [high - low for low, high in self.encodings]
        shapes = zip(self.widths, self.widths[1:], strict=False)
        return {
            "offset": [draw(n, scale=1.5) for n in self.widths],
            "weight": [draw(*s, scale=2 / L) for s, L in zip(shapes, spans, strict=False)],
            "c": np.asarray(1 + draw(self.widths[-1], scale=0.5), dtype),
            "probe": [np.zeros((rows, n), dtype) for n in self.widths],
        }

    def loss(self, params, sample, prefix="z"):
        """As ``fsb`` sees it. The gradient of a layer's probe is the layer's value."""
        values = []
        for layer, (offset, encoding) in enumerate(
            zip(params["offset"], self.encodings, strict=True)
        ):
            eta = offset
            if values:
                eta = eta + jnp.einsum("bi,bij->bj", values[-1], params["weight"][layer - 1])
            values.append(sample(f"{prefix}{layer}", fsb.Bernoulli(*encoding), eta))
        features = [f(jnp, values[-1][row]) for row, (f, _) in enumerate(LOSSES.values())]
        total = (params["c"] * jnp.stack(features)).sum(-1)
        if len(values) > 1:
            total = total + COUPLING * values[0].sum(-1) * values[-1].sum(-1)
        for probe, value in zip(params["probe"], values, strict=True):
            total = total + (probe * jax.lax.stop_gradient(value)).sum(-1)
        return total


def backward(net, loss, values, slopes):
    """Back-propagation by hand through one row of the network; values and slopes [paths, n]."""
    features, vjp = LOSSES[loss]
    cotangents = [np.zeros_like(z) for z in values]
    cotangents[-1] = cotangents[-1] + vjp(values[-1], net["c"])
    if len(values) > 1:
        cotangents[0] = cotangents[0] + COUPLING * values[-1].sum(-1, keepdims=True)
        cotangents[-1] = cotangents[-1] + COUPLING * values[0].sum(-1, keepdims=True)
    grads = {"offset": [], "weight": [], "c": features(np, values[-1]), "probe": values}
    for layer in range(len(values) - 1, -1, -1):
        eta_bar = cotangents[layer] * slopes[layer]
        grads["offset"].insert(0, eta_bar)
        if layer:
            below, weight = values[layer - 1], net["weight"][layer - 1]
            grads["weight"].insert(0, below[:, :, None] * eta_bar[:, None, :])
            cotangents[layer - 1] = cotangents[layer - 1] + eta_bar @ weight.T
    return grads


def forward(net, encodings, draws):
    """Every path through one row: weights [paths], logits and values [paths, n] of each layer."""
    weight, etas, values = np.ones(1), [], []
    for layer, offset in enumerate(net["offset"]):
        eta = np.broadcast_to(offset, (len(weight), len(offset)))
        if layer:
            eta = eta + values[-1] @ net["weight"][layer - 1]
        w, z = draws(eta, encodings[layer])  # [paths, n, choices]
        choice = np.stack(np.meshgrid(*[np.arange(w.shape[-1])] * w.shape[1], indexing="ij"), -1)
        choice = choice.reshape(-1, w.shape[1])
        unit = np.arange(w.shape[1])
        w, z = w[:, unit, choice].prod(-1), z[:, unit, choice]  # [paths, choices^n(, n)]
        repeat = partial(np.repeat, repeats=len(choice), axis=0)
        weight = repeat(weight) * w.reshape(-1)
        etas, values = [repeat(e) for e in [*etas, eta]], [repeat(v) for v in values]
        values.append(z.reshape(-1, z.shape[-1]))
    return weight, etas, values


def local_mean(draws, slope, net, encodings, loss):
    """Mean of a local estimator, exactly."""
    weight, etas, values = forward(net, encodings, draws)
    slopes = [slope(*layer) for layer in zip(etas, values, encodings, strict=True)]
    return average(weight, backward(net, loss, values, slopes))


def true_gradient(net, encodings, loss):
    """Gradient of the expectation itself: sum of f grad p over all states, and of p grad f."""
    weight, etas, values = forward(net, encodings, hard)
    features = LOSSES[loss][0](np, values[-1])
    value = (net["c"] * features).sum(-1)
    if len(values) > 1:
        value = value + COUPLING * values[0].sum(-1) * values[-1].sum(-1)
    terms = [
        value[:, None] * ((z - low) / (high - low) - sigmoid(eta))
        for eta, z, (low, high) in zip(etas, values, encodings, strict=True)
    ]
    weights = [z[:, :, None] * t[:, None] for z, t in zip(values, terms[1:], strict=False)]
    return average(weight, {"offset": terms, "weight": weights, "c": features, "probe": values})


def average(weight, grads):
    return jax.tree.map(lambda g: np.tensordot(weight, g, 1), grads)


# --- values of a unit, with their weights: eta [...] -> (weight [..., choices], z [..., choices])


def sigmoid(x):
    return 0.5 * (1 + np.tanh(0.5 * x))


def hard(eta, encoding):
    p = sigmoid(eta)
    return np.stack([1 - p, p], -1), np.broadcast_to(np.array(encoding), (*p.shape, 2))


def thresholded(eta, encoding):
    low, high = encoding
    return np.ones((*eta.shape, 1)), np.where(eta >= 0, high, low)[..., None]


def noisy(delta, eta, encoding, nodes=6):
    """m + a s u, with u uniform on [1 - delta, 1]."""
    low, high = encoding
    centre, a = (high + low) / 2, (high - low) / 2
    if delta == 0:
        return hard(eta, encoding)
    weights, values = [], []
    for sign in (-1, 1):
        kink = np.clip(sign * (KINK - centre) / a, 1 - delta, 1)
        for start, end in ((1 - delta, kink), (kink, 1)):
            u, w = legendre(start, end, nodes)
            values.append(centre + a * sign * u)
            weights.append(sigmoid(sign * eta)[..., None] * w / delta)
    z = np.concatenate(values)
    return np.concatenate(weights, -1), np.broadcast_to(z, (*eta.shape, z.size))


def relaxed(temperature, eta, encoding, nodes=12, cut=None):
    """low + L v, with logit(v) = (eta + logistic noise) / temperature.

    Written as an integral over w = sigmoid(temperature logit(v)), where all is smooth.
    """
    low, high = encoding
    cut = (KINK - low) / (high - low) if cut is None else cut
    cut = sigmoid(temperature * np.log(cut / (1 - cut))) if cut > 0 else 0.0
    w = [np.concatenate(x) for x in zip(legendre(0, cut, nodes), legendre(cut, 1, nodes))]  # noqa: B905
    logit = np.log(w[0] / (1 - w[0]))
    v = sigmoid(logit / temperature)
    shifted = logit - eta[..., None]
    density = sigmoid(shifted) * sigmoid(-shifted) / (w[0] * (1 - w[0]))
    return density * w[1], np.broadcast_to(low + (high - low) * v, (*eta.shape, v.size))


def tempered(temperature, eta, encoding):
    """Draws of the logits over the temperature."""
    return hard(eta / temperature, encoding)


def legendre(start, end, nodes):
    """Gauss-Legendre quadrature on [start, end]: nodes and weights."""
    x, w = np.polynomial.legendre.leggauss(nodes)
    return start + (end - start) * (x + 1) / 2, w * (end - start) / 2


# --- slopes dz/deta


def mean_slope(eta, z, encoding):
    """That of the mean, (high - low) p (1 - p)."""
    return (encoding[1] - encoding[0]) * sigmoid(eta) * (1 - sigmoid(eta))


def reweighed_slope(eta, z, encoding):
    """The same over twice the probability of the value drawn."""
    p = sigmoid(eta)
    drawn = np.where(z > sum(encoding) / 2, p, 1 - p)
    return mean_slope(eta, z, encoding) / (2 * drawn)


def mixed_slope(eta, z, encoding):
    """Half of each: the slope of the template."""
    return 0.5 * (mean_slope(eta, z, encoding) + reweighed_slope(eta, z, encoding))


def identity_slope(eta, z, encoding):
    return np.ones_like(z)


def denoised(end, steps, eta, nodes=401):
    """Weights [nodes], and the probability of high that ReDGE ends at, eta [...] -> [..., nodes].

    For complex eta too: so the imaginary part of a small step along it is the derivative.
    """
    x = np.linspace(-8, 8, nodes)
    weight = np.exp(-(x**2) / 2)
    logit = np.asarray(eta)[..., None]
    noised, times = np.sqrt(2) * x, np.linspace(1, end, steps)
    for t, s in pairwise(times):
        value = np.tanh((logit + (1 - t) / t**2 * noised) / 2)
        noise = (noised - (1 - t) * value) / t
        noised = (1 - s) * value + s * noise
    return weight / weight.sum(), 1 / (1 + np.exp(-logit - (1 - end) / end**2 * noised))


def denoised_draws(end, steps, eta, encoding):
    weight, v = denoised(end, steps, eta)
    high = (weight * v).sum(-1)
    return np.stack([1 - high, high], -1), np.broadcast_to(encoding, (*eta.shape, 2))


def denoised_slope(end, steps, eta, z, encoding):
    """Mean of L dv / d eta given the value."""
    low, high = encoding
    weight, v = denoised(end, steps, eta + 1e-20j)
    chance = np.where((z > (low + high) / 2)[..., None], v.real, 1 - v.real) * weight
    return (high - low) * 1e20 * (chance * v.imag).sum(-1) / chance.sum(-1)


def relaxed_slope(temperature, eta, z, encoding):
    low, high = encoding
    v = (z - low) / (high - low)
    return (high - low) * v * (1 - v) / temperature


def expected_relaxed_slope(temperature, eta, z, encoding):
    """Mean of the relaxed slope given the hard value."""
    centre = sum(encoding) / 2
    weight, values = relaxed(temperature, eta, encoding, nodes=30, cut=0.5)
    same = (values > centre) == (z > centre)[..., None]
    slope = relaxed_slope(temperature, None, values, encoding)
    return (weight * same * slope).sum(-1) / (weight * same).sum(-1)


def midpoint_slope(temperature, eta, z, encoding):
    """ReinMax with the mean relaxed slope at the midpoint, q = (p + bit) / 2."""
    q = (sigmoid(eta) + (z > sum(encoding) / 2)) / 2
    smoothed = expected_relaxed_slope(temperature, np.log(q / (1 - q)), z, encoding)
    return 2 * smoothed - mean_slope(eta, z, encoding) / 2


def decoupled_slope(forward, backward, eta, z, encoding):
    """Mean of L v (1 - v) / backward, v = sigmoid(eta / backward + noise), over what draws z."""
    low, high = encoding
    cut, is_high = sigmoid(-eta / forward), z > (low + high) / 2  # of the uniform number
    start, end = np.where(is_high, cut, 0)[..., None], np.where(is_high, 1, cut)[..., None]
    x, w = legendre(0, 1, 40)
    u = start + (end - start) * x
    v = sigmoid(eta[..., None] / backward + np.log(u / (1 - u)))
    return (high - low) / backward * (v * (1 - v) * w).sum(-1)
