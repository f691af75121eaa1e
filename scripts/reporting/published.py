"""The papers' tables, and our numbers for the same cells out of the records."""

from __future__ import annotations

from typing import NamedTuple

import tables

from reporting.records import read_json, rows

NAMES = {
    "st": "ST", "darn": "1/2 (DARN)", "foust": "FouST", "gumbel_softmax": "Gumbel-Softmax",
    "muprop": "MuProp-C-IDB", "nvil": "LR-C-VN-IDB", "rebar": "REBAR", "relax": "RELAX",
    "vimco": "VIMCO", "local_expectation": "BSB, S = 1",
    **{f"local_expectation (samples {s})": f"BSB, S = {s}" for s in (1, 5, 10)},
}  # fmt: skip
CSB = {name: said.replace("BSB", "CSB") for name, said in NAMES.items()}


class Beside(NamedTuple):
    """A table of a paper: group -> row -> theirs, and the same for each column of ours."""

    claim: str
    title: str
    theirs: dict
    ours: dict
    paths: list


def bounds(names, *values):
    return dict(zip(names, values, strict=True))


def table_a1(home):
    two = ("ST", "DARN", "FouST", "Gumbel-Softmax", "REBAR")
    seconds = ((2.86, 2.96, 3.1, 3.27, 45.3), (4.96, 5.36, 5.67, 6.14, 205.15))
    theirs = {
        f"{layers} stochastic layers": bounds(two, *(f"{s / each[0]:.3g}" for s in each))
        for layers, each in zip((2, 5), seconds, strict=True)
    }
    paths = [home / "bench_cpu" / part for part in ("results.csv", "rebar_2/results.csv",
                                                    "rebar_5/results.csv")]  # fmt: skip
    plain, *deep = ({r.get("variant") or r["estimator"]: r["ratio"] for r in rows(path)}
                    for path in paths)  # fmt: skip
    said = {"darn": "DARN", "foust": "FouST", "gumbel_softmax": "Gumbel-Softmax",
            "rebar": "REBAR", "st": "ST"}  # fmt: skip
    measured = (deep[0] | plain, deep[1])
    ours = {
        group: {said[name]: f"{ratio:.3g}" for name, ratio in found.items() if name in said}
        for group, found in zip(theirs, measured, strict=True)
    }
    title = "Time of a training step over straight-through's"
    return Beside("A table 1, one evaluation", title, theirs, {"ours": ours}, paths)


def table_a2(home):
    theirs = {
        "2 layers of 200": {"REBAR": "-94.43", "FouST": "-91.95"},
        "3 layers of 200": {"FouST": "-89.11"},
        "8 layers of 500": {"FouST": "-87.31"},
        "20 layers of 500": {"FouST": "-87.86"},
    }
    folder = home / "compare_mnist"
    found = {NAMES[name]: f"{row['test_elbo']:.2f}" for name, row in tables.table(folder).items()}
    ours = {"ours, 20,000 steps": {"2 layers of 200": found}}
    title = "Test ELBO on MNIST by stochastic depth, nats"
    return Beside("A table 2", title, theirs, ours, [folder / "results.csv"])


def spreads(home, net, names):
    """Bounds of 200 samples over the seeds, after 2,000 and after 8,000 steps."""
    steps = {"ours, 2,000 steps": net, "ours, 8,000 steps": f"{net}_8000"}
    paths = [home / "fourier_tables" / name / "results.csv" for name in steps.values()]
    ours = {
        column: {"MNIST, one layer": {names[name]: value.replace("+-", "±") for name, value in
                                      tables.over_seeds(path, "test_bound_200").items()}}
        for column, path in zip(steps, paths, strict=True)
    }  # fmt: skip
    return ours, paths


def table_c1(home):
    names = ("REBAR", "RELAX", "BSB, S = 1", "BSB, S = 5", "BSB, S = 10")
    printed = {
        "MNIST, one layer": "-114.14 ± 0.44, -114.55 ± 0.48, -110.87 ± 0.2, -110.70 ± 0.11, "
        "-110.59 ± 0.08",
        "MNIST, two layers": "-101.33 ± 0.04, -101.09 ± 0.07, -99.74 ± 0.3, -100.44 ± 0.28, "
        "-100.66 ± 0.21",
        "MNIST, Bern. VAE": "-127.76 ± 0.84, -128.06 ± 2.66, -107.4 ± 1.47, -108.46 ± 0.37, "
        "-109.19 ± 1.31",
        "Omniglot, one layer": "-123.66 ± 0.05, -123.82 ± 0.17, -113.53 ± 0.21, -114.34 ± 0.16, "
        "-114.37 ± 0.19",
        "Omniglot, two layers": "-117.81 ± 0.17, -117.89 ± 0.04, -102.05 ± 0.19, -102.16 ± 0.09, "
        "-102.29 ± 0.14",
        "Omniglot, Bern. VAE": "-136.83 ± 0.31, -136.53 ± 0.32, -126.94 ± 0.81, -128.69 ± 0.34, "
        "-129.48 ± 0.38",
    }
    theirs = {net: bounds(names, *line.split(", ")) for net, line in printed.items()}
    title = "Test bound of 200 samples, nats: BSB, REBAR and RELAX"
    return Beside("C table 1", title, theirs, *spreads(home, "boolean", NAMES))


