/* Lower bounds of one layer's pipeline at a degree, for every order. */
#include "plan/pipeline_state.h"

#include <stddef.h>

double fsm_pipeline_uneven_bound(const fsm_pipeline *mean, const fsm_pipeline *least, const char **binding)
{
    const double *t = least->stage_s, *m = mean->stage_s, r = mean->degree;
    double d = t[FSM_STAGE_DISPATCH], g = t[FSM_STAGE_ALLGATHER], e = t[FSM_STAGE_EXPERT];
    double s = t[FSM_STAGE_REDUCESCATTER], c = t[FSM_STAGE_COMBINE];
    double w = mean->split ? t[FSM_STAGE_WEIGHT_GRAD] : 0, all_w = mean->split ? r * m[FSM_STAGE_WEIGHT_GRAD] : 0;
    double all_d = r * m[FSM_STAGE_DISPATCH], all_c = r * m[FSM_STAGE_COMBINE], all_g = r * m[FSM_STAGE_ALLGATHER];
    double all_e = r * m[FSM_STAGE_EXPERT], all_s = r * m[FSM_STAGE_REDUCESCATTER], path = d + g + e + s + c;
    double slowest = fsm_later(fsm_later(fsm_later(d, c), g), fsm_later(e, s));
    const struct {
        const char *name;
        double seconds;
    } bounds[] = {
        {"inter", fsm_later(all_d + all_c, fsm_later(all_d + g + e + s + c, d + g + e + s + all_c))},
        {"compute", fsm_later(d + g + all_e + all_w, d + g + all_e + s + c)},
        {"intra", d + c + fsm_later(all_g + all_s, fsm_later(g + e + all_s, all_g + e + s))},
        {"path", fsm_later(path + (r - 1) * slowest, d + g + e + w)},
    };
    int best = r == 1 ? 3 : 0; /* one chunk goes through everything alone */
    for (int i = 0; i < 4; i++)
        if (bounds[i].seconds > bounds[best].seconds) best = i;
    if (binding) *binding = bounds[best].name;
    return bounds[best].seconds;
}

double fsm_pipeline_bound(const fsm_pipeline *p, const char **binding)
{
    return fsm_pipeline_uneven_bound(p, p, binding);
}

/* ---- one resource alone, preemptible (Jackson's preemptive schedule; Carlier 1982) ---- */

/* A family of r tasks of one resource: task i cannot start before heads[i], and tails[i] must follow its end. Both
 * are in FIFO order: heads grow, tails shrink. */
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

/* The least possible makespan of two families on one resource that may interrupt tasks: always the available one with
 * the longest tail. */
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
    double d = t[FSM_STAGE_DISPATCH], g = t[FSM_STAGE_ALLGATHER], e = t[FSM_STAGE_EXPERT];
    double s = t[FSM_STAGE_REDUCESCATTER], c = t[FSM_STAGE_COMBINE];
    int r = p->degree;
    double *gather_heads = scratch, *gather_tails = scratch + r, *scatter_heads = scratch + 2 * r;
    double *scatter_tails = scratch + 3 * r, *expert_heads = scratch + 4 * r, *expert_tails = scratch + 5 * r;
    double *weight_heads = scratch + 6 * r, *none = scratch + 7 * r;
    for (int i = 0; i < r; i++) {
        int from = i + 1, to = r - i; /* chunks up to this one, chunks from it on */
        gather_heads[i] = from * d;
        expert_heads[i] = fsm_later(from * d + g, d + from * g);
        scatter_heads[i] = fsm_later(expert_heads[i] + e, d + g + from * e);
        weight_heads[i] = scatter_heads[i];
        scatter_tails[i] = to * c;
        expert_tails[i] = fsm_later(to * c + s, c + to * s);
        gather_tails[i] = fsm_later(expert_tails[i] + e, c + s + to * e);
        none[i] = 0;
    }
    family gathers = {gather_heads, gather_tails, g, r, 0, 0}, scatters = {scatter_heads, scatter_tails, s, r, 0, 0};
    family experts = {expert_heads, expert_tails, e, r, 0, 0};
    family weights = {weight_heads, none, t[FSM_STAGE_WEIGHT_GRAD], p->split ? r : 0, 0, 0};
    return fsm_later(preemptive(&gathers, &scatters), preemptive(&experts, &weights));
}
