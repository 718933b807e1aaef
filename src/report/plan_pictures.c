/* Pictures of a plan: <fsmoe/plan.h>. */
#include "exec/trace.h"
#include "plan/public.h"
#include "report/gantt.h"

#include <stdio.h>

fsmoe_status fsmoe_plan_draw(const fsmoe_plan *plan, const char *path)
{
    char title[160], subtitle[256];
    fsmoe_plan_summary s;
    fsmoe_plan_summarize(plan, &s);
    snprintf(title, sizeof title, "%s: one step, %.3f ms", s.schedule, 1e3 * s.step_s);
    snprintf(subtitle, sizeof subtitle,
             "%d layers, %d with experts; cluster '%s'; no plan takes less than %.3f ms (gap %.2f %%)", s.layers,
             s.moe_layers, plan->cluster.name, 1e3 * s.lower_bound_s, 100 * s.gap);
    fsm_gantt_frame frame = {.title = title, .subtitle = subtitle};
    return fsm_gantt_write(&plan->plan.graph, &plan->plan.timeline, &frame, path);
}

fsmoe_status fsmoe_plan_trace(const fsmoe_plan *plan, const char *path)
{
    return fsm_trace_write_timeline(&plan->plan.graph, &plan->plan.timeline, path);
}
