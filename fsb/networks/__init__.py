"""Networks with stochastic layers (Flax)."""

from fsb.networks.likelihoods import (
    BernoulliLikelihood,
    DiscretizedGaussianLikelihood,
    DiscretizedLogisticLikelihood,
    GaussianLikelihood,
    Likelihood,
)
from fsb.networks.resnet_vae import ResNetVAE, sresnet
from fsb.networks.structured import StructuredPrediction, structured
from fsb.networks.vae import VAE, vae

__all__ = [
    "VAE",
    "BernoulliLikelihood",
    "DiscretizedGaussianLikelihood",
    "DiscretizedLogisticLikelihood",
    "GaussianLikelihood",
    "Likelihood",
    "ResNetVAE",
    "StructuredPrediction",
    "sresnet",
    "structured",
    "vae",
]
