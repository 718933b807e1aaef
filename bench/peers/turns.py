"""What layer and step share: a process of ours that does a step for every line it is sent, and the table of all who take turns.

In:  environments of settings.py; a program of ours; functions that do one step and return its milliseconds.
Out: {name: [ms]} of rounds in which everybody has a turn; a table of medians, and of each round's ratio to ours.
Whoever waits sleeps (OMP_WAIT_POLICY=passive), so that turns do not disturb each other.
"""
import os
import pathlib
import statistics
import subprocess
import sys
import time

import settings

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PYTHON = pathlib.Path(os.environ.get("FSMOE_PEERS_VENV", ROOT / "build/peers-venv")) / "bin/python"
THREADS = int(os.environ.get("FSMOE_PEERS_THREADS", min(2, len(os.sched_getaffinity(0)))))
OURS = {name: value for name, value in os.environ.items() if name != "FSMOE_PEER" and name not in settings.MEMORY}
OURS |= {"OMP_NUM_THREADS": str(THREADS), "OMP_WAIT_POLICY": "passive"}


def become_peer():
    """Starts the script again in the peer's environment, with its settings."""
    if os.environ.get("FSMOE_PEER"):
        return
    if not PYTHON.exists():
        sys.exit(f"{sys.argv[0]}: {PYTHON} is not there: bench/peers/setup makes it")
    os.execve(PYTHON, [str(PYTHON), *sys.argv],
              {**OURS, **settings.environment(THREADS), "OMP_WAIT_POLICY": "passive", "FSMOE_PEER": "1"})


class Ours:
    """bench_layer or bench_step with arguments that make it do a step for every line."""

    def __init__(self, program, *arguments):
        path = ROOT / "build/bench" / program
        if not path.exists():
            sys.exit(f"{sys.argv[0]}: {path} is not built: cmake --build build --target {program}")
        self.process = subprocess.Popen([path, *map(str, arguments)], env=OURS, text=True, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)
        self.first = self.process.stdout.readline().rstrip()
        if not self.first.startswith("ready"):
            self.close()
            sys.exit(f"{sys.argv[0]}: {path} did not begin: {self.first}")

    def step(self):
        """ms, ms of bare products of the same shapes, GFLOP"""
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return [float(word) for word in self.process.stdout.readline().split()]

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def timed_ms(step):
    start = time.perf_counter()
    step()
    return 1e3 * (time.perf_counter() - start)


def race(ours, steps, rounds):
    """steps: {name: function}. {name: [ms]}, and under "bare" the products'; and the GFLOP of a step."""
    times = {"fsmoe": [], **{name: [] for name in steps}, "bare": []}
    for step in steps.values():
        step()
    for _ in range(rounds):
        ms, bare, gflop = ours.step()
        times["fsmoe"].append(ms)
        times["bare"].append(bare)
        for name, step in steps.items():
            times[name].append(timed_ms(step))
    return times, gflop


def show(title, times, gflop):
    """ms; how many times ours; the share: time of bare products (oneDNN's) of a round over the time of the step."""
    print(f"{title}: {gflop:.1f} GFLOP, bare GEMM {gflop / statistics.median(times['bare']) * 1e3:.1f} GF/s")
    print(f"  {'':16} {'ms':>8} {'least':>8} {'most':>8} {'to fsmoe':>9} {'GEMM share':>11}")
    for name, column in times.items():
        if name == "bare":
            continue
        ratio = statistics.median(peer / our for peer, our in zip(column, times["fsmoe"]))
        share = statistics.median(bare / own for bare, own in zip(times["bare"], column))
        print(f"  {name:16} {statistics.median(column):8.1f} {min(column):8.1f} {max(column):8.1f} {ratio:9.2f} {share:11.2f}")
    sys.stdout.flush()
