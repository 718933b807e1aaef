/* The degrees of a layer's two directions: one for both, or each its own. */
#include "plan/window.h"

#include <math.h>

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

/* The links alone need this, whatever overlaps; it grows with the degree, so the search ends where it exceeds the best. */
static double links_s(const fsm_window moe[2], fsm_freedom freedom, int degree)
{
    return fsm_window_link_s(&moe[0], freedom, degree) + fsm_window_link_s(&moe[1], freedom, degree);
}

fsmoe_status fsm_window_one_degree(const fsm_window layer[2], fsm_freedom freedom, fsm_window_plan plan[2])
{
    fsm_window moe[2] = {layer[0], layer[1]};
    pair best = {.makespan_s = INFINITY};
    int most = layer[0].max_degree < layer[1].max_degree ? layer[0].max_degree : layer[1].max_degree, worse = 0;
    for (int phase = 0; phase < 2; phase++) moe[phase].dense_s = moe[phase].allreduce.launches = 0;
    for (int degree = 1; degree <= most && worse < 16; degree += 1 + degree / 32) {
        pair tried;
        if (links_s(moe, freedom, degree) >= best.makespan_s) break;
        FSM_TRY(at_degree(moe, freedom, degree, &tried));
        worse = tried.makespan_s < best.makespan_s ? 0 : worse + 1;
        if (worse == 0) best = tried;
    }
    for (int phase = 0; phase < 2; phase++) {
        plan[phase] = best.plan[phase];
        plan[phase].makespan_s = layer[phase].dense_s + plan[phase].moe_s + fsm_load_s(&layer[phase].allreduce, 1);
        plan[phase].bound_s = plan[phase].makespan_s; /* one degree for both, one order: nothing is left to choose */
    }
    return FSMOE_OK;
}

fsmoe_status fsm_window_two_degrees(const fsm_window layer[2], fsm_freedom freedom, fsm_window_plan plan[2])
{
    for (int phase = 0; phase < 2; phase++) FSM_TRY(fsm_window_best(&layer[phase], freedom, &plan[phase]));
    return FSMOE_OK;
}
