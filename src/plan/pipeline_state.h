/* A partial order of one layer's pipeline: what is done, when resources are free. Shared by list scheduling and search.
 * Dispatch i ends at i a, and combines follow their reducescatter in order, so only the intra-node link and the compute
 * resource are decided.
 */
#ifndef FSM_PLAN_PIPELINE_STATE_H
#define FSM_PLAN_PIPELINE_STATE_H

#include "plan/pipeline.h"

#include <math.h>

/* fmax without its care for NaN, which costs a call. */
static inline double fsm_later(double x_s, double y_s)
{
    return x_s > y_s ? x_s : y_s;
}

typedef struct fsm_pipe_state {
    int done[FSM_STAGE_COUNT]; /* of allgather, expert, weight_grad, reducescatter */
    double intra_s, compute_s; /* free from then on */
    double late_s;             /* the makespan is at least this */
    double *rows_s;            /* [r] when the allgather of a chunk ended */
    double *out_s;             /* [r] when its expert ended */
} fsm_pipe_state;

static inline void fsm_pipe_begin(const fsm_pipeline *p, fsm_pipe_state *s)
{
    for (int i = 0; i < FSM_STAGE_COUNT; i++) s->done[i] = 0;
    s->intra_s = s->compute_s = 0;
    s->late_s = p->degree * (p->stage_s[FSM_STAGE_DISPATCH] + p->stage_s[FSM_STAGE_COMBINE]);
    if (!p->split) s->done[FSM_STAGE_WEIGHT_GRAD] = p->degree;
}

/* When the next allgather can start, whether or not it is the next on its link. */
static inline double fsm_pipe_allgather_start(const fsm_pipe_state *s, const fsm_pipeline *p)
{
    return fsm_later(s->intra_s, (s->done[FSM_STAGE_ALLGATHER] + 1) * p->stage_s[FSM_STAGE_DISPATCH]);
}

/* When the stage's next chunk can start; INFINITY when all are done or what it waits for is not. */
static inline double fsm_pipe_start(const fsm_pipe_state *s, const fsm_pipeline *p, fsm_stage stage)
{
    int chunk = s->done[stage], experts = s->done[FSM_STAGE_EXPERT];
    if (chunk == p->degree) return INFINITY;
    switch (stage) {
    case FSM_STAGE_ALLGATHER:
        return fsm_pipe_allgather_start(s, p);
    case FSM_STAGE_EXPERT:
        return chunk < s->done[FSM_STAGE_ALLGATHER] ? fsm_later(s->compute_s, s->rows_s[chunk]) : INFINITY;
    case FSM_STAGE_WEIGHT_GRAD:
        return chunk < experts ? s->compute_s : INFINITY;
    default:
        return chunk < experts ? fsm_later(s->intra_s, s->out_s[chunk]) : INFINITY;
    }
}

/* The next expert cannot start before this. */
static inline double fsm_pipe_expert_at_best(const fsm_pipe_state *s, const fsm_pipeline *p)
{
    int chunk = s->done[FSM_STAGE_EXPERT];
    if (chunk < s->done[FSM_STAGE_ALLGATHER]) return fsm_later(s->compute_s, s->rows_s[chunk]);
    return fsm_later(s->compute_s, fsm_pipe_allgather_start(s, p) + p->stage_s[FSM_STAGE_ALLGATHER]);
}

/* Does the stage's next chunk at `start_s`. */
static inline void fsm_pipe_do(fsm_pipe_state *s, const fsm_pipeline *p, fsm_stage stage, double start_s)
{
    int chunk = s->done[stage]++;
    double end_s = start_s + p->stage_s[stage];
    switch (stage) {
    case FSM_STAGE_ALLGATHER:
        s->intra_s = s->rows_s[chunk] = end_s;
        break;
    case FSM_STAGE_EXPERT:
        s->compute_s = s->out_s[chunk] = end_s;
        break;
    case FSM_STAGE_WEIGHT_GRAD:
        s->compute_s = end_s;
        s->late_s = fsm_later(s->late_s, end_s);
        break;
    default:
        s->intra_s = end_s;
        s->late_s = fsm_later(s->late_s, end_s + (p->degree - chunk) * p->stage_s[FSM_STAGE_COMBINE]);
    }
}

static inline bool fsm_pipe_is_done(const fsm_pipe_state *s, const fsm_pipeline *p)
{
    return s->done[FSM_STAGE_REDUCESCATTER] == p->degree && s->done[FSM_STAGE_WEIGHT_GRAD] == p->degree;
}

#endif
