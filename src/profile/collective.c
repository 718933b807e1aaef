#include "profile/collective.h"

#include <stdlib.h>

/* Minus zeros are no zero page, and no sum makes them grow. */
static float *new_values(int64_t n)
{
    float *array = aligned_alloc(64, ((size_t)n * sizeof *array + 63) / 64 * 64 + 64);
    for (int64_t i = 0; array && i < n; i++) array[i] = -0.0f;
    return array;
}

fsmoe_status fsm_collective_create(int most_ranks, int64_t most_elems, fsm_collective *c)
{
    c->from = new_values(most_elems);
    c->to = new_values(most_elems + most_ranks);
    c->counts = calloc(2 * (size_t)most_ranks, sizeof *c->counts);
    if (!c->from || !c->to || !c->counts)
        return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for messages of %lld elements", (long long)most_elems);
    c->mine = c->counts + most_ranks;
    return FSMOE_OK;
}

void fsm_collective_destroy(fsm_collective *c)
{
    free(c->from);
    free(c->to);
    free(c->counts);
    *c = (fsm_collective){0};
}

void fsm_collective_cut(fsm_collective *c, const fsm_comm *group, int64_t elems)
{
    for (int i = 0; i < group->size; i++) c->counts[i] = elems / group->size + (i < elems % group->size);
    for (int i = 0; i < group->size; i++) c->mine[i] = c->counts[group->rank];
}

fsmoe_status fsm_collective_start(fsm_collective *c, fsm_comm *group, fsm_cost_op op, fsm_comm_type type, int64_t elems,
                                  fsm_comm_op *under_way)
{
    fsm_collective_cut(c, group, elems);
    switch (op) {
    case FSM_COST_ALLTOALL:
        return fsm_comm_start_all_to_all(under_way, group, type, c->from, c->counts, c->to, c->mine);
    case FSM_COST_ALLGATHER:
        return fsm_comm_start_all_gather(under_way, group, type, c->from, c->to, c->counts);
    case FSM_COST_REDUCESCATTER:
        return fsm_comm_start_reduce_scatter(under_way, group, type, c->from, c->to, c->counts);
    case FSM_COST_ALLREDUCE:
        return fsm_comm_start_all_reduce(under_way, group, type, c->from, elems);
    default:
        return fsm_fail(FSMOE_ERROR_INTERNAL, "%s is no collective", fsm_cost_op_name(op));
    }
}
