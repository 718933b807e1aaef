#include "plan/pipeline.h"

#include "plan/pipeline_state.h"

#include <stddef.h>
#include <stdlib.h>

int fsm_pipeline_slots(const fsm_pipeline *pipeline)
{
    return (pipeline->split ? 6 : 5) * pipeline->degree;
}

/* Would weight_grad now delay the next expert more than the policy allows? */
static bool too_early(const fsm_pipe_state *s, const fsm_pipeline *p, fsm_policy policy)
{
    double weight_s = p->stage_s[FSM_STAGE_WEIGHT_GRAD];
    if (s->done[FSM_STAGE_EXPERT] == p->degree) return false;
    return s->compute_s + weight_s > fsm_pipe_expert_at_best(s, p) + policy.weight_patience * weight_s;
}

/* The task that starts first; of those that start at once, the one the policy likes best. */
static fsm_stage choose(const fsm_pipe_state *s, const fsm_pipeline *p, fsm_policy policy, double *start_s)
{
    static const fsm_stage liking[2][4] = {{FSM_STAGE_EXPERT, FSM_STAGE_ALLGATHER, FSM_STAGE_REDUCESCATTER,
                                            FSM_STAGE_WEIGHT_GRAD},
                                           {FSM_STAGE_EXPERT, FSM_STAGE_REDUCESCATTER, FSM_STAGE_ALLGATHER,
                                            FSM_STAGE_WEIGHT_GRAD}};
    fsm_stage best = FSM_STAGE_COUNT;
    *start_s = INFINITY;
    for (int i = 0; i < 4; i++) {
        fsm_stage stage = liking[policy.reducescatter_first][i];
        double at_s = fsm_pipe_start(s, p, stage);
        if (at_s >= *start_s || (stage == FSM_STAGE_WEIGHT_GRAD && too_early(s, p, policy))) continue;
        *start_s = at_s;
        best = stage;
    }
    return best;
}

static int put_all(fsm_slot *order, int n, fsm_stage stage, int degree)
{
    for (int c = 0; c < degree; c++) order[n++] = (fsm_slot){stage, c};
    return n;
}

double fsm_pipeline_list(const fsm_pipeline *p, fsm_policy policy, double *scratch, fsm_slot *order)
{
    fsm_pipe_state s = {.rows_s = scratch, .out_s = scratch + p->degree};
    int n = order ? put_all(order, 0, FSM_STAGE_DISPATCH, p->degree) : 0;
    fsm_pipe_begin(p, &s);
    while (!fsm_pipe_is_done(&s, p)) {
        double start_s;
        fsm_stage stage = choose(&s, p, policy, &start_s);
        if (order) order[n++] = (fsm_slot){stage, s.done[stage]};
        fsm_pipe_do(&s, p, stage, start_s);
    }
    if (order) put_all(order, n, FSM_STAGE_COMBINE, p->degree);
    return s.late_s;
}

double fsm_pipeline_quick(const fsm_pipeline *p, double *scratch, fsm_policy *policy)
{
    static const double patience[] = {0, 0.25, 0.5, 1};
    double best_s = INFINITY, bound_s = fsm_pipeline_bound(p, NULL) * (1 + 1e-12);
    for (int first = 0; first < 2; first++) {
        for (int i = 0; i < (p->split ? 4 : 1) && best_s > bound_s; i++) {
            fsm_policy tried = {first, patience[i]};
            double makespan_s = fsm_pipeline_list(p, tried, scratch, NULL);
            if (makespan_s >= best_s) continue;
            best_s = makespan_s;
            if (policy) *policy = tried;
        }
    }
    return best_s;
}

double fsm_pipeline_run(const fsm_pipeline *p, const fsm_slot *order, double *scratch)
{
    static const int resource_of[FSM_STAGE_COUNT] = {0, 1, 2, 2, 1, 0};
    static const fsm_stage before[FSM_STAGE_COUNT] = {FSM_STAGE_COUNT,  FSM_STAGE_DISPATCH, FSM_STAGE_ALLGATHER,
                                                      FSM_STAGE_EXPERT, FSM_STAGE_EXPERT,   FSM_STAGE_REDUCESCATTER};
    double free_s[3] = {0}, makespan_s = 0; /* scratch [stage][chunk]: ends */
    for (int i = 0; i < fsm_pipeline_slots(p); i++) {
        fsm_stage stage = order[i].stage;
        double *resource_s = &free_s[resource_of[stage]];
        if (stage != FSM_STAGE_DISPATCH)
            *resource_s = fsm_later(*resource_s, scratch[before[stage] * p->degree + order[i].chunk]);
        *resource_s += p->stage_s[stage];
        scratch[stage * p->degree + order[i].chunk] = *resource_s;
        makespan_s = fsm_later(makespan_s, *resource_s);
    }
    return makespan_s;
}
