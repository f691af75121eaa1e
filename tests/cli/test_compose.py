"""Every mistake on a command line: one line that helps, and no folder."""

import os

import pytest

from fsb.cli.factory import build
from fsb.cli.program import configs_dir, preflight
from fsb.cli.schema import Train
from fsb.errors import FsbError

CHOICES = [path.stem for path in sorted((configs_dir() / "estimator").glob("*.yaml"))]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Every test stands in an empty folder, and leaves none behind where it should not."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


PARTS = ("estimator", "optimizer", "control_optimizer", "objective")


def build_parts(cfg):
    for key in PARTS:
        build(cfg, key)


# Each: the arguments, and what the one line must say. The second list is the slow tests'.
MISTAKES = [
    ("estimator=fosut", f"estimator: unknown 'fosut'; did you mean foust? (choices: {CHOICES[0]},"),
    ("estimatr=foust", "settings: unknown 'estimatr'; did you mean estimator?"),
    ("experimnt=compare", "settings: unknown 'experimnt'; did you mean experiment?"),
    ("data=mnits", "data: unknown 'mnits'; did you mean mnist?"),
    ("~estimator", "estimator: is missing"),
    ("max_stepss=3", "settings: unknown 'max_stepss'; did you mean max_steps?"),
    ("+max_stepss=3", "settings: unknown 'max_stepss'; did you mean max_steps?"),
    (
        "estimator.dleta=0.1",
        "estimator: unknown 'dleta'; did you mean delta? (choices: delta, gamma",
    ),
    ("model.layrs=2", "model: unknown 'layrs'; did you mean layers?"),
    ("data=mnist data.rooot=x", "data: unknown 'rooot'; did you mean root?"),
    ("estimator.delta.x=3", "estimator.delta.x: estimator.delta is a value, it has no keys"),
    ("max_steps=abc", 'max_steps: must be a valid integer, got "abc"'),
    ("max_steps=", 'max_steps: must be a valid integer, got ""'),
    ("estimator.delta=abc", 'estimator.delta: must be a valid number, got "abc"'),
    ("bound_samples=[100,0]", "bound_samples[1]: must be at least 1, got 0"),
    ("seed=${nope}", "seed: Interpolation key 'nope' not found"),
    ("profile=0", "profile: must be at least 1, got 0"),
    ("profile=100000", "profile: must be at most 10000, got 100000"),
    ("max_steps=0", "max_steps: must be at least 1, got 0"),
    ("devices=0", "devices: must be at least 1, got 0"),
    ("optimizer.learning_rate=0", "optimizer: learning_rate must be positive and finite, got 0.0"),
    (
        "control_optimizer.learning_rate=0",
        "control_optimizer: learning_rate must be positive and finite, got 0.0",
    ),
    ("control_optimizer=adm", "control_optimizer: unknown 'adm'; did you mean adam?"),
    ("control_optimizer.b3=1", "control_optimizer: unknown 'b3'; did you mean b2?"),
    ("estimator.delta=2", "estimator: "),
    ("distributed.num_processes=2", "distributed.coordinator: several processes need one"),
    ("distributed.cluster=slrum", "distributed.cluster: must be 'auto', 'slurm', 'mpi' or 'tpu'"),
    (
        "distributed.cluster=slurm distributed.coordinator=a:1",
        "distributed.cluster=slurm: the cluster says where its processes meet; leave coordinator",
    ),
    (
        "distributed.cluster=mpi distributed.num_processes=2 distributed.coordinator=a:1",
        "distributed.cluster=mpi: the cluster numbers its processes; leave num_processes and",
    ),
    ("distributed.coordinator=me", "distributed.coordinator: me is not host:port"),
    ("estimator=st,foust", "estimator=st,foust: several values; add --multirun to run each"),
    (
        "-m optimizer.learning_rate=1e-4,abc",
        'optimizer.learning_rate: must be a valid number, got "abc"',
    ),
    ("-m estimator=glob(nothing*)", "estimator=glob(nothing*): there is no such value"),
    ("-m suited=sresnet80_sgd,sresnet08_sgd", "unknown 'sresnet08_sgd'; did you mean sresnet"),
    ("-m seed=range(100) max_steps=range(1,200)", "--multirun: more than 10000 jobs"),
    (
        "-m seed=range(0,3,0)",
        "seed=range(0,3,0): the step must divide the range into",
    ),
    ("-m seed=shuffle(range(1e9))", "seed=shuffle(range(1e9)): the step must divide the range"),
    ("=3", "cannot read '=3': write key=value"),
    ("max_steps==", "cannot read 'max_steps==': write key=value"),
    ("max_steps", "cannot read 'max_steps': write key=value"),
    ("bound_samples=[1,2", "cannot read 'bound_samples=[1,2': write key=value, close brackets"),
    ("--multrun", "flags: unknown '--multrun'; did you mean --multirun?"),
    ("--max_steps=3", "--max_steps: settings take no dashes, as in max_steps=3"),
    ("--config-name=trian", "--config-name: unknown 'trian'; did you mean train?"),
    ("--config-dir=no/such", "--config-dir: no/such is not a folder"),
    ("--experimental-rerun=x.pickle", "--experimental-rerun: loads a pickle, which can run code"),
    (
        "estimator._target_=os.system",
        "estimator._target_: os.system is not an estimator; choose from fsb.estimators (arm",
    ),
    (
        "estimator._target_=fsb.data.mnist",
        "estimator._target_: fsb.data.mnist is not an estimator; choose from fsb.estimators (arm",
    ),
    ("modules=['']", "modules[0]: '' is not the name of a module"),
    ("modules=['.']", "modules[0]: '.' is not the name of a module"),
    ("modules=[../x]", "modules[0]: '../x' is not the name of a module"),
    ("hydra.run.dir=/dev/null/x", "cannot make the folder /dev/null/x: Not a directory"),
]
MORE_MISTAKES = [
    ("optimizer=adm", "optimizer: unknown 'adm'; did you mean adam? (choices: adam, sgd)"),
    (
        "experiment=compare_mnits",
        "experiment: unknown 'compare_mnits'; did you mean compare_mnist?",
    ),
    ("model=null", "model: unknown None (choices: categorical, categorical_vae, "),
    ("hydra/launcher=basicc", "hydra/launcher: unknown 'basicc'; did you mean basic?"),
    ("~max_steps", "max_steps: is missing; give max_steps=..."),
    (
        "+estimator.dleta=0.1",
        "estimator: unknown 'dleta'; did you mean delta? (choices: delta, gamma",
    ),
    ("estimator=st estimator.delta=0.1", "estimator: unknown 'delta'"),
    ("distributed.coordinatr=x", "distributed: unknown 'coordinatr'; did you mean coordinator?"),
    ("hydra.run.dirr=x", "hydra.run: unknown 'dirr'; did you mean dir?"),
    ("max_steps=1.5", "max_steps: must be a valid integer, got 1.5"),
    ("max_steps=true", "max_steps: must be a valid integer, got true"),
    ("max_steps=inf", "max_steps: must be a finite number, got Infinity"),
    ("max_steps=null", "max_steps: must be a valid integer, got null"),
    ("estimator.importance_reweighing=2", "importance_reweighing: must be a valid boolean, got 2"),
    ("model.layers=two", 'model.layers: must be a valid integer, got "two"'),
    ("bound_samples=100", "bound_samples: must be a valid list, got 100"),
    ("modules=mine", 'modules: must be a valid list, got "mine"'),
    ("modules=[no_such_module]", "modules[0]: there is no module no_such_module"),
    ("devices=all", 'devices: must be a valid integer, got "all"'),
    ("seed=${oc.env:FSB_NO_SUCH}", "seed: KeyError raised while resolving interpolation"),
    ("batch_size=-1", "batch_size: must be at least 1, got -1"),
    ("seed=-1", "seed: must be at least 0, got -1"),
    ("steps_per_call=0", "steps_per_call: must be at least 1, got 0"),
    (
        "optimizer.learning_rate=nan",
        "optimizer.learning_rate: must be a valid number, got NaN",
    ),
    ("data.seed=nan", "data.seed: must be a valid integer, got NaN"),
    (
        "data._target_=fsb.data.dynamic",
        "fsb.data.dynamic is not a data set; choose from fsb.data (",
    ),
    ("data._target_=fsb.data.mnits", "is not a data set; did you mean fsb.data.mnist?"),
    ("model._target_=fsb.networks.Likelihood", "fsb.networks.Likelihood is not a network"),
    ("objective._target_=fsb.objectives.log_weight", "is not an objective; choose from fsb.obj"),
    ("control_optimizer._target_=fsb.estimators.st", "fsb.estimators.st is not an optimizer"),
    ("logger._target_=fsb.storage.loggers.Logger", "fsb.storage.loggers.Logger is not a logger"),
    ("estimator=average estimator.estimator._target_=fsb.networks.vae", "is not an estimator"),
    ("+distributed._target_=fsb.estimators.st", "distributed._target_: only _target_ and"),
    ("~estimatr", "Could not delete from config. 'estimatr' does not exist."),
    ("optimizer.momentum=1", "optimizer: momentum must be in [0, 1), got 1.0"),
    ("distributed.process_id=1", "distributed.process_id: must be below num_processes=1, got 1"),
    ("-m estimator=st,fosut", "estimator: unknown 'fosut'; did you mean foust?"),
    ("-m max_steps=range(2,-1,-1)", "max_steps: must be at least 1, got 0"),
    ("experiment=compare estimator.delta=0.1", "estimator: unknown 'delta'"),
    ("data.root='x", 'cannot read "data.root=\'x": write key=value, close brackets'),
    ("--config-name", "argument --config-name/-cn: expected one argument"),
    ("--config-path=no/such", "--config-path: no/such is not a folder"),
    ("--cfg=jbo", "argument --cfg/-c: invalid choice: 'jbo'"),
    ("--multirun --cfg=job", "only one of --run, --multirun, --cfg"),
    (
        "estimator._target_=fsb.cli.program.os.system",
        "fsb.cli.program.os.system is not an estimator",
    ),
    (
        "+estimator._partial_=true",
        "estimator._partial_: only _target_ and arguments may stand here",
    ),
    ("estimator._target_=fsb.estimators.fosut", "did you mean fsb.estimators.foust?"),
    ("hydra.run.dir=" + 300 * "x", "cannot make the folder"),
]


