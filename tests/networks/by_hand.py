"""The VAE in NumPy, double precision, and everything summed over all its states."""

from __future__ import annotations

import itertools
from functools import reduce

import jax
import numpy as np
from scipy.special import expit, logsumexp
from scipy.stats import norm

LOW_LOG_VARIANCE, HIGH_LOG_VARIANCE = -7.0, 3.0


def mlp(layers, h):
    """Tanh layers, then a linear one."""
    layers = [layers[f"Dense_{i}"] for i in range(len(layers))]
    for layer in layers[:-1]:
        h = np.tanh(h @ layer["kernel"] + layer["bias"])
    return h @ layers[-1]["kernel"] + layers[-1]["bias"]


def log_bernoulli(logits, bit):
    return np.where(bit, -np.logaddexp(0, -logits), -np.logaddexp(0, logits)).sum(-1)


class ByHand:
    """One model and one example x. States of a layer are numbered; their log-probabilities are
    matrices, [states of the layer conditioned on, states of the layer]."""

    def __init__(self, model, variables, x=None):
        plain = jax.tree.map(lambda a: np.asarray(a, np.float64), variables)
        self.model, self.params = model, plain["params"]
        self.mean = plain["constants"]["mean"].ravel()
        self.x = None if x is None else np.asarray(x, np.float64).ravel()
        (self.width,) = model.units
        bits = np.array(list(itertools.product((0, 1), repeat=self.width)))
        self.bits, dist = bits, model.latent
        self.z = dist.low + (dist.high - dist.low) * bits
        self.layers = range(model.layers)

    def posteriors(self):
        """log q(z_l | z_{l-1}), and its entropy given each z_{l-1}; the first from x."""
        below = [(self.x - self.mean)[None]] + [self.z] * (self.model.layers - 1)
        logits = [mlp(self.params[f"up_{i}"], h) for i, h in zip(self.layers, below, strict=True)]
        p = [expit(a) for a in logits]
        entropies = [-(q * np.log(q) + (1 - q) * np.log1p(-q)).sum(-1) for q in p]
        return [log_bernoulli(a[:, None], self.bits[None]) for a in logits], entropies

    def priors(self):
        """log p(z_l | z_{l+1}), bottom first; the last is log p(z_L), [1, states]."""
        logits = [mlp(self.params[f"down_{i}"], self.z) for i in self.layers if i]
        top = self.params.get("prior", {"logits": np.zeros(self.width)})["logits"]
        return [log_bernoulli(a[:, None], self.bits[None]) for a in [*logits, top[None]]]

    def outputs(self):
        """What the decoder says at every z_1: [states, D, outputs]."""
        count = self.model.likelihood.outputs
        out = mlp(self.params["down_0"], self.z).reshape(len(self.z), -1, count)
        if count == 1:
            p = np.clip(self.mean, 1e-3, 1 - 1e-3)
            return out + np.log(p / (1 - p))[:, None]
        return out + np.stack([self.mean, np.full_like(self.mean, -3.0)], -1)

    def means(self):
        """E[x | z_1]: [states, D]."""
        out = self.outputs()
        return expit(out[..., 0]) if out.shape[-1] == 1 else out[..., 0]

    def likelihoods(self):
        """log p(x | z_1): [states]."""
        out = self.outputs()
        if out.shape[-1] == 1:
            return log_bernoulli(out[..., 0], self.x[None] > 0.5)
        log_variance = np.clip(out[..., 1], LOW_LOG_VARIANCE, HIGH_LOG_VARIANCE)
        return norm.logpdf(self.x[None], out[..., 0], np.exp(log_variance / 2)).sum(-1)

    def log_marginal(self):
        """log p(z_1): [states], layer by layer from the top."""
        step = lambda above, log_p: logsumexp(above[:, None] + log_p, axis=0)
        return reduce(step, reversed(self.priors()), np.zeros(1))

    def log_p(self):
        """log p(x)."""
        return logsumexp(self.likelihoods() + self.log_marginal())

    def terms(self):
        """(likelihood, priors, entropies, posteriors) at every joint state: [states^L] each."""
        q, h = self.posteriors()
        p = self.priors()
        index = np.stack(np.meshgrid(*[np.arange(len(self.z))] * len(q), indexing="ij"), -1)
        index = index.reshape(-1, len(q))
        below = [np.zeros(len(index), int), *index.T[:-1]]
        above = [*index.T[1:], np.zeros(len(index), int)]
        own = list(index.T)
        return index, (
            self.likelihoods()[own[0]],
            [p[i][above[i], own[i]] for i in self.layers],
            [h[i][below[i]] for i in self.layers],
            [q[i][below[i], own[i]] for i in self.layers],
        )

    def elbo(self):
        """E_q[log p(x, z) - log q(z | x)]."""
        _, (likelihood, prior, _, posterior) = self.terms()
        return (np.exp(sum(posterior)) * (likelihood + sum(prior) - sum(posterior))).sum()

    def generated_mean(self):
        """E[x] of the model: [D]."""
        return np.exp(self.log_marginal()) @ self.means()
