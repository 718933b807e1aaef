#!/usr/bin/env python3
"""Makes tests/golden/mixtral: tiny random Mixtrals and what they compute, to check fsmoe against.

The model is written down here once more from its definition, in float64; transformers' MixtralForCausalLM must agree
with it (logits, loss, gradients of the loss) before anything is recorded, and central differences check the gradient of
the total.

    python3 tests/golden/make_mixtral.py

Recorded with Python 3.11.7, torch 2.15.0, transformers 5.24.0, safetensors 0.8.0.

model/        top-2 of 4 experts, untied      model-top1/  the same weights, one expert a token
model-tied/   head = embedding                 (config.json and model.safetensors each, as transformers lays them out)

values.safetensors
    ids               I32 [2, 17]     a batch: inputs ids[:, :16], targets ids[:, 1:]
    logits            F32 [2, 16, 64] of model/ for that batch; logits.top1, logits.tied of the other two
    gradient.NAME     F32             d total / d NAME for every tensor NAME of model/
    train.ids         I32 [10, 2, 17] a batch for each of ten steps
values.json: of model/ for that batch
    loss              mean cross-entropy of the 32 targets
    aux_loss          sum over layers of E sum_e f_e P_e: f_e the fraction of tokens whose first choice is expert e,
                      P_e the mean over tokens of softmax(router logits)_e; f_e is constant in the gradient
    z_loss            sum over layers of the mean over tokens of logsumexp(router logits)^2
    total             loss + 0.01 aux_loss + 0.001 z_loss
    gradient_norm     of the total, all parameters together
    steps[10]         loss, aux_loss, z_loss, total and gradient_norm (not clipped) of each batch before its update:
                      gradients clipped to norm 1.0, AdamW lr 0.01, betas 0.9 0.95, eps 1e-8, decoupled decay 0.1 on
                      matrices (all tensors with two dimensions) and 0 on norms
    weights_norm      of all parameters after the tenth update
    float32           the same numbers when all is computed in float32: how far apart the two may be
    router_gap        least distance of two router logits whose order decides anything, over all of the above
Everything but float32 is computed in float64 from the recorded float32 weights.
"""
import json
import math
import pathlib
import shutil
import sys

import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import save_file

V, M, H, LAYERS, HEADS, KV_HEADS, E, L, B = 64, 32, 48, 2, 4, 2, 4, 16, 2
D = M // HEADS
THETA, EPS = 10000.0, 1e-5
AUX, Z, STEPS, LR, DECAY, CLIP = 0.01, 0.001, 10, 0.01, 0.1, 1.0
LEAST_GAP = 2e-3
FOLDER = pathlib.Path(__file__).resolve().parent / "mixtral"


def shapes():
    result = {"model.embed_tokens.weight": (V, M)}
    for n in range(LAYERS):
        layer = f"model.layers.{n}."
        result[layer + "self_attn.q_proj.weight"] = (HEADS * D, M)
        result[layer + "self_attn.k_proj.weight"] = (KV_HEADS * D, M)
        result[layer + "self_attn.v_proj.weight"] = (KV_HEADS * D, M)
        result[layer + "self_attn.o_proj.weight"] = (M, HEADS * D)
        result[layer + "block_sparse_moe.gate.weight"] = (E, M)
        for e in range(E):
            expert = layer + f"block_sparse_moe.experts.{e}."
            result[expert + "w1.weight"] = (H, M)
            result[expert + "w2.weight"] = (M, H)
            result[expert + "w3.weight"] = (H, M)
        result[layer + "input_layernorm.weight"] = (M,)
        result[layer + "post_attention_layernorm.weight"] = (M,)
    result["model.norm.weight"] = (M,)
    result["lm_head.weight"] = (V, M)
    return result


def random_weights(generator):
    """Large enough that routing is decided and gradients are far from zero."""
    weights = {}
    for name, shape in shapes().items():
        noise = torch.randn(shape, generator=generator)
        weights[name] = 0.3 * noise if len(shape) == 2 else 1 + 0.1 * noise
    return weights


def rms_norm(x, gain):
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + EPS) * gain


