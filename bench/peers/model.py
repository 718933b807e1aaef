"""The peer's small Mixtral on one rank: RMSNorm, RoPE, grouped-query attention, MoE layers, AdamW.

In:  shapes on the command line; token ids made of a seed, the same for every layout of ranks.
Out: Model and Trainer, whose step() is forward, loss, backward, all-reduce and update, and returns the loss's sum over ranks.

With mp > 1 (it is esp then) the ranks of a node share the same samples: each holds a part of every sequence, [L / MP, B, M];
attention gathers the tokens, computes this rank's heads and reduce-scatters. Else every rank has samples of its own.
Gradients of replicated weights are reduce-scattered inside the node, all-reduced across nodes and gathered again: a third of
what a ring over all ranks sends between nodes. Expert weights lie on one rank each and need none.
"""
import torch
import torch.nn.functional as F

from moe_layer import MoeLayer, add_layer_options


class GatherTokens(torch.autograd.Function):
    """[L / MP, B, M] of each rank -> [L, B, M]; backward sums what every rank has of this one's tokens."""

    @staticmethod
    def forward(ctx, x, group):
        ctx.group = group
        return gather(x, group)

    @staticmethod
    def backward(ctx, dy):
        return scatter_sum(dy, ctx.group), None


class ScatterSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, group):
        ctx.group = group
        return scatter_sum(x, group)

    @staticmethod
    def backward(ctx, dy):
        return gather(dy, ctx.group), None


def gather(x, group):
    if group.size == 1:
        return x
    whole = torch.empty(group.size, *x.shape)
    group.all_gather(whole, x.contiguous())
    return whole.view(-1, *x.shape[1:])


def scatter_sum(x, group):
    if group.size == 1:
        return x
    parts = x.contiguous().view(group.size, -1, *x.shape[1:])
    mine = torch.empty_like(parts[0])
    group.reduce_scatter(mine, parts, torch.empty_like(parts))
    return mine


class Alone:
    """The MP group of one rank."""
    size, place = 1, 0


def draw(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * shape[-1] ** -0.5


class Attention(torch.nn.Module):
    def __init__(self, options, mp, seed):
        super().__init__()
        self.mp, self.head_dim = mp, options.head_dim
        if options.heads % mp.size or options.kv_heads % mp.size:
            raise SystemExit(f"{options.heads} and {options.kv_heads} heads do not divide over MP {mp.size}")
        self.heads, self.kv_heads = options.heads // mp.size, options.kv_heads // mp.size
        width, dim = options.hidden, options.head_dim
        parts = [draw(seed + n, heads * dim, width).view(mp.size, -1, width)[mp.place]
                 for n, heads in enumerate((options.heads, options.kv_heads, options.kv_heads))]
        self.qkv = torch.nn.Parameter(torch.cat(parts).contiguous())
        out = draw(seed + 3, width, options.heads * dim)
        self.out = torch.nn.Parameter(out.view(width, mp.size, -1)[:, mp.place].contiguous())

    def forward(self, x, rope):
        """x [L / MP, B, M]"""
        x = GatherTokens.apply(x, self.mp)
        length, batch, _ = x.shape
        counts = [self.heads, self.kv_heads, self.kv_heads]
        heads = F.linear(x, self.qkv).view(length, batch, -1, self.head_dim).permute(1, 2, 0, 3)  # [B, heads, L, dim]
        q, k, v = heads.split(counts, dim=1)
        q, k = rotate(q, *rope), rotate(k, *rope)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=self.heads != self.kv_heads)
        return ScatterSum.apply(F.linear(y.permute(2, 0, 1, 3).reshape(length, batch, -1), self.out), self.mp)


def rope_tables(length, dim, theta):
    angles = torch.outer(torch.arange(length), theta ** (-torch.arange(0, dim, 2) / dim))
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos(), angles.sin()


def rotate(x, cos, sin):
    left, right = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-right, left], dim=-1) * sin


class Layer(torch.nn.Module):
    def __init__(self, options, fabric, mp, seed):
        super().__init__()
        self.attention_norm = torch.nn.RMSNorm(options.hidden, eps=1e-5)
        self.attention = Attention(options, mp, seed)
        self.moe_norm = torch.nn.RMSNorm(options.hidden, eps=1e-5)
        self.moe = MoeLayer(fabric, options.hidden, options.ffn, options.experts, options.top_k,
                            options.capacity_factor, seed + 4)

    def forward(self, x, rope):
        x = x + self.attention(self.attention_norm(x), rope)
        return x + self.moe(self.moe_norm(x))


