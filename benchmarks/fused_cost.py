"""What the fused kernels of Re-attention ask of a GPU, counted in what they compile to; needs none."""

from __future__ import annotations

import argparse
import collections
import re
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.training_steps import signature

NUM_PROCESSORS, CLOCK_GHZ = 132, 1.98
"""Streaming multiprocessors of an H100 or H200, and how fast one runs at most; the architecture is sm_90."""
SHAPES = ((12, 197, 32), (12, 65, 32), (6, 197, 64), (3, 65, 64))
"""Heads, tokens, channels a head: the targets' two, ViT-S/16, and CIFAR-sized with D=192."""
UNITS = ("shared memory", "issued", "products", "exponentials")
KERNELS = ("forward_kernel", "rows_kernel", "keys_kernel")
COLUMNS = (
    *("heads, tokens, channels", "kernel", "tile", "registers", "spilled", "shared KiB", "barriers a step"),
    *(*UNITS, "bound"),
)


@dataclass(frozen=True)
class Cost:
    """Of one kernel for one image."""

    kernel: str
    tile: tuple[int, int]
    """What a program owns, and how many of the others it takes a step."""
    registers: int
    spilled_bytes: int
    shared_bytes: int
    barriers: int
    """Of one step of the main loop."""
    cycles: Mapping[str, float]
    """By unit, of one multiprocessor that does nothing else."""


def unit_cycles(instruction: str) -> dict[str, float]:
    """How long one instruction of a warp keeps each unit of a multiprocessor busy, cycles.

    In a cycle a multiprocessor issues four instructions, moves 128 bytes between registers and shared memory or L1, and
    computes 16 exponentials. A product of 16x8x16 bfloat16 takes 1.44 cycles at the rate that `mma.sync` reaches on an
    H100. Bank conflicts are not known here.
    """
    name, *words = instruction.split(maxsplit=1)[0].split(".")
    used = {"issued": 0.25}
    if name in ("LDSM", "STSM"):
        used["shared memory"] = float(words[-1]) if words[-1].isdigit() else 1.0
    elif name in ("LDS", "STS", "LDL", "STL", "LDG", "STG", "LDGSTS"):
        used["shared memory"] = 4.0 if "128" in words else 2.0 if "64" in words else 1.0
    elif name == "SHFL":
        used["shared memory"] = 1.0
    elif name == "MUFU":
        used["exponentials"] = 2.0
    elif name == "HMMA":
        used["products"] = 1.44
    return used


