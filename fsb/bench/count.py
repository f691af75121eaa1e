"""suite=count: operations and bytes of a train step and of its kernels, without running it."""

from __future__ import annotations

from omegaconf import DictConfig

from fsb.bench.kernels import Kernel, kernels
from fsb.bench.nets import compiled_step, require_nets
from fsb.bench.tables import Row, Tables


def count(config: DictConfig) -> Tables:
    """The totals of each net by the compiler's account, and its kernels that cost the most.

    The cost of a kernel is its operations, or ``balance`` times its bytes if that is more: the
    roofline of a machine that does ``balance`` operations in the time of a byte.
    """
    require_nets(config.nets)
    totals, dearest = [], []
    for name in config.nets:
        program = compiled_step(config, name)
        found, of_step = program.cost_analysis(), kernels(program.as_text())
        flops, moved = found["flops"], found["bytes accessed"]
        own = sum(kernel.calls * kernel.flops for kernel in of_step)
        bound = [k for k in of_step if config.balance * k.bytes > k.flops]
        everything = sum(cost(kernel, config.balance) for kernel in of_step)
        waits = sum(cost(kernel, config.balance) for kernel in bound)
        totals.append(
            {
                "net": name,
                "batch_size": config.batch_size,
                "gflop": flops / 1e9,
                "mb": moved / 1e6,
                "flop_per_byte": flops / moved,
                "kernels": sum(kernel.calls for kernel in of_step),
                "gflop_of_kernels": own / 1e9,
                "share_bound_by_memory": waits / everything,
            }
        )
        of_step.sort(key=lambda kernel: -cost(kernel, config.balance))
        for kernel in of_step[: config.top]:
            dearest.append(
                {"net": name, **shown(kernel), "share": cost(kernel, config.balance) / everything}
            )
    return {"totals": totals, "kernels": dearest}


def cost(kernel: Kernel, balance: float) -> float:
    """Operations in whose time the calls of a kernel are done.

    >>> cost(Kernel("dot.1", "dot", "", flops=100, bytes=3, calls=2), balance=10.0)
    200
    """
    return kernel.calls * max(kernel.flops, balance * kernel.bytes)


def shown(kernel: Kernel) -> Row:
    return {
        "kernel": kernel.name,
        "operation": kernel.operation,
        "calls": kernel.calls,
        "mflop": kernel.flops / 1e6,
        "mb": kernel.bytes / 1e6,
        "flop_per_byte": kernel.flops / kernel.bytes,
    }
