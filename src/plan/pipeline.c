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

double fsm_pipeline_uneven_bound(const fsm_pipeline *mean, const fsm_pipeline *least, const char **binding)
{
    const double *t = least->stage_s, *m = mean->stage_s, r = mean->degree;
    double a = t[FSM_STAGE_DISPATCH], g = t[FSM_STAGE_ALLGATHER], e = t[FSM_STAGE_EXPERT],
           s = t[FSM_STAGE_REDUCESCATTER];
    double w = mean->split ? t[FSM_STAGE_WEIGHT_GRAD] : 0, all_w = mean->split ? r * m[FSM_STAGE_WEIGHT_GRAD] : 0;
    double all_a = r * m[FSM_STAGE_DISPATCH], all_g = r * m[FSM_STAGE_ALLGATHER], all_e = r * m[FSM_STAGE_EXPERT];
    double all_s = r * m[FSM_STAGE_REDUCESCATTER], path = 2 * a + g + e + s;
    const struct {
        const char *name;
        double seconds;
    } bounds[] = {
        {"path", fsm_later(path + (r - 1) * fsm_later(fsm_later(a, g), fsm_later(e, s)), a + g + e + w)},
        {"inter", fsm_later(2 * all_a, all_a + a + g + e + s)},
        {"compute", fsm_later(a + g + all_e + all_w, 2 * a + g + s + all_e)},
        {"intra", 2 * a + fsm_later(all_g + all_s, fsm_later(g + e + all_s, all_g + e + s))},
    };
    int best = 0;
    for (int i = 1; i < 4; i++)
        if (bounds[i].seconds > bounds[best].seconds) best = i;
    if (binding) *binding = bounds[best].name;
    return bounds[best].seconds;
}

double fsm_pipeline_bound(const fsm_pipeline *p, const char **binding)
{
    return fsm_pipeline_uneven_bound(p, p, binding);
}

/* ---- one resource alone, preemptible (Jackson's preemptive schedule; Carlier 1982) ---- */

/* A family of r tasks of one resource: task i cannot start before heads[i], and tails[i] must follow its end. Both are in FIFO
 * order: heads grow, tails shrink. */
typedef struct family {
    const double *heads, *tails;
    double length_s;
    int count, at; /* the next one, */
    double left_s; /* and what is left of it */
} family;

static void take_up(family *f)
{
    f->left_s = f->length_s;
}

/* The least possible makespan of two families on one resource that may interrupt tasks: always the available one with the longest tail. */
static double preemptive(family *x, family *y)
{
    double now_s = 0, makespan_s = 0;
    family *both[2] = {x, y};
    take_up(x);
    take_up(y);
    for (;;) {
        family *chosen = NULL;
        double next_s = INFINITY; /* the next release */
        for (int i = 0; i < 2; i++) {
            family *f = both[i];
            if (f->at == f->count) continue;
            if (f->heads[f->at] > now_s) next_s = next_s < f->heads[f->at] ? next_s : f->heads[f->at];
            else if (!chosen || f->tails[f->at] > chosen->tails[chosen->at]) chosen = f;
        }
        if (!chosen && next_s == INFINITY) return makespan_s;
        if (!chosen) {
            now_s = next_s;
        } else if (now_s + chosen->left_s > next_s) { /* look again when the other is released */
            chosen->left_s -= next_s - now_s;
            now_s = next_s;
        } else {
            now_s += chosen->left_s;
            makespan_s = fsm_later(makespan_s, now_s + chosen->tails[chosen->at++]);
            take_up(chosen);
        }
    }
}

double fsm_pipeline_preemptive_bound(const fsm_pipeline *p, double *scratch)
{
    const double *t = p->stage_s;
    double a = t[FSM_STAGE_DISPATCH], g = t[FSM_STAGE_ALLGATHER], e = t[FSM_STAGE_EXPERT],
           s = t[FSM_STAGE_REDUCESCATTER];
    int r = p->degree;
    double *gather_heads = scratch, *gather_tails = scratch + r, *scatter_heads = scratch + 2 * r;
    double *scatter_tails = scratch + 3 * r, *expert_heads = scratch + 4 * r, *expert_tails = scratch + 5 * r;
    double *weight_heads = scratch + 6 * r, *none = scratch + 7 * r;
    for (int i = 0; i < r; i++) {
        int from = i + 1, to = r - i; /* chunks up to this one, chunks from it on */
        gather_heads[i] = from * a;
        expert_heads[i] = fsm_later(from * a + g, a + from * g);
        scatter_heads[i] = fsm_later(expert_heads[i] + e, a + g + from * e);
        weight_heads[i] = scatter_heads[i];
        scatter_tails[i] = to * a;
        expert_tails[i] = fsm_later(to * a + s, a + to * s);
        gather_tails[i] = fsm_later(expert_tails[i] + e, a + s + to * e);
        none[i] = 0;
    }
    family gathers = {gather_heads, gather_tails, g, r, 0, 0}, scatters = {scatter_heads, scatter_tails, s, r, 0, 0};
    family experts = {expert_heads, expert_tails, e, r, 0, 0};
    family weights = {weight_heads, none, t[FSM_STAGE_WEIGHT_GRAD], p->split ? r : 0, 0, 0};
    return fsm_later(preemptive(&gathers, &scatters), preemptive(&experts, &weights));
}
