"""The MoE layer of the peer on one rank, forward and backward, written out by hand: expert parallel (EP) between nodes, experts
sharded (ESP) inside a node.

In:  x [T, M] of this rank, dy [T, M]; how many chunks forward and backward are cut into, and the streams they run on.
Out: y [T, M], dx [T, M], and gradients that are added to .grad of the weights: gate [E, M], w13 [El, 2 Hs, M] (gate rows,
     then up rows), w2 [El, M, Hs], where El = E / EP and Hs = H / ESP.

Names: k choices a token; C = ceil(f k T / E) rows an expert has of each rank, full or not; R = C / r of them in a chunk.
Chunk: dispatch all-to-all, ESP all-gather, expert, ESP reduce-scatter, combine all-to-all; backward the same of gradients.
"""
import argparse
import math

import torch
import torch.nn.functional as F

from fabric import DONE, MODES, connect

aten = torch.ops.aten


class Expert:
    """SwiGLU on the rows of a chunk, as they come from the all-gather: x [ESP, EP, El, R, M]."""

    def __init__(self, w13, w2):
        self.w13, self.w2 = w13, w2

    @staticmethod
    def by_expert(x):
        """[El, rows, M]; with one expert a rank these are the same bytes."""
        local, width = x.shape[2], x.shape[-1]
        return x.view(1, -1, width) if local == 1 else x.permute(2, 0, 1, 3, 4).reshape(local, -1, width)

    @staticmethod
    def by_source(rows, like):
        """Back from by_expert into `like`, unless the product was written there already."""
        if rows.data_ptr() != like.data_ptr():
            esp, ep, local, count, width = like.shape
            like.copy_(rows.view(local, esp, ep, count, width).permute(1, 2, 0, 3, 4))

    @classmethod
    def product_room(cls, like):
        return like.view(1, -1, like.shape[-1]) if like.shape[2] == 1 else torch.empty_like(cls.by_expert(like))

    def forward(self, x, y):
        """y, like x, is this shard's part of the result; returns what backward wants."""
        rows = self.by_expert(x)
        hidden = torch.bmm(rows, self.w13.transpose(1, 2))
        gate, up = hidden.chunk(2, dim=-1)
        active = F.silu(gate).mul_(up)
        room = self.product_room(y)
        torch.bmm(active, self.w2.transpose(1, 2), out=room)
        self.by_source(room, y)
        return rows, hidden, active

    def backward_input(self, saved, dy, dx):
        """Writes dx; returns what backward_weights wants, so that dx can leave before."""
        _, hidden, _ = saved
        rows = self.by_expert(dy)
        gate, up = hidden.chunk(2, dim=-1)
        d_active = torch.bmm(rows, self.w2)
        d_hidden = torch.empty_like(hidden)
        d_gate, d_up = d_hidden.chunk(2, dim=-1)
        torch.mul(d_active, F.silu(gate), out=d_up)
        d_gate.copy_(aten.silu_backward(d_active.mul_(up), gate))
        room = self.product_room(dx)
        torch.bmm(d_hidden, self.w13, out=room)
        self.by_source(room, dx)
        return rows, d_hidden

    def backward_weights(self, saved, d_rows, d_hidden):
        rows, _, active = saved
        self.w13.grad.baddbmm_(d_hidden.transpose(1, 2), rows)
        self.w2.grad.baddbmm_(d_rows.transpose(1, 2), active)


class Buffers:
    """What a chunk is sent from and received into, for one direction and degree; kept between steps."""

    def __init__(self, ep, esp, local, capacity, width, degree):
        self.rows = [len(part) for part in torch.arange(capacity).tensor_split(degree)]
        shapes = [(ep, local, rows, width) for rows in self.rows]
        self.received = [torch.empty(shape) for shape in shapes]
        self.gathered = self.received if esp == 1 else [torch.empty(esp, *shape) for shape in shapes]
        self.computed = [torch.empty(esp, *shape) for shape in shapes]
        self.scratch = [torch.empty(esp, *shape) for shape in shapes] if esp > 1 else self.computed
        self.reduced = [torch.empty(shape) for shape in shapes] if esp > 1 else self.computed
        self.returned = torch.empty(ep * local * capacity, width)
        counts = [math.prod(shape[:3]) for shape in shapes]
        self.returned_parts = [part.view(shape) for part, shape in zip(self.returned.split(counts), shapes)]
        self.counts, self.shapes = counts, shapes
        if esp == 1:
            self.gathered = [part.unsqueeze(0) for part in self.received]
            self.reduced = [part.squeeze(0) for part in self.computed]


