#!/usr/bin/env python3
"""Makes tests/golden/pipelines.json: chunked MoE layers and the shortest time any schedule of them can take.

The problem. A layer is cut into r equal chunks. Chunk i goes through
    D (inter, a) -> AG (intra, g) -> E (compute, e) -> RS (intra, s) -> C (inter, a)
and, where w > 0, W (compute, w) after its E, which nothing waits for. Where G > 0 one AllReduce R (inter, G) is sent in
one piece at any place on the inter-node link. Each of the three resources does one task at a time and interrupts none:
a task of length 0 still has its place in the order, so it cannot lie strictly inside another task. All is available at
time 0; the optimum is the least time at which the last task can end.

r = 1..4 comes from trying every order of every resource; a given order is worth its longest path, because starting a
task earlier never hurts. Within a kind the chunks go in order: take any schedule and give its k-th D slot, k-th AG slot,
and so on, to chunk k. The first k slots of a kind follow k different slots of the kind before it, so the k-th start comes
no earlier than the k-th end there, and the same slots still make a schedule. r = 5..8 comes from OR-tools CP-SAT, proven
optimal, with chunks in order. CP-SAT with chunks in any order must agree with every case of r = 1..4, or nothing is
written.

    python3 tests/golden/make_pipelines.py tests/golden/pipelines.json

Writes the same file each time. Recorded with Python 3.11.7, numpy 2.4.6 and ortools 9.15.6755 in about half a minute.

pipelines.json: an array of {"r", "a", "g", "e", "s", "w", "G", "optimum"}; times are multiples of 1/1024, so that doubles
hold them and their sums exactly; w = 0 and G = 0 mean there is no such task.
"""

import itertools
import json
import random
import sys

import numpy as np
from ortools.sat.python import cp_model

UNIT = 1024  # the cases are integers until they are written, divided by this
LENGTH_OF = {"D": "a", "AG": "g", "E": "e", "RS": "s", "C": "a", "W": "w", "R": "G"}
AFTER = {"AG": "D", "E": "AG", "RS": "E", "C": "RS", "W": "E"}
RESOURCES = (("D", "C", "R"), ("AG", "RS"), ("E", "W"))  # inter, intra, compute


# --- the first oracle: every order ---


def two_kind_words(first, second, r):
    """Every order of r firsts and r seconds in which the k-th second follows the k-th first."""
    for places in itertools.combinations(range(2 * r), r):
        word = [first if p in places else second for p in range(2 * r)]
        if all(word[:p].count(first) >= word[:p].count(second) for p in range(2 * r)):
            yield word


def resource_words(r, with_w, with_g):
    """Every order of each resource, as three lists: inter, intra, compute."""
    inter = list(two_kind_words("D", "C", r))
    if with_g:
        inter = [word[:p] + ["R"] + word[p:] for word in inter for p in range(2 * r + 1)]
    compute = list(two_kind_words("E", "W", r)) if with_w else [["E"] * r]
    return inter, list(two_kind_words("AG", "RS", r)), compute


def longest_paths(words, lengths):
    """Start and end of every task, as (kind, chunk) -> (start, end), of the schedule that `words` order; None if they
    wait for each other in a circle. `lengths[kind]` may be arrays, one element a case."""
    times, done = {}, dict.fromkeys(LENGTH_OF, 0)
    heads, free = [0, 0, 0], [0, 0, 0]
    left = sum(map(len, words))
    while left:
        before = left
        for m, word in enumerate(words):
            while heads[m] < len(word):
                kind = word[heads[m]]
                chunk, previous = done[kind], AFTER.get(kind)
                if previous and done[previous] <= chunk:
                    break
                start = np.maximum(free[m], times[previous, chunk][1]) if previous else free[m]
                free[m] = start + lengths[kind]
                times[kind, chunk] = (start, free[m])
                done[kind] += 1
                heads[m] += 1
                left -= 1
        if left == before:
            return None
    return times


def case_lengths(cases):
    """kind -> the lengths of that kind's tasks, one element a case."""
    return {kind: np.array([case[t] for case in cases], dtype=np.int64) for kind, t in LENGTH_OF.items()}


def optima_by_enumeration(cases):
    """The optimum of each of `cases`, which have one r and either all or none of them w, and likewise G."""
    lengths = case_lengths(cases)
    best = np.full(len(cases), np.iinfo(np.int64).max)
    for words in itertools.product(*resource_words(cases[0]["r"], cases[0]["w"] > 0, cases[0]["G"] > 0)):
        times = longest_paths(words, lengths)
        if times:
            ends = [times[word[-1], word.count(word[-1]) - 1][1] for word in words]
            best = np.minimum(best, np.maximum(np.maximum(ends[0], ends[1]), ends[2]))
    return [int(value) for value in best]


# --- the second oracle: a constraint program ---