def parse(assembly: str) -> tuple[list[str], list[range]]:
    """The instructions of a disassembly, without predicates, and its loops as ranges of them, inner ones included."""
    instructions: list[str] = []
    labels: dict[str, int] = {}
    loops = []
    for line in assembly.splitlines():
        if label := re.match(r"\s*(\.L_x_\d+):", line):
            labels[label[1]] = len(instructions)
        elif found := re.search(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?(.*?);", line):
            target = re.search(r"^BRA.*`\((\.L_x_\d+)\)", found[1])
            instructions.append(found[1])
            if target and labels.get(target[1], len(instructions)) < len(instructions) - 1:
                loops.append(range(labels[target[1]], len(instructions)))
    return instructions, loops


def count_cycles(assembly: str, trips: Sequence[int], num_warps: int) -> tuple[dict[str, float], int]:
    """Cycles by unit of one program, and the barriers in a step of its last loop.

    Raises:
        ValueError: it has another number of loops than `trips`.
    """
    instructions, loops = parse(assembly)
    if len(loops) != len(trips):
        raise ValueError(f"{len(loops)} loops in the compiled kernel, not {len(trips)}")
    times = [1] * len(instructions)
    for loop, number in zip(loops, trips, strict=True):
        for place in loop:
            times[place] = number
    cycles: collections.Counter[str] = collections.Counter()
    for number, instruction in zip(times, instructions, strict=True):
        for unit, used in unit_cycles(instruction).items():
            cycles[unit] += number * used * num_warps  # type: ignore[assignment]
    barriers = sum(instructions[place].startswith("BAR") for place in loops[-1])
    return dict(cycles), barriers


class Recorder:
    """In the place of a kernel: what launches it compiles it for sm_90 and counts."""

    def __init__(self, kernel: Any, found: list[Cost]) -> None:
        self.kernel, self.found = kernel, found

    def __getitem__(self, grid: tuple[int]) -> Callable[..., None]:
        return lambda *words, **options: self.found.append(self._cost(grid, words, options))

    def _cost(self, grid: tuple[int], words: tuple[Any, ...], options: dict[str, Any]) -> Cost:
        name, compiled = self.kernel.__name__, self.kernel.warmup(*words, grid=grid, **options)
        own, step = ("KEYS", "ROWS") if name == "keys_kernel" else ("ROWS", "KEYS")
        num_steps = -(-options["num_tokens"] // options[step])
        trips = [-(-num_steps // 2), num_steps] if name == "forward_kernel" else [num_steps]
        assembly, usage = disassemble(compiled.asm["cubin"])
        cycles, barriers = count_cycles(assembly, [each for each in trips if each > 1], options["num_warps"])
        registers, spilled = (int(re.search(rf"{word}:(\d+)", usage)[1]) for word in ("REG", "STACK"))  # type: ignore[index]
        by_unit = {unit: cycles.get(unit, 0.0) * grid[0] for unit in UNITS}
        return Cost(
            name, (options[own], options[step]), registers, spilled, compiled.metadata.shared, barriers, by_unit
        )


def disassemble(cubin: bytes) -> tuple[str, str]:
    """Its instructions, and what it needs of registers and stack, by the tools that triton brings."""
    import triton

    tools = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        words = [[tools / "nvdisasm", "-c", file.name], [tools / "cuobjdump", "-res-usage", file.name]]
        assembly, usage = (subprocess.run(each, capture_output=True, text=True, check=True).stdout for each in words)
    return assembly, usage.splitlines()[-1]


def measure(num_heads: int, num_tokens: int, head_dim: int, dtype_name: str = "bfloat16") -> list[Cost]:
    """Of the three kernels, for tensors of such a shape."""
    import torch
    import triton
    from triton.backends.compiler import GPUTarget

    from orchestrator.models import fused, fused_kernels

    class Told:
        """A driver that says there is an H100."""

        get_current_target = staticmethod(lambda: GPUTarget("cuda", 90, 32))
        get_current_device = get_current_stream = staticmethod(lambda *_: 0)

    triton.runtime.driver.set_active(Told())
    found: list[Cost] = []
    kernels = {name: getattr(fused_kernels, name) for name in KERNELS}
    for name, kernel in kernels.items():
        setattr(fused_kernels, name, Recorder(kernel, found))
    try:
        shape = 1, num_heads, num_tokens, head_dim
        q, k, v = (torch.zeros(shape, dtype=getattr(torch, dtype_name), requires_grad=True) for _ in range(3))
        out, square = fused.mix_fused(q, k, v, torch.zeros(num_heads, num_heads), 1.0)
        (out.sum() + square.sum()).backward()
    finally:
        for name, kernel in kernels.items():
            setattr(fused_kernels, name, kernel)
    return found


def make_table(found: Mapping[tuple[int, int, int], Sequence[Cost]]) -> str:
    """The Markdown table: thousands of cycles of one multiprocessor an image, by unit; the most is the bound."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    for shape, costs in found.items():
        label = ", ".join(map(str, shape))
        for cost in costs:
            tile, shared_kib = "x".join(map(str, cost.tile)), cost.shared_bytes // 1024
            cycles = [f"{number / 1e3:.1f}" for number in (*cost.cycles.values(), max(cost.cycles.values()))]
            words = label, cost.kernel, tile, cost.registers, cost.spilled_bytes, shared_kib, cost.barriers, *cycles
            lines.append(f"| {' | '.join(map(str, words))} |")
    return "\n".join(lines) + "\n"


def bound_us(costs: Sequence[Cost], num_images: int) -> float:
    """At least so long a layer takes on an H100, the kernels forward and backward, microseconds."""
    return sum(max(cost.cycles.values()) for cost in costs) * num_images / NUM_PROCESSORS / CLOCK_GHZ / 1e3


def main(arguments: Sequence[str]) -> int:
    """Compile, count and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks fused_cost", description=__doc__)
    parser.add_argument("--shape", type=int, nargs=3, action="append", metavar=("HEADS", "TOKENS", "CHANNELS"))
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    options = parser.parse_args(list(arguments))
    shapes = [tuple(shape) for shape in options.shape or SHAPES]
    found = {shape: measure(*shape, dtype_name=options.dtype) for shape in shapes}
    print(make_table(found))
    for shape, costs in found.items():
        label, bound = ", ".join(map(str, shape)), bound_us(costs, 256)
        print(f"{label}: a layer of 256 images takes at least {bound:.0f} us.")
    where = f"{NUM_PROCESSORS} multiprocessors of an H100 at {CLOCK_GHZ} GHz"
    print(f"\nThousands of cycles of one multiprocessor an image; {where}. {signature('fused_cost', arguments, 'cpu')}")
    return 0