class MoeLayer(torch.nn.Module):
    def __init__(self, fabric, width, ffn, experts, top_k, capacity_factor=1.0, seed=1):
        super().__init__()
        if experts % fabric.ep.size or ffn % fabric.esp.size:
            raise SystemExit(f"{experts} experts on EP {fabric.ep.size}, H {ffn} on ESP {fabric.esp.size} do not divide")
        self.fabric, self.width, self.experts, self.top_k = fabric, width, experts, top_k
        self.capacity_factor, self.local = capacity_factor, experts // fabric.ep.size
        gate, w1, w3, w2 = full_weights(width, ffn, experts, seed)
        mine = slice(fabric.ep.place * self.local, (fabric.ep.place + 1) * self.local)
        shard = ffn // fabric.esp.size
        part = slice(fabric.esp.place * shard, (fabric.esp.place + 1) * shard)
        self.gate = torch.nn.Parameter(gate)
        self.w13 = torch.nn.Parameter(torch.cat([w1[mine, part], w3[mine, part]], dim=1).contiguous())
        self.w2 = torch.nn.Parameter(w2[mine, :, part].contiguous())
        for weight in (self.gate, self.w13, self.w2):
            weight.grad = torch.zeros_like(weight)
        self.set_mode("in-order", 1)
        self._buffers_of = {}

    def set_mode(self, mode, degree, backward_degree=None):
        self.degrees = (degree, backward_degree or degree)
        self.streams = self.fabric.streams(mode)

    def capacity(self, tokens):
        return min(math.ceil(self.capacity_factor * self.top_k * tokens / self.experts), tokens)

    def _room(self, direction, capacity, width):
        key = direction, self.degrees[direction], capacity
        if key not in self._buffers_of:
            self._buffers_of[key] = Buffers(self.fabric.ep.size, self.fabric.esp.size, self.local, capacity, width,
                                            min(self.degrees[direction], capacity))
        return self._buffers_of[key]

    def _exchange(self, room, source, compute):
        """source [E C, M] in the order of chunks goes through dispatch, `compute` and combine into room.returned."""
        inter, intra = self.streams
        ep, esp = self.fabric.ep, self.fabric.esp
        sent = [part.view(shape) for part, shape in zip(source.split(room.counts), room.shapes)]
        arrived = []
        for i, part in enumerate(sent):
            here = inter.submit(lambda i=i, part=part: ep.all_to_all(room.received[i], part))
            if esp.size > 1:
                here = intra.submit(lambda i=i: esp.all_gather(room.gathered[i], room.received[i]), here)
            arrived.append(here)
        ended = []
        for i, here in enumerate(arrived):
            here.wait()
            ended.append(compute(i, lambda i=i: self._leave(room, i)))
        for one in ended:
            one.wait()
        return room.returned

    def _leave(self, room, i):
        inter, intra = self.streams
        ep, esp = self.fabric.ep, self.fabric.esp
        summed = DONE
        if esp.size > 1:
            summed = intra.submit(lambda: esp.reduce_scatter(room.reduced[i], room.computed[i], room.scratch[i]))
        return inter.submit(lambda: ep.all_to_all(room.returned_parts[i], room.reduced[i]), summed)

    @torch.no_grad()
    def run_forward(self, x):
        """y [T, M], and what run_backward wants: good until the same layer runs forward again."""
        capacity = self.capacity(x.shape[0])
        weights, chosen, row, kept = self._route(x, capacity)
        room = self._room(0, capacity, x.shape[1])
        place = places(self.experts, capacity, room.rows)[row]  # [T, k]: in the order of chunks
        token, share = self._slots(place, kept, weights, capacity)
        expert, saved = Expert(self.w13, self.w2), [None] * len(room.rows)

        def compute(i, leave):
            saved[i] = expert.forward(room.gathered[i], room.computed[i])
            return leave()

        returned = self._exchange(room, x.index_select(0, token), compute)
        y = torch.mul(returned.index_select(0, place[:, 0]), weights[:, :1])
        for j in range(1, self.top_k):
            y.addcmul_(returned.index_select(0, place[:, j]), weights[:, j:j + 1])
        return y, (x, weights, chosen, row, place, kept, returned, saved, room)

    @torch.no_grad()
    def run_backward(self, dy, state):
        x, weights, chosen, row, place, kept, returned, saved, forward_room = state
        capacity = self.capacity(x.shape[0])
        room = self._room(1, capacity, x.shape[1])
        same = room.rows == forward_room.rows
        back = place if same else places(self.experts, capacity, room.rows)[row]
        token, share = self._slots(back, kept, weights, capacity)
        expert = Expert(self.w13, self.w2)
        inputs = saved if same else resplit(saved, forward_room, room, self.local)

        def compute(i, leave):
            d_rows, d_hidden = expert.backward_input(inputs[i], room.gathered[i], room.computed[i])
            left = leave()
            expert.backward_weights(inputs[i], d_rows, d_hidden)
            return left

        d_slots = self._exchange(room, dy.index_select(0, token).mul_(share.unsqueeze(1)), compute)
        d_weights = torch.stack([torch.linalg.vecdot(dy, returned.index_select(0, place[:, j]))
                                 for j in range(self.top_k)], dim=1)
        dx = self._route_backward(d_weights, weights, chosen, kept, x)
        for j in range(self.top_k):
            arrived = d_slots.index_select(0, back[:, j])
            dx.add_(arrived if kept is None else arrived.mul_(kept[:, j:j + 1]))
        return dx

    def _route(self, x, capacity):
        """Weights [T, k] (0 where dropped), experts [T, k], row e C + c in that expert's share [T, k], and kept [T, k] or None."""
        best, chosen = torch.topk(x @ self.gate.t(), self.top_k, dim=-1)
        weights = torch.softmax(best, dim=-1)
        taken = torch.zeros(self.experts, dtype=torch.int64)
        nth = torch.empty_like(chosen)
        for j in range(self.top_k):  # first choices first, as in GShard
            mask = F.one_hot(chosen[:, j], self.experts)
            nth[:, j] = (mask.cumsum(0).sub_(1).add_(taken)).gather(1, chosen[:, j:j + 1]).squeeze(1)
            taken += mask.sum(0)
        kept = nth < capacity
        if bool(kept.all()):
            return weights, chosen, chosen * capacity + nth, None
        self.probabilities = weights
        return weights * kept, chosen, torch.where(kept, chosen * capacity + nth, 0), kept

    def _route_backward(self, d_weights, weights, chosen, kept, x):
        if kept is not None:
            d_weights, weights = d_weights * kept, self.probabilities
        d_best = weights * (d_weights - (weights * d_weights).sum(-1, keepdim=True))
        d_logits = torch.zeros(x.shape[0], self.experts).scatter_(1, chosen, d_best)
        self.gate.grad.addmm_(d_logits.t(), x)
        return d_logits @ self.gate

    def _slots(self, place, kept, weights, capacity):
        """For every slot, in the order of chunks: which token is in it (0 in an empty one) and its weight (there 0)."""
        slots = self.experts * capacity
        flat = (place if kept is None else torch.where(kept, place, slots)).reshape(-1)  # one more, for what is dropped
        token, share = torch.zeros(slots + 1, dtype=torch.int64), torch.zeros(slots + 1)
        token[flat] = torch.arange(place.shape[0]).repeat_interleave(self.top_k)
        share[flat] = weights.reshape(-1)
        return token[:slots], share[:slots]

    def forward(self, x):
        """For autograd: x [..., M]."""
        return LayerFunction.apply(x, self)


