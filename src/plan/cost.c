#include "plan/cost.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { NOTHING = -1 };

/* The op a task is made of. */
static int op_of(fsm_task_kind kind)
{
    switch (kind) {
    case FSM_TASK_ATTENTION:
    case FSM_TASK_FFN:
    case FSM_TASK_GATE:
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
        return NOTHING;
    }
}

static const fsm_cost *own_cost(const fsm_cluster *cluster, fsm_task_kind kind, fsm_phase phase)
{
    char name[64];
    if (cluster->task_count == 0) return NULL;
    snprintf(name, sizeof name, "%s.%s", fsm_task_kind_name(kind), fsm_phase_name(phase));
    return fsm_cluster_task(cluster, name);
}

const fsm_cost *fsm_cost_find(const fsm_cluster *cluster, fsm_task_kind kind, fsm_phase phase)
{
    const fsm_cost *own = own_cost(cluster, kind, phase);
    int op = op_of(kind);
    return own ? own : op == NOTHING ? NULL : &cluster->op[op].cost;
}

fsmoe_status fsm_cost_graph(const fsm_graph *graph, const fsm_cluster *cluster, double *seconds)
{
    const fsm_cost *costs[FSM_TASK_KIND_COUNT][FSM_PHASE_COUNT];
    bool own[FSM_TASK_KIND_COUNT][FSM_PHASE_COUNT];
    for (int k = 0; k < FSM_TASK_KIND_COUNT; k++)
        for (int p = 0; p < FSM_PHASE_COUNT; p++) {
            costs[k][p] = fsm_cost_find(cluster, (fsm_task_kind)k, (fsm_phase)p);
            own[k][p] = own_cost(cluster, (fsm_task_kind)k, (fsm_phase)p) != NULL;
        }
    for (int i = 0; i < graph->count; i++) {
        const fsm_task *t = &graph->tasks[i];
        const fsm_cost *cost = costs[t->kind][t->phase];
        bool is_own = own[t->kind][t->phase];
        seconds[i] = cost && (is_own || t->launches > 0) ? fsm_cost_s(cost, is_own ? 1 : t->launches, t->size) : 0;
        if (isfinite(seconds[i]) && seconds[i] >= 0) continue;
        char name[128];
        fsm_task_name(t, name);
        return fsm_fail(FSMOE_ERROR_NUMERIC, "task %d (%s) costs %g s", i, name, seconds[i]);
    }
    return FSMOE_OK;
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