def table_c2(home):
    names = ("Gumbel-Softmax", "CSB, S = 1", "CSB, S = 5", "CSB, S = 10")
    printed = {
        "MNIST, one layer": "-113.46 ± 0.59, -107.48 ± 0.37, -107.24 ± 0.31, -107.33 ± 0.13",
        "MNIST, Cat. VAE": "-122.97 ± 5.68, -103.49 ± 0.73, -102.68 ± 0.63, -101.78 ± 0.88",
        "Omniglot, one layer": "-125.76 ± 0.24, -122.49 ± 0.80, -122.98 ± 0.30, -122.98 ± 0.21",
        "Omniglot, Cat. VAE": "-140.25 ± 1.99, -130.20 ± 004 (as printed), "
        "-131.66 ± 0.84, -131.63 ± 1.05",
    }
    theirs = {net: bounds(names, *line.split(", ")) for net, line in printed.items()}
    title = "Test bound of 200 samples, nats: CSB and Gumbel-Softmax"
    return Beside("C table 2", title, theirs, *spreads(home, "categorical", CSB))


def table_c3(home):
    path = home / "fourier_tables/time_categorical/results.json"
    found = {CSB[name]: f"{row['seconds_per_epoch']:.3g}"
             for name, row in read_json(path)["jobs"].items()}  # fmt: skip
    names = ("Gumbel-Softmax", "CSB, S = 1", "CSB, S = 5", "CSB, S = 10")
    theirs = {
        "one linear layer": bounds(names, "4.11", "6.32", "10.93", "16.83"),
        "Cat. VAE": bounds(names, "4.13", "7.32", "13.29", "21.94"),
    }
    title = "Seconds an epoch; theirs on an RTX 2080 Ti, ours on two CPU cores"
    return Beside("C table 3", title, theirs, {"ours": {"one linear layer": found}}, [path])


def muprop(home, nets, field):
    """group -> the best of each estimator, in nats, with the groups' records."""
    folders = {group: home / "muprop" / name for group, name in nets.items()}
    ours = {
        group: {NAMES[name]: value for name, value in tables.best(folder, field).items()}
        for group, folder in folders.items()
    }
    return {"ours, 8,000 steps": ours}, [folder / "results.csv" for folder in folders.values()]


def table_d2(home):
    names = ("LR-C-VN-IDB", "MuProp-C", "MuProp-C-VN", "ST", "1/2 (DARN)")
    theirs = {
        "MNIST 392-200-200-392": bounds(names, 63.2, 57.7, 56.7, 56.1, 57.2),
        "MNIST 392-200-200-200-392": bounds(names, 100.6, 62.7, 57.2, 54.4, 55.8),
        "TFD 2034-200-200-2034": bounds(names, 38.2, 29.6, 28.2, 27.7, 27.6),
        "MNIST 392-200-200-392, m = 20": bounds(names, 87.0, 110.2, 87.3, 51.2, 51.6),
    }
    nets = {"MNIST 392-200-200-392": "structured",
            "MNIST 392-200-200-392, m = 20": "structured_m20"}  # fmt: skip
    title = "Test negative log-likelihood of structured prediction, nats"
    return Beside("D table 2", title, theirs, *muprop(home, nets, "test_bound_100"))


def table_d3(home):
    names = ("LR-C-VN-IDB", "MuProp-C", "MuProp-C-IDB", "ST", "1/2 (DARN)")
    theirs = {
        "SBN 200": bounds(names, 113.5, 113.6, 113.1, 129.4, 112.4),
        "SBN 200-200": bounds(names, 99.7, 100.4, 100.4, 119.9, 103.5),
        "SBN 200-200-200": bounds(names, 97.5, 101.1, 98.6, 116.7, 99.3),
        "fDARN 200": bounds(names, 92.1, 92.9, 92.7, 110.2, 94.2),
        "Categorical 200 x 10": bounds(names, 107.7, 108.6, 107.8, 114.5, 120.5),
    }
    nets = {"SBN 200": "sbn_200", "SBN 200-200": "sbn_200_200", "fDARN 200": "fdarn_200",
            "Categorical 200 x 10": "categorical_200x10"}  # fmt: skip
    title = "Negative variational bound on the MNIST test set, nats"
    return Beside("D table 3", title, theirs, *muprop(home, nets, "test_elbo"))


TABLES = (table_a1, table_a2, table_c1, table_c2, table_c3, table_d2, table_d3)
