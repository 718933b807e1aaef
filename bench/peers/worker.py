"""One rank of a benchmark of the peer; `run` starts it. All modes take turns in every round.

In:  what `run` was asked for; on rank 0 a line of standard input for every round that may begin.
Out: rank 0 prints `# ...` remarks, `round N` when one has ended, and `row MODE DEGREE MS...` for every mode at the end: each step's
     time from a barrier to when the last rank is done.
"""
import argparse
import os
import sys
import threading
import time

import torch

from fabric import connect
from model import Trainer, add_model_options
from moe_layer import MoeLayer, check


class LayerBench:
    def __init__(self, options, fabric):
        self.layer = MoeLayer(fabric, options.hidden, options.ffn, options.experts, options.top_k, options.capacity_factor)
        random = torch.Generator().manual_seed(10 + fabric.rank)
        self.x, self.dy = (torch.randn(options.tokens, options.hidden, generator=random) for _ in range(2))
        self.set_mode = self.layer.set_mode

    def step(self):
        for weight in self.layer.parameters():
            weight.grad.zero_()
        y, state = self.layer.run_forward(self.x)
        self.layer.run_backward(self.dy, state)
        return y[0, 0].item()


def timed_ms(fabric, bench):
    fabric.barrier()
    began = time.perf_counter()
    value = bench.step()
    return fabric.max((time.perf_counter() - began) * 1e3), value


def say(fabric, text):
    if fabric.rank == 0:
        print(text, flush=True)


def may_begin(fabric):
    if fabric.rank == 0 and not sys.stdin.readline():
        raise SystemExit("the launcher is gone")
    fabric.barrier()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["layer", "model", "check"])
    add_model_options(parser)
    parser.add_argument("--ep", type=int, required=True)
    parser.add_argument("--esp", type=int, required=True)
    parser.add_argument("--runs", required=True, help="MODE:DEGREE,...")
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--steps", type=int, required=True, help="of each mode, over all rounds")
    parser.add_argument("--time-limit", type=float, required=True)
    options = parser.parse_args()
    fabric = connect(options.ep, options.esp, options.time_limit)
    # Gloo's threads and the streams are there by now: they go before computing, as fsmoe's communication does.
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
    if options.what == "check":
        check(fabric, options)
        return
    bench = (LayerBench if options.what == "layer" else Trainer)(options, fabric)
    runs = [(mode, int(degree)) for mode, degree in (run.split(":") for run in options.runs.split(","))]
    times = {run: [] for run in runs}
    say(fabric, f"# torch {torch.__version__}, gloo, {torch.get_num_threads()} thread a rank, EP {options.ep} x ESP {options.esp}")
    for mode, degree in runs:  # buffers, connections and pages come into being
        bench.set_mode(mode, degree)
        _, value = timed_ms(fabric, bench)
        if options.what == "model":
            say(fabric, f"# {mode} r={degree}: loss on all ranks {sum_of(value, fabric):.6f}")
    for number in range(options.rounds):
        may_begin(fabric)
        steps = (number + 1) * options.steps // options.rounds - number * options.steps // options.rounds
        for mode, degree in runs:
            bench.set_mode(mode, degree)
            times[mode, degree] += [timed_ms(fabric, bench)[0] for _ in range(steps)]
        say(fabric, f"round {number + 1}")
    for (mode, degree), found in times.items():
        say(fabric, f"row {mode} {degree} " + " ".join(f"{ms:.3f}" for ms in found))
    fabric.barrier()


def sum_of(value, fabric):
    tensor = torch.tensor([value], dtype=torch.float64)
    torch.distributed.all_reduce(tensor)
    return tensor.item()


if __name__ == "__main__":
    main()
