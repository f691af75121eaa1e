"""What the project wants of an accelerator, by worth: a row for each item."""

from __future__ import annotations

from dataclasses import dataclass

SEEDS = "seed:[0,1,2]"
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


@dataclass(frozen=True)
class Program:
    """A program of an experiment, run to its end.

    into: its folder below experiments/, where it writes a folder with the item's name.
    words: its file in that folder and its arguments, besides --out.
    seconds: what it may take: an estimate.
    small: what the miniature gives it in place of its arguments.
    """

    name: str
    what: str
    into: str
    words: str
    data: str
    seconds: float
    small: str


TABLE_1 = ("st", "darn", "foust", "gumbel_softmax", "rebar", "no sampling")
OTHERS = ("st", "deterministic_st", "st_gumbel_softmax", "gumbel_rao", "reinmax", "mve", "gst")
OTHERS += ("reinforce", "nvil", "muprop", "relax", "arm", "disarm", "arms samples=3", "bitflip")
OTHERS += ("ugc", "rloo", "double_cv", "rodeo")
CSB = ("gumbel_softmax", *(f"local_expectation samples={count}" for count in (1, 5, 10)))


def depth(number: int, variants: tuple[str, ...], name: str, seconds: float) -> Timing:
    what = f"FouST, Table 1: 28 x 28, {number} x 200, {len(variants)} variants"
    settings = f"model=vae model.layers={number} batch_size=128"
    return Timing(f"{name}_{number}", what, settings, variants, seconds, epoch=50_000)


def resnet_time(depth: int, seconds: float) -> Timing:
    what = f"S-ResNet-{depth} at 64 x 64, bfloat16, batch 128, and its utilisation"
    settings = f"model=sresnet{depth} model.dtype=bfloat16 batch_size=128"
    variants = ("foust", "no sampling")
    shape = (64, 64, 3)
    return Timing(f"resnet{depth}", what, settings, variants, seconds, shape, small=SMALL_RESNET)


TIMINGS = (
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
)  # fmt: skip
MORE_TIMINGS = tuple(depth(number, OTHERS, "others", 40) for number in (1, 2, 5))
