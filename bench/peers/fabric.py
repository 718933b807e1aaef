"""What the peer sends, and when: process groups over gloo, the collectives, and streams that run them beside compute.

In:  one process a rank with MASTER_ADDR, MASTER_PORT, RANK and WORLD_SIZE; ep_size * esp_size = WORLD_SIZE.
Out: Fabric, whose collectives write into buffers of the caller's. Ranks of a node are neighbours, rank = node * esp_size
     + place: ESP and MP groups lie inside a node, EP groups go across nodes.

Measured on 2 x 2 ranks at 250 Mbit and 1 Gbit (torch 2.15.0): gloo's reduce_scatter_tensor takes 114 ms for 8 MiB, since it
is an all-reduce inside; an all-to-all and a sum take 37 ms, the link's own time. all_gather_into_tensor takes 99 ms for
8 MiB from each rank, sends and receives straight into the result 72 ms. So those are what is used here.
"""
import contextlib
import datetime
import os
import queue
import threading

import torch
import torch.distributed as dist


class Inline:
    """A stream that overlaps nothing: what is submitted has ended when submit returns."""

    def submit(self, work, *after):
        for event in after:
            event.wait()
        work()
        return DONE


class Done:
    def wait(self):
        pass


DONE = Done()


class Event:
    def __init__(self):
        self._set, self._error = threading.Event(), None

    def finish(self, error=None):
        self._error = error
        self._set.set()

    def wait(self):
        self._set.wait()
        if self._error is not None:
            raise self._error


class Stream:
    """A thread that runs what is submitted one after the other. Torch lets go of Python's lock in collectives and in
    matrix products alike, so both truly run at the same time."""

    def __init__(self, name):
        self._tasks = queue.SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def submit(self, work, *after):
        event = Event()
        self._tasks.put((work, after, event))
        return event

    def _run(self):
        torch.set_num_threads(1)
        torch.set_grad_enabled(False)
        while True:
            work, after, event = self._tasks.get()
            try:
                for earlier in after:
                    earlier.wait()
                work()
                event.finish()
            except BaseException as error:  # handed to whoever waits
                event.finish(error)


class Group:
    """Some ranks and the collectives between them. Only one thread at a time may use a group."""

    def __init__(self, ranks, process_group):
        self.ranks, self.size = ranks, len(ranks)
        self.place = ranks.index(dist.get_rank())
        self.process_group = process_group

    def all_to_all(self, into, x):
        """into, x [size, ...], contiguous: block j of x goes to place j."""
        if self.size == 1:
            into.copy_(x)
            return
        dist.all_to_all_single(into, x, group=self.process_group)

    def all_gather(self, into, x):
        """into [size, *x.shape]."""
        into[self.place].copy_(x)
        self._exchange([(place, x, into[place]) for place in range(self.size)])

    def reduce_scatter(self, into, x, scratch):
        """x [size, *into.shape] summed over the ranks, of which block `place` comes here; scratch is like x."""
        self._exchange([(place, x[place], scratch[place]) for place in range(self.size)])
        torch.add(x[self.place], scratch[self.place ^ 1], out=into) if self.size == 2 else self._sum(into, x, scratch)

    def _sum(self, into, x, scratch):
        into.copy_(x[self.place])
        for place in range(self.size):
            if place != self.place:
                into.add_(scratch[place])

    def all_reduce(self, x):
        if self.size > 1:
            dist.all_reduce(x, group=self.process_group)

    def _exchange(self, blocks):
        """blocks: (peer's place, what goes there, where its block goes)."""
        work = []
        for place, _, receive in blocks:
            if place != self.place:
                work.append(self.process_group.recv([receive], place, 7))
        for shift in range(1, self.size):  # every rank begins with another peer
            place, send, _ = blocks[(self.place + shift) % self.size]
            work.append(self.process_group.send([send], place, 7))
        for one in work:
            one.wait()


class Fabric:
    """The groups of one rank, and the streams of each mode of running the layer."""

    def __init__(self, ep_size, esp_size, time_limit_s=600):
        if not dist.is_initialized():
            dist.init_process_group("gloo", timeout=datetime.timedelta(seconds=time_limit_s))
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        if ep_size * esp_size != self.size:
            raise SystemExit(f"{ep_size} x {esp_size} ranks are not the {self.size} that run")
        inside = [[node * esp_size + place for place in range(esp_size)] for node in range(ep_size)]
        across = [list(ranks) for ranks in zip(*inside)]
        self.ep, self.esp = self._group(across), self._group(inside)
        # Groups of the same ranks for attention and for gradients, which may be summed while the streams are at work.
        self.mp, self.node, self.dp = self._group(inside), self._group(inside), self._group(across)
        self.inter, self.intra, self.gradients = Stream("inter"), Stream("intra"), Stream("gradients")
        self.inline = Inline()

    @staticmethod
    def _group(lists):
        mine = None
        for ranks in lists:  # every rank makes every group: that is collective
            group = dist.new_group(ranks)
            if dist.get_rank() in ranks:
                mine = Group(ranks, group)
        return mine

    def streams(self, mode):
        """(inter-node, intra-node): none, one that both share as in Tutel, or one each."""
        return {"in-order": (self.inline, self.inline),
                "chunked": (self.inter, self.inter),
                "chunked-2": (self.inter, self.intra)}[mode]

    def barrier(self):
        dist.barrier()

    def max(self, value):
        tensor = torch.tensor([value], dtype=torch.float64)
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
        return tensor.item()


MODES = ("in-order", "chunked", "chunked-2")


def one_thread():
    torch.set_num_threads(1)
    with contextlib.suppress(RuntimeError):  # it may be said once
        torch.set_num_interop_threads(1)


def connect(ep_size, esp_size, time_limit_s=600):
    one_thread()
    os.environ.setdefault("MASTER_PORT", "29500")
    return Fabric(ep_size, esp_size, time_limit_s)
