"""The kernels of a compiled program: operations and bytes of each, from its optimised HLO.

What stands at the top level of the entry computation is launched as one kernel: a fusion, a matrix
product, a convolution, a copy. Operations are counted as XLA's own analysis does: one for each
element of an arithmetic result, two for each product that is summed; transcendental functions are
left out. Bytes are those of the operands and results, each in full and once. A loop counts as often
as it turns, where XLA's total counts it once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

ARRAY = re.compile(r"\b([a-z]+)(\d*)[a-z0-9]*\[([\d,]*)\]")
LINE = re.compile(r"^\s*(?:ROOT )?%?([\w.-]+) = (.+?) ([a-z][a-z\d-]*)\((.*)$")
HEAD = re.compile(r"^(ENTRY )?%?([\w.-]+) \(.*\{$")
FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all"}
ELEMENTWISE = re.compile(
    "abs|add|and|bitcast-convert|ceil|clamp|compare|convert|divide|floor|is-finite|maximum|minimum|"
    "multiply|negate|not|or|popcnt|remainder|round-nearest-(even|afz)|select|shift-left|"
    "shift-right-(arithmetic|logical)|sign|subtract|xor"
)


class Instruction(NamedTuple):
    """A line of HLO; ``rest`` is what stands behind the operands."""

    name: str
    shape: str
    opcode: str
    operands: list[str]
    rest: str

    def attribute(self, key: str, pattern: str = r"%?([\w.-]+)") -> str | None:
        found = re.search(rf"\b{key}={pattern}", self.rest)
        return found[1] if found else None


class Kernel(NamedTuple):
    """flops and bytes of one call, and how often a step calls it."""

    name: str
    opcode: str
    operation: str
    flops: float
    bytes: int
    calls: int


Computation = dict[str, Instruction]


def kernels(hlo: str) -> list[Kernel]:
    """The kernels of a program, in the order in which they run.

    >>> import jax, jax.numpy as jnp
    >>> program = jax.jit(lambda x, y: x @ y).lower(jnp.ones((2, 3)), jnp.ones((3, 5))).compile()
    >>> [(k.flops, k.bytes) for k in kernels(program.as_text())]
    [(60, 124)]
    """
    computations, entry = parsed(hlo)
    return list(_launched(computations, computations[entry], 1))


def parsed(hlo: str) -> tuple[dict[str, Computation], str]:
    """The computations of a module by name, and the name of the entry."""
    computations: dict[str, Computation] = {}
    entry, inside = "", None
    for line in hlo.splitlines():
        if head := HEAD.match(line):
            inside = computations.setdefault(head[2], {})
            entry = head[2] if head[1] else entry
        elif inside is not None and (found := LINE.match(line)):
            arguments, _, rest = re.sub(r"/\*.*?\*/", "", found[4]).partition(")")
            operands = re.findall(r"%([\w.-]+)", arguments)
            inside[found[1]] = Instruction(found[1], found[2], found[3], operands, rest)
    return computations, entry


def _launched(all_of: dict[str, Computation], one: Computation, calls: int) -> Iterator[Kernel]:
    for instruction in one.values():
        if instruction.opcode in FREE:
            continue
        if instruction.opcode in ("call", "while"):
            inner = instruction.attribute("to_apply") or instruction.attribute("body") or ""
            found = re.search(r'known_trip_count":\{"n":"(\d+)"', instruction.rest)
            turns = int(found[1]) if found else 1
            yield from _launched(all_of, all_of[inner], calls * turns)
            continue
        moved = [instruction.shape, *(one[name].shape for name in set(instruction.operands))]
        yield Kernel(
            name=instruction.name,
            opcode=instruction.opcode,
            operation=operation(instruction),
            flops=flops(all_of, one, instruction),
            bytes=sum(map(size_of, moved)),
            calls=calls,
        )


def operation(instruction: Instruction) -> str:
    """The name that JAX gave: ``transpose(jvp(VAE))/up_0/Dense_0/dot_general``."""
    path = instruction.attribute("op_name", r'"([^"]*)"') or ""
    return re.sub(r"^jit\([^)]*\)/", "", path)


def flops(all_of: dict[str, Computation], one: Computation, instruction: Instruction) -> float:
    """Operations of an instruction of the computation ``one``, and of what it calls."""
    opcode, count = instruction.opcode, elements(instruction.shape)
    first = math.prod(dimensions(instruction.shape))  # a library returns its workspace, too
    shapes = [dimensions(one[name].shape) for name in instruction.operands]
    if ELEMENTWISE.fullmatch(opcode):
        return count
    if opcode == "dot":
        summed = numbers(instruction.attribute("lhs_contracting_dims", r"\{([\d,]*)\}"))
        return 2 * first * math.prod(shapes[0][axis] for axis in summed)
    if instruction.attribute("dim_labels", r"([\w?]+)"):
        return 2 * first * _window(instruction, *shapes[:2])
    if opcode == "reduce":
        added = sum(map(math.prod, shapes[: len(shapes) // 2])) - count
        return added * _inside(all_of, instruction, "to_apply")
    if opcode == "reduce-window":
        size = instruction.attribute("window", r"\{size=([\dx]+)") or "1"
        added = math.prod(map(int, size.split("x"))) - 1
        return count * added * _inside(all_of, instruction, "to_apply")
    if opcode == "custom-call":  # of a library of matrix products
        found = re.search(r'"lhs_contracting_dimensions":\[([\d",]*)\]', instruction.rest)
        axes = numbers(found[1].replace('"', "")) if found else []
        return 2 * first * math.prod(shapes[0][axis] for axis in axes) if axes else 0
    return _inside(all_of, instruction, "calls") if opcode == "fusion" else 0


def _inside(all_of: dict[str, Computation], instruction: Instruction, key: str) -> float:
    one = all_of[instruction.attribute(key) or ""]
    return sum(flops(all_of, one, each) for each in one.values())


def _window(instruction: Instruction, image: list[int], kernel: list[int]) -> float:
    """Products summed into one output of a convolution, in the mean: those that meet the image."""
    labels = instruction.attribute("dim_labels", r"([\w?]+_[\w?]+->[\w?]+)") or ""
    of_image, of_kernel, of_output = re.split("_|->", labels)
    output = dimensions(instruction.shape)
    window = dict(
        re.findall(r"(\w+)=([\w-]+)", instruction.attribute("window", r"\{(.*?)\}") or "")
    )
    met = float(kernel[of_kernel.index("i")])
    for axis, size in enumerate(map(int, window.get("size", "").split("x"))):
        each = lambda key, default, axis=axis: (
            window[key].split("x")[axis] if key in window else default
        )
        low = int(each("pad", "0_0").split("_")[0])
        stride, holes, gaps = (int(each(k, 1)) for k in ("stride", "lhs_dilate", "rhs_dilate"))
        length, there = output[of_output.index(str(axis))], image[of_image.index(str(axis))]
        places = [o * stride - low + k * gaps for o in range(length) for k in range(size)]
        inside = [p for p in places if p % holes == 0 and 0 <= p // holes < there]
        met *= len(inside) / length
    return met


def numbers(text: str | None) -> list[int]:
    return [int(word) for word in (text or "").split(",") if word]


def dimensions(shape: str) -> list[int]:
    """Of the first array in a shape."""
    found = ARRAY.search(shape)
    return numbers(found[3]) if found else []


def elements(shape: str) -> int:
    """Of all arrays in a shape."""
    return sum(math.prod(numbers(found[3])) for found in ARRAY.finditer(shape))


def size_of(shape: str) -> int:
    """Bytes of all arrays in a shape; ``pred`` has one an element.

    >>> size_of("(f32[2,3]{1,0}, pred[8]{0}, bf16[4])")
    40
    """
    return sum(
        math.prod(numbers(found[3])) * max(int(found[2] or 8) // 8, 1)
        for found in ARRAY.finditer(shape)
    )
