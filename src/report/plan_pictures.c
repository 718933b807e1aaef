/* Pictures of a plan: <fsmoe/plan.h>. */
#include "exec/trace.h"
#include "plan/public.h"
#include "report/gantt.h"

#include <stdio.h>

enum { SUBTITLE_BYTES = 512 };

/* "3 layers, 2 of them with experts, in 2 lanes; …" */
static void describe(const fsmoe_plan *plan, const fsmoe_plan_summary *s, char text[SUBTITLE_BYTES])
{
    char lanes[32] = "", load[64] = "";
    if (s->lanes > 1) snprintf(lanes, sizeof lanes, ", in %d lanes", s->lanes);
    if (s->step_over_load > 0) snprintf(load, sizeof load, "; step / load %.3f", s->step_over_load);
    snprintf(text, SUBTITLE_BYTES,
             "%d layers, %d with experts%s; cluster '%s'; no plan takes less than %.3f ms (gap %.2f %%)%s", s->layers,
             s->moe_layers, lanes, plan->cluster.name, 1e3 * s->lower_bound_s, 100 * s->gap, load);
}

fsmoe_status fsmoe_plan_draw(const fsmoe_plan *plan, const char *path)
{
    char title[160], subtitle[SUBTITLE_BYTES];
    fsmoe_plan_summary s;
    fsmoe_plan_summarize(plan, &s);
    snprintf(title, sizeof title, "%s: one step, %.3f ms", s.schedule, 1e3 * s.step_s);
    describe(plan, &s, subtitle);
    fsm_gantt_frame frame = {.title = title, .subtitle = subtitle, .load_s = s.load_s};
    return fsm_gantt_write(&plan->plan.graph, &plan->plan.timeline, &frame, path);
}

fsmoe_status fsmoe_plan_trace(const fsmoe_plan *plan, const char *path)
{
    return fsm_trace_write_timeline(&plan->plan.graph, &plan->plan.timeline, path);
}
