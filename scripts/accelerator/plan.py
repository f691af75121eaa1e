"""What the project wants of an accelerator, by worth: a row for each item."""

from __future__ import annotations

from dataclasses import dataclass

RATES = "optimizer.learning_rate:[1e-4,2e-4,4e-4,6e-4]"
SMALL = "model.width=4 model.layers=1 model.hidden=0 batch_size=8 data=digits"
SMALL_RESNET = (
    "model.widths=[4] model.stacks=[1] model.stochastic=[] model.blocks=1 "
    "batch_size=8 eval_batch_size=8 optimizer.learning_rate=1e-6 data=digits "
    "data.binarisation=dequantised"
)


@dataclass(frozen=True)
class Timing:
    """The time of a train step, of several variants in one interleaved run, on random images.

    settings: of all variants, words as for ``fsb.train``.
    variants: the estimators, such as "rloo samples=3"; or "no sampling". Ratios are to the first.
    members: a grid that is timed as one program, beside the run that ``settings`` describes.
    seconds: what it may take, compilation included: an estimate.
    shape: of the random images.
    epoch: images in an epoch of the published table; 0 where it gives none.
    small: what the miniature changes.
    """

    name: str
    what: str
    settings: str
    variants: tuple[str, ...]
    seconds: float
    shape: tuple[int, ...] = (28, 28)
    epoch: int = 0
    members: str = ""
    small: str = SMALL
    into: str = "accelerator"


@dataclass(frozen=True)
class Training:
    """A run of ``fsb.train``, made in pieces.

    into: its folder below experiments/, and that of its run below runs/accelerator/.
    settings: words as for ``fsb.train``, besides those that follow.
    data, steps: its data and max_steps.
    speed: steps a second, an assumption.
    piece: seconds after which the next item has its turn.
    small: what the miniature changes.
    """

    name: str
    what: str
    into: str
    settings: str
    data: str
    steps: int
    speed: float
    piece: float
    small: str = SMALL

    @property
    def words(self) -> list[str]:
        return [f"experiment={self.into}", "hydra.mode=RUN", *self.settings.split()]


TABLE_1 = ("st", "darn", "foust", "gumbel_softmax", "rebar", "no sampling")
OTHERS = ("st", "deterministic_st", "st_gumbel_softmax", "gumbel_rao", "reinmax", "mve", "gst")
OTHERS += ("reinforce", "nvil", "muprop", "relax", "arm", "disarm", "arms samples=3", "bitflip")
OTHERS += ("ugc", "rloo", "double_cv", "rodeo")
CSB = ("gumbel_softmax", *(f"local_expectation samples={count}" for count in (1, 5, 10)))


def depth(number: int, variants: tuple[str, ...], name: str, seconds: float) -> Timing:
    what = f"FouST, Table 1: 28 x 28, {number} x 200, {len(variants)} variants"
    settings = f"model=vae model.layers={number} batch_size=128"
    return Timing(f"{name}_{number}", what, settings, variants, seconds, epoch=50_000)


def one_layer(name: str, estimator: str, table: int, speed: float) -> Training:
    what = f"Fourier, Table {table}, one layer: {name}"
    settings, into = f"estimator={estimator}", f"fourier_table{table}"
    return Training(name, what, into, settings, "mnist_static", 250_000, speed, 150)


def resnet_time(depth: int, seconds: float) -> Timing:
    what = f"S-ResNet-{depth} at 64 x 64, bfloat16, batch 128, and its utilisation"
    settings = f"model=sresnet{depth} model.dtype=bfloat16 batch_size=128"
    variants = ("foust", "no sampling")
    shape = (64, 64, 3)
    return Timing(f"resnet{depth}", what, settings, variants, seconds, shape, small=SMALL_RESNET)


def resnet(model: str, estimator: str) -> Training:
    a = model == "a"
    into, data = ("fig3_cifar10", "cifar10") if a else ("fig3_miniimagenet", "miniimagenet")
    what = f"FouST, Figure 3: S-ResNet-{model.upper()}, {estimator}"
    settings = f"estimator={estimator} model.dtype=bfloat16"
    speed = 40 if a else 15
    return Training(
        f"resnet_{model}_{estimator}", what, into, settings, data, 400_000, speed, 120, SMALL_RESNET
    )


def grid(estimator: str, further: str = "") -> Training:
    what = f"FouST, Figure 2: 2 x 200, the grid of {estimator} as one program"
    settings = f"model.layers=2 estimator={estimator} members={{{RATES}{further}}}"
    small = f"{SMALL} members={{optimizer.learning_rate:[1e-4]}}"
    name = f"grid_{estimator}"
    return Training(name, what, "fig2_omniglot", settings, "omniglot", 2_000_000, 1500, 60, small)


PLAN: tuple[Timing | Training, ...] = (
    *(depth(number, TABLE_1, "table1", 10) for number in (1, 2, 5)),
    Timing("table3_linear", "Fourier, Table 3: CSB and Gumbel-Softmax, one linear layer",
           "model=categorical model.width=20 batch_size=100", CSB, 8, epoch=50_000),
    Timing("table3_vae", "Fourier, Table 3: the same, Cat. VAE",
           "model=categorical_vae batch_size=100", CSB, 8, epoch=50_000),
    resnet_time(80, 25),
    resnet_time(40, 20),
    Timing("members", "40 members as one program, and one run",
           "model=vae model.layers=2 batch_size=128", ("foust",), 6,
           members=f"{{seed:[0,1,2,3,4],{RATES},estimator.delta:[0.1,0.2]}}"),
    one_layer("bsb", "local_expectation", 1, 2000),
    one_layer("rebar", "rebar", 1, 2500),
    one_layer("csb", "local_expectation", 2, 2000),
    one_layer("gumbel_softmax", "gumbel_softmax", 2, 4000),
    one_layer("relax", "relax", 1, 2500),
    *(depth(number, OTHERS, "others", 40) for number in (1, 2, 5)),
    *(resnet(model, name) for model in ("a", "80")
      for name in ("foust", "darn", "st", "gumbel_softmax")),
    grid("foust", ",estimator.delta:[0.1,0.2]"),
    grid("gumbel_softmax", ",estimator.temperature:[0.1,0.5]"),
    grid("darn"),
    grid("st"),
    Training("deep", "FouST, Table 2: 8 x 500, foust", "fig4_mnist_deep",
             "model.layers=8 estimator=foust", "mnist", 2_000_000, 800, 60),
)  # fmt: skip
