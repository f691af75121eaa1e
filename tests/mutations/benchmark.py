"""Small errors in what the benchmark counts and fits."""

KERNELS, SCALING, SUITES = (f"bench/test_{name}.py" for name in ("kernels", "scaling", "suites"))

MUTATIONS = (  # what, file under fsb/, old text, new text, tests
    ("kernels: padding counts as image", "bench/kernels.py", "p % holes == 0 and 0 <= p",
     "p % holes == 0 and -99 <= p", f"{KERNELS} -k meet"),
    ("kernels: holes count as image", "bench/kernels.py", "if p % holes == 0 and", "if",
     f"{KERNELS} -k meet"),
    ("kernels: a loop turns once", "bench/kernels.py", "calls * turns)", "calls)",
     f"{KERNELS} -k loops"),
    ("kernels: a workspace counts as result", "bench/kernels.py",
     "math.prod(dimensions(instruction.shape))", "count", f"{KERNELS} -k loops"),
    ("kernels: operands are free", "bench/kernels.py", "for name in set(instruction.operands))",
     "for name in ())", f"{KERNELS} -k loops"),
    ("scaling: absolute squares", "bench/scaling.py",
     "nnls(columns / times[:, None], np.ones_like(times))", "nnls(columns, times)",
     f"{SCALING} -k weighs"),
    ("scaling: no constant", "bench/scaling.py", "np.ones_like(places), places**exponent",
     "0 * places, places**exponent", f"{SCALING} -k known"),
    ("scaling: the scale of the unit", "bench/scaling.py", "scale / unit**found.x", "scale",
     f"{SCALING} -k known"),
    ("scaling: slope of the first points", "bench/scaling.py", "np.diff(np.log(medians))[-1]",
     "np.diff(np.log(medians))[0]", f"{SCALING} -k noise"),
    ("sweep: beside one run", "bench/sweep.py", "config.members * alone", "alone",
     f"{SUITES} -k sweep"),
    ("start: an empty cache is kept", "bench/start.py", "first(next(number))", 'first("new")',
     f"{SUITES} -k start"),
)  # fmt: skip
