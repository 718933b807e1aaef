#!/usr/bin/env python3
"""Makes tests/golden/gates: small MoE layers, one folder a case, and what they compute, to hold `fsmoe layer` against.

Every layer is written down here from the definitions: GShard (arXiv 2006.16668), Shazeer's noisy top-k (1701.06538),
Switch (2101.03961), BASE and StableMoE (2103.16716, 2204.08396), X-MoE (2204.09179), expert choice (2202.09368),
SoftMoE (2308.00951), DeepSeek-V3 (2412.19437), hash layers (2106.04426), ST-MoE's z-loss (2202.08906), gated linear
units (2002.05202), balanced assignment by Sinkhorn (2202.01169) and deferred acceptance (Gale & Shapley 1962), random
numbers by Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011). All is computed in
float64 from the recorded float32 inputs, gradients by autograd, and recorded as float32.

    python3 tests/golden/make_gates.py           # writes the folders; the same bytes each time
    python3 tests/golden/make_gates.py --check   # writes nothing: gradients against central differences, values against
                                                 # the same formulas in float32, files against what would be written

Recorded with Python 3.11.7 and torch 2.15.0 in ten seconds; torch's numpy is needed too.

CASE/layer.yaml             the layer; its first line says what the case is for
CASE/in.safetensors         F32 x, dy [B, L, M] and the tensors that the layer needs
CASE/eval                   empty; there when the layer is to be run with --eval
CASE/expected.safetensors   F32 y, dx [B, L, M], d.NAME of every parameter NAME, aux_loss [1], z_loss [1],
                            weights [N, k], gate.bias [E] (deepseek: after the step); I32 indices [N, k];
                            I64 tokens_per_expert [E], dropped [1]

The objective is sum(dy * y) + aux_loss_coeff * aux + z_loss_coeff * z. No choice of an expert, group or token and no
ReLU is nearer than LEAST_GAP to a tie, except for the exact ties of cases marked so.

Definitions that leave something open are read like this:
 1. aux_loss, z_loss and dropped have shape [1]; dropped is I64. A parameter without influence has gradient 0 (Wn in
    evaluation, experts nobody chose).
 2. Noisy, k = 1: the weight is the softmax probability of the noisy logits.
 3. normalize_top_k with k = 1: weight 1. For k > 1 weights are a softmax over the kept logits with or without it.
 4. importance_load adds both squared coefficients of variation with factor 1. Importance is the sum of weights before
    any drop. The smooth load is Shazeer's (equations 8 to 10), the sum over tokens of
    Phi((x Wg - threshold) / softplus(x Wn)), with gradient through the threshold (a noisy logit) as well; nothing is
    added to softplus or to the mean.
 5. `probs`, equal weights: lower choice first, then lower token. `position` and `probs` act on each capacity group, a
    run of capacity_group tokens of the flattened batch.
 6. xmoe: a temperature at or below 0.01 counts as 0.01 and has gradient 0.
 7. expert_choice: a token that no expert takes gets 0; a token may be taken by any number of experts.
 8. soft: tokens_per_expert counts the slots that an expert works on, B * slots_per_expert. normalize_slots divides
    tokens and columns of Phi by their l2 norms (at least 1e-12) in the logits only; SoftMoE's learned scale is 1.
 9. deepseek: groups are runs of E / n_group experts. The order of choices, and so the first choice, is by the score
    that chose (with bias), as in DeepSeek's code. The bias moves by sign(mean load - load), sign(0) = 0, with the load
    before drops; in evaluation gate.bias is written unchanged.
10. hash: without token ids, a token's index in the flattened batch is its id.
11. geglu takes the exact GELU.
12. Shared experts have the routed experts' width, activation and biases; the shared gate multiplies the output bias
    too.
13. The smooth load where softplus(x Wn) is next to nothing: Phi of a huge number, 0 or 1, whose gradient is 0.
14. z_loss is there for gshard, switch, sigmoid, xmoe, expert_choice and deepseek (of x Wg, without bias), else it is 0.
15. Random numbers: Philox4x32-10 of counter (low half of an index, high half, stream, 0) and key (low half of a seed,
    high half); stream 2 << 24 for the only layer's gate.
16. switch with jitter e, in training: seed 1; four elements of a token share a counter, index = token * ceil(M / 4) +
    block. A word w makes u = (floor(w / 512) + 1/2) / 2^23 and the factor 1 + e (2 u - 1) of its element in what the
    gate sees; experts see x itself.
17. hash: table: seed 0, the token's id is the index; the first two words, the first on top, make a number of 64 bits.
    Half of it, rounded down, modulo E is the first choice; further choices are the experts after it.
18. sigmoid, balanced, in training: of each capacity group, or of all tokens, the plan r_i softmax(logits)_ie v_e has
    rows that sum to 1 and columns that sum to tokens / E. Every token asks for k seats by falling plan; an expert has
    floor(k tokens / E) seats, one more if its sum of softmax is among the (k tokens mod E) largest, and keeps those who
    ask with the largest plan. A token that finds fewer than k seats
    takes that of the earliest token that can move, at the lowest expert where it has none; the other moves to the
    lowest expert that has room. Choices are ordered by falling logit.
"""
import json
import math
import pathlib
import random
import shutil
import struct
import sys
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from typing import Callable, Optional

import torch

FOLDER = pathlib.Path(__file__).resolve().parent / "gates"
LEAST_GAP = 1e-3
GRID = 1024  # inputs are multiples of 1 / GRID, so that they do not depend on how random numbers are rounded
LEAST_TEMPERATURE = 0.01
LEAST_NORM = 1e-12
SEED, GATE_STREAM, WORD = 1, 2 << 24, 0xFFFFFFFF
NO_GRADIENT = ("dy", "gate.bias", "gate.noise")
TYPE_NAME = {torch.float32: "F32", torch.int32: "I32", torch.int64: "I64"}


# --- cases ---


@dataclass
class Case:
    about: str
    config: dict
    tokens: tuple = (2, 6)  # B, L
    evaluate: bool = False
    ties: bool = False  # exact ties are wanted
    steer: dict = field(default_factory=dict)  # expert: its gate's weight for a feature that is 1 in every token
    quiet: dict = field(default_factory=dict)  # expert: its noise's weight for a feature that is 1, 0, 1, 0 in tokens
    single: bool = True  # float32 holds all that is met on the way
    temperature: float = 0.3
    dy: float = 0.5  # its standard deviation
    wants: Optional[Callable] = None


