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
        """ms and CPU ms (of all threads together) of a step, of bare products of the same work, and its GFLOP"""
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return [float(word) for word in self.process.stdout.readline().split()]

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def timed_ms(step):
    start, cpu = time.perf_counter(), time.process_time()
    step()
    return 1e3 * (time.perf_counter() - start), 1e3 * (time.process_time() - cpu)


def race(ours, steps, rounds):
    """steps: {name: function}. {name: [(ms, CPU ms)]}; those of bare products; the GFLOP of a step."""
    times, products = {"fsmoe": [], **{name: [] for name in steps}}, []
    for step in steps.values():
        step()
    for _ in range(rounds):
        ms, cpu, bare, bare_cpu, gflop = ours.step()
        times["fsmoe"].append((ms, cpu))
        products.append((bare, bare_cpu))
        for name, step in steps.items():
            times[name].append(timed_ms(step))
    return times, products, gflop


def ratios(tops, bottoms):
    """Medians of the rounds' ratios, by the clock and by CPU time."""
    return [statistics.median(top[i] / bottom[i] for top, bottom in zip(tops, bottoms)) for i in (0, 1)]


def show(title, times, products, gflop):
    """ms and CPU ms of all threads, which others on the machine disturb less; how many times ours; and the share, the time of
    bare products (oneDNN's) of a round over that of the step. Each by the clock, then by CPU time."""
    print(f"{title}: {gflop:.1f} GFLOP, bare GEMM {gflop / statistics.median(ms for ms, _ in products) * 1e3:.1f} GF/s")
    print(f"  {'':12} {'ms':>8} {'least':>8} {'CPU ms':>8} {'least':>8} {'to fsmoe':>13} {'GEMM share':>13}")
    for name, column in times.items():
        wall, cpu = [ms for ms, _ in column], [ms for _, ms in column]
        to_ours, share = ratios(column, times["fsmoe"]), ratios(products, column)
        print(f"  {name:12} {statistics.median(wall):8.1f} {min(wall):8.1f} {statistics.median(cpu):8.1f} {min(cpu):8.1f}"
              f"   {to_ours[0]:5.2f} {to_ours[1]:5.2f}   {share[0]:5.2f} {share[1]:5.2f}")
    sys.stdout.flush()
