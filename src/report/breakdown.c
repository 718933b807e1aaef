#include "report/breakdown.h"

#include "base/file.h"
#include "report/html.h"
#include "report/number.h"
#include "run/breakdown.h"

#include <math.h>

static const char style[] =
    "<style>\n"
    ".breakdown{width:max-content;max-width:100%;overflow-x:auto;margin:16px 0 8px}\n"
    ".breakdown table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums}\n"
    ".breakdown th,.breakdown td{padding:4px 10px;text-align:right;font-weight:400;white-space:nowrap}\n"
    ".breakdown thead th{color:var(--quiet)}\n"
    ".breakdown tbody tr{border-top:1px solid var(--rule)}\n"
    ".breakdown tbody th{text-align:left}\n"
    "</style>\n";

static void write_cell(FILE *out, double value)
{
    char text[FSM_NUMBER_BYTES];
    fprintf(out, "<td>%s</td>", fsm_number_short(text, value));
}

static void write_share(FILE *out, double share)
{
    if (isfinite(share)) fprintf(out, "<td>%.1f%%</td>", 100 * share);
    else fputs("<td>–</td>", out);
}

static void write_row(FILE *out, const fsm_breakdown *b, const fsm_breakdown_row *row)
{
    double floor_s = fsm_breakdown_floor_s(b, row);
    fputs("<tr><th>", out);
    fsm_html_text(out, row->kind);
    fputs("</th>", out);
    write_cell(out, row->calls);
    write_cell(out, 1e3 * row->s);
    if (b->ranks > 1) write_cell(out, 1e3 * row->slowest_s);
    write_share(out, row->s / b->step_s);
    write_cell(out, 1e3 * floor_s);
    write_cell(out, floor_s > 0 ? row->s / floor_s : NAN);
    fputs("</tr>\n", out);
}

/* What has no floor. */
static void write_sum(FILE *out, const fsm_breakdown *b, const char *name, double s)
{
    fprintf(out, "<tr><th>%s</th><td></td>", name);
    write_cell(out, 1e3 * s);
    if (b->ranks > 1) fputs("<td></td>", out);
    write_share(out, s / b->step_s);
    fputs("<td></td><td></td></tr>\n", out);
}

static void write_table(FILE *out, const fsm_breakdown *b)
{
    fprintf(out,
            "<div class=\"breakdown\">\n<table>\n<thead>\n<tr><th></th><th>calls</th><th>ms</th>%s<th>of the step</th>"
            "<th>floor, ms</th><th>÷ floor</th></tr>\n</thead>\n<tbody>\n",
            b->ranks > 1 ? "<th>slowest rank</th>" : "");
    for (int i = 0; i < b->rows; i++) write_row(out, b, &b->row[i]);
    write_sum(out, b, "outside operations", fsm_breakdown_outside_s(b));
    write_sum(out, b, "step", b->step_s);
    fputs("</tbody>\n</table>\n</div>\n", out);
}

static void write_section(FILE *out, const fsm_breakdown *b)
{
    char note[256], ranks[64] = "", number[4][FSM_NUMBER_BYTES];
    if (b->ranks > 1) snprintf(ranks, sizeof ranks, ", mean of %lld ranks", (long long)b->ranks);
    snprintf(note, sizeof note, "A step of a rank by kind of operation: steps %lld to %lld%s.",
             (long long)b->first_step, (long long)b->last_step, ranks);
    fsm_html_begin_section(out, "breakdown", "Where the time goes", note);
    fputs(style, out);
    write_table(out, b);
    fprintf(
        out,
        "<p class=\"note\">The floor is FLOPs at %s GFLOP/s, or bytes read and written once at %s GB/s, as a rank was "
        "measured to reach; below 1, what was read was still in a cache. Outside operations a rank waits, for "
        "communication above all. The model needs %s GFLOP/s of all ranks, %s%% of what they reach.</p>\n",
        fsm_number_short(number[0], 1e-9 * b->flops_per_s), fsm_number_short(number[1], 1e-9 * b->bytes_per_s),
        fsm_number_short(number[2], 1e-9 * b->model_flops_per_s), fsm_number_short(number[3], 100 * b->model_share));
    fsm_html_end_section(out);
}

fsmoe_status fsm_breakdown_section_write(FILE *out, const char *run_dir)
{
    char path[FSM_PATH_BYTES];
    fsm_breakdown breakdown;
    FSM_TRY(fsm_file_path(run_dir, FSM_BREAKDOWN_FILE, path));
    if (!fsm_file_exists(path)) return FSMOE_OK;
    FSM_TRY(fsm_breakdown_read(path, &breakdown));
    write_section(out, &breakdown);
    return FSMOE_OK;
}