def optimum_by_constraints(case, in_order):
    """The optimum of one case; `in_order` lets the chunks of a kind go in order only, which is quicker to prove."""
    r, model = case["r"], cp_model.CpModel()
    horizon = r * (2 * case["a"] + case["g"] + case["e"] + case["s"] + case["w"]) + case["G"]
    makespan = model.new_int_var(0, horizon, "makespan")
    starts = {}
    for kinds in RESOURCES:
        intervals = []
        for kind in kinds:
            length = case[LENGTH_OF[kind]]
            if kind in "WR" and not length:
                continue
            for chunk in range(1 if kind == "R" else r):
                start = starts[kind, chunk] = model.new_int_var(0, horizon, f"{kind}{chunk}")
                intervals.append(model.new_fixed_size_interval_var(start, length, f"{kind}{chunk}"))
                model.add(start + length <= makespan)
        model.add_no_overlap(intervals)
    for (kind, chunk), start in starts.items():
        previous = AFTER.get(kind)
        if previous:
            model.add(start >= starts[previous, chunk] + case[LENGTH_OF[previous]])
        if in_order and chunk:
            model.add(start >= starts[kind, chunk - 1] + case[LENGTH_OF[kind]])
    model.minimize(makespan)
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 2
    solver.parameters.max_time_in_seconds = 120
    if solver.solve(model) != cp_model.OPTIMAL:
        raise RuntimeError(f"not proven optimal: {case}")
    return round(solver.objective_value)


# --- the cases ---


def lower_bound(c):
    """What no schedule can beat, by the load of each resource alone and by the slowest stage."""
    r, a, g, e, s, w = c["r"], c["a"], c["g"], c["e"], c["s"], c["w"]
    inter = max(2 * r * a + c["G"], (r + 1) * a + g + e + s)
    compute = max(a + g + r * (e + w), 2 * a + g + s + r * e)
    intra = 2 * a + max(r * (g + s), g + e + r * s, r * g + e + s)
    return max(inter, compute, intra, 2 * a + g + e + s + (r - 1) * max(a, g, e, s))


def draw_times(rng, family):
    """a, g, e, s of one chunk."""
    big, half = rng.randint(512, 8192), rng.randint(128, 4096)
    g = rng.randint(1, 2 * half - 1)
    match family:
        case "any":
            return [rng.randint(1, 8192) for _ in range(4)]
        case "small":  # many ties
            return [rng.randint(1, 6) * UNIT for _ in range(4)]
        case "ratios":
            return [int(2 ** rng.uniform(0, 24)) for _ in range(4)]
        case "zero":
            times = [rng.randint(1, 6) * UNIT for _ in range(4)]
            for t in rng.choice([(0,), (1,), (3,), (2,), (1, 3), (0, 2), (0, 1, 3)]):
                times[t] = 0
            return times
        case "dominated":
            return rng.choice([[big * 9, g, half, half], [big, g * 9, half, half * 9], [big, g, half * 12, half]])
        case "inter=intra":
            return [half, g, rng.randint(1, 2 * half), 2 * half - g]
        case "inter=compute":
            return [half, rng.randint(1, half), 2 * half, rng.randint(1, half)]
        case "intra=compute":
            return [rng.randint(1, half), g, 2 * half, 2 * half - g]
        case "all equal":
            return [half, g, 2 * half, 2 * half - g]
    raise ValueError(family)


FAMILIES = ("any", "small", "small", "ratios", "zero", "dominated",
            "inter=intra", "inter=compute", "intra=compute", "all equal")  # fmt: skip


def draw_case(rng, r, family, with_w, with_g):
    """One case: w and G of a size that matters, often exactly what balances the loads."""
    a, g, e, s = draw_times(rng, family)
    loads = [2 * r * a, r * (g + s), r * e]
    w = rng.choice([e, rng.randint(1, 2 * e + 2), max(1, (max(loads) - r * e) // r)]) if with_w else 0
    slack = max(loads[1], loads[2] + r * w) - loads[0]
    big_g = rng.choice([slack, rng.randint(1, max(loads)), r * a, a + g, e + s]) if with_g else 0
    if with_g:
        big_g = max(1, big_g)
    return {"r": r, "a": a, "g": g, "e": e, "s": s, "w": w, "G": big_g}


def choose_cases(rng, r, n, solve):
    """n cases of r chunks and their optima, as `solve` finds them for a list of cases; half of them, where enough are
    drawn, have an optimum above the lower bound."""
    chosen = []
    for k, (with_w, with_g) in enumerate(itertools.product((False, True), repeat=2)):
        pool = [draw_case(rng, r, FAMILIES[i % len(FAMILIES)], with_w, with_g) for i in range(n)]
        for case, optimum in zip(pool, solve(pool)):
            if lower_bound(case) > optimum:
                raise RuntimeError(f"below the lower bound, {optimum}: {case}")
            case["optimum"] = optimum
        share = (n + 3 - k) // 4
        loose = [case for case in pool if lower_bound(case) < case["optimum"]][: (share + 1) // 2]
        chosen += loose + [case for case in pool if case not in loose][: share - len(loose)]
    return chosen


def check_enumerated(cases):
    """The constraint program, with chunks in any order, must give the same."""
    for case in cases:
        other = optimum_by_constraints(case, in_order=False)
        if other != case["optimum"]:
            raise RuntimeError(f"enumeration and constraint program disagree, {other}: {case}")


def write_cases(path, cases):
    scaled = [{k: v if k == "r" else v / UNIT for k, v in case.items()} for case in cases]
    with open(path, "w", encoding="utf-8") as out:
        out.write("[\n" + ",\n".join(json.dumps(case) for case in scaled) + "\n]\n")


def main(path):
    rng = random.Random(2025)
    cases = []
    for r, n in ((1, 40), (2, 80), (3, 90), (4, 110)):
        some = choose_cases(rng, r, n, optima_by_enumeration)
        check_enumerated(some)
        cases += some
    for r in (5, 6, 7, 8):
        cases += choose_cases(rng, r, 24, lambda pool: [optimum_by_constraints(case, in_order=True) for case in pool])
    write_cases(path, cases)


if __name__ == "__main__":
    main(*sys.argv[1:])
