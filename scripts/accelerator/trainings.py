"""The published trainings, with three seeds, and the claims that they settle."""

from __future__ import annotations

from accelerator.plan import (
    MORE_TIMINGS,
    RATES,
    SEEDS,
    SMALL,
    SMALL_RESNET,
    TIMINGS,
    Program,
    Timing,
    Training,
)

SGD = "optimizer.learning_rate:[3e-3,1e-3,3e-4,1e-4]"
SMALL_NET = "model.width=4 batch_size=8 data=digits"


def members(*axes: str) -> str:
    return f"members={{{','.join(axes)}}}"


def one_layer(name: str, estimator: str, table: int, speed: float) -> Training:
    what = f"Fourier, Table {table}, one layer: {name}"
    settings, into = f"estimator={estimator} {members(SEEDS)}", f"fourier_table{table}"
    return Training(name, what, into, settings, "mnist_static", 250_000, speed, 150)


def resnet(model: str, estimator: str) -> Training:
    a = model == "a"
    into, data = ("fig3_cifar10", "cifar10") if a else ("fig3_miniimagenet", "miniimagenet")
    what = f"FouST, Figure 3: S-ResNet-{model.upper()}, {estimator}"
    settings = f"estimator={estimator} model.dtype=bfloat16 {members(SEEDS)}"
    speed = 13 if a else 5
    return Training(
        f"resnet_{model}_{estimator}", what, into, settings, data, 400_000, speed, 120, SMALL_RESNET
    )


def grid(data: str, layers: int, estimator: str, *further: str) -> Training:
    """The grid of an estimator as one program."""
    figure, into = (2, "fig2_omniglot") if data == "omniglot" else (4, "fig4_mnist")
    what = f"FouST, Figure {figure}: {layers} x 200, the grid of {estimator}"
    settings = f"model.layers={layers} estimator={estimator} {members(SEEDS, RATES, *further)}"
    small = f"{SMALL} {members('optimizer.learning_rate:[1e-4]')}"
    name = f"{data}_{layers}_{estimator}"
    return Training(name, what, into, settings, data, 2_000_000, 1200 / layers, 60, small)


def ablation(data: str, arm: str, settings: str) -> Training:
    what = f"FouST, Figure 5 on {data}: a = {arm}, with and without noise"
    settings = f"{settings} {members(SEEDS, 'estimator.delta:[0.0,0.1]')}"
    return Training(
        f"ablation_{data}_{arm}", what, f"ablation_{data}", settings, data, 400_000, 2000, 60
    )


def curve(name: str, settings: str) -> Training:
    what, settings = f"Shekhovtsov, Figure 3: {name}", f"estimator={settings} {members(SEEDS)}"
    return Training(f"curve_{name}", what, "fig3_vae", settings, "mnist_static", 60_000, 2000, 60)


def belief_net(name: str, estimator: str, further: str = "") -> Training:
    what = f"MuProp, Table 3: {name}, {estimator} {further}".strip()
    settings = f"{BELIEF_NETS[name]} estimator={estimator} {further} {members(SEEDS, SGD)}"
    centre = further.partition("centre=")[2]
    name = "_".join(word for word in (name, estimator, centre) if word)
    return Training(
        name, what, "muprop_table3", settings, "mnist_static", 100_000, 1000, 60, SMALL_NET
    )


def structured(layers: int, estimator: str, samples: int = 1) -> Training:
    what = f"MuProp, Table 2: {layers} layers, m = {samples}, {estimator}"
    into = "muprop_table2" if samples == 1 else "muprop_table2_m20"
    settings = f"model.layers={layers} estimator={estimator} {members(SEEDS, SGD)}"
    name, speed = f"structured_{layers}_{samples}_{estimator}", 1500 / (layers * samples**0.5)
    return Training(name, what, into, settings, "mnist_static", 50_000, speed, 60, SMALL_NET)


def faces(estimator: str) -> Training:
    """With rates ten times smaller."""
    what = f"MuProp, Table 2: faces, 2 layers, {estimator}"
    rates = "optimizer.learning_rate:[3e-4,1e-4,3e-5]"
    settings = f"model.layers=2 estimator={estimator} {members(SEEDS, rates)}"
    return Training(f"faces_{estimator}", what, "muprop_table2", settings, "faces", 50_000, 500, 60,
                    SMALL_NET)  # fmt: skip


