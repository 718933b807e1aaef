#!/usr/bin/env python3
"""Makes the logs in this folder: synthetic ones, as nccl-tests and the OSU micro-benchmarks print them.

    python3 tests/golden/clusters/make_logs.py

Times are alpha + n beta with 1 % noise (N(0, 1), cut at 3), n as fsmoe counts it (include/fsmoe/cluster.h); the constants
stand in LINES and, once more, in tests/test_cluster_import.c. What is laid out how:
    nccl-2.17.log       all_reduce_perf of a version that names its test and its groups of ranks
    nccl-2.13.log       alltoall_perf of a version that names neither; the file's name does not help
    nccl-session.log    one file: reduce_scatter_perf between debug lines, under mpirun --tag-output, with time stamps, then
                        all_gather_perf of a version before 2.13, named by its command line, without redop and root columns
    osu.log             osu_allreduce and osu_reduce_scatter as they are by default
    osu-full.log        osu_alltoall with -f and two slopes, osu_allgather with -f and validation
Formats: src/common.cu and src/util.cu of nccl-tests 2.8, 2.13 and 2.19; c/util/osu_util_mpi.c of OSU 5.6 to 7.4.
"""

import pathlib
import random

FOLDER = pathlib.Path(__file__).parent
SYNTHETIC = "# synthetic: made by make_logs.py, measured nowhere\n"

# (microseconds, nanoseconds an element); a third number: elements from which the second pair holds
LINES = {
    "nccl allreduce": (32.0, 0.080),
    "nccl alltoall": (45.0, 0.210),
    "nccl reducescatter": (26.0, 0.024),
    "nccl allgather": (22.0, 0.023),
    "osu allreduce": (18.0, 0.900),
    "osu reducescatter": (15.0, 0.500),
    "osu alltoall": (40.0, 1.1, 1 << 15, 150.0, 2.4),
    "osu allgather": (12.0, 0.450),
}


def time_us(name, elements):
    line = LINES[name]
    alpha, beta = line[3:] if len(line) > 2 and elements >= line[2] else line[:2]
    noise = max(-3, min(3, random.gauss(0, 1)))
    return (alpha + elements * beta * 1e-3) * (1 + 0.01 * noise)


def seven(value):
    """getFloatStr of nccl-tests: seven characters, as many digits as fit."""
    for digits in (2, 1, 0):
        text = f"{value:7.{digits}f}"
        if len(text) <= 7:
            return text
    raise ValueError(value)


def nccl_rows(name, ranks, redop, root, wrong, stamp=False):
    whole = name.endswith("allreduce")
    size = 8
    while size <= 1 << 30:
        count = size // 4 if whole else size // 4 // ranks // 4 * 4
        moved = 4 * count * (1 if whole else ranks)
        cells = [f"{moved:12d}", f"{count:12d}", f"{'float':>8}"]
        cells += [f"{redop:>6}"] if redop else []
        cells += [f"{root:>6}"] if root else []
        for place in ("out", "in"):
            # in place is another time, which is not to be used; an operation on nothing returns at once
            t = (time_us(name, moved / 4) if moved else 2.5) * (1 if place == "out" else 1.3)
            algbw = moved / t * 1e-3
            busbw = algbw * (ranks - 1) / ranks * (2 if whole else 1)
            last = "N/A" if place == "in" and name.endswith("alltoall") else "0"
            cells += [seven(t), f"{algbw:6.2f}", f"{busbw:6.2f}", f"{last:>{wrong}}"]
        yield "  ".join(cells) + ("  2024-05-06 07:08:09" if stamp else "") + "\n"
        size *= 2


def nccl_foot():
    return "# Out of bounds values : 0 OK\n# Avg bus bandwidth    : 41.7 \n#\n"


def nccl_ranks(hosts, per_host, group=None):
    lines = "# Using devices\n"
    for rank in range(hosts * per_host):
        pid = f"Group {0 if group is None else group(rank):2d} " if group else ""
        lines += (
            f"#  Rank {rank:2d} {pid}Pid {4000 + rank:6d} on {'node%03d' % (rank // per_host):>10} "
            f"device {rank % per_host:2d} [0000:{rank % per_host:02x}:00] Synthetic GPU\n"
        )
    return lines