class Model(torch.nn.Module):
    def __init__(self, options, fabric):
        super().__init__()
        if options.mp not in (1, fabric.esp.size):
            raise SystemExit(f"--mp {options.mp} has to be 1 or the ESP size {fabric.esp.size}")
        self.mp = fabric.mp if options.mp > 1 else Alone()
        self.embedding = torch.nn.Parameter(draw(7, options.vocab, options.hidden))
        self.layers = torch.nn.ModuleList(Layer(options, fabric, self.mp, 100 * (n + 1)) for n in range(options.layers))
        self.norm = torch.nn.RMSNorm(options.hidden, eps=1e-5)
        self.head = self.embedding if options.tied else torch.nn.Parameter(draw(8, options.vocab, options.hidden))
        self.rope = rope_tables(options.seq_len, options.head_dim, options.rope_theta)

    def forward(self, ids, targets, ended):
        """ids, targets [L / MP, B] -> mean loss. ended(n) is called in backward when layer n's gradients are complete."""
        x = F.embedding(ids, self.embedding)
        for n, layer in enumerate(self.layers):
            x.register_hook(lambda _, n=n: ended(n))
            x = layer(x, self.rope)
        logits = F.linear(self.norm(x), self.head)
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.reshape(-1))


class Bucket:
    """Gradients of some weights in one row of memory, and the sum of it over the ranks that hold those weights."""

    def __init__(self, weights, fabric, replicated):
        self.fabric, self.replicated = fabric, replicated
        count = sum(weight.numel() for weight in weights)
        padded = -(-count // fabric.node.size) * fabric.node.size
        self.flat = torch.zeros(padded)
        self.shard, self.scratch = None, None
        if replicated and fabric.node.size > 1:
            self.shard, self.scratch = torch.empty(padded // fabric.node.size), torch.empty(padded)
        for weight, part in zip(weights, self.flat[:count].split([weight.numel() for weight in weights])):
            weight.grad = part.view_as(weight)

    @torch.no_grad()
    def all_reduce(self):
        node, dp = self.fabric.node, self.fabric.dp
        if self.shard is None:
            dp.all_reduce(self.flat)
            return
        node.reduce_scatter(self.shard, self.flat.view(node.size, -1), self.scratch.view(node.size, -1))
        dp.all_reduce(self.shard)
        node.all_gather(self.flat.view(node.size, -1), self.shard)


class Trainer:
    def __init__(self, options, fabric):
        self.options, self.fabric = options, fabric
        self.model = Model(options, fabric)
        shared = options.mp > 1  # attention weights then differ inside a node
        self.buckets = []  # one list a layer, and one of the ends
        for layer in self.model.layers:
            sharded = list(layer.attention.parameters())
            copied = [*layer.attention_norm.parameters(), *layer.moe_norm.parameters(), layer.moe.gate]
            self.buckets.append([Bucket(sharded, fabric, False), Bucket(copied, fabric, True)] if shared
                                else [Bucket(sharded + copied, fabric, True)])
        ends = list(dict.fromkeys([self.model.embedding, self.model.head, *self.model.norm.parameters()]))
        self.buckets.append([Bucket(ends, fabric, True)])
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=options.lr, fused=True)
        self.gradients = [weight.grad for weight in self.model.parameters()]
        self.ids = self._samples()
        self.set_mode("in-order", 1)

    def set_mode(self, mode, degree):
        self.overlap = mode != "in-order"
        for layer in self.model.layers:
            layer.moe.set_mode(mode, degree)

    def _samples(self):
        """This rank's part [L / MP + 1, B] of samples that are numbered through over all ranks."""
        options, fabric, mp = self.options, self.fabric, self.model.mp
        first = (fabric.rank // mp.size) * options.micro_batch
        samples = [torch.randint(options.vocab, (options.seq_len + 1,), generator=torch.Generator().manual_seed(first + n))
                   for n in range(options.micro_batch)]
        part = options.seq_len // mp.size
        return torch.stack(samples, dim=1)[mp.place * part:(mp.place + 1) * part + 1].contiguous()

    def step(self):
        torch._foreach_zero_(self.gradients)
        pending = []

        def ended(n):
            if self.overlap:
                pending.extend(self.fabric.gradients.submit(bucket.all_reduce) for bucket in self.buckets[n])

        loss = self.model(self.ids[:-1], self.ids[1:], ended) / self.fabric.size
        loss.backward()
        late = self.buckets[-1:] if self.overlap else self.buckets[::-1]
        stream = self.fabric.gradients if self.overlap else self.fabric.inline
        pending.extend(stream.submit(bucket.all_reduce) for buckets in late for bucket in buckets)
        for one in pending:
            one.wait()
        self.optimizer.step()
        return loss.item()


def add_model_options(parser):
    add_layer_options(parser)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--kv-heads", type=int, default=4)
    parser.add_argument("--head-dim", type=int, default=64)
    parser.add_argument("--vocab", type=int, default=1024)
    parser.add_argument("--seq-len", type=int, default=512)
    parser.add_argument("--micro-batch", type=int, default=2, help="samples of a node (MP > 1) or a rank")
    parser.add_argument("--rope-theta", type=float, default=1e6)
    parser.add_argument("--tied", action="store_true", help="the head is the embedding")
    parser.add_argument("--mp", type=int, default=1, help="1, or the ESP size")
    parser.add_argument("--lr", type=float, default=1e-4)