CASES = {}


def add(gate, name, about, experts, k=None, f=0.0, policy=None, group=None, **rest):
    """`experts` is an activation, with biases or not; what in rest is no field of Case is a key of layer.yaml."""
    activation, _, bias = experts.partition(" ")
    config = {"hidden": 8, "ffn_hidden": 12, "num_experts": 4, "gate": gate}
    if k:
        config |= {"top_k": k, "capacity_factor": f}
    if policy:
        config["drop_policy"] = policy
    if group:
        config["capacity_group"] = group
    if activation in ("swiglu", "geglu"):
        config |= {"expert": "mixtral", "activation": activation}
    else:
        config |= {"expert": "gpt", "activation": activation, "bias": bool(bias)}
    fields = {key: value for key, value in rest.items() if key in Case.__dataclass_fields__}
    config |= {key: value for key, value in rest.items() if key not in fields}
    CASES[f"{gate}_{name}"] = Case(about, config, **fields)


# What a draw must show, of (outputs, inputs).


def drops(out, _):
    return out["dropped"].item() > 0


def drops_whole_token(out, _):
    return bool((out["indices"] < 0).all(1).any())


def leaves_experts_out(out, _):
    return bool((out["tokens_per_expert"] == 0).any())


def splits_ties(out, inputs):
    """A token's last choice equals an expert it leaves out, another's two choices are equal, and places are short."""
    logits = (inputs["x"].flatten(0, 1) @ inputs["gate.weight"].T).sort(-1, descending=True).values
    k = out["indices"].shape[1]
    twins, last = (logits[:, 0] == logits[:, 1]).any(), (logits[:, k - 1] == logits[:, k]).any()
    return bool(twins and last and out["dropped"] > 0)


def takes_all(out, _):
    return bool((out["indices"] == out["indices"].max()).logical_or(out["indices"] < 0).all())


def misses_token(out, _):
    return bool((out["y"] == 0).all(-1).any())


def closes_best(out, inputs):
    """A token's best expert is in a closed group."""
    logits = inputs["x"].flatten(0, 1) @ inputs["gate.weight"].T
    return bool((out["indices"] != (logits.sigmoid() + inputs["gate.bias"]).argmax(1, keepdim=True)).all(1).any())


def orders_by_bias(out, inputs):
    """The order of a token's choices by score with bias is another than without."""
    score = (inputs["x"].flatten(0, 1) @ inputs["gate.weight"].T).gather(1, out["indices"].long())
    return bool((score[:, 1:] > score[:, :-1]).any())


def moves_bias_by_choices(out, inputs):
    """The bias moves otherwise than what was kept would move it."""
    kept = out["tokens_per_expert"].float()
    return not torch.equal((out["gate.bias"] - inputs["gate.bias"]).sign().float(), (kept.mean() - kept).sign())


def settles_weights(out, _):
    """Far from equal weights: cosines divided by 0.01 carry a hundred times their rounding, which fades there."""
    return bool((out["weights"][:, 1] < 0.1).all() and (out["weights"][:, 1] > 0.001).any())


def sways(out, inputs):
    """Jitter sends a token elsewhere."""
    logits = inputs["x"].flatten(0, 1) @ inputs["gate.weight"].T
    return bool((out["indices"] != logits.argmax(1, keepdim=True)).logical_and(out["indices"] >= 0).any())


def sways_and_drops(out, inputs):
    return sways(out, inputs) and drops(out, inputs)


def hashes(out, _):
    """The table is not the remainder, and uses every expert."""
    remainder = torch.arange(len(out["indices"])) % len(out["tokens_per_expert"])
    return bool((out["indices"][:, 0] != remainder).any() and (out["tokens_per_expert"] > 0).all())


def balances(group, short=False, dropless=True):
    """Neither the best logits nor seats by probability give what seats by plan give; a token falls short, or none."""

    def wanted(out, inputs):
        logits = (inputs["x"].flatten(0, 1) @ inputs["gate.weight"].T).double()
        k = out["indices"].shape[1]
        mine, by_probability, missing = [], [], 0
        for some in logits.split(group):
            places = places_of(some, k)
            mine.append(seats(balanced_plan(some), k, places))
            by_probability.append(seats(some.softmax(-1), k, places))
            missing += k * group - int(seats(balanced_plan(some), k, places, trades=False).sum())
        best = torch.zeros_like(logits, dtype=torch.bool).scatter(1, logits.topk(k).indices, True)
        others = [best, torch.cat(by_probability)]
        return (missing > 0) == short and all((torch.cat(mine) != other).any() for other in others) and (
            dropless or drops(out, inputs))

    return wanted


def leaves_balance(out, _):
    """More tokens of an expert than a balanced assignment has."""
    return bool(out["tokens_per_expert"].max() > out["tokens_per_expert"].double().mean().ceil() + 2)


FIRST = {"aux_loss": "first_choice", "aux_loss_coeff": 0.5}
ALL = {"aux_loss": "all_choices", "aux_loss_coeff": 0.5}
LOAD = {"aux_loss": "importance_load", "aux_loss_coeff": 0.5}
Z = {"z_loss_coeff": 0.25}
BY_PLACE, BY_WEIGHT = "position", "probs"


