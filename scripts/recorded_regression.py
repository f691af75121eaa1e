"""What the recorded Bayesian regression says of Figures 3 and 4 of C."""

from __future__ import annotations

import json
from collections import defaultdict

import numpy as np
from tables import number

from fsb.storage.metrics_file import MetricsFile

PUBLISHED = 40_000  # steps, at least: the axis of Figure 3
HEADLINE, SMALL = "unit_rows", "unit_rows_small"  # the setting with the paper's axes; b small
ALIKE = 0.01  # nats of ELBO / N: what does not vary much
TWICE = 2.0  # and of a variance
FOUR, EIGHT, PATH, SCORE = "series N=4", "series N=8", "pathwise", "score function"


def regression(folder):
    summary = json.loads((folder / "summary.json").read_text())
    curves, seeds = means(folder, summary["seeds"]), summary["seeds"]
    shared = {
        "seeds": seeds, "share": summary["steps"] / PUBLISHED,
        "command": "python experiments/bayesian_regression/run.py",
        "commit": summary["git_commit"][:7], "seed": ", ".join(map(str, range(seeds))),
    }  # fmt: skip
    return {
        "C fig 3": faster(curves) | shared,
        "C fig 4": cut_off(curves, summary["truncation"]) | shared,
    }


def means(folder, seeds):
    """(setting, estimator, field) -> the mean over the training, [seeds]."""
    found = defaultdict(lambda: [[] for _ in range(seeds)])
    for row in MetricsFile(folder / "curves.csv").read():
        if row["step"]:
            for field in ("elbo", "log_variance", "to_score", "to_pathwise"):
                at = found[row["setting"], row["estimator"], field]
                at[int(row["seed"])].append(row[field])
    return {name: np.array(of, float).mean(1) for name, of in found.items()}


def paired(what, ours, relation, than, tolerance=0.0):
    """A check of two estimators, which see the same batches: the error is of their difference."""
    ours, than = np.asarray(ours), np.asarray(than)
    error = (ours - than).std(ddof=1) / np.sqrt(len(ours))
    return number(what, float(ours.mean()), relation, float(than.mean()), tolerance, error=error)


def faster(curves):
    """Figure 3: a higher ELBO over the training and less variance; N = 4 and 8 alike."""

    def checks(setting):
        of = lambda name, field: curves[setting, name, field]
        found = []
        for name in (PATH, SCORE):
            found += [
                paired(f"mean ELBO / N beside {name}", of(FOUR, "elbo"), ">", of(name, "elbo")),
                paired(f"mean log variance beside {name}", of(FOUR, "log_variance"), "<",
                       of(name, "log_variance")),
            ]  # fmt: skip
        both = of(EIGHT, "elbo"), of(FOUR, "elbo")
        return [*found, paired("mean ELBO / N of 8 terms beside 4", both[0], "=", both[1], ALIKE)]

    def shown(setting, field):
        names = {"N=4": FOUR, "N=8": EIGHT, "pathwise": PATH, "score": SCORE}
        return ", ".join(f"{n} {curves[setting, f, field].mean():.4f}" for n, f in names.items())

    return {
        "ours": f"rows of unit norm, mean ELBO/N over 20,000 steps: from b = 1: "
        f"{shown(HEADLINE, 'elbo')}; from b = 0.05: {shown(SMALL, 'elbo')}. Log variance from "
        f"b = 1: {shown(HEADLINE, 'log_variance')}",
        "theirs": "converges faster than the considered estimators, variance significantly lower; "
        "N = 4 and 8 alike",
        "checks": checks(HEADLINE),
        "corrected": checks(SMALL),
        "note": "Eight terms only from small scales: from b = 1 they diverge after 5,000 steps. "
        "What four terms gain over pathwise is 0.0003 nats and 0.26 in the log variance. On "
        "standardised features four terms are behind from b = 1.",
    }


def cut_off(curves, truncation):
    """Figure 4: bias and variance by the number of terms; the distances to the other two."""
    of = {row["estimator"]: row for row in truncation[HEADLINE]}
    terms = [of[name] for name in of if name.startswith("series")]
    bias = np.array([row["relative_bias"] for row in terms])
    variance = np.array([row["variance"] for row in terms])
    ratio = variance.max(0) / variance.min(0)
    far = {name: curves[HEADLINE, FOUR, f"to_{name}"] for name in ("pathwise", "score")}
    wild = {row["estimator"]: np.mean(row["variance"]) for row in truncation["standardised"]}
    at = {name: np.mean(of[f"series N={name}"]["variance"]) for name in (1, 4, 8)}
    return {
        "ours": "rows of unit norm from b = 1, step 1,000: variance in b of N=1, 4, 8: "
        + ", ".join(f"{value:.2g}" for value in at.values())
        + f"; largest bias {100 * bias.mean(1).max():.1f} %. Square distance of N=4 to pathwise "
        f"{far['pathwise'].mean():.2g}, to the score function {far['score'].mean():.3g}",
        "theirs": "bias and variance do not vary much with the truncation level; pathwise closer "
        "than the score function",
        "checks": [
            paired(
                "largest over smallest variance of N=1 to 8",
                ratio,
                "<",
                TWICE * np.ones(len(ratio)),
            ),
            paired(
                "largest bias of N=1 to 8 over the gradient",
                bias.max(0),
                "<",
                0.1 * np.ones(len(ratio)),
            ),
            paired("square distance to pathwise beside score", far["pathwise"], "<", far["score"]),
        ],
        "note": "Depends on b |x|: on standardised features the variance of N=1, 4, 8 is "
        f"{wild['series N=1']:.2g}, {wild[FOUR]:.2g}, {wild[EIGHT]:.2g} from b = 1, and after "
        "5,000 steps eight terms diverge with rows of unit norm as well.",
    }
