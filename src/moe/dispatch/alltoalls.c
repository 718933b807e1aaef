/* The all-to-all algorithms there are, and what they share: the group's nodes, and memory. */
#include "moe/dispatch/alltoall.h"

#include "moe/extend.h"
#include "moe/registry.h"

#include <assert.h>

static const fsm_alltoall_kind *const alltoalls[] = {
    &fsm_alltoall_direct,
    &fsm_alltoall_1dh,
    &fsm_alltoall_2dh,
};

static fsm_registry registry = FSM_REGISTRY("moe.alltoall", alltoalls);

const fsm_alltoall_kind *fsm_alltoall_find(const char *name)
{
    return fsm_registry_find(&registry, name);
}

fsmoe_status fsm_add_alltoall_v(const fsm_alltoall_kind *kind, int version)
{
    return fsm_registry_add(&registry, kind, version);
}

/* How many ranks of this rank's EP group are on a node. */
static int members_on(const fsm_topo *topo, int node)
{
    int members = 0, color = fsm_topo_group_color(topo, FSM_GROUP_EP);
    for (int i = 0; i < topo->ranks_per_node; i++) {
        fsm_topo other = fsm_topo_at(topo, node * topo->ranks_per_node + i);
        members += fsm_topo_group_color(&other, FSM_GROUP_EP) == color;
    }
    return members;
}

static fsmoe_status find_nodes(const char *name, const fsm_topo *topo, fsm_alltoall *a)
{
    a->local = members_on(topo, topo->node);
    a->nodes = topo->ep / a->local;
    for (int node = 0; node < topo->nodes; node++) {
        int members = members_on(topo, node);
        if (members != 0 && members != a->local)
            return fsm_fail(
                FSMOE_ERROR_LAYOUT,
                "moe.alltoall = %s passes tokens on inside nodes, but one node holds %d ranks of an expert-"
                "parallel group and another %d; choose parallel.ep_size and parallel.esp_size so that nodes "
                "hold equally many, or moe.alltoall = direct",
                name, a->local, members);
    }
    return FSMOE_OK;
}

fsmoe_status fsm_alltoall_select(const char *name, const fsm_topo *topo, fsm_comm *ep, fsm_alltoall *alltoall)
{
    *alltoall = (fsm_alltoall){.kind = fsm_alltoall_find(name), .comm = ep, .size = topo->ep};
    if (!alltoall->kind) return fsm_fail(FSMOE_ERROR_CONFIG, "moe.alltoall: no all-to-all is named '%s'", name);
    if (!alltoall->kind->buffer_elems) return FSMOE_OK;
    FSM_TRY(find_nodes(name, topo, alltoall));
    if (alltoall->local == 1 || alltoall->nodes == 1) alltoall->kind = &fsm_alltoall_direct;
    return FSMOE_OK;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int64_t fsm_alltoall_most(const fsm_alltoall *alltoall, int sources, int destinations)
{
    int64_t more = sources > destinations ? sources : destinations;
    return smaller(more * alltoall->rank_elems, (int64_t)sources * destinations * alltoall->pair_elems);
}

static int64_t most_stages(const fsm_alltoall *a)
{
    return a->kind->most_stages ? a->kind->most_stages(a) : FSM_ALLTOALL_STAGES * (int64_t)(a->size + 1);
}

void fsm_alltoall_take(fsm_memory *memory, fsm_comm_type type, int64_t rank_elems, int64_t pair_elems,
                       fsm_alltoall *alltoall)
{
    alltoall->type = type;
    alltoall->rank_elems = rank_elems;
    alltoall->pair_elems = pair_elems;
    fsm_stages_take(&memory->host, most_stages(alltoall), &alltoall->stages);
    if (!alltoall->kind->buffer_elems) return;
    size_t bytes = fsm_comm_bytes(type, alltoall->kind->buffer_elems(alltoall));
    for (int i = 0; i < FSM_ALLTOALL_BUFFERS; i++) alltoall->buffer[i] = fsm_take_bytes(memory, bytes);
    for (int i = 0; i < 2; i++)
        alltoall->passing[i] = FSM_TAKE_HOST(memory, int64_t, (int64_t)alltoall->local * alltoall->size);
    alltoall->place = FSM_TAKE_HOST(memory, fsm_spot, alltoall->size);
}

fsmoe_status fsm_alltoall_start(fsm_alltoall *alltoall, fsm_comm_op *op, fsm_comm_type type, const void *send,
                                void *recv, const fsm_alltoall_counts *counts)
{
    const fsm_stages_arrays arrays = {type, send, recv, alltoall->buffer, counts->send, counts->recv};
    assert(fsm_comm_bytes(type, 1) <= fsm_comm_bytes(alltoall->type, 1));
    alltoall->stages.count = 0;
    alltoall->kind->emit(alltoall, counts, &alltoall->stages);
    return fsm_stages_start(&alltoall->stages, op, alltoall->comm, &arrays);
}
