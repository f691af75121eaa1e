"""Small errors in structured prediction, the objectives' options, and the faces."""

NET, CHAIN = "networks/structured.py", "networks/_chain.py"
OBJECTIVES, FACES = "objectives.py", "data/faces.py"
STATES = "networks/test_structured.py -k state"
BOUNDS = "networks/test_structured.py -k bounds"
TERMS = "test_objectives.py -k warm_up"
PAIRS = "data/test_faces.py -k average"

MUTATIONS = (  # what, file under fsb/, old text, new text, tests
    (
        "structured: the mean of the upper half not subtracted",
        NET,
        "h = upper - self.mean.value[None, : self.half]",
        "h = upper",
        BOUNDS,
    ),
    (
        "structured: it sees the lower half",
        NET,
        "h = upper - self.mean.value[None, : self.half]",
        "h = lower[:, : self.half] - self.mean.value[None, : self.half]",
        BOUNDS,
    ),
    (
        "structured: it predicts the upper half",
        NET,
        "log_prob(outputs, lower)",
        "log_prob(outputs, x[:, : x.shape[1] - self.half])",
        STATES,
    ),
    (
        "structured: offset of the wrong rows",
        NET,
        "numbers, self.mean.value[self.half :])",
        "numbers, self.mean.value[: -self.half])",
        STATES,
    ),
    (
        "structured: no offset",
        CHAIN,
        "return outputs + likelihood.offset(mean)[None]",
        "return outputs",
        STATES,
    ),
    (
        "warm-up: weight above 1",
        OBJECTIVES,
        "jnp.minimum(1.0, step / warmup_steps)",
        "step / warmup_steps",
        TERMS,
    ),
    (
        "warm-up: one step late",
        OBJECTIVES,
        "step / warmup_steps)",
        "(step - 1) / warmup_steps)",
        TERMS,
    ),
    (
        "free bits: the least in place of the most",
        OBJECTIVES,
        "jnp.maximum(free_bits, kl)",
        "jnp.minimum(free_bits, kl)",
        TERMS,
    ),
    (
        "free bits: over all layers together",
        OBJECTIVES,
        "tuple(jnp.maximum(free_bits, kl) for kl in layers)",
        "(jnp.maximum(free_bits, sum(layers)),)",
        TERMS,
    ),
    (
        "faces: the average below",
        FACES,
        "[np.broadcast_to(average, own.shape), own]",
        "[own, np.broadcast_to(average, own.shape)]",
        PAIRS,
    ),
    ("faces: everybody's average", FACES, "own.mean(0)", "images.mean(0)", PAIRS),
)  # fmt: skip
