#include "plan/cost.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

fsm_cost_op fsm_cost_op_of(fsm_task_kind kind)
{
    switch (kind) {
    case FSM_TASK_ATTENTION:
    case FSM_TASK_FFN:
    case FSM_TASK_GATE:
    case FSM_TASK_ORDER: /* some are: what copies has no launches */
    case FSM_TASK_IORDER:
    case FSM_TASK_EXPERT:
    case FSM_TASK_WEIGHT_GRAD:
    case FSM_TASK_HEAD:
        return FSM_COST_GEMM;
    case FSM_TASK_MP_ALLGATHER:
    case FSM_TASK_FFN_ALLGATHER:
    case FSM_TASK_ALLGATHER:
        return FSM_COST_ALLGATHER;
    case FSM_TASK_MP_REDUCESCATTER:
    case FSM_TASK_FFN_REDUCESCATTER:
    case FSM_TASK_REDUCESCATTER:
        return FSM_COST_REDUCESCATTER;
    case FSM_TASK_A2A_DISPATCH:
    case FSM_TASK_A2A_COMBINE:
        return FSM_COST_ALLTOALL;
    case FSM_TASK_ALLREDUCE:
        return FSM_COST_ALLREDUCE;
    default:
        return FSM_COST_OP_COUNT;
    }
}

fsm_price fsm_cost_find(const fsm_cluster *cluster, fsm_task_kind kind, fsm_phase phase, bool overlapped)
{
    char name[64];
    fsm_cost_op op = fsm_cost_op_of(kind);
    fsm_price price = {.known = op != FSM_COST_OP_COUNT};
    if (price.known) price.cost = cluster->op[op].cost;
    if (cluster->task_count == 0) return price;
    snprintf(name, sizeof name, "%s.%s", fsm_task_kind_name(kind), fsm_phase_name(phase));
    const fsm_cost *own = fsm_cluster_task(cluster, name);
    if (own) price = (fsm_price){*own, true, true};
    if (overlapped) fsm_cost_scale(&price.cost, fsm_cluster_overlap(cluster, name));
    return price;
}

static bool waits_for(const fsm_graph *graph, int task, int before)
{
    const fsm_task *t = &graph->tasks[task];
    for (int e = t->after_first; e < t->after_first + t->after_count; e++)
        if (graph->edges[e] == before) return true;
    return false;
}

bool fsm_graph_overlaps(const fsm_graph *graph)
{
    int last = -1; /* of forward and backward */
    for (int i = 0; i < graph->count; i++) {
        const fsm_task *t = &graph->tasks[i];
        if (t->phase == FSM_UPDATE) continue;
        if (t->rows_first > 0 || (last >= 0 && !waits_for(graph, i, last))) return true;
        last = i;
    }
    for (int i = 0; i < graph->count; i++)
        if (graph->tasks[i].kind == FSM_TASK_ALLREDUCE && !waits_for(graph, i, last)) return true;
    return false;
}

fsmoe_status fsm_cost_tasks(const fsm_graph *graph, const fsm_cluster *cluster, bool overlapped, double *seconds)
{
    fsm_price prices[FSM_TASK_KIND_COUNT][FSM_PHASE_COUNT];
    for (int k = 0; k < FSM_TASK_KIND_COUNT; k++)
        for (int p = 0; p < FSM_PHASE_COUNT; p++)
            prices[k][p] = fsm_cost_find(cluster, (fsm_task_kind)k, (fsm_phase)p, overlapped);
    for (int i = 0; i < graph->count; i++) {
        const fsm_task *t = &graph->tasks[i];
        const fsm_price *p = &prices[t->kind][t->phase];
        bool costs = p->known && (p->own || t->launches > 0);
        seconds[i] = costs ? fsm_cost_s(&p->cost, p->own ? 1 : t->launches, t->size) : 0;
        if (isfinite(seconds[i]) && seconds[i] >= 0) continue;
        char name[128];
        fsm_task_name(t, name);
        return fsm_fail(FSMOE_ERROR_NUMERIC, "task %d (%s) costs %g s", i, name, seconds[i]);
    }
    return FSMOE_OK;
}

fsmoe_status fsm_cost_graph(const fsm_graph *graph, const fsm_cluster *cluster, double *seconds)
{
    return fsm_cost_tasks(graph, cluster, fsm_graph_overlaps(graph), seconds);
}

fsmoe_status fsm_cost_check_tasks(const fsm_cluster *cluster)
{
    for (int i = 0; i < cluster->task_count; i++) {
        const char *task = cluster->tasks[i].task, *dot = strchr(task, '.');
        bool kind = false, phase = false;
        for (int k = 0; dot && k < FSM_TASK_KIND_COUNT; k++) {
            const char *name = fsm_task_kind_name((fsm_task_kind)k);
            kind |= strlen(name) == (size_t)(dot - task) && strncmp(name, task, strlen(name)) == 0;
        }
        for (int p = 0; dot && p < FSM_PHASE_COUNT; p++) phase |= strcmp(fsm_phase_name((fsm_phase)p), dot + 1) == 0;
        if (!kind || !phase)
            return fsm_fail(FSMOE_ERROR_FORMAT, "cluster '%s': tasks: no task is named '%s'", cluster->name, task);
    }
    return FSMOE_OK;
}