def add_gshard():
    case = partial(add, "gshard")
    case("k1", "top-1: the softmax probability", "gelu bias", 1, order="sorted")
    case("k1_normalized", "top-1 with weight 1: only the z-loss moves the gate", "relu_squared", 1,
         normalize_top_k=True, **Z)
    case("k1_noisy", "top-1 on noisy logits; padded order without capacity", "relu", 1, noisy=True, order="tutel")
    case("k2_noisy", "losses see the noisy logits", "swiglu", 2, noisy=True, order="sorted", **FIRST, **Z)
    case("k_all", "every expert", "gelu", 4, order="tutel", aux_loss="none")
    case("drop_position", "first choices before second; a token loses both", "gelu_tanh bias", 2, 0.5, BY_PLACE,
         order="tutel", wants=drops_whole_token)
    case("drop_probs", "the largest weights are kept; a token loses both", "geglu", 2, 0.5, BY_WEIGHT, order="gshard",
         wants=drops_whole_token)
    case("ties", "equal logits go to the lower expert, also where places are short", "gelu", 2, 0.75, BY_PLACE,
         num_experts=6, ties=True, wants=splits_ties, **FIRST, **Z)
    case("first_choice", "f counts first choices before drops", "gelu", 2, 0.75, BY_WEIGHT, order="tutel", wants=drops,
         **FIRST, **Z)
    case("all_choices", "f counts all choices before drops", "gelu bias", 3, 0.75, BY_PLACE, num_experts=6, wants=drops,
         **ALL)
    case("importance_load", "without noise the load is counts before drops", "gelu_tanh", 2, 0.75, BY_PLACE,
         order="gshard", wants=drops, **LOAD)
    case("importance_load_noisy", "smooth load", "gelu", 2, noisy=True, **LOAD, **Z)
    case("importance_load_noisy_k1", "smooth load, importance of probabilities", "gelu", 1, noisy=True, **LOAD)
    case("importance_load_quiet", "next to no noise for most experts of some tokens: it decides nothing, so gradients "
         "through it are 0", "gelu", 2, noisy=True, quiet={0: -200, 1: -35, 2: -200, 3: -1}, single=False, **LOAD, **Z)
    case("importance_load_quiet_k1", "next to no noise for all experts of some tokens", "gelu bias", 1, noisy=True,
         quiet={0: -200, 1: -300, 2: -60, 3: -200}, single=False, **LOAD)
    case("group_position", "groups of four tokens, with noise", "relu_squared bias", 2, 0.75, BY_PLACE, 4, noisy=True,
         tokens=(2, 8), wants=drops, **LOAD, **Z)
    case("group_probs", "groups of four tokens, by weight", "gelu", 2, 0.75, BY_WEIGHT, 4, order="tutel", tokens=(2, 8),
         wants=drops)
    case("sorted_position", "places by position, rows without padding", "gelu bias", 2, 0.75, BY_PLACE, 4,
         order="sorted", tokens=(2, 8), wants=drops, **FIRST)
    case("sorted_probs", "places by weight, rows without padding", "swiglu", 2, 0.5, BY_WEIGHT, 4, order="sorted",
         tokens=(2, 8), wants=drops_whole_token)
    case("narrow", "experts whose width four ranks cannot share", "swiglu", 2, order="tutel", ffn_hidden=10)
    case("large_capacity", "capacity above the tokens; a loss that is reported and has no gradient", "gelu bias", 2,
         16.0, BY_PLACE, aux_loss="first_choice", aux_loss_coeff=0.0)
    case("eval", "noise is ignored, capacity applies", "gelu", 2, 0.75, BY_PLACE, noisy=True, evaluate=True,
         wants=drops, **LOAD, **Z)
    case("unused_experts", "experts nobody chose", "swiglu", 2, order="sorted", steer={1: -6, 3: -6},
         wants=leaves_experts_out, **FIRST)
    case("one_expert", "all tokens to one expert", "gelu bias", 1, order="sorted", steer={2: 6}, wants=takes_all,
         **FIRST)
    case("one_expert_drop", "all tokens to one expert that has three places", "gelu bias", 1, 1.0, BY_PLACE,
         order="tutel", steer={2: 6}, wants=takes_all, **ALL)
    case("one_token", "a single token", "gelu bias", 2, num_experts=3, tokens=(1, 1), **FIRST, **Z)
    case("one_token_capacity", "a single token, one place an expert", "gelu", 2, 0.25, BY_WEIGHT, num_experts=3,
         tokens=(1, 1))
    case("single_expert", "one expert", "swiglu", 1, num_experts=1, **FIRST, **Z)
    case("shared", "one shared expert", "gelu bias", 2, shared_experts=1, shared_gate=False)
    case("shared_gated", "two shared experts, each with its gate", "geglu", 2, 0.5, BY_WEIGHT, shared_experts=2,
         shared_gate=True, wants=drops_whole_token)


def add_other_logits():
    case = partial(add, "switch")
    case("dropless", "top-1, softmax probability; beside a gated shared expert", "relu bias", 1, order="sorted",
         shared_experts=1, shared_gate=True, **ALL)
    case("drop_position", "drops, aux and z", "gelu", 1, 0.75, BY_PLACE, order="gshard", wants=drops, **FIRST, **Z)
    case("drop_probs", "the most probable are kept", "swiglu", 1, 0.75, BY_WEIGHT, order="tutel", tokens=(2, 8),
         wants=drops, **FIRST)
    case("jitter", "the gate's input is jittered, the experts' is not; width of two blocks and a half", "gelu bias", 1,
         hidden=10, jitter=0.25, wants=sways, **FIRST, **Z)
    case("jitter_drop", "jitter by the token's number in all groups", "swiglu", 1, 0.75, BY_WEIGHT, 4, order="tutel",
         tokens=(2, 8), jitter=0.5, wants=sways_and_drops, **ALL, **Z)
    case("jitter_eval", "no jitter", "gelu", 1, jitter=0.5, evaluate=True, **ALL, **Z)
    case = partial(add, "sigmoid")
    case("k1", "top-1, weight the sigmoid of the logit", "gelu bias", 1, order="sorted", **Z)
    case("k2", "weights are not normalised", "gelu", 2, num_experts=6, order="tutel", **Z)
    case("drop_probs", "the largest sigmoids are kept", "gelu", 2, 0.75, BY_WEIGHT, order="gshard", wants=drops)
    case("single_expert", "one expert", "gelu", 1, num_experts=1, **Z)
    case("balanced_k1", "three tokens an expert", "gelu bias", 1, balanced=True, wants=balances(12), **Z)
    case("balanced_k2", "at most five tokens an expert", "gelu", 2, num_experts=5, order="tutel", balanced=True,
         wants=balances(12), **Z)
    case("balanced_short", "a token finds one seat alone and gets another by a trade", "relu", 2, tokens=(1, 6),
         balanced=True, wants=balances(6, True))
    case("balanced_group", "at most two tokens an expert in each group of six", "swiglu", 1, 0.0, None, 6,
         balanced=True, tokens=(2, 12), order="sorted", wants=balances(6), **Z)
    case("balanced_group_drop", "at most three, of whom two find places", "gelu bias", 2, 0.5, BY_WEIGHT, 6,
         balanced=True, tokens=(2, 12), order="gshard", wants=balances(6, dropless=False), **Z)
    case("balanced_eval", "top-k, unbalanced", "gelu", 2, 0.0, None, 6, balanced=True, tokens=(2, 12), evaluate=True,
         wants=leaves_balance, **Z)
    case = partial(add, "xmoe")
    case("k2", "cosines, projection of the usual width", "gelu bias", 2, hidden=12, **FIRST, **Z)
    case("k1_proj_dim", "top-1, projection to 5", "gelu_tanh", 1, proj_dim=5, order="sorted", **ALL)
    case("drop", "drops, projection to 3", "relu_squared", 2, 0.75, BY_PLACE, proj_dim=3, order="tutel", wants=drops,
         **ALL)
    case("floor", "temperature at its floor: no gradient", "gelu", 2, order="tutel", temperature=LEAST_TEMPERATURE,
         dy=0.03125, wants=settles_weights, **ALL)
    case("below_floor", "temperature below its floor counts as the floor", "gelu", 2, temperature=0.004, dy=0.03125,
         wants=settles_weights, **ALL)