@pytest.mark.parametrize(
    ("line", "says"),
    [pytest.param(*case, id=case[0][:60]) for case in MISTAKES]
    + [pytest.param(*case, id=case[0][:60], marks=pytest.mark.slow) for case in MORE_MISTAKES],
)
def test_mistake_is_one_line(line, says, elsewhere):
    with pytest.raises(FsbError) as caught:
        preflight("train", line.split(" "), Train, build_parts)
    message = str(caught.value)
    assert says in message
    assert "\n" not in message
    assert not list(elsewhere.iterdir())


# What only the program itself can tell, before it starts.
MISTAKES_OF_TRAINING = [
    ("data=mnist data.root=no/such", "data.root=no/such: there is no such folder"),
    ("data=mnist data.root=empty", "mnist: no train-images-idx3-ubyte"),
    ("data=mnist data.root=damaged", "damaged/mnist/train-images-idx3-ubyte: damaged, truncated"),
    ("data.binarisation=dynamc", "or 'levels', got \"dynamc\"; did you mean dynamic?"),
    ("model.prior=flat", "model.prior"),
    ("likelihood=gausian", "likelihood: unknown 'gausian'; did you mean gaussian?"),
    ("likelihood=gaussian", "likelihood=gaussian: it needs data.binarisation=dequantised"),
    (
        "likelihood=discretized_gaussian data.binarisation=dequantised",
        "likelihood=discretized_gaussian: it needs data.binarisation=levels",
    ),
    (
        "model=sresnet80 model.norm=layer",
        "model.norm: must be 'group', 'batch' or 'none', got \"layer\"",
    ),
    ("model=sresnet80 model.stacks=[2,2]", "model.stacks=[2, 2]: one number for each of"),
    ("batch_size=100000", "batch_size=100000: "),
    ("devices=99", "devices=99: "),
    ("devices=3", "batch_size=128: must be a multiple of the 3 devices"),
    ("estimator=exact", "exact: about 10^120 joint states"),
    ("estimator=pathwise", "pathwise needs a reparameterised distribution"),
    ("resume=no/such", "run folder no/such: does not exist"),
    ("resume=empty", "run folder empty: holds no config.yaml"),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "says"), MISTAKES_OF_TRAINING, ids=[line for line, _ in MISTAKES_OF_TRAINING]
)
def test_mistake_of_training_is_one_line(line, says, elsewhere):
    from fsb.train import check

    (elsewhere / "empty").mkdir()
    (elsewhere / "damaged" / "mnist").mkdir(parents=True)
    for part in ("train", "t10k"):
        for kind in ("images-idx3", "labels-idx1"):
            (elsewhere / f"damaged/mnist/{part}-{kind}-ubyte").write_bytes(b"not it")
    with pytest.raises(FsbError) as caught:
        preflight("train", line.split(" "), Train, check)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sorted(os.listdir(elsewhere)) == ["damaged", "empty"]


