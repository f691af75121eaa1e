"""Harmonic analysis of Boolean functions under product distributions.

``tables``: functions of up to 20 units as tables of their 2^n values, in float64 NumPy;
``spectrum``: their Fourier transforms; ``sampling``: low-degree coefficients of functions of many
units; ``bias``: the predicted bias of ST, DARN and FouST.
"""

from fsb.fourier.bias import Bias, predicted_bias, taylor_coefficients
from fsb.fourier.sampling import LowDegree, low_degree_coefficients
from fsb.fourier.spectrum import (
    degree_weights,
    degrees,
    evaluate_basis,
    influences,
    inverse,
    logit_gradient,
    noise_stability,
    total_influence,
    transform,
)
from fsb.fourier.tables import discrete_derivative, noise_operator, probabilities, states

__all__ = [
    "Bias",
    "LowDegree",
    "degree_weights",
    "degrees",
    "discrete_derivative",
    "evaluate_basis",
    "influences",
    "inverse",
    "logit_gradient",
    "low_degree_coefficients",
    "noise_operator",
    "noise_stability",
    "predicted_bias",
    "probabilities",
    "states",
    "taylor_coefficients",
    "total_influence",
    "transform",
]
