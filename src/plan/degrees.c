/* The degrees of a layer's two directions: one for both, or each its own. */
#include "plan/window.h"

#include <math.h>
#include <stddef.h>

typedef struct pair {
    fsm_window_plan plan[2];
    double makespan_s;
} pair;

static fsmoe_status at_degree(const fsm_window moe[2], fsm_freedom freedom, int degree, pair *tried)
{
    for (int phase = 0; phase < 2; phase++) FSM_TRY(fsm_window_at(&moe[phase], freedom, degree, &tried->plan[phase]));
    tried->makespan_s = tried->plan[0].makespan_s + tried->plan[1].makespan_s;
    return FSMOE_OK;
}

/* Both directions need at least this at that degree. */
static double pair_bound(const fsm_window moe[2], fsm_freedom freedom, int degree)
{
    double bound_s = 0;
    for (int phase = 0; phase < 2; phase++) {
        fsm_pipeline p;
        fsm_window_pipeline(&moe[phase], freedom, degree, &p);
        bound_s += fsm_pipeline_bound(&p, NULL);
    }
    return bound_s;
}

/* The links alone need this, whatever overlaps; it grows with the degree, so the search ends where it exceeds the
 * best. */
static double links_s(const fsm_window moe[2], fsm_freedom freedom, int degree)
{
    return fsm_window_link_s(&moe[0], freedom, degree) + fsm_window_link_s(&moe[1], freedom, degree);
}

static fsmoe_status try_degree(const fsm_window moe[2], fsm_freedom freedom, int degree, pair *best)
{
    pair tried;
    if (pair_bound(moe, freedom, degree) >= best->makespan_s) return FSMOE_OK;
    FSM_TRY(at_degree(moe, freedom, degree, &tried));
    if (tried.makespan_s < best->makespan_s) *best = tried;
    return FSMOE_OK;
}

/* Every degree; a good one early, from growing steps and the largest, saves most of the work. */
fsmoe_status fsm_window_one_degree(const fsm_window windows[2], fsm_freedom freedom, fsm_window_plan plan[2])
{
    fsm_window moe[2] = {windows[0], windows[1]};
    pair best = {.makespan_s = INFINITY};
    int most = windows[0].max_degree < windows[1].max_degree ? windows[0].max_degree : windows[1].max_degree;
    for (int phase = 0; phase < 2; phase++) moe[phase].dense_s = moe[phase].allreduce.launches = 0;
    for (int r = 1; r < most && links_s(moe, freedom, r) < best.makespan_s; r += 1 + r / 4)
        FSM_TRY(try_degree(moe, freedom, r, &best));
    FSM_TRY(try_degree(moe, freedom, most, &best));
    for (int r = 1; r < most && links_s(moe, freedom, r) < best.makespan_s; r++)
        FSM_TRY(try_degree(moe, freedom, r, &best));
    for (int phase = 0; phase < 2; phase++) {
        plan[phase] = best.plan[phase];
        plan[phase].makespan_s = windows[phase].dense_s + plan[phase].moe_s + fsm_load_s(&windows[phase].allreduce, 1);
        plan[phase].bound_s = plan[phase].makespan_s; /* one degree for both, one order: nothing is left to choose */
    }
    return FSMOE_OK;
}

fsmoe_status fsm_window_two_degrees(const fsm_window windows[2], fsm_freedom freedom, fsm_window_plan plan[2])
{
    for (int phase = 0; phase < 2; phase++) FSM_TRY(fsm_window_best(&windows[phase], freedom, &plan[phase]));
    return FSMOE_OK;
}
