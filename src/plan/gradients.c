#include "plan/gradients.h"

#include <stdlib.h>

/* The task that finishes the gradient of a role; experts' and feed-forward weights have a task of their own. */
static fsm_task_kind finishing_task(const fsm_param *p, const fsm_step_shape *shape)
{
    switch (p->role) {
    case FSM_ROLE_HEAD:
    case FSM_ROLE_FINAL_NORM:
    case FSM_ROLE_FINAL_NORM_BIAS:
        return FSM_TASK_HEAD;
    case FSM_ROLE_EXPERT:
    case FSM_ROLE_FFN:
        return FSM_TASK_WEIGHT_GRAD;
    case FSM_ROLE_GATE:
    case FSM_ROLE_SHARED:
    case FSM_ROLE_SHARED_GATE:
        return FSM_TASK_GATE;
    case FSM_ROLE_NORM2:
    case FSM_ROLE_NORM2_BIAS:
        return fsm_layer_is_moe(shape->moe_every, p->layer) ? FSM_TASK_GATE : FSM_TASK_FFN_NORM;
    case FSM_ROLE_NORM1:
    case FSM_ROLE_NORM1_BIAS:
        return FSM_TASK_NORM;
    case FSM_ROLE_EMBEDDING:
    case FSM_ROLE_POSITIONS:
        return FSM_TASK_EMBEDDING;
    default:
        return FSM_TASK_ATTENTION;
    }
}

static int region_at(const fsm_step_shape *shape, int64_t offset)
{
    int region = 0;
    while (region + 1 < shape->region_count && offset >= shape->regions[region].last) region++;
    return region;
}

static int by_offset(const void *x, const void *y)
{
    const fsm_param *a = *(const fsm_param *const *)x, *b = *(const fsm_param *const *)y;
    return (a->offset > b->offset) - (a->offset < b->offset);
}

/* Another run, or more of the last one. Runs reach to the next one's start, over the padding. */
static void add_run(fsm_step_shape *shape, const fsm_param *p)
{
    fsm_gradient run = {region_at(shape, p->offset), p->offset, 0, p->layer, finishing_task(p, shape)};
    run.last = shape->regions[run.region].last;
    if (shape->gradient_count > 0) {
        fsm_gradient *before = &shape->gradients[shape->gradient_count - 1];
        if (before->region == run.region && before->layer == run.layer && before->after == run.after) return;
        if (before->region == run.region) before->last = run.first;
        else run.first = shape->regions[run.region].first;
    } else {
        run.first = shape->regions[run.region].first;
    }
    shape->gradients[shape->gradient_count++] = run;
}

fsmoe_status fsm_step_list_gradients(const fsm_params *params, fsm_step_shape *shape)
{
    const fsm_param **sorted = malloc(sizeof *sorted * ((size_t)params->count + 1));
    shape->gradients = malloc(sizeof *shape->gradients * ((size_t)params->count + 1));
    if (!sorted || !shape->gradients) {
        free(sorted);
        free(shape->gradients);
        shape->gradients = NULL;
        return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to list gradients");
    }
    for (int i = 0; i < params->count; i++) sorted[i] = &params->items[i];
    qsort(sorted, (size_t)params->count, sizeof *sorted, by_offset);
    shape->gradient_count = 0;
    for (int i = 0; i < params->count; i++) add_run(shape, sorted[i]);
    free(sorted);
    return FSMOE_OK;
}

/* Backward has passed the task that finishes it by then: everything of later layers, and of this one the experts'
 * weights when its dense part begins; a dense feed-forward's come later. */
static bool is_finished(const fsm_step_shape *shape, const fsm_gradient *g, int layer, bool dense)
{
    if (g->layer < 0) return g->after == FSM_TASK_HEAD;
    if (g->layer > layer) return true;
    bool experts = g->after == FSM_TASK_WEIGHT_GRAD && fsm_layer_is_moe(shape->moe_every, layer);
    return g->layer == layer && dense && experts;
}

int64_t fsm_step_finished(const fsm_step_shape *shape, int region, int layer, bool dense, int *next, int64_t last)
{
    for (; *next < shape->gradient_count && shape->gradients[*next].region == region; (*next)++) {
        if (!is_finished(shape, &shape->gradients[*next], layer, dense)) break;
        last = shape->gradients[*next].last;
    }
    return last;
}
