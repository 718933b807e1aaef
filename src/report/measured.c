#include "report/measured.h"

#include "base/file.h"
#include "exec/overlap.h"
#include "exec/step_times.h"
#include "plan/load.h"
#include "report/gantt.h"
#include "report/html.h"
#include "report/number.h"

#include <math.h>
#include <stdlib.h>

/* Pictures of thousands of tasks take a megabyte each. */
enum { MOST_PICTURES = 16 };

/* Pictures are wider than the page's text: their letters stay legible only near full size. */
static const char style[] =
    "<style>\n"
    ".steps{width:min(1600px,calc(100vw - 48px));margin-left:50%;transform:translateX(-50%);overflow-x:auto}\n"
    ".steps .gantt{display:block;width:100%;min-width:1100px;height:auto}\n"
    ".overlap{width:max-content;max-width:calc(50% + 50vw - 24px);overflow-x:auto;margin:16px 0 8px}\n"
    ".overlap table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums}\n"
    ".overlap th,.overlap td{padding:4px 6px;text-align:right;font-weight:400;white-space:nowrap}\n"
    ".overlap thead th{color:var(--quiet);vertical-align:bottom}\n"
    ".overlap th.group{text-align:center;border-bottom:1px solid var(--rule)}\n"
    ".overlap tbody tr{border-top:1px solid var(--rule)}\n"
    ".overlap tbody th{text-align:left}\n"
    ".overlap .first{padding-left:16px}\n"
    "</style>\n";

/* ---- what is compared ---- */

/* The slowest rank's: that is when the step is done. */
static double measured_s(const fsm_step_times *times, int *slowest)
{
    *slowest = 0;
    for (int r = 1; r < times->n_ranks; r++)
        if (times->ranks[r].makespan_s > times->ranks[*slowest].makespan_s) *slowest = r;
    return times->ranks[*slowest].makespan_s;
}

static bool knows_loads(const fsm_step_times *times)
{
    return fsm_over_load(1, times->load_s) > 0;
}

/* In the picture a task that did not run stands where it would have started, not at the step's start, from where its
 * layer would then seem to reach. */
static void place_tasks_that_did_not_run(const fsm_graph *graph, fsm_timeline *timeline)
{
    for (int i = 0; i < graph->count; i++) {
        const fsm_task *task = &graph->tasks[i];
        if (timeline->end_s[i] > 0) continue;
        for (int e = task->after_first; e < task->after_first + task->after_count; e++)
            timeline->end_s[i] = fmax(timeline->end_s[i], timeline->end_s[graph->edges[e]]);
        timeline->start_s[i] = timeline->end_s[i];
    }
}

/* ---- the table ---- */

static void write_cell(FILE *out, double value, const char *class)
{
    char text[FSM_NUMBER_BYTES];
    fprintf(out, "<td%s>%s</td>", class, fsm_number_short(text, value));
}

static void write_link_cells(FILE *out, const fsm_link_overlap *link)
{
    char text[FSM_NUMBER_BYTES];
    write_cell(out, 1e3 * link->busy_s, " class=\"first\"");
    write_cell(out, 1e3 * link->hidden_s, "");
    write_cell(out, 1e3 * link->exposed_s, "");
    snprintf(text, sizeof text, isnan(link->overlap) ? "–" : "%.1f%%", 100 * link->overlap);
    fprintf(out, "<td>%s</td>\n", text);
}

static fsmoe_status write_row(FILE *out, const fsm_step_times *times, const fsm_timeline *timeline, const char *name)
{
    fsm_overlap o;
    double over_load = fsm_over_load(timeline->makespan_s, times->load_s);
    FSM_TRY(fsm_overlap_of(&times->graph, timeline, &o));
    fprintf(out, "<tr><th>%s</th>", name);
    write_cell(out, 1e3 * timeline->makespan_s, "");
    if (times->has_planned) write_cell(out, timeline->makespan_s / times->planned.makespan_s, "");
    if (knows_loads(times)) write_cell(out, over_load, "");
    write_cell(out, 1e3 * o.compute_s, "");
    fputc('\n', out);
    write_link_cells(out, &o.intra);
    write_link_cells(out, &o.inter);
    write_link_cells(out, &o.communication);
    write_cell(out, 1e3 * o.both_links_s, " class=\"first\"");
    write_cell(out, 1e3 * o.all_three_s, "");
    fputs("</tr>\n", out);
    return FSMOE_OK;
}