def add_deepseek():
    case = partial(add, "deepseek", routed_scaling_factor=2.5)
    one, half, two = ({"n_group": n, "topk_group": t} for n, t in ((1, 1), (2, 1), (4, 2)))
    case("k1", "one group; normalised, so the weight is 2.5", "gelu", 1, **one, **ALL, **Z)
    case("k2", "one group; the bias moves by the usual 0.001", "swiglu", 2, order="sorted", **one, **ALL)
    case("groups_k1", "two of four groups, one expert", "relu", 1, bias_update_rate=0.01, num_experts=8,
         wants=closes_best, **two, **Z)
    case("groups_k2", "two of four groups; z of logits without bias", "gelu", 2, bias_update_rate=0.01, num_experts=8,
         wants=closes_best, **two, **ALL, **Z)
    case("first_choice", "three experts of two groups; f from first choices", "gelu_tanh bias", 3, n_group=3,
         topk_group=2, bias_update_rate=0.002, num_experts=6, wants=orders_by_bias, **FIRST)
    case("drop_position", "the load that moves the bias is counted before drops", "swiglu", 2, 0.5, BY_PLACE,
         shared_experts=1, shared_gate=False, wants=moves_bias_by_choices, **half)
    case("drop_probs", "the largest combine weights are kept, in groups of six tokens", "gelu", 2, 0.75, BY_WEIGHT, 6,
         order="gshard", wants=drops, **one, **ALL)
    case("eval", "the bias does not move", "gelu", 2, bias_update_rate=0.01, evaluate=True, **half, **ALL)
    case("one_token", "a single token", "gelu", 2, tokens=(1, 1), **half, **ALL)


def add_without_logits():
    case = partial(add, "hash")
    case("k1", "index modulo experts", "gelu", 1, num_experts=5, order="sorted")
    case("k2", "two neighbours, halves", "relu_squared", 2, num_experts=5)
    case("drop_probs", "equal weights: kept by position", "relu", 2, 0.75, BY_WEIGHT, order="tutel", ties=True,
         wants=drops)
    case("table", "a random table", "gelu bias", 1, order="sorted", hash="table", tokens=(2, 12), wants=hashes)
    case("table_k2", "the table's expert and the next one", "swiglu", 2, num_experts=6, hash="table", tokens=(2, 12),
         order="tutel", wants=hashes)
    case("table_drop", "places by position in groups of six, ids of all groups", "gelu", 2, 0.75, BY_PLACE, 6,
         hash="table", tokens=(2, 12), order="gshard", wants=drops)
    case = partial(add, "balanced_test")
    case("k1", "round robin", "gelu_tanh bias", 1, 1.0, BY_PLACE, order="gshard")
    case("k2", "round robin over choices", "gelu", 2, num_experts=5, order="sorted")
    case("drop", "round robin with too few places", "gelu", 3, 0.5, BY_PLACE, order="tutel", wants=drops)


def add_without_choices():
    case = partial(add, "expert_choice")
    case("k1", "experts take the tokens they like best; a token is taken by none", "gelu bias", 1, 1.0,
         wants=misses_token, **Z)
    case("k2", "places rounded up", "swiglu", 2, 0.625, order="tutel")
    case("group", "two tokens of every four", "relu", 2, 1.0, None, 4, order="gshard", tokens=(2, 8))
    case("sorted", "two tokens of every four, rows without padding", "gelu bias", 2, 1.0, None, 4, order="sorted",
         tokens=(2, 8), **Z)
    case("all", "capacity above the tokens; beside a gated shared expert, in evaluation", "gelu_tanh bias", 2, 16.0,
         shared_experts=1, shared_gate=True, evaluate=True)
    case("one_token", "a single token", "gelu", 1, 1.0, num_experts=3, tokens=(1, 1), **Z)
    case = partial(add, "soft")
    case("1", "one slot an expert", "gelu bias", slots_per_expert=1)
    case("2", "two slots an expert", "swiglu", slots_per_expert=2, normalize_slots=False)
    case("1_normalized", "tokens and slots of length one", "relu", slots_per_expert=1, normalize_slots=True)
    case("2_normalized", "two slots of length one; beside a shared expert", "gelu_tanh", slots_per_expert=2,
         normalize_slots=True, shared_experts=1, shared_gate=False)
    case("one_token", "a single token", "gelu", slots_per_expert=2, num_experts=3, tokens=(1, 1))
    case("single_expert", "one expert", "geglu", slots_per_expert=2, num_experts=1)


for add_cases in (add_gshard, add_other_logits, add_deepseek, add_without_logits, add_without_choices):
    add_cases()


# --- inputs ---


