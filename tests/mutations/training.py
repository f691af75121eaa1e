"""Small errors in the training loop, in one step, in a resumed run, and in what is recorded."""

RESUME = "test_resume.py -k not process and not slow and not learned"
ERRORS = "test_errors.py -k cannot_go_on"
STEP, RECORDER, EVALUATION = (
    f"training/test_{name}.py" for name in ("step", "recorder", "evaluation")
)
SETUP = "cli/test_compose.py -k likelihood"
LOOP, ONE, RECORD = "train.py", "training/step.py", "training/recorder.py"

MUTATIONS = (  # what, file under fsb/, old text, new text, tests
    ("resume: from step 0", LOOP, "state, step = checkpoints.restore(state)",
     "state, _ = checkpoints.restore(state)", RESUME),
    ("resume: the first row again", LOOP, "if not record.rows:", "if True:", RESUME),
    ("interrupt: ignored", LOOP, " and not (stop := asked.agreed()):", ":", RESUME),
    ("interrupt: state not saved", LOOP, "        if step < config.max_steps:\n            with",
     "        if False:\n            with", RESUME),
    ("interrupt: exit code of the signal alone", LOOP, "SystemExit(128 + stop)",
     "SystemExit(stop)", RESUME),
    ("loop: chunks run past an evaluation", LOOP, "(config.eval_every, config.checkpoint_every)",
     "(config.checkpoint_every,)", RESUME),
    ("loop: last step not saved", LOOP, "if last or step % config.checkpoint_every == 0:",
     "if step % config.checkpoint_every == 0:", RESUME),
    ("loop: last step not evaluated", LOOP, "if last or step % config.eval_every == 0:",
     "if step % config.eval_every == 0:", RESUME),
    ("step: first batch of a chunk for all", ONE, "(indices[i], train.step)",
     "(indices[0], train.step)", STEP),
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
)  # fmt: skip
