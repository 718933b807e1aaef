#include "plan/explain.h"

static const char *const stage_names[FSM_STAGE_COUNT] = {"dispatch",    "allgather",     "expert",
                                                         "weight_grad", "reducescatter", "combine"};

static void print_stages(const fsm_window *window, fsm_freedom freedom, int degree, FILE *out)
{
    fsm_pipeline p;
    fsm_window_pipeline(window, (fsm_freedom){.split = freedom.split}, degree, &p);
    fprintf(out, "  a chunk at degree %d, ms:", degree);
    for (int i = 0; i < FSM_STAGE_COUNT; i++)
        if (window->stage[i].launches > 0 && (i != FSM_STAGE_WEIGHT_GRAD || p.split))
            fprintf(out, " %s %.3f", stage_names[i], 1e3 * p.stage_s[i]);
    if (window->allreduce.launches > 0) fprintf(out, "; gradients %.3f", 1e3 * fsm_load_s(&window->allreduce, 1));
    fputc('\n', out);
}

/* The neighbours, half and double, one chunk. */
static bool is_shown(int degree, int chosen)
{
    return degree == 1 || (degree >= chosen - 2 && degree <= chosen + 2) || degree == chosen / 2 ||
           degree == 2 * chosen;
}

fsmoe_status fsm_window_explain(const fsm_window *window, fsm_freedom freedom, int degree, const char *title, FILE *out)
{
    fsm_window_plan chosen, other;
    FSM_TRY(fsm_window_at(window, freedom, degree, &chosen));
    fprintf(out, "%s: degree %d of at most %d, %.3f ms\n", title, degree, window->max_degree, 1e3 * chosen.makespan_s);
    print_stages(window, freedom, degree, out);
    fprintf(out, "  %6s  %12s  %8s  %12s  %s\n", "degree", "makespan, ms", "cost", "bound, ms", "binds");
    for (int r = 1; r <= window->max_degree && r <= 2 * degree + 2; r++) {
        if (!is_shown(r, degree)) continue;
        FSM_TRY(fsm_window_at(window, freedom, r, &other));
        fprintf(out, "%c %6d  %12.3f  %+7.2f%%  %12.3f  %s\n", r == degree ? '>' : ' ', r, 1e3 * other.makespan_s,
                100 * (other.makespan_s / chosen.makespan_s - 1), 1e3 * other.bound_s, other.binding);
    }
    return FSMOE_OK;
}