GOOD = [
    ("", 1),
    ("data=mnist model.layers=2 estimator=foust optimizer=sgd max_steps=20000", 1),
    ("max_steps=2e4 bound_samples=[] devices=2 logger=wandb", 1),
    ("model=linear_vae model.layers=3", 1),
    ("estimator=st --multirun optimizer.learning_rate=1e-4,2e-4", 2),
    ("-m estimator=glob(*softmax) seed=range(3)", 9),
    ("--cfg job seed=1", 1),
    ("hydra.searchpath=[file:///] seed=1", 1),
]


@pytest.mark.slow
@pytest.mark.parametrize(("line", "jobs"), GOOD, ids=[line for line, _ in GOOD])
def test_good_lines_pass(line, jobs, elsewhere):
    assert len(preflight("train", line.split(), Train, build_parts)) == jobs
    assert not list(elsewhere.iterdir())


GRIDS = {"sgd": 4, "foust": 8, "gumbel_softmax": 8, "muprop": 7, "rebar": 5}
GRIDS |= {"cifar": 12, "cifar_foust": 36}


@pytest.mark.slow
def test_every_sweep_composes():
    """The experiments do in tests/test_experiments.py."""
    names = {path.stem for path in (configs_dir() / "sweep").glob("*.yaml")}
    assert names >= {*GRIDS}
    for name in names:
        jobs = preflight("train", [f"sweep={name}"], Train)
        for job in {str([job[key] for key in PARTS]): job for job in jobs}.values():
            build_parts(job)
        assert len(jobs) == len({str(job) for job in jobs}), name
        assert len(jobs) == GRIDS.get(name, len(jobs)), name