def rotate(x):
    """x [B, L, heads, D]: the pair (x_i, x_{i + D/2}) is turned by position * THETA^(-2i/D)."""
    frequency = THETA ** (-torch.arange(0, D, 2, dtype=torch.float64) / D)
    angle = torch.outer(torch.arange(x.shape[1], dtype=torch.float64), frequency)
    cos, sin = angle.cos().to(x.dtype)[:, None, :], angle.sin().to(x.dtype)[:, None, :]
    a, b = x[..., : D // 2], x[..., D // 2 :]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def attention(w, prefix, x):
    batch, length, _ = x.shape
    q = rotate((x @ w[prefix + "q_proj.weight"].T).view(batch, length, HEADS, D))
    k = rotate((x @ w[prefix + "k_proj.weight"].T).view(batch, length, KV_HEADS, D))
    v = (x @ w[prefix + "v_proj.weight"].T).view(batch, length, KV_HEADS, D)
    k, v = (t.repeat_interleave(HEADS // KV_HEADS, 2) for t in (k, v))
    scores = torch.einsum("bihd,bjhd->bhij", q, k) / math.sqrt(D)
    future = torch.ones(length, length, dtype=torch.bool).triu(1)
    share = scores.masked_fill(future, -math.inf).softmax(-1)
    out = torch.einsum("bhij,bjhd->bihd", share, v).reshape(batch, length, HEADS * D)
    return out @ w[prefix + "o_proj.weight"].T


def experts(w, prefix, x, top_k, terms):
    """x [n, M]; appends this layer's (aux, z, gap) to terms."""
    logits = x @ w[prefix + "gate.weight"].T
    probability = logits.softmax(-1)
    chosen, index = probability.topk(top_k, -1)
    weight = chosen / chosen.sum(-1, keepdim=True)
    first = F.one_hot(index[:, 0], E).to(x.dtype).mean(0)
    falling = logits.detach().sort(-1, descending=True).values
    gap = (falling[:, :-1] - falling[:, 1:])[:, :top_k].min().item()
    terms.append((E * (first * probability.mean(0)).sum(), (logits.logsumexp(-1) ** 2).mean(), gap))
    y = torch.zeros_like(x)
    for e in range(E):
        token, choice = torch.where(index == e)
        w1, w2, w3 = (w[prefix + f"experts.{e}.w{i}.weight"] for i in (1, 2, 3))
        hidden = F.silu(x[token] @ w1.T) * (x[token] @ w3.T)
        y = y.index_add(0, token, weight[token, choice, None] * (hidden @ w2.T))
    return y


def forward(w, ids, top_k=2, tied=False):
    """Logits and the layers' (aux, z, gap)."""
    terms = []
    x = w["model.embed_tokens.weight"][ids]
    for n in range(LAYERS):
        layer = f"model.layers.{n}."
        x = x + attention(w, layer + "self_attn.", rms_norm(x, w[layer + "input_layernorm.weight"]))
        normed = rms_norm(x, w[layer + "post_attention_layernorm.weight"])
        x = x + experts(w, layer + "block_sparse_moe.", normed.reshape(-1, M), top_k, terms).view(x.shape)
    head = w["model.embed_tokens.weight" if tied else "lm_head.weight"]
    return rms_norm(x, w["model.norm.weight"]) @ head.T, terms


def losses(w, ids):
    logits, terms = forward(w, ids[:, :-1])
    loss = F.cross_entropy(logits.reshape(-1, V), ids[:, 1:].reshape(-1))
    aux, z = sum(t[0] for t in terms), sum(t[1] for t in terms)
    named = {"loss": loss, "aux_loss": aux, "z_loss": z, "total": loss + AUX * aux + Z * z}
    return named, min(t[2] for t in terms)


def norm(tensors):
    return math.sqrt(sum((t.double() ** 2).sum().item() for t in tensors))


def leaves(weights, dtype):
    return {name: t.to(dtype).clone().requires_grad_(True) for name, t in weights.items()}


def evaluate(weights, ids, dtype):
    w = leaves(weights, dtype)
    named, gap = losses(w, ids)
    named["total"].backward()
    gradients = {name: t.grad for name, t in w.items()}
    return {k: v.item() for k, v in named.items()} | {"gradient_norm": norm(gradients.values())}, gradients, gap


def train(weights, batches, dtype):
    w = leaves(weights, dtype)
    groups = [{"params": [t for t in w.values() if t.dim() == 2], "weight_decay": DECAY},
              {"params": [t for t in w.values() if t.dim() == 1], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=LR, betas=(0.9, 0.95), eps=1e-8)
    steps, least_gap = [], math.inf
    for ids in batches:
        optimizer.zero_grad()
        named, gap = losses(w, ids)
        named["total"].backward()
        length = torch.nn.utils.clip_grad_norm_(w.values(), CLIP)
        steps.append({k: v.item() for k, v in named.items()} | {"gradient_norm": length.item()})
        optimizer.step()
        least_gap = min(least_gap, gap)
    return {"steps": steps, "weights_norm": norm(t.detach() for t in w.values())}, least_gap


def check_by_differences(weights, ids, gradients):
    generator = torch.Generator().manual_seed(1)
    for name, gradient in gradients.items():
        direction = torch.randn(gradient.shape, generator=generator).double()
        ends = []
        for sign in (1, -1):
            w = {n: t.double() for n, t in weights.items()}
            w[name] = w[name] + sign * 1e-6 * direction
            ends.append(losses(w, ids)[0]["total"].item())
        expected, slope = (gradient * direction).sum().item(), (ends[0] - ends[1]) / 2e-6
        assert abs(slope - expected) < 1e-6 * max(1, abs(expected)), (name, slope, expected)


def save_model(folder, weights, top_k, tied):
    """As transformers 4 and 5 write it: experts apart, no head where it is tied."""
    config = transformers.MixtralConfig(
        vocab_size=V, hidden_size=M, intermediate_size=H, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS, num_local_experts=E, num_experts_per_tok=top_k, max_position_embeddings=64,
        rms_norm_eps=EPS, rope_parameters={"rope_theta": THETA, "rope_type": "default"}, tie_word_embeddings=tied,
        router_aux_loss_coef=AUX, architectures=["MixtralForCausalLM"], dtype="float32")
    folder.mkdir(parents=True)
    config.save_pretrained(folder)
    kept = {n: t.contiguous() for n, t in weights.items() if not (tied and n == "lm_head.weight")}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


def their_model(folder):
    model, info = transformers.MixtralForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
    return model.eval()


def close(what, ours, theirs, tolerance):
    error = (ours - theirs).abs().max().item() / max(1.0, ours.abs().max().item())
    print(f"{what:24} differs from transformers by {error:.1e}")
    assert error < tolerance, what


def check_gradients_by_transformers(model, weights, ids):
    w = leaves(weights, torch.float64)
    losses(w, ids)[0]["loss"].backward()
    model(input_ids=ids, labels=ids).loss.backward()
    theirs = {n: p.grad.double() for n, p in model.named_parameters()}
    for n in range(LAYERS):
        layer, block = f"model.layers.{n}.mlp.", f"model.layers.{n}.block_sparse_moe."
        theirs[block + "gate.weight"] = theirs.pop(layer + "gate.weight")
        up, down = theirs.pop(layer + "experts.gate_up_proj"), theirs.pop(layer + "experts.down_proj")
        for e in range(E):
            theirs[block + f"experts.{e}.w1.weight"], theirs[block + f"experts.{e}.w3.weight"] = up[e, :H], up[e, H:]
            theirs[block + f"experts.{e}.w2.weight"] = down[e]
    assert set(theirs) == set(w)
    close("gradients", torch.cat([w[n].grad.flatten() for n in w]), torch.cat([theirs[n].flatten() for n in w]), 1e-5)


def draw(seed):
    generator = torch.Generator().manual_seed(seed)
    weights = random_weights(generator)
    ids = torch.randint(V, (B, L + 1), generator=generator)
    batches = torch.randint(V, (STEPS, B, L + 1), generator=generator)
    return weights, ids, batches


def find_decided():
    """The first seed whose routing no rounding can change."""
    for seed in range(10000):
        weights, ids, batches = draw(seed)
        double = {n: t.double() for n, t in weights.items()}
        gaps = [min(t[2] for t in forward(double, ids[:, :-1], top_k)[1]) for top_k in (2, 1)]
        if min(gaps) < LEAST_GAP:
            continue
        gaps.append(train(weights, batches, torch.float64)[1])
        if min(gaps) >= LEAST_GAP:
            return seed, weights, ids, batches, min(gaps)
    sys.exit("no seed keeps the router logits apart")


def main():
    torch.set_num_threads(1)
    seed, weights, ids, batches, gap = find_decided()
    double = {n: t.double() for n, t in weights.items()}
    values, gradients, _ = evaluate(weights, ids, torch.float64)
    check_by_differences(weights, ids, gradients)
    trained, _ = train(weights, batches, torch.float64)
    single = evaluate(weights, ids, torch.float32)[0] | train(weights, batches, torch.float32)[0]

    tensors = {"ids": ids.int(), "train.ids": batches.int()}
    shutil.rmtree(FOLDER, ignore_errors=True)
    for suffix, top_k, tied in (("", 2, False), ("top1", 1, False), ("tied", 2, True)):
        folder = FOLDER / ("model-" + suffix if suffix else "model")
        save_model(folder, weights, top_k, tied)
        logits = forward(double, ids[:, :-1], top_k, tied)[0]
        tensors["logits." + suffix if suffix else "logits"] = logits.float()
        model = their_model(folder)
        close(folder.name, logits, model(input_ids=ids[:, :-1]).logits.double(), 1e-5)
        if not suffix:
            close("loss", torch.tensor(values["loss"]), model(input_ids=ids, labels=ids).loss.detach().double(), 1e-6)
            check_gradients_by_transformers(model, weights, ids)
    tensors |= {"gradient." + n: t.float() for n, t in gradients.items()}
    save_file(tensors, FOLDER / "values.safetensors")
    values |= trained | {"float32": single, "router_gap": gap, "seed": seed}
    for file in FOLDER.rglob("*.safetensors"):
        file.chmod(0o644)
    (FOLDER / "values.json").write_text(json.dumps(values, indent=2) + "\n")
    print(f"seed {seed}, router gap {gap:.2g}, total {values['total']:.6f}")
    for ours, theirs in zip(trained["steps"], single["steps"]):
        print(f"loss {ours['loss']:.8f} total {ours['total']:.8f} float32 {theirs['total'] - ours['total']:+.1e}")


if __name__ == "__main__":
    main()