static void write_table_head(FILE *out, const fsm_step_times *times)
{
    static const char *const links[] = {"intra-node link", "inter-node link", "either link"};
    fprintf(out, "<thead>\n<tr><th rowspan=\"2\"></th><th rowspan=\"2\">step</th>%s%s<th rowspan=\"2\">compute</th>",
            times->has_planned ? "<th rowspan=\"2\">÷ planned</th>" : "",
            knows_loads(times) ? "<th rowspan=\"2\">÷ load</th>" : "");
    for (int l = 0; l < 3; l++) fprintf(out, "<th class=\"group first\" colspan=\"4\">%s</th>", links[l]);
    fputs("<th class=\"group first\" colspan=\"2\">at the same time</th></tr>\n<tr>", out);
    for (int l = 0; l < 3; l++)
        fputs("<th class=\"first\">busy</th><th>hidden</th><th>exposed</th><th>overlap</th>", out);
    fputs("<th class=\"first\">both links</th><th>all three</th></tr>\n</thead>\n", out);
}

static void write_loads(FILE *out, const fsm_step_times *times)
{
    char number[FSM_RESOURCE_COUNT][FSM_NUMBER_BYTES];
    if (!knows_loads(times)) return;
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++) fsm_number_short(number[r], 1e3 * times->load_s[r]);
    fprintf(out,
            " Uncut, and beside nothing else, the tasks are planned to take %s of compute, %s of the intra-node link, "
            "%s of "
            "the inter-node link; load is the largest of these.",
            number[FSM_COMPUTE], number[FSM_INTRA], number[FSM_INTER]);
}

static fsmoe_status write_table(FILE *out, const fsm_step_times *times)
{
    fputs("<div class=\"overlap\">\n<table>\n", out);
    write_table_head(out, times);
    fputs("<tbody>\n", out);
    if (times->has_planned) FSM_TRY(write_row(out, times, &times->planned, "planned"));
    for (int r = 0; r < times->n_ranks; r++) {
        char name[32];
        snprintf(name, sizeof name, "rank %d", r);
        FSM_TRY(write_row(out, times, &times->ranks[r], name));
    }
    fputs("</tbody>\n</table>\n</div>\n<p class=\"note\">Times in ms. Communication is hidden while the compute stream "
          "is busy, else exposed; overlap is hidden ÷ busy.",
          out);
    write_loads(out, times);
    fputs("</p>\n", out);
    return FSMOE_OK;
}

/* ---- the pictures ---- */

static fsmoe_status write_picture(FILE *out, const fsm_step_times *times, const fsm_timeline *timeline,
                                  const char *title, double axis_s)
{
    char *svg;
    fsm_gantt_frame frame = {.title = title,
                             .load_s = knows_loads(times) ? times->load_s : NULL,
                             .axis_s = axis_s,
                             .inside_page = true};
    FSM_TRY(fsm_gantt_text(&times->graph, timeline, &frame, &svg));
    fputs(svg, out);
    free(svg);
    return FSMOE_OK;
}

static fsmoe_status write_rank_picture(FILE *out, const fsm_step_times *times, int rank, double axis_s)
{
    char title[64 + FSM_NUMBER_BYTES], number[FSM_NUMBER_BYTES];
    place_tasks_that_did_not_run(&times->graph, &times->ranks[rank]);
    snprintf(title, sizeof title, "Measured on rank %d: %s ms", rank,
             fsm_number_short(number, 1e3 * times->ranks[rank].makespan_s));
    return write_picture(out, times, &times->ranks[rank], title, axis_s);
}