@pytest.mark.slow
def test_scales_of_an_s_resnet():
    """Opposite values of its units, and the norm of He et al."""
    one = "model=sresnet_cifar_b optimizer.learning_rate=9e-7 estimator.delta=0.05"
    line = f"experiment=fig3_cifar10 sweep=cifar_foust {one}"
    jobs = preflight("train", line.split(), Train)
    assert [(j.model.low, j.model.high) for j in jobs] == [(-a, a) for a in (0.5, 0.8, 0.9)]
    assert {(j.model.norm, *j.model.stochastic) for j in jobs} == {("batch", 1, 2, 3, 3)}


@pytest.mark.slow
def test_a_sweep_is_the_product_of_grid_and_experiment():
    jobs = preflight("train", ["experiment=fig2_omniglot", "sweep=foust"], Train)
    grid = {(j.model.layers, j.optimizer.learning_rate, j.estimator.delta) for j in jobs}
    rates = (1e-4, 2e-4, 4e-4, 6e-4)
    assert grid == {(n, rate, delta) for n in (1, 2) for rate in rates for delta in (0.1, 0.2)}
    assert {j.data._target_ for j in jobs} == {"fsb.data.omniglot"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "rate", "bounds"),
    [
        ("model=vae", 6e-4, [100, 200]),
        ("model=sresnet80", 4e-7, []),
        ("model=sresnet40", 4e-7, []),
        ("model=sresnet_cifar_a optimizer.learning_rate=9e-7", 9e-7, []),
        ("model=sresnet_cifar_b bound_samples=[5]", 2e-6, [5]),
        ("model=sresnet80 optimizer=adam", 3e-4, [100, 200]),
    ],
)
def test_a_model_brings_what_suits_it(line, rate, bounds):
    (config,) = preflight("train", line.split(), Train)
    assert config.optimizer.learning_rate == rate
    assert config.bound_samples == bounds
