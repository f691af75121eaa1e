"""What the four papers claim, and how a verdict is made of numbers.

A: Pervez, Cohen & Gavves 2020 (FouST). B: Shekhovtsov 2021. C: Fourier stochastic backpropagation
(submitted to ICLR 2021). D: Gu et al. 2016 (MuProp). Every numbered lemma, proposition, theorem,
table and figure, and the sections whose claims have no number; what is our own addition says so.
"""

from __future__ import annotations

from typing import NamedTuple

VERDICTS = ("holds", "holds with correction", "does not hold")
OPEN = "not yet measured"
DRAWING = "a drawing: nothing to measure"
MARGIN = 3  # standard errors over seeds, from which on a difference counts
PAPERS = {
    "A": "Pervez, Cohen & Gavves 2020: Low Bias Gradient Estimates for Very Deep Boolean "
    "Stochastic Networks (FouST)",
    "B": "Shekhovtsov 2021: Bias-Variance Tradeoffs in Single-Sample Binary Gradient Estimators",
    "C": "Fourier Stochastic Backpropagation (submitted to ICLR 2021)",
    "D": "Gu, Levine, Sutskever & Mnih 2016: MuProp",
}
HERE = "python experiments/bias_variance/{}.py"
TRAIN = "python -m fsb.train experiment={}"
RUN = "python experiments/{0}/run.py --out experiments/{0}"


class Claim(NamedTuple):
    """One row: its name, what the paper says, its numbers, and what measures or will measure it.

    ``kind``, of what the rule asks (rule.py): "drawn" (or in closed form), "trained" or "timed".
    """

    id: str
    statement: str
    published: str = ""
    command: str = ""
    kind: str = "drawn"
    ours: bool = False  # our own addition, not counted among the paper's claims