class LayerFunction(torch.autograd.Function):
    """Weight gradients go to .grad directly, so autograd is told of x alone."""

    @staticmethod
    def forward(ctx, x, layer):
        y, ctx.state = layer.run_forward(x.reshape(-1, x.shape[-1]))
        ctx.layer = layer
        return y.view_as(x)

    @staticmethod
    def backward(ctx, dy):
        dx = ctx.layer.run_backward(dy.reshape(-1, dy.shape[-1]).contiguous(), ctx.state)
        return dx.view_as(dy), None


def places(experts, capacity, rows):
    """[E C]: where row e C + c lies when chunk after chunk holds its rows of every expert."""
    parts = torch.arange(experts * capacity).view(experts, capacity).split(rows, dim=1)
    order = torch.cat([part.reshape(-1) for part in parts])
    return torch.empty_like(order).scatter_(0, order, torch.arange(order.numel()))


def resplit(saved, was, now, local):
    """Rows that forward kept, cut into as many chunks as backward has."""
    groups = saved[0][0].shape[1] // was.rows[0]
    whole = [torch.cat([one[i].view(local, groups, rows, -1) for one, rows in zip(saved, was.rows)], dim=2)
             for i in range(3)]
    parts = zip(*(tensor.split(now.rows, dim=2) for tensor in whole))
    return [tuple(part.reshape(local, -1, part.shape[-1]) for part in three) for three in parts]