def signs(seed: int) -> Program:
    what = f"Shekhovtsov, Proposition 7: BayesBiNN beside its deterministic rule, seed {seed}"
    words = f"run.py --seed {seed} --steps 250000 --width 256"
    small = f"run.py --seed {seed} --steps 2000 --width 4 --draws 8"
    return Program(f"signs_{seed}", what, "bayesbinn", words, "mnist", 400, small)


DELTA, TEMPERATURE = "estimator.delta:[0.1,0.2]", "estimator.temperature:[0.1,0.5]"
RULES = ("st", "darn", "muprop_c", "muprop_c_vn", "muprop_c_vn_idb", "lr_c_vn_idb")
TWENTY = ("multi_sample", "multi_sample_darn", "multi_sample_muprop_c", "multi_sample_lr")
BELIEF_NETS = {
    "sbn_200": "model=sbn",
    "sbn_200_200": "model=sbn model.layers=2",
    "fdarn_200": "model=fdarn",
    "categorical": "model=categorical",
}
ARMS = {
    "1": "model=vae",
    "half": "model=vae_half",
    "paper": "model=vae estimator.scale_mode=paper",
}

PLAN: tuple[Timing | Training | Program, ...] = (
    *TIMINGS,
    one_layer("bsb", "local_expectation", 1, 1000),
    one_layer("rebar", "rebar", 1, 1200),
    one_layer("csb", "local_expectation", 2, 1000),
    one_layer("gumbel_softmax", "gumbel_softmax", 2, 2000),
    one_layer("relax", "relax", 1, 1200),
    *MORE_TIMINGS,
    *(grid(data, layers, *words) for data in ("omniglot", "mnist") for layers in (2, 1)
      for words in (("foust", DELTA), ("gumbel_softmax", TEMPERATURE), ("darn",), ("st",))),
    *(structured(layers, name) for layers in (2, 3) for name in RULES),
    *(faces(name) for name in RULES),
    *(belief_net(name, *rule) for name in BELIEF_NETS
      for rule in (("st",), ("darn",), ("muprop_c_idb",), ("nvil", "objective=sampled_elbo"))),
    *(belief_net("categorical", "darn", f"estimator.centre={name}") for name in ("half", "mean")),
    *(structured(2, name, 20) for name in TWENTY),
    curve("st", "st"),
    curve("darn", "darn"),
    curve("switch", "switch estimator.step=50000"),
    *(signs(seed) for seed in (0, 1, 2)),
    *(ablation(data, arm, words) for data in ("mnist", "omniglot") for arm, words in ARMS.items()),
    *(one_layer(f"{name}_{samples}", f"local_expectation estimator.samples={samples}", table,
                1000 / samples)
      for name, table in (("bsb", 1), ("csb", 2)) for samples in (5, 10)),
    *(resnet(model, name) for model in ("a", "80")
      for name in ("foust", "darn", "st", "gumbel_softmax")),
    Training("deep", "FouST, Table 2: 8 x 500, foust", "fig4_mnist_deep",
             f"model.layers=8 estimator=foust {members(SEEDS)}", "mnist", 2_000_000, 300, 60),
)  # fmt: skip

SETTLES: dict[str, str] = {
    "A fig 2": "omniglot_",
    "A fig 3": "resnet_",
    "A sec 6.2, Gumbel-Softmax": "resnet_",
    "A sec 6, diverging": "resnet_",
    "A sec 6.3, DARN": "resnet_",
    "A sec 6, runs": "mnist_",
    "A fig 4": "mnist_",
    "A table 2": "mnist_ deep",
    "A fig 5 (mnist)": "ablation_mnist_",
    "A fig 5 (omniglot)": "ablation_omniglot_",
    "A table 1, REBAR": "table1_",
    "B prop 7": "signs_",
    "B fig 3": "curve_",
    "C fig 6": "bsb rebar relax",
    "C fig 7": "csb gumbel_softmax",
    "C app B, one sample": "bsb csb",
    "C app B, variance": "bsb rebar relax csb gumbel_softmax",
    "C table 1": "bsb rebar relax",
    "C table 2": "csb gumbel_softmax",
    "C table 3": "table3_",
    "D fig 2": "structured_2_1_",
    "D fig 3": "sbn_ categorical_",
    "D eq 7": "categorical_darn",
    "D sec 5, speed": "categorical_",
    "D sec 5, m = 20": "structured_2_1_ structured_2_20_",
    "D table 2, others": "structured_3_1_ faces_",
    "D table 3": "sbn_ fdarn_ categorical_",
}
"""Of a claim that is not yet measured, how the names of the items begin that will settle it."""