CLAIMS = tuple(
    Claim(*row)
    for row in (
        ("A alg 1", "FouST, with 0.5 / p and {-a, a}, gives the gradient in p", "",
         HERE.format("straight_through")),
        ("A lemma 1", "REINFORCE estimates Fourier coefficients of degree one", "",
         HERE.format("lemma_1")),
        ("A lemma 2", "The bias of straight-through, in Taylor coefficients", "",
         HERE.format("lemma_2")),
        ("A sec 4.2", "Importance reweighing lowers the bias", "", HERE.format("reweighing")),
        ("A sec 4.3, one unit", "Uniform moments: unbiased for one unit, more variance", "",
         HERE.format("uniform_moments")),
        ("A sec 4.3, two units", "Uniform moments: mixed terms keep a factor 1 / (j + 1)", "",
         HERE.format("uniform_moments")),
        ("A sec 4.4", "Representation scaling lowers the bias", "", HERE.format("proposition_10")),
        ("A fig 1", "Toy, t = 0.45: FouST finds the minimum, straight-through does not", "",
         HERE.format("toy")),
        ("A fig 1, |z - t|^c", "The same with powers 1.5, 2, 3 at t = 0.499", "",
         HERE.format("toy"), "drawn", True),
        ("A fig 2", "Train ELBO on OMNIGLOT, 1 and 2 stochastic layers: FouST best of ST, GS, DARN",
         "curves between -125 and -105, and -120 and -100, at 2 million steps",
         TRAIN.format("fig2_omniglot"), "trained"),
        ("A fig 3", "Train ELBO on CIFAR-10 and mini-ImageNet: FouST above DARN",
         "CIFAR-10 5.08 bits per dimension with 12 blocks and 4 stochastic layers",
         TRAIN.format("fig3_cifar10"), "trained"),
        ("A sec 6.2, Gumbel-Softmax", "S-ResNets cannot be trained with Gumbel-Softmax", "",
         TRAIN.format("fig3_cifar10") + " estimator=gumbel_softmax", "trained"),
        ("A sec 6, diverging", "On more complex models some estimators diverge (Figure 3's "
         "incomplete lines)", "", TRAIN.format("fig3_miniimagenet"), "trained"),
        ("A sec 6.3, DARN", "FouST is ahead of DARN in both large models, where only the two train",
         "curves only", TRAIN.format("fig3_miniimagenet"), "trained"),
        ("A sec 6, runs", "The results are consistent over multiple runs", "",
         TRAIN.format("fig4_mnist") + " seed=0,1,2", "trained"),
        ("A fig 4", "Train ELBO on MNIST, 1 and 2 stochastic layers: FouST best",
         "curves only", TRAIN.format("fig4_mnist"), "trained"),
        ("A fig 5 (mnist)", "Ablation: scaling and noise each help, on MNIST", "curves only",
         TRAIN.format("ablation_mnist"), "trained"),
        ("A fig 5 (omniglot)", "Ablation: on OMNIGLOT noise helps beside scaling only",
         "curves only", TRAIN.format("ablation_omniglot"), "trained"),
        ("A table 1, one evaluation", "Single-evaluation estimators cost what straight-through "
         "costs",
         "seconds an epoch, 2 / 5 layers: ST 2.86 / 4.96, DARN 2.96 / 5.36, FouST 3.1 / 5.67, "
         "Gumbel 3.27 / 6.14", "python -m fsb.bench", "timed"),
        ("A table 1, REBAR", "REBAR costs 15 and 40 times as much with two and five layers",
         "seconds an epoch, 2 / 5 layers: ST 2.86 / 4.96, REBAR 45.3 / 205.15",
         "python -m fsb.bench suite=estimators layers=5", "timed"),
        ("A table 2", "Test ELBO on MNIST by stochastic depth",
         "REBAR 2x200 -94.43; FouST 2x200 -91.95, 3x200 -89.11, 8x500 -87.31, 20x500 -87.86",
         TRAIN.format("fig4_mnist_deep"), "trained"),
        ("B eq 5", "Mean and variance of straight-through for one unit", "",
         HERE.format("single_unit")),
        ("B eq 6", "Straight-through: unbiased, no variance, for linear losses", "",
         HERE.format("straight_through")),
        ("B eq 7", "The straight-through of A lacks a factor 2", "",
         HERE.format("straight_through")),
        *((f"B prop {i}", text, "", HERE.format(f"proposition_{i}")) for i, text in (
            (1, "Gumbel-Softmax: bias O(tau), O(tau^2) for linear losses"),
            (2, "Gumbel-Softmax: variance O(1 / tau)"),
            (3, "Gumbel-Softmax: for fixed noise the gradient vanishes exponentially"),
            (4, "Gumbel-Softmax: how seldom there is any gradient"),
            (5, "ST-Gumbel-Softmax: unbiased for quadratics in the limit, variance O(1 / tau)"),
        )),
        ("B prop 6", "BayesBiNN's gradient is that of Gumbel-Softmax in the mean", "",
         RUN.format("bayesbinn")),
        ("B prop 7", "BayesBiNN as published is deterministic straight-through with decay", "",
         RUN.format("bayesbinn"), "trained"),
        ("B sec 3, decoder", "Relaxed samples bias the gradient of the decoder too", "",
         HERE.format("single_unit")),
        ("B sec 5, evidence", "Rescaling the gradient of the evidence alone is another objective",
         "", HERE.format("single_unit")),
        ("B eq 19", "DARN in the mean: unbiased for quadratics", "", HERE.format("single_unit")),
        ("B prop 8", "Variance of DARN in the mean parameter", "", HERE.format("proposition_8")),
        ("B prop 9", "The noise operator leaves the bias and raises the variance", "",
         HERE.format("proposition_9")),
        ("B prop 10", "Representation rescaling compares different functions", "",
         HERE.format("proposition_10")),
        ("B example 1", "Importance reweighing can raise the bias", "", HERE.format("example_1")),
        ("B sec 5.3", "Relaxed DARN: exact for one unit, biased with others", "",
         HERE.format("uniform_moments")),
        ("B fig 1", "The tradeoff of bias and variance", "", HERE.format("figure_1")),
        ("B fig 2", "Densities and magnitudes of the Gumbel-Softmax factor", "",
         HERE.format("figure_2")),
        ("B fig 3", "MNIST VAE: DARN trains better than ST; ST corrected by ARM-10 ends best",
         "curves only", TRAIN.format("fig3_vae"), "trained"),
        ("C theorem 1", "Continuous stochastic backpropagation: a series of derivatives", "",
         HERE.format("continuous_rules")),
        ("C theorem 2", "Discrete stochastic backpropagation: BSB and CSB are unbiased", "",
         HERE.format("unbiased")),
        *((f"C eq {i}", f"The rule for {text}", "", HERE.format("continuous_rules"))
          for i, text in (
            (15, "the Gaussian"), (19, "the Laplace distribution"),
            (21, "the beta distribution"), (22, "the Dirichlet distribution"),
            (23, "exponential functions"),
        )),
        ("C eq 16", "The rule for a Dirac is backpropagation", "", HERE.format("closed_forms")),
        ("C eq 20", "The rule for the gamma distribution", "", HERE.format("closed_forms")),
        ("C eq 24", "The series may be cut off: higher frequencies contribute little", "",
         HERE.format("closed_forms")),
        ("C eq 27", "The divergence of two Laplace distributions", "", HERE.format("closed_forms")),
        ("C app A", "With Dirac sites the bound is the log-likelihood of a classical network", "",
         HERE.format("closed_forms")),
        ("C fig 1", "Toy 1, sum (z - 0.49)^2: the series converges fastest, variance competitive",
         "curves only", RUN.format("continuous_toys"), "trained"),
        ("C fig 2", "Toy 2, sum exp(-z): the series converges fastest, variance competitive",
         "curves only", RUN.format("continuous_toys"), "trained"),
        ("C fig 3", "Bayesian logistic regression with Laplace posteriors: the series converges "
         "faster, with less variance", "curves only", RUN.format("bayesian_regression"), "trained"),
        ("C fig 4", "There, bias and variance hardly depend on where the series is cut off",
         "curves only", RUN.format("bayesian_regression"), "trained"),
        ("C variance beside pathwise", "Variance of the resummed rules beside implicit "
         "reparameterisation", "", RUN.format("continuous_variance"), "drawn", True),
        ("C fig 5", "The graphical model of a network", DRAWING),
        ("C fig 6", "BSB: train ELBO and gradient variance on MNIST", "curves only",
         TRAIN.format("fourier_table1"), "trained"),
        ("C fig 7", "CSB: train ELBO and gradient variance on MNIST", "curves only",
         TRAIN.format("fourier_table2"), "trained"),
        ("C app B, one sample", "A single sample does not hurt performance",
         "MNIST one layer: BSB -110.87 (S=1), -110.59 (S=10)", TRAIN.format("fourier_table1"),
         "trained"),
        ("C app B, variance", "The log variance of the gradient is 2 below REBAR's and RELAX's on "
         "belief nets, 1 below Gumbel-Softmax's on the categorical VAE", "2; 1",
         TRAIN.format("fourier_table1"), "trained"),
        ("C table 1", "Test likelihood (200 samples) of BSB beside REBAR and RELAX",
         "MNIST 1 layer -110.59 (S=10) against -114.14, 2 layers -99.74 (S=1) against -101.09; "
         "Omniglot -113.53, -102.05", TRAIN.format("fourier_table1"), "trained"),
        ("C table 2", "Test likelihood (200 samples) of CSB beside Gumbel-Softmax",
         "MNIST one layer -107.24 (S=5) against -113.46, Cat VAE -101.78 (S=10) against -122.97",
         TRAIN.format("fourier_table2"), "trained"),
        ("C table 3", "Seconds an epoch of CSB beside Gumbel-Softmax",
         "one linear layer 4.11, CSB 6.32 / 10.93 / 16.83 (S = 1 / 5 / 10)",
         "python scripts/bench_sweep.py experiments/fourier_tables/time_categorical "
         "experiment=fourier_table2", "timed"),
        ("D eq 3", "MuProp is unbiased", "", HERE.format("unbiased")),
        ("D fig 1", "MuProp and MuProp with rollout", "", HERE.format("unbiased")),
        ("D fig 2", "Structured prediction on MNIST: MuProp converges as ST and 1/2 do",
         "curves only", TRAIN.format("muprop_table2"), "trained"),
        ("D fig 3", "Variational bounds of an SBN and a categorical model: MuProp ahead",
         "curves only", TRAIN.format("muprop_table3"), "trained"),
        ("D alg 1", "Algorithm 1: the estimator by automatic differentiation", "",
         HERE.format("algorithm_1")),
        ("D eq 7", "1/2 for categorical units: of three centres 1/2 and 1/k work best", "",
         TRAIN.format("muprop_table3") + " model=categorical estimator=darn "
         "estimator.centre=uniform,half,mean", "trained"),
        ("D sec 5, speed", "MuProp converges 3 to 4 times faster than LR on the categorical model",
         "3 to 4", TRAIN.format("muprop_table3") + " model=categorical", "trained"),
        ("D sec 5, IDB", "An input-dependent baseline adds nothing to MuProp-C-VN", "",
         TRAIN.format("muprop_table2") + " estimator=muprop_c_vn,muprop_c_vn_idb", "trained"),
        ("D sec 5, m = 20", "ST and 1/2 gain from the bound of 20 samples, MuProp does not",
         "from m = 1 to 20: ST 56.1 to 51.2, 1/2 57.2 to 51.6, MuProp-C 57.7 to 110.2",
         TRAIN.format("muprop_table2_m20"), "trained"),
        ("D sec 5, 1/2 and ST", "1/2 is better than ST on belief nets, worse on categorical ones",
         "ST, 1/2: SBN 200 129.4, 112.4; categorical 114.5, 120.5",
         TRAIN.format("muprop_table3"), "trained"),
        ("D table 1", "Which estimators are unbiased and use the cost's gradient", "",
         HERE.format("unbiased")),
        ("D table 2", "Test likelihood of structured prediction, 392-200-200-392: ST ahead, then "
         "MuProp-C-VN, 1/2, MuProp-C, LR",
         "LR-C-VN-IDB 63.2, MuProp-C 57.7, MuProp-C-VN 56.7, ST 56.1, 1/2 57.2",
         TRAIN.format("muprop_table2"), "trained"),
        ("D table 2, others", "Test likelihood of structured prediction, three layers and faces",
         "LR-C-VN-IDB, MuProp-C, MuProp-C-VN, ST, 1/2: 3 layers 100.6, 62.7, 57.2, 54.4, 55.8; "
         "TFD 38.2, 29.6, 28.2, 27.7, 27.6",
         TRAIN.format("muprop_table2") + " model.layers=3", "trained"),
        ("D table 3", "Variational bounds on MNIST",
         "SBN 200: LR 113.5, MuProp-C 113.6, ST 129.4, 1/2 112.4; 200-200: 99.7, 100.4, 119.9, "
         "103.5; fDARN 92.1, 92.9, 110.2, 94.2; categorical 107.7, 108.6, 114.5, 120.5",
         TRAIN.format("muprop_table3"), "trained"),
    )
)  # fmt: skip


def met(check):
    """Whether the number stands to the other as the check says, within its tolerance.

    With the standard error of their difference over seeds, a difference must exceed its margin.

    >>> met({"ours": 1.0, "relation": "<", "than": 1.2, "tolerance": 0.0, "error": 0.1})
    False
    """
    ours, than, tolerance = check["ours"], check["than"], check["tolerance"]
    if ours is None or than is None:  # it was not finite
        return False
    if check.get("error") is not None:
        tolerance += MARGIN * check["error"] * (1 if check["relation"] == "=" else -1)
    return {
        "=": abs(ours - than) <= tolerance,
        "<": ours < than + tolerance,
        ">": ours > than - tolerance,
    }[check["relation"]]


def decide(checks, corrected=()):
    """The verdict: of the claim as stated, else of the claim as it should read.

    >>> decide([{"ours": 0.99, "relation": "=", "than": 1, "tolerance": 0.02}])
    'holds'
    """
    if checks and all(map(met, checks)):
        return VERDICTS[0]
    return VERDICTS[1] if corrected and all(map(met, corrected)) else VERDICTS[2]