def full_weights(width, ffn, experts, seed):
    random = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=random) * shape[-1] ** -0.5
    return draw(experts, width), draw(experts, ffn, width), draw(experts, ffn, width), draw(experts, width, ffn)


# ---------------------------------------------------------------------------------------------------------- self-check

def reference(x, dy, top_k, capacity, gate, w1, w3, w2):
    """One rank's tokens through the whole experts, by autograd: y, dx and the gradients of gate, w1, w3, w2."""
    leaves = [tensor.clone().requires_grad_() for tensor in (x, gate, w1, w3, w2)]
    x, gate, w1, w3, w2 = leaves
    best, chosen = torch.topk(x @ gate.t(), top_k, dim=-1)
    weights = torch.softmax(best, dim=-1)
    y, taken = torch.zeros_like(x), [0] * len(w1)
    for j in range(top_k):
        for e in range(len(w1)):
            rows = (chosen[:, j] == e).nonzero().squeeze(1)[:max(0, capacity - taken[e])]
            taken[e] += int((chosen[:, j] == e).sum())
            h = x[rows]
            out = (F.silu(h @ w1[e].t()) * (h @ w3[e].t())) @ w2[e].t()
            y = y.index_add(0, rows, out * weights[rows, j:j + 1])
    y.backward(dy)
    return y.detach(), [leaf.grad for leaf in leaves]


def check(fabric, options):
    width, ffn, experts, top_k = options.hidden, options.ffn, options.experts, options.top_k
    layer = MoeLayer(fabric, width, ffn, experts, top_k, options.capacity_factor)
    inputs = [[torch.randn(options.tokens, width, generator=torch.Generator().manual_seed(100 * n + rank))
               for rank in range(fabric.size)] for n in (1, 2)]
    wanted = [reference(x, dy, top_k, layer.capacity(options.tokens), *full_weights(width, ffn, experts, 1))
              for x, dy in zip(*inputs)]
    sums = [sum(grads[n] for _, grads in wanted) for n in (2, 3, 4)]  # of w1, w3, w2, over all tokens
    mine = slice(fabric.ep.place * layer.local, (fabric.ep.place + 1) * layer.local)
    shard = ffn // fabric.esp.size
    part = slice(fabric.esp.place * shard, (fabric.esp.place + 1) * shard)
    y_wanted, grads = wanted[fabric.rank]
    expected = {"y": y_wanted, "dx": grads[0], "d_gate": grads[1],
                "d_w13": torch.cat([sums[0][mine, part], sums[1][mine, part]], dim=1), "d_w2": sums[2][mine, :, part]}
    failed = 0
    for mode, degree, backward in [("in-order", 1, 1)] + [(mode, r, b) for mode in MODES[1:]
                                                         for r, b in ((1, 1), (2, 2), (3, 3), (4, 2), (8, 8))]:
        layer.set_mode(mode, degree, backward)
        for weight in (layer.gate, layer.w13, layer.w2):
            weight.grad.zero_()
        y, state = layer.run_forward(inputs[0][fabric.rank])
        dx = layer.run_backward(inputs[1][fabric.rank], state)
        found = {"y": y, "dx": dx, "d_gate": layer.gate.grad, "d_w13": layer.w13.grad, "d_w2": layer.w2.grad}
        worst = max(((found[name] - value).abs().max() / value.abs().max()).item() for name, value in expected.items())
        worst = fabric.max(worst)
        failed += not worst < 1e-4
        if fabric.rank == 0:
            print(f"{mode:9s} r {degree} forward, {backward} backward: largest difference {worst:.1e} of the largest value"
                  f"{'' if worst < 1e-4 else '  WRONG'}", flush=True)
    if failed:
        raise SystemExit("the peer's layer differs from the reference")


def add_layer_options(parser):
    parser.add_argument("--tokens", type=int, default=2048, help="a rank")
    parser.add_argument("--hidden", type=int, default=1024, help="M")
    parser.add_argument("--ffn", type=int, default=1024, help="H of a whole expert")
    parser.add_argument("--experts", type=int, default=2, help="in all")
    parser.add_argument("--top-k", type=int, default=2)
    parser.add_argument("--capacity-factor", type=float, default=1.0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="check the layer against one process without chunks")
    add_layer_options(parser)
    parser.add_argument("--ep", type=int, required=True)
    parser.add_argument("--esp", type=int, required=True)
    arguments = parser.parse_args()
    check(connect(arguments.ep, arguments.esp, 60), arguments)
