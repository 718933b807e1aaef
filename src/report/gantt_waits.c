#include "report/gantt_waits.h"

#include "base/text.h"
#include "report/html.h"

#include <string.h>

#define LEAST_TOLD 0.005 /* of a resource's idle time */
enum { MOST_TOLD = 4 };  /* kinds of tasks */
enum { WAITS_BYTES = 512 };

/* "waits 2.1 ms for a2a_combine.forward, …; 0.3 ms after its last task" */
static void waits_text(const fsm_resource_waits *w, char text[WAITS_BYTES])
{
    char number[FSM_NUMBER_BYTES];
    double others_s = 0;
    text[0] = 0;
    for (int i = 0; i < w->count; i++) {
        const fsm_wait *wait = &w->waits[i];
        if (i < MOST_TOLD)
            fsm_text_append(text, WAITS_BYTES, "%s%s ms for %s.%s", i > 0 ? ", " : "waits ", fsm_number_short(number, 1e3 * wait->seconds),
                   fsm_task_kind_name(wait->kind), fsm_phase_name(wait->phase));
        else others_s += wait->seconds;
    }
    if (others_s > 0) fsm_text_append(text, WAITS_BYTES, ", %s ms for others", fsm_number_short(number, 1e3 * others_s));
    if (w->late_s > LEAST_TOLD * w->idle_s)
        fsm_text_append(text, WAITS_BYTES, "%s%s ms before a task that could begin", text[0] ? "; " : "idle ",
               fsm_number_short(number, 1e3 * w->late_s));
    if (w->done_s > LEAST_TOLD * w->idle_s)
        fsm_text_append(text, WAITS_BYTES, "%s%s ms after its last task", text[0] ? "; " : "idle ",
               fsm_number_short(number, 1e3 * w->done_s));
}

void fsm_gantt_write_waits(FILE *out, const fsm_gantt_picture *p, double x)
{
    double y = p->tracks_y + FSM_GANTT_TRACK_PX + 15;
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++) {
        char waits[WAITS_BYTES];
        if (p->tracks.count[r] == 0) continue;
        waits_text(&p->waits.of[r], waits);
        fsm_svg_text(out, "waits", x, y, waits);
        y += FSM_GANTT_TRACK_STEP_PX;
    }
}