def gate_shapes(config, n_tokens):
    """Name: (shape, standard deviation)."""
    width, experts, gate = config["hidden"], config["num_experts"], config["gate"]
    linear = {"gate.weight": ((experts, width), 0.5)}
    if gate == "gshard" and config.get("noisy"):
        return linear | {"gate.noise_weight": ((experts, width), 0.25), "gate.noise": ((n_tokens, experts), 1)}
    if gate == "xmoe":
        inner = config.get("proj_dim", min(width // 2, 32))
        return {"gate.proj": ((inner, width), 0.5), "gate.centroids": ((experts, inner), 0.5),
                "gate.temperature": ((1,), 0)}
    if gate == "deepseek":
        return linear | {"gate.bias": ((experts,), 0.25)}
    if gate == "soft":
        return {"gate.phi": ((width, experts * config["slots_per_expert"]), 0.5)}
    return {} if gate in ("hash", "balanced_test") else linear


def expert_shapes(config, prefix, count):
    width, inner = config["hidden"], config["ffn_hidden"]
    shapes = {"w1": ((count, inner, width), 0.4), "w2": ((count, width, inner), 0.4)}
    if config["expert"] == "mixtral":
        shapes["w3"] = ((count, inner, width), 0.4)
    if config.get("bias"):
        shapes |= {"b1": ((count, inner), 0.25), "b2": ((count, width), 0.25)}
    return {prefix + name: shape for name, shape in shapes.items()}


def input_shapes(config, dy, batch, length):
    width, shared = config["hidden"], config.get("shared_experts", 0)
    shapes = {"x": ((batch, length, width), 1), "dy": ((batch, length, width), dy)}
    shapes |= gate_shapes(config, batch * length) | expert_shapes(config, "expert.", config["num_experts"])
    if shared:
        shapes |= expert_shapes(config, "shared.", shared)
    if config.get("shared_gate"):
        shapes["shared.gate"] = ((shared, width), 0.5)
    return shapes


def make_equal_logits(inputs):
    """Tokens and gate so coarse that logits are exact however they are summed, and two pairs of twin experts."""
    for name in ("x", "gate.weight"):
        inputs[name] = (inputs[name] * 2).round() / 2
    inputs["gate.weight"][3] = inputs["gate.weight"][1]
    inputs["gate.weight"][5] = inputs["gate.weight"][0]


def draw(name, case, seed):
    generator = random.Random(f"{name} {seed}")
    inputs = {}
    for key, (shape, deviation) in input_shapes(case.config, case.dy, *case.tokens).items():
        values = [round(generator.gauss(0, 1) * deviation * GRID) / GRID for _ in range(math.prod(shape))]
        inputs[key] = torch.tensor(values, dtype=torch.float32).reshape(shape)
    if case.config["gate"] == "xmoe":
        inputs["gate.temperature"][0] = case.temperature
    if case.ties and "gate.weight" in inputs:
        make_equal_logits(inputs)
    if case.steer:
        inputs["x"][..., 0] = 1
        for expert, offset in case.steer.items():
            inputs["gate.weight"][expert, 0] = offset
    if case.quiet:
        inputs["x"].view(-1, case.config["hidden"])[:, 0] = (torch.arange(math.prod(case.tokens)) + 1) % 2
        for expert, offset in case.quiet.items():
            inputs["gate.noise_weight"][expert, 0] = offset
    return inputs


# --- random numbers ---


def philox(counter, key):
    """Philox4x32-10: four words from four and two."""
    c, k = list(counter), list(key)
    for _ in range(10):
        one, two = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [two >> 32 ^ c[1] ^ k[0], two & WORD, one >> 32 ^ c[3] ^ k[1], one & WORD]
        k = [(k[0] + 0x9E3779B9) & WORD, (k[1] + 0xBB67AE85) & WORD]
    return c


def drawn(seed, index):
    return philox((index & WORD, index >> 32, GATE_STREAM, 0), (seed & WORD, seed >> 32))


def jitter(x, most):
    """The factors [N, M] of x."""
    tokens, width = x.shape
    blocks = math.ceil(width / 4)
    words = [sum((drawn(SEED, t * blocks + b) for b in range(blocks)), [])[:width] for t in range(tokens)]
    u = ((torch.tensor(words) >> 9).double() + 0.5) / 2**23
    return (1 + most * (2 * u - 1)).to(x.dtype)


# --- the layer ---


@dataclass
class Routing:
    index: torch.Tensor  # [N, k] experts by falling score
    weight: torch.Tensor  # [N, k]
    logits: Optional[torch.Tensor] = None  # [N, E] those that chose
    share: Optional[torch.Tensor] = None  # [N, E] what P of the load-balancing losses is the mean of
    smooth_load: Optional[torch.Tensor] = None  # [E]


class Layer:
    def __init__(self, config, tensors, training):
        self.config, self.t, self.training = config, tensors, training
        self.x = tensors["x"].reshape(-1, config["hidden"])
        self.gaps = [math.inf]  # how far decisions are from ties

    def noisy(self):
        return bool(self.training and self.config.get("noisy"))

    def largest(self, score, k):
        """Indices [N, k] of each row's k largest by falling value, ties to the lower index."""
        order = score.detach().sort(dim=-1, descending=True, stable=True)
        top = order.values[:, : k + 1]
        self.gaps += (top[:, :-1] - top[:, 1:]).flatten().tolist()
        return order.indices[:, :k]

    def capacity(self):
        """(tokens that share a capacity, places an expert has among them)."""
        config = self.config
        group = config.get("capacity_group", len(self.x))
        places = math.ceil(config["top_k"] * Fraction(config["capacity_factor"]) * group / config["num_experts"])
        return group, min(group, max(1, places))


# --- gates ---


def weights_of_kept(layer, logits, index):
    """Softmax over the kept logits; for one choice its probability among all experts, unless normalised."""
    if index.shape[1] == 1 and not layer.config.get("normalize_top_k"):
        return logits.softmax(-1).gather(1, index)
    return logits.gather(1, index).softmax(-1)


def smooth_load(layer, clean, noisy, deviation):
    """Shazeer's equations 8 to 10: how probable each choice is when its own noise is drawn again."""
    k, columns = layer.config["top_k"], []
    layer.largest(noisy, k + 1)  # a chosen expert's threshold is the logit after the chosen ones
    for e in range(clean.shape[1]):
        others = torch.cat([noisy[:, :e], noisy[:, e + 1 :]], 1)
        threshold = others.sort(dim=1, descending=True).values[:, k - 1]
        z = (clean[:, e] - threshold) / deviation[:, e]
        columns.append((0.5 * (1 + torch.erf(z / math.sqrt(2)))).sum())
    return torch.stack(columns)


def softplus(v):
    return torch.logaddexp(v, torch.zeros_like(v))


def gate_gshard(layer, x):
    logits, load = x @ layer.t["gate.weight"].T, None
    if layer.noisy():
        clean, deviation = logits, softplus(x @ layer.t["gate.noise_weight"].T)
        logits = clean + layer.t["gate.noise"] * deviation
        load = smooth_load(layer, clean, logits, deviation)
    index = layer.largest(logits, layer.config["top_k"])
    return Routing(index, weights_of_kept(layer, logits, index), logits, logits.softmax(-1), load)


def gate_switch(layer, x):
    if layer.training and layer.config.get("jitter"):
        x = x * jitter(x, layer.config["jitter"])
    logits = x @ layer.t["gate.weight"].T
    probability = logits.softmax(-1)
    index = layer.largest(logits, 1)
    return Routing(index, probability.gather(1, index), logits, probability)


def balanced_plan(logits):
    """Probabilities times a number a row and a number a column: rows sum to 1, columns to tokens / E."""
    plan, column = logits.softmax(-1), len(logits) / logits.shape[1]
    while (plan.sum(0) - column).abs().max() > 1e-12:
        plan = plan * (column / plan.sum(0))
        plan = plan / plan.sum(1, keepdim=True)
    return plan


def places_of(logits, k, gaps=None):
    """Seats of every expert."""
    experts = logits.shape[1]
    every, more = divmod(k * len(logits), experts)
    wanted = logits.softmax(-1).sum(0)
    order = wanted.sort(descending=True)
    if gaps is not None and more > 0:
        gaps.append(float(order.values[more - 1] - order.values[more]))
    return [every + (e in order.indices[:more].tolist()) for e in range(experts)]


def seats(plan, k, places, trades=True):
    """Deferred acceptance, all at once in rounds, then trades: who sits where [tokens, E]."""
    tokens, experts = plan.shape
    value = plan.tolist()
    wishes = [sorted(range(experts), key=lambda e: -row[e]) for row in value]
    held = [set() for _ in range(experts)]
    while True:
        asking = [i for i in range(tokens) if wishes[i] and sum(i in those for those in held) < k]
        if not asking:
            break
        for i in asking:
            held[wishes[i].pop(0)].add(i)
        for e in range(experts):
            held[e] = set(sorted(held[e], key=lambda i: -value[i][e])[:places[e]])
    for i in range(tokens if trades else 0):
        while sum(i in those for those in held) < k:  # only its own experts have room
            room = next(e for e in range(experts) if len(held[e]) < places[e])
            wanted = next(e for e in range(experts) if i not in held[e])
            moves = min(held[wanted] - held[room])
            held[wanted] = held[wanted] - {moves} | {i}
            held[room].add(moves)
    return torch.tensor([[i in those for those in held] for i in range(tokens)])


def balanced_choices(layer, logits):
    """Indices [N, k] of experts that get equally many tokens of every group."""
    k, (n, experts) = layer.config["top_k"], logits.shape
    group = layer.config.get("capacity_group", n)
    logits, seated = logits.detach().double(), []
    layer.largest(logits, experts)
    for some in logits.split(group):
        plan = balanced_plan(some)
        seated.append(seats(plan, k, places_of(some, k, layer.gaps)))
        for dim in (0, 1):
            layer.gaps += plan.sort(dim).values.diff(dim=dim).flatten().tolist()
    chosen = (logits + 1e6 * torch.cat(seated)).topk(k).indices
    return chosen.gather(1, logits.gather(1, chosen).sort(dim=1, descending=True).indices)


def gate_sigmoid(layer, x):
    logits = x @ layer.t["gate.weight"].T
    if layer.training and layer.config.get("balanced"):
        index = balanced_choices(layer, logits)
    else:
        index = layer.largest(logits, layer.config["top_k"])
    return Routing(index, logits.gather(1, index).sigmoid(), logits)


def unit(v, dim):
    return v / (v * v).sum(dim, keepdim=True).sqrt().clamp_min(LEAST_NORM)


def gate_xmoe(layer, x):
    cosine = unit(x @ layer.t["gate.proj"].T, -1) @ unit(layer.t["gate.centroids"], -1).T
    temperature = layer.t["gate.temperature"]
    floor = torch.tensor(LEAST_TEMPERATURE, dtype=torch.float32).to(x.dtype)
    logits = cosine / torch.where(temperature > floor, temperature, floor)
    index = layer.largest(cosine, layer.config["top_k"])
    return Routing(index, weights_of_kept(layer, logits, index), logits, logits.softmax(-1))


def gate_deepseek(layer, x):
    config, n = layer.config, len(x)
    groups, open_groups = config["n_group"], config["topk_group"]
    logits = x @ layer.t["gate.weight"].T
    score = logits.sigmoid()
    biased = (score.detach() + layer.t["gate.bias"].detach()).view(n, groups, -1)
    best_two = biased.sort(dim=-1, descending=True).values[..., :2].sum(-1)
    order = best_two.sort(dim=-1, descending=True, stable=True)
    if open_groups < groups:
        layer.gaps += (order.values[:, open_groups - 1] - order.values[:, open_groups]).tolist()
    closed = torch.ones(n, groups, dtype=torch.bool).scatter(1, order.indices[:, :open_groups], False)
    index = layer.largest(biased.masked_fill(closed[..., None], -math.inf).flatten(1), config["top_k"])
    weight = score.gather(1, index)
    weight = weight / weight.sum(-1, keepdim=True) * config["routed_scaling_factor"]
    return Routing(index, weight, logits, score / score.sum(-1, keepdim=True))


def constant_weights(x, index):
    return Routing(index, torch.full(index.shape, 1 / index.shape[1], dtype=x.dtype))


def gate_hash(layer, x):
    k, experts = layer.config["top_k"], layer.config["num_experts"]
    first = torch.arange(len(x))
    if layer.config.get("hash") == "table":
        words = [drawn(0, token) for token in range(len(x))]
        first = torch.tensor([(w[0] * 2**32 + w[1]) // 2 % experts for w in words])
    return constant_weights(x, (first[:, None] + torch.arange(k)) % experts)


def gate_balanced_test(layer, x):
    k, experts = layer.config["top_k"], layer.config["num_experts"]
    return constant_weights(x, torch.arange(len(x) * k).view(-1, k) % experts)


TOP_K_GATES = {"gshard": gate_gshard, "switch": gate_switch, "sigmoid": gate_sigmoid, "xmoe": gate_xmoe,
               "deepseek": gate_deepseek, "hash": gate_hash, "balanced_test": gate_balanced_test}


# --- losses ---


def squared_variation(v):
    return v.var(correction=0) / v.mean() ** 2


def aux_loss(layer, routing):
    kind, experts = layer.config.get("aux_loss", "none"), layer.config["num_experts"]
    if kind == "none":
        return torch.zeros(())
    chosen = routing.index[:, 0] if kind == "first_choice" else routing.index.flatten()
    counts = torch.bincount(chosen, minlength=experts).to(routing.weight.dtype)
    if kind == "importance_load":
        importance = torch.zeros_like(counts).index_add(0, routing.index.flatten(), routing.weight.flatten())
        load = counts if routing.smooth_load is None else routing.smooth_load
        return squared_variation(importance) + squared_variation(load)
    return experts * (counts / len(chosen) * routing.share.mean(0)).sum()


def z_loss(logits):
    return torch.zeros(()) if logits is None else (logits.logsumexp(-1) ** 2).mean()


# --- experts ---


def gelu(v):
    return 0.5 * v * (1 + torch.erf(v / math.sqrt(2)))


def gelu_tanh(v):
    return 0.5 * v * (1 + torch.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3)))


def silu(v):
    return v * v.sigmoid()


ACTIVATIONS = {"gelu": gelu, "gelu_tanh": gelu_tanh, "relu": torch.relu, "relu_squared": lambda v: torch.relu(v) ** 2,
               "swiglu": silu, "geglu": gelu}


def expert_forward(layer, prefix, e, x):
    """x [n, M] through expert e of `expert.` or `shared.`."""
    w = {name[len(prefix) :]: tensor[e] for name, tensor in layer.t.items() if name.startswith(prefix + "w")}
    b = {name[len(prefix) :]: tensor[e] for name, tensor in layer.t.items() if name.startswith(prefix + "b")}
    before = x @ w["w1"].T + b.get("b1", 0)
    if layer.config["activation"] == "relu":
        layer.gaps += before.detach().abs().flatten().tolist()
    hidden = ACTIVATIONS[layer.config["activation"]](before)
    if "w3" in w:
        hidden = hidden * (x @ w["w3"].T)
    return hidden @ w["w2"].T + b.get("b2", 0)


def shared_forward(layer):
    y = torch.zeros_like(layer.x)
    for s in range(layer.config.get("shared_experts", 0)):
        out = expert_forward(layer, "shared.", s, layer.x)
        if layer.config["shared_gate"]:
            out = out * (layer.x @ layer.t["shared.gate"][s]).sigmoid()[:, None]
        y = y + out
    return y


# --- who keeps its place, and the layer's output ---


def kept_places(layer, routing):
    """Which (token, choice) [N, k] keep their place."""
    kept = torch.ones_like(routing.index, dtype=torch.bool)
    if layer.config["capacity_factor"] == 0:
        return kept
    group, places = layer.capacity()
    for first in range(0, len(kept), group):
        for e in range(layer.config["num_experts"]):
            tokens = range(first, first + group)
            queue = [(n, j) for j in range(kept.shape[1]) for n in tokens if routing.index[n, j] == e]
            if layer.config["drop_policy"] == "probs":
                queue.sort(key=lambda place: -routing.weight[place].item())  # stable
                if len(queue) > places:
                    layer.gaps.append((routing.weight[queue[places - 1]] - routing.weight[queue[places]]).item())
            for place in queue[places:]:
                kept[place] = False
    return kept


def moved_bias(layer, index):
    bias = layer.t["gate.bias"]
    if not layer.training:
        return bias
    load = torch.bincount(index.flatten(), minlength=len(bias)).to(bias.dtype)
    return bias + layer.config.get("bias_update_rate", 0.001) * torch.sign(load.mean() - load)


def run_top_k(layer):
    routing = TOP_K_GATES[layer.config["gate"]](layer, layer.x)
    kept = kept_places(layer, routing)
    y = torch.zeros_like(layer.x)
    for e in range(layer.config["num_experts"]):
        token, choice = torch.where((routing.index == e) & kept)
        made = expert_forward(layer, "expert.", e, layer.x[token])
        y = y.index_add(0, token, routing.weight[token, choice, None] * made)
    out = {"y": y, "aux_loss": aux_loss(layer, routing), "z_loss": z_loss(routing.logits),
           "tokens_per_expert": torch.bincount(routing.index[kept], minlength=layer.config["num_experts"]),
           "dropped": (~kept).sum(), "indices": routing.index.masked_fill(~kept, -1).int(),
           "weights": routing.weight.masked_fill(~kept, 0)}
    if layer.config["gate"] == "deepseek":
        out["gate.bias"] = moved_bias(layer, routing.index)
    return out


def run_expert_choice(layer):
    x = layer.x
    logits = x @ layer.t["gate.weight"].T
    score = logits.softmax(-1)
    group, places = layer.capacity()
    y, counts = torch.zeros_like(x), torch.zeros(layer.config["num_experts"], dtype=torch.int64)
    for first in range(0, len(x), group):
        for e in range(layer.config["num_experts"]):
            order = score[first : first + group, e].detach().sort(descending=True, stable=True)
            if places < group:
                layer.gaps.append((order.values[places - 1] - order.values[places]).item())
            token = first + order.indices[:places]
            counts[e] += places
            y = y.index_add(0, token, score[token, e, None] * expert_forward(layer, "expert.", e, x[token]))
    return {"y": y, "aux_loss": torch.zeros(()), "z_loss": z_loss(logits), "tokens_per_expert": counts,
            "dropped": torch.zeros((), dtype=torch.int64)}


def run_soft(layer):
    """Every slot is a mean of its sample's tokens, every token's output a mean of all slots' outputs."""
    x, phi, slots = layer.t["x"], layer.t["gate.phi"], layer.config["slots_per_expert"]
    logits = unit(x, -1) @ unit(phi, 0) if layer.config.get("normalize_slots") else x @ phi
    taken = logits.softmax(1).transpose(1, 2) @ x  # [B, E S, M]
    batch, width = x.shape[0], x.shape[2]
    taken = taken.view(batch, layer.config["num_experts"], slots, width)
    made = [
        expert_forward(layer, "expert.", e, taken[:, e].reshape(-1, width)).view(batch, slots, width)
        for e in range(layer.config["num_experts"])
    ]
    y = logits.softmax(2) @ torch.cat(made, 1)
    counts = torch.full((layer.config["num_experts"],), batch * slots, dtype=torch.int64)
    return {"y": y.reshape(-1, width), "aux_loss": torch.zeros(()), "z_loss": torch.zeros(()),
            "tokens_per_expert": counts, "dropped": torch.zeros((), dtype=torch.int64)}


def run(case, inputs, dtype=torch.float64):
    """(outputs, objective, tensors it may be differentiated by, distance from ties)."""
    tensors = {name: t.to(dtype).requires_grad_(name not in NO_GRADIENT) for name, t in inputs.items()}
    config = case.config
    layer = Layer(config, tensors, not case.evaluate)
    out = {"expert_choice": run_expert_choice, "soft": run_soft}.get(config["gate"], run_top_k)(layer)
    out["y"] = (out["y"] + shared_forward(layer)).view_as(tensors["x"])
    total = (tensors["dy"] * out["y"]).sum()
    total = total + config.get("aux_loss_coeff", 0) * out["aux_loss"] + config.get("z_loss_coeff", 0) * out["z_loss"]
    gaps = [gap for gap in layer.gaps if not (case.ties and gap == 0)]
    leaves = {name: t for name, t in tensors.items() if t.requires_grad}
    return out, total, leaves, min(gaps)


def evaluate(case, inputs, dtype=torch.float64):
    """What the layer computes, by the names in expected.safetensors, in dtype."""
    out, total, leaves, _ = run(case, inputs, dtype)
    gradients = torch.autograd.grad(total, list(leaves.values()), materialize_grads=True)
    named = {"dx" if name == "x" else "d." + name: g for name, g in zip(leaves, gradients)}
    scalars = {name: out[name].reshape(1) for name in ("aux_loss", "z_loss", "dropped")}
    return {name: t.detach() for name, t in (out | named | scalars).items()}


def find_decided(name, case):
    """The first draw that rounding cannot route otherwise and that shows what the case is for."""
    for seed in range(20000):
        inputs = draw(name, case, seed)
        with torch.no_grad():
            out, _, _, gap = run(case, inputs)
        if gap >= LEAST_GAP and (case.wants is None or case.wants(out, inputs)):
            return inputs, seed, gap
    sys.exit(f"no draw suits {name}")


# --- files ---


def safetensors(tensors):
    """The bytes of a file: length of the header, header, data; eight-byte types first, so that all are aligned."""
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header, data = {}, b""
    for name in names:
        block = tensors[name].contiguous().numpy().tobytes()
        header[name] = {"dtype": TYPE_NAME[tensors[name].dtype], "shape": list(tensors[name].shape),
                        "data_offsets": [len(data), len(data) + len(block)]}
        data += block
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def yaml(case):
    lines = [f"# {case.about}"]
    for key, value in case.config.items():
        lines.append(f"{key}: {str(value).lower() if isinstance(value, bool) else value}")
    return ("\n".join(lines) + "\n").encode()


def files_of(case, inputs):
    expected = {name: t.float() if t.is_floating_point() else t for name, t in evaluate(case, inputs).items()}
    files = {"layer.yaml": yaml(case), "in.safetensors": safetensors(inputs),
             "expected.safetensors": safetensors(expected)}
    return files | ({"eval": b""} if case.evaluate else {})


# --- checks ---


def at_a_kink(case, name):
    """Where moving a tensor changes decisions, or whether temperature counts: there are no central differences."""
    if name == "gate.temperature":
        return case.temperature == LEAST_TEMPERATURE
    return case.ties and case.config["gate"] == "gshard" and name in ("x", "gate.weight")


def check_by_differences(name, case, inputs):
    """Largest relative distance of autograd's slopes from central differences, one direction a tensor."""
    _, total, leaves, _ = run(case, inputs)
    gradients = dict(zip(leaves, torch.autograd.grad(total, list(leaves.values()), materialize_grads=True)))
    generator, worst, step = random.Random(1), 0.0, 1e-6
    for key, gradient in gradients.items():
        if at_a_kink(case, key):
            continue
        values = [generator.gauss(0, 1) for _ in range(gradient.numel())]
        direction = torch.tensor(values, dtype=torch.float64).view_as(gradient)
        ends = []
        for sign in (1, -1):
            moved = {n: t.double() for n, t in inputs.items()}
            moved[key] = moved[key] + sign * step * direction
            ends.append(run(case, moved)[1].item())
        expected, slope = (gradient * direction).sum().item(), (ends[0] - ends[1]) / (2 * step)
        error = abs(slope - expected) / max(1, abs(expected))
        assert error < 1e-6, (name, key, slope, expected)
        worst = max(worst, error)
    return worst


def check_by_float32(name, case, inputs):
    """Largest distance of the same formulas in float32, relative to a tensor's largest value where that is above 1."""
    double, single, worst = evaluate(case, inputs), evaluate(case, inputs, torch.float32), 0.0
    for key, value in double.items():
        if not value.is_floating_point():
            assert torch.equal(value, single[key]), (name, key)
            continue
        error = (value - single[key].double()).abs().max().item() / max(1, value.abs().max().item())
        assert error < 5e-6, (name, key, error)
        worst = max(worst, error)
    return worst


def check_counts(name, case, inputs):
    """Every pair is kept or dropped, weights of dropped ones are 0, kept ones add up."""
    out, config = evaluate(case, inputs), case.config
    assert out["tokens_per_expert"].shape == (config["num_experts"],), name
    if "indices" in out:
        pairs = math.prod(case.tokens) * config["top_k"]
        assert out["tokens_per_expert"].sum() + out["dropped"] == pairs, name
        assert (out["indices"] >= 0).sum() == out["tokens_per_expert"].sum(), name
        assert ((out["weights"] != 0) == (out["indices"] >= 0)).all(), name


def check_philox():
    """Against the known answers that Random123 comes with."""
    pi = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0)
    assert philox((0, 0, 0, 0), (0, 0)) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    assert philox((WORD,) * 4, (WORD,) * 2) == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]
    assert philox(*pi) == [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]


