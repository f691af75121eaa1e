"""Small errors in what a checkpoint holds, which are kept, and which is read."""

TEST = "storage/test_checkpoints.py -k not moment and not processes and not any_damage"
LEAVES = "storage/test_leaves.py"
FILE, RECORD = "storage/checkpoints.py", "storage/checkpoint_record.py"

MUTATIONS = (  # what, file under fsb/, old text, new text, tests
    ("restore: digest not compared", FILE, '"" if sha256(leaves) == record["sha256"] else',
     '"" if True else', TEST),
    ("restore: the newest for the best", FILE, "return ranked(self._metrics())",
     "return steps[::-1]", TEST),
    ("restore: the best for the newest", FILE, "return steps[::-1]",
     "return ranked(self._metrics())", TEST),
    ("restore: another step than the one asked for", FILE, "if which == step:", "if False:", TEST),
    ("restore: shapes not compared", FILE, 'if record["leaves"] != signature(wanted):',
     "if False:", TEST),
    ("save: later steps stay", FILE, "if s <= step}", "}", TEST),
    ("save: nothing is removed", FILE, "self._remove(old)", "pass", TEST),
    ("save: infinite metrics rank", FILE, "if metric is not None and math.isfinite(metric) else",
     "if metric is not None else", TEST),
    ("save: the same state is written again", FILE,
     "if not self._holds(step, record, state):", "if True:", TEST),
    ("save: a damaged copy stays", FILE, "self._read(step, state)\n        except Damaged:",
     "pass\n        except Damaged:", TEST),
    ("save: remains of a killed run stay", FILE, "if not self._clean:", "if False:", TEST),
    ("keep_last: one more", RECORD, "orbax.LatestN(keep_last)", "orbax.LatestN(keep_last + 1)",
     TEST),
    ("keep_best: those without a metric too", RECORD, "keep_checkpoints_without_metrics=False",
     "keep_checkpoints_without_metrics=True", TEST),
    ("best: the worst", RECORD, "key=rank, reverse=True", "key=rank, reverse=False", TEST),
    ("record: seal not checked", RECORD, 'record["seal"] == seal(record) and', "", TEST),
    ("record: step not checked", RECORD, ' and record["step"] == int(folder.name)', "", TEST),
    ("digest: without names and types", "storage/leaves.py",
     'total.update(f"{name} {kind}\\n".encode())', "pass", LEAVES),
    ("digest: without bytes", "storage/leaves.py", "total.update(_bytes(leaves[name]))", "pass",
     LEAVES),
)  # fmt: skip