THREADS = (
    "# nThread 1 nGpus 1 minBytes 8 maxBytes 1073741824 step: 2(factor) warmup iters: 5 iters: 20 agg iters: 1 "
    "validation: 1 graph: 0\n#\n"
)

HEAD = """#
#                                                              out-of-place                       in-place          
#       size         count      type   redop    root     time   algbw   busbw  #wrong     time   algbw   busbw  #wrong{0}
#        (B)    (elements)                               (us)  (GB/s)  (GB/s)             (us)  (GB/s)  (GB/s)        {1}
"""

HEAD_2_8 = """#
#                                             out-of-place                       in-place          
#       size         count      type     time   algbw   busbw  error     time   algbw   busbw  error
#        (B)    (elements)               (us)  (GB/s)  (GB/s)            (us)  (GB/s)  (GB/s)       
"""


def nccl_new():
    """16 ranks in two groups of 8, each of which does the all-reduce."""
    return (
        "# nccl-tests version 2.17.6 nccl-headers=22808 nccl-library=22808\n"
        "# Collective test starting: all_reduce_perf\n"
        + THREADS
        + nccl_ranks(2, 8, group=lambda rank: rank // 8)
        + HEAD.format("", "")
        + "".join(nccl_rows("nccl allreduce", 8, "sum", "-1", 6))
        + nccl_foot()
        + "# Collective test concluded: all_reduce_perf\n"
    )


def nccl_2_13():
    return (
        THREADS
        + nccl_ranks(6, 1)
        + HEAD.format("", "")
        + "".join(nccl_rows("nccl alltoall", 6, "none", "-1", 6))
        + nccl_foot()
    )


def nccl_session():
    tagged = (
        "# Collective test starting: ./build/reduce_scatter_perf_mpi\n"
        + THREADS
        + nccl_ranks(1, 8)
        + "node000:4000:4017 [0] NCCL INFO Bootstrap : Using eth0:10.0.0.1<0>\nNCCL version 2.26.2+cuda12.8\n"
        + HEAD.format("           timestamp", " %Y-%m-%d %H:%M:%S")
        + "".join(nccl_rows("nccl reducescatter", 8, "sum", "-1", 6, stamp=True))
        + nccl_foot()
    )
    tagged = "".join(f"[1,0]<stdout>:{line}\n" for line in tagged.splitlines())
    return (
        tagged
        + "\n$ mpirun -np 8 -N 8 ./build/all_gather_perf -b 8 -e 1G -f 2\n"
        + THREADS
        + nccl_ranks(1, 8)
        + HEAD_2_8
        + "".join(nccl_rows("nccl allgather", 8, "", "", 5))
        + nccl_foot()
        + "$ exit\n"
    )


def osu(title, name, part_of=0, first=1, full=False, validate=False):
    text = f"\n# OSU MPI{title} Latency Test v7.4\n"
    text += "# Datatype: MPI_FLOAT.\n" if validate else ""
    text += f"{'# Size':<10}{'Avg Latency(us)':>18}"
    text += f"{'Min Latency(us)':>18}{'Max Latency(us)':>18}{'Iterations':>12}" if full else ""
    text += f"{'Validation':>18}" if validate else ""
    text += "\n"
    size = first
    while size <= 1 << 20:
        t = time_us(name, size * (part_of or 1) / 4)
        text += f"{size:<10d}{t:>18.2f}"
        text += f"{0.9 * t:>18.2f}{1.1 * t:>18.2f}{1000 if size <= 8192 else 100:>12d}" if full else ""
        text += f"{'Pass':>18}" if validate else ""
        text += "\n"
        size *= 2
    return text


def main():
    random.seed(20240506)
    logs = {
        "nccl-2.17.log": nccl_new(),
        "nccl-2.13.log": nccl_2_13(),
        "nccl-session.log": nccl_session(),
        "osu.log": osu(" Allreduce", "osu allreduce", first=4) + osu("-CUDA Reduce_scatter", "osu reducescatter", first=4),
        "osu-full.log": osu(" All-to-All Personalized Exchange", "osu alltoall", part_of=4, full=True)
        + osu(" Allgather", "osu allgather", part_of=8, full=True, validate=True),
    }
    for name, text in logs.items():
        (FOLDER / name).write_text(SYNTHETIC + text)


main()