def check_files(name, files):
    for file, content in files.items():
        path = FOLDER / name / file
        assert path.is_file() and path.read_bytes() == content, f"{path} is not what would be written"


def write_files(name, files):
    (FOLDER / name).mkdir(parents=True)
    for file, content in files.items():
        (FOLDER / name / file).write_bytes(content)


def main():
    check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not check:
        sys.exit("usage: make_gates.py [--check]")
    torch.set_num_threads(1)
    check_philox()
    if not check:
        shutil.rmtree(FOLDER, ignore_errors=True)
    size = 0
    for name, case in CASES.items():
        inputs, seed, gap = find_decided(name, case)
        files = files_of(case, inputs)
        size += sum(map(len, files.values()))
        line = f"{name:32} seed {seed:5}  gap {gap:.1e}"
        check_counts(name, case, inputs)
        if check:
            check_files(name, files)
            line += f"  differences {check_by_differences(name, case, inputs):.0e}"
            line += f"  float32 {check_by_float32(name, case, inputs):.0e}" if case.single else ""
        else:
            write_files(name, files)
        print(line)
    if check:
        assert {p.name for p in FOLDER.iterdir()} == set(CASES), "a folder that is no case"
    print(f"{len(CASES)} cases, {size} bytes")


if __name__ == "__main__":
    main()
