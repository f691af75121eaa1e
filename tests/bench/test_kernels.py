"""Operations and bytes of kernels are those of XLA's own analysis."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from fsb.bench.kernels import kernels, size_of
from fsb.runtime.random import uniform


def by_hand(*lines, inner=""):
    """A module whose entry computation has these lines."""
    text = "\n".join(f"  {line}" for line in lines)
    return f"HloModule m\n\n{inner}\nENTRY %main (p: f32[4]) -> f32[4] {{\n{text}\n}}\n"


def convolution(image, kernel, strides, padding, gaps=(1, 1), holes=(1, 1)):
    """XLA's line of a convolution, and the operations of the loops written out."""
    (b, h, w, i), (kh, kw, _, o) = image, kernel
    height, width = (
        ((n - 1) * hole + 1 + sum(pad) - (k - 1) * gap - 1) // stride + 1
        for n, k, stride, pad, gap, hole in zip(
            (h, w), (kh, kw), strides, padding, gaps, holes, strict=True
        )
    )
    count = 0
    for y, x, dy, dx in np.ndindex(height, width, kh, kw):
        at = (
            y * strides[0] - padding[0][0] + dy * gaps[0],
            x * strides[1] - padding[1][0] + dx * gaps[1],
        )
        real = all(p % hole == 0 for p, hole in zip(at, holes, strict=True))
        inside = 0 <= at[0] // holes[0] < h and 0 <= at[1] // holes[1] < w
        count += real and inside
    by = lambda pair: "x".join(map(str, pair))
    pads = "x".join(f"{low}_{high}" for low, high in padding)
    window = f"size={kh}x{kw} stride={by(strides)} pad={pads}"
    window += f" lhs_dilate={by(holes)} rhs_dilate={by(gaps)}"
    line = (
        f"ROOT %c = f32[{b},{height},{width},{o}] convolution(%x, %k), "
        f"window={{{window}}}, dim_labels=b01f_01io->b01f"
    )
    return line, 2 * b * i * o * count


@pytest.mark.parametrize(
    "settings",
    [
        ((1, 1), ((1, 1), (1, 1))),
        ((2, 2), ((0, 1), (0, 1))),
        ((1, 2), ((2, 0), (0, 3)), (2, 1)),
        ((1, 1), ((2, 1), (1, 2)), (1, 1), (2, 2)),  # as in the derivative of a strided one
    ],
)
def test_products_of_a_convolution_that_meet_the_image(settings):
    image, kernel = (2, 6, 5, 3), (3, 3, 3, 4)
    line, operations = convolution(image, kernel, *settings)
    x = "%x = f32[2,6,5,3]{3,2,1,0} parameter(0)"
    (found,) = kernels(by_hand(x, "%k = f32[3,3,3,4] parameter(1)", line))
    assert found.flops == pytest.approx(operations)


def test_loops_and_libraries():
    body = (
        "%body (c: f32[4]) -> f32[4] {\n  %c = f32[4] parameter(0)\n"
        '  ROOT %n = f32[4] negate(%c), metadata={op_name="jit(f)/while/neg"}\n}\n'
    )
    loop = "ROOT %w = f32[4] while(%p), condition=%end, body=%body, "
    loop += 'backend_config={"known_trip_count":{"n":"50"}}'
    (found,) = kernels(by_hand("%p = f32[4] parameter(0)", loop, inner=body))
    assert (found.calls, found.flops, found.bytes) == (50, 4, 32)
    assert found.operation == "while/neg"
    gemm = (
        'ROOT %g = (f32[2,5]{1,0}, s8[64]) custom-call(%a, %b), custom_call_target="gemm", '
        'backend_config={"lhs_contracting_dimensions":["1"],"rhs_contracting_dimensions":["0"]}'
    )
    a, b = "%a = f32[2,3] parameter(0)", "%b = f32[3,5] parameter(1)"
    (found,) = kernels(by_hand(a, b, gemm))
    assert found.flops == 2 * 2 * 3 * 5
    assert found.bytes == 4 * (2 * 5 + 2 * 3 + 3 * 5) + 64
    assert size_of("bf16[3,3]") == 18


@pytest.mark.slow
def test_the_sum_of_a_program_is_that_of_xla():
    def loss(w, x):
        y = lax.conv_general_dilated(
            x, w, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        y = jnp.tanh(y) * uniform(jax.random.key(0), y.shape)
        return (y.reshape(len(y), -1) @ jnp.ones((y[0].size, 7))).sum()

    shapes = jnp.ones((3, 3, 4, 5)), jnp.ones((2, 8, 8, 4))
    program = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(*shapes).compile()
    found, counted = kernels(program.as_text()), program.cost_analysis()
    assert sum(k.calls * k.flops for k in found) == pytest.approx(counted["flops"], rel=0.01)
    moved = sum(k.calls * k.bytes for k in found)
    assert moved == pytest.approx(counted["bytes accessed"], rel=0.1)
