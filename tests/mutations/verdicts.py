"""Small errors in the ledger of claims and its experiments."""

TEST = "test_claims.py -k"
LEDGER, CLAIMS = "../scripts/ledger.py", "../scripts/claims.py"
RULE, REPORT = "../scripts/rule.py", "../scripts/reporting/records.py"
COMMON, ONE, FOUR, EIGHT = (
    f"../experiments/bias_variance/{name}.py"
    for name in ("common", "proposition_1", "proposition_4", "proposition_8")
)

MUTATIONS = (  # what, file under fsb/, old text, new text, tests
    ("check: no tolerance", LEDGER, "<= tolerance", "<= 0", f"{TEST} verdict"),
    ("check: above for below", LEDGER, "ours < than", "ours > than", f"{TEST} verdict"),
    ("check: below for above", LEDGER, "ours > than", "ours < than", f"{TEST} verdict"),
    ("verdict: one check is enough", LEDGER, "all(map(met, checks))", "any(map(met, checks))",
     f"{TEST} verdict"),
    ("verdict: one corrected check is enough", LEDGER, "all(map(met, corrected))",
     "any(map(met, corrected))", f"{TEST} verdict"),
    ("margin: added where it must be exceeded", LEDGER, '== "=" else -1', '== "=" else 1',
     f"{TEST} rule"),
    ("rule: two seeds are enough", RULE, "SEEDS, SHARE = 3, 0.2", "SEEDS, SHARE = 2, 0.2",
     f"{TEST} rule"),
    ("rule: any length is enough", RULE, "share < SHARE", "share < 0", f"{TEST} rule"),
    ("rule: no standard error is asked", RULE, "if not found and any(", "if False and any(",
     f"{TEST} rule"),
    ("rule: a timing refutes from any machine", RULE, 'claim.kind == "timed"', "False",
     f"{TEST} rule"),
    ("rule: a verdict in words counts", RULE, "if said in VERDICTS:", "if False:", f"{TEST} wrong"),
    ("ledger: additions are counted", CLAIMS, "if not c.ours and", "if", f"{TEST} additions"),
    ("report: no commit is asked", REPORT, '("commit", commit)', '("commit", "1234567")',
     "test_report.py -k origin"),
    ("report: no command is asked", REPORT, '("command", command)', '("command", "x")',
     "test_report.py -k origin"),
    ("ledger: unknown claims pass", CLAIMS, "if name not in known:", "if False:", f"{TEST} wrong"),
    ("fit: weights not squared", COMMON, "weight[:, None] ** 2", "weight[:, None]", f"{TEST} fits"),
    ("fit: variances for errors", COMMON, "np.sqrt(np.diag(covariance))", "np.diag(covariance)",
     f"{TEST} fits"),
    ("Proposition 1: sign", ONE, "return -v * (1", "return v * (1", f"{TEST} integrals"),
    ("Proposition 4: width", FOUR, "(1 + root) ** 2", "(1 + root)", f"{TEST} integrals"),
    ("Proposition 4: lower layer's logit", FOUR, "sigmoid(half - (v - 0.5))", "sigmoid(half - v)",
     f"{TEST} integrals"),
    ("Proposition 8: factor 2", EIGHT, "/ (4 * p * (1 - p))", "/ (2 * p * (1 - p))",
     f"{TEST} small"),
    ("Proposition 8: p for 1 - p", EIGHT, "((1 - p) * HIGH - p * LOW)",
     "(p * HIGH - (1 - p) * LOW)", f"{TEST} small"),
)  # fmt: skip
