"""Small errors in the training loop, in one step, in a resumed run, and in what is recorded."""

RESUME = "test_resume.py -k not process and not learned"
ERRORS = "test_errors.py -k cannot_go_on"
STEP, RECORDER, EVALUATION = (
    f"training/test_{name}.py" for name in ("step", "recorder", "evaluation")
)
SETUP = "cli/test_compose.py -k likelihood"
LOOP, ONE, RECORD = "train.py", "training/step.py", "training/recorder.py"

MEMBERS, OWN = "training/members.py", "training/test_members.py -k not cannot"

ONCE = "training/test_step.py -k computes_once"

MUTATIONS = (  # what, file under fsb/, old text, new text, tests
    ("resume: from step 0", LOOP, "state, step = checkpoints.restore(state)",
     "state, _ = checkpoints.restore(state)", RESUME),
    ("resume: the first row again", LOOP, "if not record.rows:", "if True:", RESUME),
    ("interrupt: ignored", LOOP, " and not (stop := asked.agreed()):", ":", RESUME),
    ("interrupt: state not saved", LOOP, "        if step < config.max_steps:\n            with",
     "        if False:\n            with", RESUME),
    ("interrupt: exit code of the signal alone", LOOP, "SystemExit(128 + stop)",
     "SystemExit(stop)", RESUME),
    ("loop: chunks run past an evaluation", ONE, "(config.eval_every, config.checkpoint_every)",
     "(config.checkpoint_every,)", RESUME),
    ("loop: last step not saved", LOOP, "if last or step % config.checkpoint_every == 0:",
     "if step % config.checkpoint_every == 0:", RESUME),
    ("loop: last step not evaluated", LOOP, "if last or step % config.eval_every == 0:",
     "if step % config.eval_every == 0:", RESUME),
    ("step: first batch of a chunk for all", ONE, "else indices[i]", "else indices[0]", STEP),
    ("step: first streamed batch of a chunk for all", ONE, "row = images[i]", "row = images[0]",
     STEP),
    ("step: control not updated", ONE,
     "control=optax.apply_updates(train.control, control_updates)", "control=train.control",
     "test_resume.py -k learned"),
    ("recorder: loss window not emptied", RECORD,
     "return state._replace(loss_sum=self.parts.recipe.layout.replicate(np.float32(0)))",
     "return state", RESUME),
    ("recorder: rows after the checkpoint stay", RECORD, "self.table.truncate(step)", "pass",
     RESUME),
    ("recorder: ranked by the training ELBO", RECORD, 'self.score = row["valid_elbo"]',
     'self.score = row["train_elbo"]', RECORDER),
    ("recorder: resumed without a score", RECORD,
     'self.rows[-1]["valid_elbo"] if self.rows else None', "None", RECORDER),
    ("recorder: objective over all steps", RECORD, "/ steps if steps", "/ step if steps", RECORDER),
    ("subset: the first images", "training/results.py",
     "np.linspace(0, len(images) - 1, most).round().astype(int)", "np.arange(most)", RECORDER),
    ("evaluation: standard deviation for its error", "training/evaluation.py",
     "math.sqrt(spread / max(count - 1, 1))", "math.sqrt(spread)", EVALUATION),
    ("resumed: another seed", "training/launch.py", '"max_steps",\n    "steps',
     '"max_steps",\n    "seed",\n    "steps', ERRORS),
    ("resumed: past its end", "training/launch.py", "if step > saved.max_steps:", "if False:",
     ERRORS),
    ("likelihood: any binarisation", "training/setup.py",
     "if binarisations != LIKELIHOODS[natural][1]:", "if False:", SETUP),
    # the members of a sweep
    ("members: one seed for all", MEMBERS, "[m.config.seed for m in members]",
     "[members[0].config.seed for m in members]", OWN),
    ("members: the settings of the first", MEMBERS, "[m.values[name] for m in members]",
     "[members[0].values[name] for m in members]", OWN),
    ("members: batches in the order of the first", MEMBERS, "order(together.of(i).key",
     "order(together.of(0).key", OWN),
    ("members: blocks forget their seeds", MEMBERS, "settings, self.seeds[which])",
     "settings, self.seeds[: len(members)])", OWN),
    ("members: the worst for the best", "training/members_run.py", "best = max(good",
     "best = min(good", OWN),
    ("members: the variance of the first", "training/members_run.py",
     "{name: x[index] for name, x in together.settings.items()}",
     "{name: x[0] for name, x in together.settings.items()}", OWN),
    ("optimizers: warm-up of members a step late", "optimizers.py", "jnp.clip(step, 0,",
     "jnp.clip(step - 1, 0,", OWN),
    ("recipes: shared by all learning rates", "training/setup.py",
     'RECIPE = ["model", "objective", "estimator", "optimizer", "control_optimizer"]',
     'RECIPE = ["model", "objective", "estimator", "control_optimizer"]',
     "test_train.py -k whole_folder"),
    ("loop: constants taken out of it, once for each derivative", "training/step.py",
     "constants=constants), batch)", "constants=train.constants), batch)", ONCE),
    ("loop: positions of the noise taken out of it", "runtime/random.py",
     "iota(jnp.uint32, math.prod(shape))", "iota(jnp.uint32, math.prod(shape)).reshape(shape)",
     ONCE),
)  # fmt: skip