static fsmoe_status write_pictures(FILE *out, const fsm_step_times *times, double axis_s)
{
    char title[64 + FSM_NUMBER_BYTES], number[FSM_NUMBER_BYTES];
    int drawn = times->n_ranks < MOST_PICTURES ? times->n_ranks : MOST_PICTURES;
    fsm_gantt_write_style(out, fsm_graph_lanes(&times->graph));
    fputs("<div class=\"steps\">\n", out);
    if (times->has_planned) {
        snprintf(title, sizeof title, "Planned: %s ms", fsm_number_short(number, 1e3 * times->planned.makespan_s));
        FSM_TRY(write_picture(out, times, &times->planned, title, axis_s));
    }
    FSM_TRY(write_rank_picture(out, times, 0, axis_s));
    fputs("</div>\n", out);
    if (drawn == 1) return FSMOE_OK;
    if (drawn < times->n_ranks)
        fprintf(out, "<details><summary>ranks 1 to %d of %d</summary>\n", drawn - 1, times->n_ranks);
    else fputs("<details><summary>the other ranks</summary>\n", out);
    fputs("<div class=\"steps\">\n", out);
    for (int r = 1; r < drawn; r++) FSM_TRY(write_rank_picture(out, times, r, axis_s));
    fputs("</div>\n</details>\n", out);
    return FSMOE_OK;
}

/* ---- the section ---- */

static void begin_section(FILE *out, const fsm_step_times *times, double step_s, int slowest)
{
    char note[512], ranks[64] = "", lanes[32] = "", measured[FSM_NUMBER_BYTES], planned[FSM_NUMBER_BYTES],
                    ratio[FSM_NUMBER_BYTES];
    double planned_s = times->planned.makespan_s;
    fsm_number_short(measured, 1e3 * step_s);
    if (fsm_graph_lanes(&times->graph) > 1)
        snprintf(lanes, sizeof lanes, ", in %d lanes", fsm_graph_lanes(&times->graph));
    if (times->n_ranks > 1)
        snprintf(ranks, sizeof ranks, " by the slowest of %d ranks, rank %d", times->n_ranks, slowest);
    if (times->has_planned)
        snprintf(note, sizeof note,
                 "Step %lld of schedule %s%s: planned %s ms, measured %s ms%s, %s times the planned.",
                 (long long)times->step, times->schedule, lanes, fsm_number_short(planned, 1e3 * planned_s), measured,
                 ranks, fsm_number_short(ratio, step_s / planned_s));
    else
        snprintf(note, sizeof note, "Step %lld of schedule %s%s: measured %s ms%s.", (long long)times->step,
                 times->schedule, lanes, measured, ranks);
    fsm_html_begin_section(out, "step-times",
                           times->has_planned ? "One step, planned and measured" : "One step, measured", note);
    fputs(style, out);
}

static fsmoe_status write_section(FILE *out, const fsm_step_times *times)
{
    int slowest;
    double step_s = measured_s(times, &slowest), planned_s = times->has_planned ? times->planned.makespan_s : NAN;
    begin_section(out, times, step_s, slowest);
    FSM_TRY(write_table(out, times));
    FSM_TRY(write_pictures(out, times, fmax(step_s, planned_s)));
    fsm_html_end_section(out);
    return FSMOE_OK;
}

fsmoe_status fsm_measured_write(FILE *out, const char *run_dir)
{
    char path[FSM_PATH_BYTES];
    fsm_step_times times;
    FSM_TRY(fsm_file_path(run_dir, FSM_STEP_TIMES_FILE, path));
    if (!fsm_file_exists(path)) return FSMOE_OK;
    FSM_TRY(fsm_step_times_read(path, &times));
    fsmoe_status status = write_section(out, &times);
    fsm_step_times_destroy(&times);
    return status;
}
