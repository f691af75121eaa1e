"""Small errors in S-ResNets and in the discretised likelihoods."""

NET, CHAIN, BLOCKS = (f"networks/{name}.py" for name in ("resnet_vae", "_chain", "blocks"))
CONVOLUTIONS, LIKELIHOOD = "networks/convolutions.py", "networks/likelihoods.py"
TINY = "networks/test_resnet_vae.py -k state"
COUNTS = "networks/test_resnet_vae.py -k shipped"
CONVOLVED = "networks/test_resnet_vae.py -k convolutions"
ANEW = "networks/test_resnet_vae.py -k computed_anew"
FORMULA = "networks/test_batch_norm.py -k formula"
MEASURED = "networks/test_batch_norm.py -k measured"
LOCAL = "networks/test_batch_norm.py -k local"
MASSES = "networks/test_likelihoods.py -k masses"
MEANS = "networks/test_likelihoods.py -k means"

MUTATIONS = (  # what, file under fsb/, old text, new text, tests
    ("S-ResNet: data mean not subtracted", CHAIN, "h = x - chain.mean[None]", "h = x", TINY),
    ("S-ResNet: prior read from the wrong layer", CHAIN, "zip(chain.down[1:], values[1:]",
     "zip(chain.down[1:], values[:-1]", TINY),
    ("S-ResNet: decoder reads the top layer", CHAIN, "decode(chain, values[0])",
     "decode(chain, values[-1])", TINY),
    ("S-ResNet: a stochastic layer named twice stands once", NET,
     "range(stochastic.count(number))", "range(number in stochastic)", COUNTS),
    ("S-ResNet: every stack halves the image", NET, "level and not stack and not block",
     "level and not block", COUNTS),
    ("block: no shortcut", BLOCKS, "return nn.relu(x + h)", "return nn.relu(h)", TINY),
    ("block: shortcut without the stride", BLOCKS, 'weights["shortcut"], up(x), stride, ',
     'weights["shortcut"], up(x), 1, ', TINY),
    ("block: no activation between", BLOCKS, "up(nn.relu(h))", "up(h)", TINY),
    ("block computed anew: cotangent twice", BLOCKS, "return pull(g)", "return pull(2 * g)", ANEW),
    ("block computed anew: merged with the first time", BLOCKS, "block, weights, x + zero)",
     "block, weights, x)", ANEW),
    ("GroupNorm: variance about 0", CONVOLUTIONS, "h = h - h.mean((1, 3), keepdims=True)", "h = h",
     TINY),
    ("GroupNorm: one group", CONVOLUTIONS, "math.gcd(x.shape[-1], 8)", "1", TINY),
    ("convolution: pixels of the stride", CONVOLUTIONS, "x[:, i : i + height : stride,",
     "x[:, i : i + height : 1,", CONVOLVED),
    ("transposed convolution: a pixel late", CONVOLUTIONS, "(0, rows, 1)", "(1, rows - 1, 1)",
     CONVOLVED),
    ("discretised: last bin closed", LIKELIHOOD,
     "first, last = jax.nn.log_sigmoid(above), jax.nn.log_sigmoid(-below)",
     "first, last = jax.nn.log_sigmoid(above), inner", MASSES),
    ("discretised: width of a bin", LIKELIHOOD, "1 / (256 * scale)", "1 / (255 * scale)", MASSES),
    ("discretised Gaussian: narrow bins to first order", LIKELIHOOD,
     "width**2 * (c**2 - 1) / 24", "0 * c", MASSES),
    ("discretised Gaussian: the series of Mills' ratio cut", LIKELIHOOD,
     "(-1 + (3 - 15 / far**2) / far**2) / far**2", "0 * far", MASSES),
    ("discretised: mean of the lower ends", LIKELIHOOD, "511 / 512", "255 / 256", MEANS),
    ("BatchNorm: moments of the batch where fixed ones are given", CONVOLUTIONS,
     "mean, variance = fixed or (", "mean, variance = (", MEASURED),
    ("BatchNorm: variance not taken about the mean", CONVOLUTIONS, "h.var((0, 1, 2))",
     "(h * h).mean((0, 1, 2))", FORMULA),
    ("BatchNorm: second norm fixed with the first's moments", BLOCKS, 'of("second"))',
     'of("first"))', MEASURED),
    ("BatchNorm: any estimator trains it", "training/step.py", 'if "statistics" in variables and',
     "if False and", LOCAL),
)  # fmt: skip
