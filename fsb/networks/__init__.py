"""Networks with stochastic layers (Flax)."""

from fsb.networks.likelihoods import BernoulliLikelihood, GaussianLikelihood, Likelihood
from fsb.networks.vae import VAE, vae

__all__ = ["VAE", "BernoulliLikelihood", "GaussianLikelihood", "Likelihood", "vae"]
