"""Breaks the code in many small ways, one at a time, and sees whether a test notices.

    python tests/mutations.py [words of the mutations to run]

Works on a copy of the repository in a temporary folder. Writes tests/MUTATIONS.md when all
mutations were run, and exits with 1 if one went unnoticed. Not part of the test run.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
HEADER = """\
# Mutations

Each line is one small error put into the code, and the first test that failed because of it.
Written by `python tests/mutations.py`, which makes the errors in a copy of the repository.

| file | error | caught by |
|---|---|---|
"""


class Mutation(NamedTuple):
    """``old``, which stands in the file exactly once, becomes ``new``; ``tests`` should fail."""

    what: str
    file: str
    old: str
    new: str
    tests: str


MEANS = "estimators/test_means.py -k three_layers"
HARD_MEANS = f"{MEANS} and (st or darn) and not _st and not softmax and not foust"
THRESHOLD_MEANS, RELAXED_MEANS = f"{MEANS} and deterministic", f"{MEANS} and softmax"
FOUST_MEANS, EXACT_MEANS = f"{MEANS} and foust", f"{MEANS} and exact"
CONTRACT, FOUST_PARTS = "estimators/test_contract.py", "estimators/test_foust.py"
BERNOULLI = "distributions/test_bernoulli.py"
CATEGORICAL = "distributions/test_categorical.py"
NORMAL = "distributions/test_normal.py"
VAE = "networks/test_vae.py"
LIKELIHOODS = "networks/test_likelihoods.py"
OBJECTIVES = "test_objectives.py"
SITES = "test_sites.py"
GRADIENTS = "test_gradients.py"
DIAGNOSTICS = "test_diagnostics.py"
METRICS = "test_metrics.py"
STEP = "test_step.py"
NOISE = "test_noise.py"

LOCAL, FOUST = "estimators/local.py", "estimators/foust.py"
GS, ST = "estimators/gumbel_softmax.py", "estimators/st.py"
EXACT, ATTACH = "estimators/exact.py", "estimators/attach.py"
B, C, N = (f"distributions/{name}.py" for name in ("bernoulli", "categorical", "normal"))
NET, LIKELIHOOD = "networks/vae.py", "networks/likelihoods.py"

MUTATIONS = [
    Mutation(*row)
    for row in (
        # estimators
        ("ST: span forgotten", LOCAL, "return dist.span * jax.nn.sigmoid(eta) *",
         "return jax.nn.sigmoid(eta) *", HARD_MEANS),
        ("ST: 1 - p forgotten", LOCAL, "jax.nn.sigmoid(eta) * jax.nn.sigmoid(-eta)",
         "jax.nn.sigmoid(eta)", HARD_MEANS),
        ("DARN: factor 2", LOCAL, "return 0.5 * dist.span", "return dist.span", HARD_MEANS),
        ("DARN: p(z) for 1 - p(z)", LOCAL, "jax.nn.sigmoid(-sign * eta)",
         "jax.nn.sigmoid(sign * eta)", HARD_MEANS),
        ("DARN: s not decoded", LOCAL, "sign = 2 * dist.decode(hard) - 1",
         "sign = 2 * hard - 1", HARD_MEANS),
        ("local: sign of the slope", LOCAL, "eta_bar = cotangents[0] *",
         "eta_bar = -cotangents[0] *", HARD_MEANS),
        ("local: site key not folded", LOCAL, "rule(site_key(key, name), eta, dist)",
         "rule(key, eta, dist)", CONTRACT),
        ("DARN has the slope of ST", "estimators/darn.py", "half_slope(eta, hard, dist))",
         "dist.span * jax.nn.sigmoid(eta) * jax.nn.sigmoid(-eta))", HARD_MEANS),
        ("deterministic ST: threshold reversed", ST, "(eta >= 0)", "(eta < 0)", THRESHOLD_MEANS),
        ("deterministic ST: identity has a slope of 2", ST, "jnp.ones_like(eta)",
         "2 * jnp.ones_like(eta)", THRESHOLD_MEANS),
        ("FouST: noise of the wrong half", FOUST, "jnp.where(bit, u, u - p)",
         "jnp.where(bit, u - p, u)", FOUST_MEANS),
        ("FouST: noise not rescaled to its half", FOUST, " / jnp.where(bit, p, 1 - p)", "",
         FOUST_MEANS),
        ("FouST: noise outwards", FOUST, "1 - delta * again", "1 + delta * again", FOUST_MEANS),
        ("FouST: noise interval halved", FOUST, "1 - delta * again", "1 - 0.5 * delta * again",
         FOUST_MEANS),
        ("FouST: noise about 0, not the midpoint", FOUST, "centre = 0.5 * (dist.low + dist.high)",
         "centre = 0.0", FOUST_MEANS),
        ("FouST: paper mode divides by a, not 2a", FOUST, "gamma / dist.span",
         "2 * gamma / dist.span", FOUST_MEANS),
        ("FouST: correct mode lacks the Jacobian", FOUST, '"correct": lambda dist: gamma',
         '"correct": lambda dist: gamma / dist.span', FOUST_MEANS),
        ("FouST: gamma ignored", FOUST, '"correct": lambda dist: gamma,',
         '"correct": lambda dist: 1.0,', FOUST_PARTS),
        ("FouST: reweighing switch reversed", FOUST, "reweighed if importance",
         "plain if importance", FOUST_PARTS),
        ("FouST: scale left out without reweighing", FOUST, "scale(dist) * mean_slope(eta, dist)",
         "mean_slope(eta, dist)", FOUST_PARTS),
        ("Gumbel-Softmax: temperature multiplies", GS, "shifted / temperature",
         "shifted * temperature", RELAXED_MEANS),
        ("Gumbel-Softmax: 1 / tau forgotten in the slope", GS, "v * (1 - v) / temperature",
         "v * (1 - v)", RELAXED_MEANS),
        ("Gumbel-Softmax: 1 - v forgotten in the slope", GS, "dist.span * v * (1 - v)",
         "dist.span * v", RELAXED_MEANS),
        ("Gumbel-Softmax: p for 1 - p", GS, "eta.astype(noise.dtype) + noise",
         "noise - eta.astype(noise.dtype)", RELAXED_MEANS),
        ("exact: probabilities not used", EXACT, "jnp.exp(log_prob) * losses",
         "losses / values[sites[0].name].size", DIAGNOSTICS),
        ("exact: the loss not differentiated", EXACT, "jnp.exp(log_prob) * losses",
         "jnp.exp(log_prob) * jax.lax.stop_gradient(losses)", EXACT_MEANS),
        ("exact: only the first site weighed", EXACT, "for site in sites)\n            return",
         "for site in sites[:1])\n            return", DIAGNOSTICS),
        ("exact: states of the next site not shifted", EXACT, "        start += n\n", "",
         DIAGNOSTICS),
        ("attach: cotangent of the losses dropped", ATTACH, "(weight * g).astype",
         "(jnp.ones_like(weight) * g).astype", GRADIENTS),
        ("attach: sign", ATTACH, "(weight * g).astype", "(-weight * g).astype", GRADIENTS),
        # distributions
        ("Bernoulli: 1 - p for p in the draw", B, "(u < jax.nn.sigmoid(eta.astype(u.dtype)))",
         "(u > jax.nn.sigmoid(eta.astype(u.dtype)))", BERNOULLI),
        ("Bernoulli: low and high exchanged", B, "self.low * (1 - bit) + self.high * bit",
         "self.high * (1 - bit) + self.low * bit", BERNOULLI),
        ("Bernoulli: decode without the span", B, "(z - self.low) / self.span", "z - self.low",
         BERNOULLI),
        ("Bernoulli: decode off by an ulp at the high end", B,
         "jnp.where(from_low > from_high, 1 - from_high, from_low)", "from_low",
         f"{CONTRACT} -k certain"),
        ("Bernoulli: derivative of log p in the logit", B, "(b - jax.nn.sigmoid(eta)) * eta_dot",
         "(b - jax.nn.sigmoid(-eta)) * eta_dot", BERNOULLI),
        ("Bernoulli: derivative of log p in the value dropped", B, " + slope * b_dot", "",
         BERNOULLI),
        ("Bernoulli: infinite logits not clipped", B,
         "    eta = jnp.clip(eta, -1e30, 1e30)  # inf - inf would be nan\n", "", BERNOULLI),
        ("Bernoulli: sign of the entropy's derivative", B, "logit_entropy(primals[0]), -t *",
         "logit_entropy(primals[0]), t *", BERNOULLI),
        ("Bernoulli: a term of the entropy dropped", B, "softplus(-t) + t * jax.nn.sigmoid(-t)",
         "softplus(-t)", BERNOULLI),
        ("Bernoulli: coarse noise for coarse logits", B,
         "return jnp.promote_types(eta.dtype, jnp.float32)", "return eta.dtype", BERNOULLI),
        ("Categorical: sign of the entropy", C, "return -(jax.nn.softmax",
         "return (jax.nn.softmax", CATEGORICAL),
        ("Categorical: log p not normalised", C, "(z * jax.nn.log_softmax(eta))", "(z * eta)",
         CATEGORICAL),
        ("Normal: log scale forgotten", N, " - jnp.log(scale)", "", NORMAL),
        ("Normal: variance for scale in the draw", N, "loc + scale * noise",
         "loc + scale * scale * noise", NORMAL),
        ("Normal: factor 2 in the entropy", N, "0.5 * (1 + math.log(2 * math.pi))",
         "(1 + math.log(2 * math.pi))", NORMAL),
        ("noise: a rotation wrong", "noise.py", "(13, 15, 26, 6)", "(13, 15, 26, 7)", NOISE),
        ("noise: a mantissa bit less", "noise.py", ">> 9)", ">> 10)", NOISE),
        # sites, gradients, diagnostics
        ("sites: key not folded with the name", "sites.py",
         "return jax.random.fold_in(key, zlib.crc32(name.encode()))", "return key", SITES),
        ("replay: values differentiated", "sites.py", "jax.lax.stop_gradient(values[name])",
         "values[name]", SITES),
        ("mean pass: logits for means", "sites.py", "z = dist.mean(eta)", "z = eta", SITES),
        ("record: names not checked", "sites.py", "if any(site.name == name for site in sites):",
         "if False:", SITES),
        ("value: sum for mean", "gradients.py", "value = losses.mean()", "value = losses.sum()",
         GRADIENTS),
        ("the objective of the control reaches the model", "gradients.py",
         "pull_back((jnp.ones_like(value), jnp.zeros_like(objective)))",
         "pull_back((jnp.ones_like(value), jnp.ones_like(objective)))", GRADIENTS),
        ("the losses reach the control", "gradients.py",
         "pull_back((jnp.zeros_like(value), jnp.ones_like(objective)))",
         "pull_back((jnp.ones_like(value), jnp.ones_like(objective)))", GRADIENTS),
        ("draws: one key for all", "diagnostics.py", "estimate(params, k)[1]",
         "estimate(params, key)[1]", DIAGNOSTICS),
        # objectives and networks
        ("ELBO: sign", "objectives.py", "-(evidence.likelihood - sum", "(evidence.likelihood - sum",
         OBJECTIVES),
        ("ELBO: sign of the KL", "objectives.py", "evidence.likelihood - sum(kl",
         "evidence.likelihood + sum(kl", OBJECTIVES),
        ("KL: sign of the entropy", "objectives.py", "tuple(-p - h for", "tuple(-p + h for",
         OBJECTIVES),
        ("log weight: posterior dropped", "objectives.py", " - sum(evidence.posterior)", "",
         OBJECTIVES),
        ("bound: log K dropped", "objectives.py", " - math.log(num_samples)", "", OBJECTIVES),
        ("bound: mean of logs for log of mean", "objectives.py",
         "jax.nn.logsumexp(log_weights, axis=0) - math.log(num_samples)", "log_weights.mean(0)",
         OBJECTIVES),
        ("bits: offset dropped", "objectives.py", "* math.log(2)) + offset", "* math.log(2))",
         OBJECTIVES),
        ("bits: nats", "objectives.py", "(dimensions * math.log(2))", "dimensions", OBJECTIVES),
        ("bits: offset of dequantised pixels", "data/preprocess.py", "        8.0,\n",
         "        0.0,\n", OBJECTIVES),
        ("VAE: data mean not subtracted", NET, "(x - self.mean.value[None])", "x", VAE),
        ("VAE: prior of the next layer", NET, "zip(priors, values, strict=True)",
         "zip(priors[::-1], values, strict=True)", VAE),
        ("VAE: prior read from the wrong layer", NET, "zip(self.down[1:], values[1:], strict=True)",
         "zip(self.down[1:], values[:-1], strict=True)", VAE),
        ("VAE: decoder's offset dropped", NET,
         "return outputs + self.likelihood.offset(self.mean.value)[None]", "return outputs", VAE),
        ("VAE: decoder reads the top layer", NET, "self.decode(values[0])",
         "self.decode(values[-1])", VAE),
        ("VAE: one key for all layers of a sample", NET, "key, draw = jax.random.split(key)",
         "draw = key", VAE),
        ("VAE: samples by the layers in the wrong order", NET,
         "range(self.layers - 1, -1, -1)", "(*range(1, self.layers), 0)", VAE),
        ("VAE: a uniform prior is learned", NET, '"uniform": uniform', '"uniform": learned', VAE),
        ("Gaussian pixels: variance for scale", LIKELIHOOD, "jnp.exp(0.5 * jnp.clip",
         "jnp.exp(jnp.clip", LIKELIHOODS),
        ("Bernoulli pixels: offset without the logit", LIKELIHOOD, "jnp.log(p / (1 - p))",
         "jnp.log(p)", LIKELIHOODS),
        # step and metrics
        ("step: the same noise at every step", "step.py",
         "jax.random.fold_in(train.key, train.step)", "train.key", STEP),
        ("step: loss not summed", "step.py", "train.loss_sum + out.value", "out.value", STEP),
        ("gradient variance: n for n - 1", "step.py", "spread / (draws - 1)", "spread / draws",
         STEP),
        ("metrics: filling counted", "metrics.py", "(index < len(images))", "(index >= 0)",
         METRICS),
        ("metrics: sign of the ELBO", "metrics.py", "values = -elbo()(evidence)",
         "values = elbo()(evidence)", METRICS),
        ("metrics: active units by the second moment", "metrics.py",
         "second / count - (first / count) ** 2", "second / count", METRICS),
    )
]  # fmt: skip


def copy_of_the_repository(folder):
    for name in ("fsb", "tests", "configs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)


def run_tests(folder, tests, output):
    """In a process of its own: pytest on the copy."""
    sys.stdout = sys.stderr = open(output, "w")  # noqa: SIM115  # pytest writes until the end
    os.chdir(folder)
    sys.path[:] = [str(folder), *(path for path in sys.path if path != str(ROOT / "tests"))]
    import fsb

    assert fsb.__file__ == str(folder / "fsb" / "__init__.py"), f"this is {fsb.__file__}"
    import jax
    import pytest

    jax.config.update("jax_compilation_cache_dir", str(folder / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    file, _, names = tests.partition(" -k ")
    arguments = [f"tests/{file}", "-x", "-q", "--tb=line", "-p", "no:cacheprovider", "-k", names]
    code = pytest.main([*arguments, "-m", "not slow"])
    sys.stdout.flush()
    os._exit(code)


def first_failure(folder, tests):
    """The test that failed first; None if all passed."""
    output = folder / "output"
    process = multiprocessing.get_context("fork").Process(
        target=run_tests, args=(folder, tests, output)
    )
    process.start()
    process.join()
    text = output.read_text()
    found = re.search(r"^(?:FAILED|ERROR) (?:tests/)?(\S+?)(?:\[| - |$)", text, re.M)
    if process.exitcode == 0 or (process.exitcode == 1 and found):
        return found and found.group(1)
    raise SystemExit(text)


def main(words):
    chosen = [m for m in MUTATIONS if all(word in f"{m.file} {m.what}" for word in words)]
    unnoticed, lines = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        copy_of_the_repository(folder)
        for mutation in chosen:
            start, path = time.monotonic(), folder / "fsb" / mutation.file
            text = path.read_text()
            assert text.count(mutation.old) == 1, f"{mutation.what}: {text.count(mutation.old)}"
            path.write_text(text.replace(mutation.old, mutation.new))
            caught = first_failure(folder, mutation.tests)
            path.write_text(text)
            if caught is None:
                unnoticed.append(mutation.what)
            print(f"{time.monotonic() - start:5.1f} s  {mutation.what}: {caught}", flush=True)
            lines.append(f"| {mutation.file} | {mutation.what} | {caught} |\n")
    print(f"{len(chosen) - len(unnoticed)} of {len(chosen)} caught; not: {unnoticed}")
    if not unnoticed and len(chosen) == len(MUTATIONS):
        (ROOT / "tests" / "MUTATIONS.md").write_text(HEADER + "".join(lines))
    return bool(unnoticed)


if __name__ == "__main__":
    # Imported once, for all the processes that are forked from this one.
    os.environ.update(JAX_PLATFORMS="cpu", PYTHONDONTWRITEBYTECODE="1")
    for module in ("flax.linen", "optax", "pytest", "hypothesis", "scipy.stats", "hydra", "yaml"):
        importlib.import_module(module)
    sys.exit(main(sys.argv[1:]))
