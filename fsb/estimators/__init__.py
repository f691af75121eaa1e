"""Gradient estimators. Each is a factory function that returns an ``Estimator``."""

from fsb.estimators.arms import arms
from fsb.estimators.average import average
from fsb.estimators.bitflip import bitflip, ugc
from fsb.estimators.carms import carms
from fsb.estimators.darn import darn
from fsb.estimators.debias import debias
from fsb.estimators.disarm import arm, disarm
from fsb.estimators.disarm_tree import disarm_sb, disarm_tree
from fsb.estimators.double_cv import double_cv
from fsb.estimators.eat import eat
from fsb.estimators.exact import exact
from fsb.estimators.fini import fini
from fsb.estimators.fourier_exact import fourier_exact
from fsb.estimators.fourier_series import fourier_series
from fsb.estimators.foust import foust
from fsb.estimators.gst import gst
from fsb.estimators.gumbel_rao import gumbel_rao
from fsb.estimators.gumbel_softmax import (
    decoupled_st_gumbel_softmax,
    gumbel_softmax,
    st_gumbel_softmax,
)
from fsb.estimators.iw_arms import iw_arms
from fsb.estimators.iw_disarm import iw_disarm
from fsb.estimators.local import local
from fsb.estimators.local_expectation import local_expectation
from fsb.estimators.multi_sample import multi_sample
from fsb.estimators.muprop import muprop
from fsb.estimators.mve import mve
from fsb.estimators.noise_operator import noise_operator
from fsb.estimators.pathwise import pathwise
from fsb.estimators.per_site import only, per_site
from fsb.estimators.rebar import rebar, relax
from fsb.estimators.redge import redge
from fsb.estimators.reinforce import nvil, reinforce
from fsb.estimators.reinmax import reinmax
from fsb.estimators.reinmax_cv import reinmax_cv
from fsb.estimators.reinmax_rao import reinmax_rao
from fsb.estimators.rloo import rloo
from fsb.estimators.rodeo import rodeo
from fsb.estimators.st import deterministic_st, st
from fsb.estimators.switch import switch
from fsb.estimators.vimco import vimco
from fsb.estimators.weak_reparameterization import weak_reparameterization
from fsb.estimators.zgr import zgr

__all__ = [
    "arm",
    "arms",
    "average",
    "bitflip",
    "carms",
    "darn",
    "debias",
    "decoupled_st_gumbel_softmax",
    "deterministic_st",
    "disarm",
    "disarm_sb",
    "disarm_tree",
    "double_cv",
    "eat",
    "exact",
    "fini",
    "fourier_exact",
    "fourier_series",
    "foust",
    "gst",
    "gumbel_rao",
    "gumbel_softmax",
    "iw_arms",
    "iw_disarm",
    "local",
    "local_expectation",
    "multi_sample",
    "muprop",
    "mve",
    "noise_operator",
    "nvil",
    "only",
    "pathwise",
    "per_site",
    "rebar",
    "redge",
    "reinforce",
    "reinmax",
    "reinmax_cv",
    "reinmax_rao",
    "relax",
    "rloo",
    "rodeo",
    "st",
    "st_gumbel_softmax",
    "switch",
    "ugc",
    "vimco",
    "weak_reparameterization",
    "zgr",
]
