"""benchmarks/fused_cost.py: what is counted in an assembly; `models/test_fused_kernels.py` lets it compile kernels."""

from __future__ import annotations

import pytest

from benchmarks.fused_cost import Cost, bound_us, count_cycles, make_table, parse, unit_cycles

ASSEMBLY = """\
.section .text.kernel
        /*0000*/                   LDC R1, c[0x0][0x28] ;
.L_x_0:
        /*0010*/                   LDSM.16.M88.4 R4, [R1+UR6] ;
        /*0020*/               @P0 STS.64 [R1+UR6+0x80], R4 ;
        /*0030*/                   HMMA.16816.F32.BF16 R8, R4.reuse, R6, RZ ;
        /*0040*/                   BAR.SYNC.DEFER_BLOCKING 0x0 ;
        /*0050*/              @!P1 BRA `(.L_x_0) ;
        /*0060*/                   MUFU.EX2 R9, R8 ;
        /*0070*/                   EXIT ;
.L_x_1:
        /*0080*/                   BRA `(.L_x_1);
"""


def test_loops_are_what_jumps_back_and_a_jump_to_itself_is_none() -> None:
    instructions, loops = parse(ASSEMBLY)
    assert instructions[2] == "STS.64 [R1+UR6+0x80], R4 "
    assert loops == [range(1, 6)]


def test_a_loop_counts_as_often_as_it_runs_and_for_every_warp() -> None:
    cycles, barriers = count_cycles(ASSEMBLY, [10], num_warps=8)
    issued = 1 + 10 * 5 + 3
    expected = {"issued": issued / 4 * 8, "shared memory": 10 * (4 + 2) * 8, "products": 10 * 1.44 * 8}
    assert barriers == 1
    assert cycles == pytest.approx({**expected, "exponentials": 2.0 * 8})


def test_other_loops_than_those_expected_are_an_error() -> None:
    with pytest.raises(ValueError, match="1 loops in the compiled kernel, not 2"):
        count_cycles(ASSEMBLY, [10, 20], num_warps=8)


@pytest.mark.parametrize(
    ("instruction", "cycles"),
    [
        ("LDS R1, [R2]", 1.0),
        ("LDS.128 R1, [R2]", 4.0),
        ("LDGSTS.E.BYPASS.128 [R1], desc[R2]", 4.0),
        ("LDL.64 R1, [R2]", 2.0),
        ("STSM.16.M88.2 [R1], R2", 2.0),
        ("SHFL.BFLY R1, R2", 1.0),
        ("LDG.E.128 R1, [R2.64]", 4.0),
    ],
)
def test_shared_memory_moves_128_bytes_a_cycle(instruction: str, cycles: float) -> None:
    assert unit_cycles(instruction) == {"issued": 0.25, "shared memory": cycles}


def test_the_busiest_unit_bounds_a_kernel_and_kernels_add_up() -> None:
    units = {"shared memory": 132e3, "issued": 50e3, "products": 1.0, "exponentials": 2.0}
    cost = Cost("rows_kernel", (32, 16), 255, 0, 2048, 6, units)
    assert bound_us([cost, cost], num_images=1980) == pytest.approx(2000.0)
    row = make_table({(12, 65, 32): [cost]}).splitlines()[-1]
    assert row == "| 12, 65, 32 | rows_kernel | 32x16 | 255 | 0 | 2 | 6 | 132.0 | 50.0 | 0.0 | 0.0 | 132.0 |"
