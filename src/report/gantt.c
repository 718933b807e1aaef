#include "report/gantt.h"

#include "base/print.h"
#include "report/gantt_bars.h"
#include "report/gantt_paint.h"
#include "report/gantt_tracks.h"
#include "report/gantt_waits.h"
#include "report/html.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* From MANY_TASKS on, narrow tasks that start in the same column of pixels are drawn as one: this bounds the file's
 * size. Columns are a pixel wide; where a layer has only a few pixels, that would shimmer, and wider ones show
 * averages of two layers or more. */
enum { MANY_TASKS = 6000 };

/* ---- layout ---- */

/* From 0 to the last task's end, or to the frame's, exactly; ticks at round numbers. */
static void make_axis(fsm_gantt_picture *p)
{
    fsm_axis *axis = &p->axis;
    double high_ms = fmax(p->end_ms, 1e3 * p->frame->axis_s);
    *axis = fsm_axis_values(0, high_ms, 12);
    axis->high = high_ms;
    while (axis->n_ticks > 0 && axis->ticks[axis->n_ticks - 1] > axis->high) axis->n_ticks--;
    p->decimals = (int)fmin(9, fmax(3, 4 - floor(log10(high_ms))));
}

static void choose_columns(fsm_gantt_picture *p)
{
    int layers = fsm_gantt_bars_most_layers(&p->bars);
    if (p->graph->count < MANY_TASKS) return;
    double layer_px = (double)FSM_GANTT_PLOT_PX / (layers > 0 ? layers : 1);
    p->column_px = layer_px > 8 ? 1 : layer_px > 2.5 ? 10 : 5; /* divisors of FSM_GANTT_PLOT_PX */
}

static void make_layout(fsm_gantt_picture *p)
{
    p->tracks_y = (p->frame->subtitle ? 88 : 66) + fsm_gantt_bars_px(p) + 10;
    p->tracks_end_y = p->tracks_y;
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++)
        if (p->tracks.count[r] > 0) p->tracks_end_y += FSM_GANTT_TRACK_STEP_PX;
    double legend_px =
        fsm_paint_write_legend(NULL, p->graph, FSM_GANTT_MARGIN_PX, 0, FSM_GANTT_WIDTH_PX - 2 * FSM_GANTT_MARGIN_PX);
    p->height = p->tracks_end_y + 62 + legend_px + 18;
}

static fsmoe_status make_bars(fsm_gantt_picture *p)
{
    fsm_spans spans;
    FSM_TRY(fsm_spans_create(p->graph, p->timeline, &spans));
    fsmoe_status status = fsm_gantt_bars_create(&spans, &p->bars);
    fsm_spans_destroy(&spans);
    return status;
}

static fsmoe_status begin_picture(fsm_gantt_picture *p)
{
    FSM_TRY(fsm_tracks_create(p->graph, p->timeline, &p->tracks));
    FSM_TRY(fsm_waits_find(p->graph, p->timeline, &p->waits));
    FSM_TRY(make_bars(p));
    for (int i = 0; i < p->graph->count; i++) p->end_ms = fmax(p->end_ms, 1e3 * p->timeline->end_s[i]);
    if (!(p->end_ms > 0)) return FSMOE_OK;
    make_axis(p);
    p->rows_px = fsm_gantt_rows_px(p->graph);
    choose_columns(p);
    make_layout(p);
    return FSMOE_OK;
}

static void end_picture(fsm_gantt_picture *p)
{
    fsm_tracks_destroy(&p->tracks);
    fsm_gantt_bars_destroy(&p->bars);
}

/* ---- the frame ---- */

void fsm_gantt_write_rule(FILE *out, const fsm_gantt_picture *p, const char *class, double x)
{
    fprintf(out, "<path class=\"%s\" d=\"", class);
    for (double y = p->tracks_y; y < p->tracks_end_y; y += FSM_GANTT_TRACK_STEP_PX)
        fprintf(out, "M%.1f %.1fv%d", x, y - 4, FSM_GANTT_TRACK_PX + 8);
    fputs("\"/>\n", out);
}

static void write_begin(FILE *out, double height, int lanes, const fsm_gantt_frame *frame)
{
    fprintf(out,
            "<svg%s class=\"gantt\" viewBox=\"0 0 %d %.0f\" width=\"%d\" height=\"%.0f\" role=\"img\" aria-label=\"",
            frame->inside_page ? "" : " xmlns=\"http://www.w3.org/2000/svg\"", FSM_GANTT_WIDTH_PX, height,
            FSM_GANTT_WIDTH_PX, height);
    fsm_html_text(out, frame->title);
    fputs("\">\n", out);
    if (!frame->inside_page) {
        fsm_paint_write_style(out);
        fsm_paint_write_hatches(out, lanes);
    }
    fputs("<rect class=\"paper\" width=\"100%\" height=\"100%\"/>\n", out);
    fsm_svg_text(out, "title", FSM_GANTT_MARGIN_PX, 46, frame->title);
    if (frame->subtitle) fsm_svg_text(out, "subtitle", FSM_GANTT_MARGIN_PX, 69, frame->subtitle);
}

/* Idle time, which ends with the step, first, then the grid: what is drawn later covers both. */
static void write_background(FILE *out, const fsm_gantt_picture *p)
{
    char label[FSM_NUMBER_BYTES];
    double y = p->tracks_y, bottom = p->tracks_end_y;
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++) {
        if (p->tracks.count[r] == 0) continue;
        fprintf(out, "<rect class=\"idle\" x=\"%d\" y=\"%.1f\" width=\"%.1f\" height=\"%d\"/>\n", FSM_GANTT_PLOT_X, y,
                fsm_gantt_place(p, 1e-3 * p->end_ms), FSM_GANTT_TRACK_PX);
        y += FSM_GANTT_TRACK_STEP_PX;
    }
    for (size_t i = 0; i < p->axis.n_ticks; i++) {
        double x = FSM_GANTT_PLOT_X + fsm_gantt_place(p, p->axis.ticks[i] / 1e3);
        fsm_gantt_write_rule(out, p, "grid", x);
        fsm_svg_text(out, "middle", x, bottom + 12, fsm_axis_label(&p->axis, i, label));
    }
    fsm_svg_text(out, "middle", FSM_GANTT_PLOT_X + FSM_GANTT_PLOT_PX / 2, bottom + 32, "time, ms");
    if (p->column_px == 0) return;
    char note[64 + FSM_NUMBER_BYTES];
    snprintf(note, sizeof note, "where tasks are too narrow, columns show each kind's share of %s ms",
             fsm_number_short(label, p->axis.high * p->column_px / FSM_GANTT_PLOT_PX));
    fsm_svg_text(out, "end", FSM_GANTT_PLOT_X + FSM_GANTT_PLOT_PX, bottom + 32, note);
}

static const char *resource_title(int resource)
{
    static const char *const titles[FSM_RESOURCE_COUNT] = {"compute", "intra-node link", "inter-node link"};
    return titles[resource];
}

static void write_figure(FILE *out, const char *name, double seconds, double y)
{
    char number[FSM_NUMBER_BYTES], text[32 + FSM_NUMBER_BYTES];
    snprintf(text, sizeof text, "%s %s ms", name, fsm_number_short(number, 1e3 * seconds));
    fsm_svg_text(out, "more", FSM_GANTT_PLOT_X + FSM_GANTT_PLOT_PX + 14, y, text);
}

static void write_track_ends(FILE *out, const fsm_gantt_picture *p)
{
    const double *load_s = p->frame->load_s;
    double y = p->tracks_y + FSM_GANTT_TRACK_PX / 2.0, up = load_s ? 9 : 0;
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++) {
        char share[FSM_NUMBER_BYTES];
        if (p->tracks.count[r] == 0) continue;
        fsm_svg_text(out, "row end", FSM_GANTT_PLOT_X - 14, y + 5, resource_title(r));
        snprintf(share, sizeof share, "%.0f %%", 1e5 * p->waits.of[r].busy_s / p->end_ms);
        fsm_svg_text(out, "share", FSM_GANTT_PLOT_X + FSM_GANTT_PLOT_PX + 14, y + 1 - up, share);
        write_figure(out, "busy", p->waits.of[r].busy_s, y + 19 - up);
        if (load_s) write_figure(out, "load", load_s[r], y + 35 - up);
        y += FSM_GANTT_TRACK_STEP_PX;
    }
}

/* ---- the picture ---- */

static void write_picture(FILE *out, const fsm_gantt_picture *p)
{
    if (!(p->end_ms > 0)) {
        write_begin(out, 150, 1, p->frame);
        fsm_svg_text(out, "row", FSM_GANTT_MARGIN_PX, 112,
                             p->graph->count == 0 ? "This graph has no tasks."
                                                  : "The tasks of this graph take no time.");
        fputs("</svg>\n", out);
        return;
    }
    write_begin(out, p->height, fsm_graph_lanes(p->graph), p->frame);
    write_background(out, p);
    fsm_gantt_write_bars(out, p);
    fsm_gantt_write_tracks(out, p, FSM_GANTT_PLOT_X);
    fsm_gantt_write_phase_ends(out, p);
    fsm_gantt_write_waits(out, p, FSM_GANTT_PLOT_X);
    write_track_ends(out, p);
    fsm_paint_write_legend(out, p->graph, FSM_GANTT_MARGIN_PX, p->tracks_end_y + 62,
                           FSM_GANTT_WIDTH_PX - 2 * FSM_GANTT_MARGIN_PX);
    fputs("</svg>\n", out);
}

/* After a failure there is nothing to end. */
static fsmoe_status print_picture(const fsm_graph *graph, const fsm_timeline *timeline, const fsm_gantt_frame *frame,
                                  fsm_print *print)
{
    fsm_gantt_picture p = {.graph = graph, .timeline = timeline, .frame = frame};
    fsmoe_status status = graph->count > 0 ? begin_picture(&p) : FSMOE_OK;
    if (status == FSMOE_OK) status = fsm_print_begin(print);
    if (status == FSMOE_OK) write_picture(print->out, &p);
    end_picture(&p);
    return status;
}

fsmoe_status fsm_gantt_text(const fsm_graph *graph, const fsm_timeline *timeline, const fsm_gantt_frame *frame,
                            char **svg)
{
    fsm_print print;
    *svg = NULL;
    FSM_TRY(print_picture(graph, timeline, frame, &print));
    return fsm_print_end(&print, FSMOE_OK, frame->title, svg);
}

fsmoe_status fsm_gantt_write(const fsm_graph *graph, const fsm_timeline *timeline, const fsm_gantt_frame *frame,
                             const char *path)
{
    fsm_print print;
    FSM_TRY(print_picture(graph, timeline, frame, &print));
    return fsm_print_write(&print, FSMOE_OK, path);
}

void fsm_gantt_write_style(FILE *out, int lanes)
{
    fsm_paint_write_style(out);
    if (lanes < 2) return;
    fputs("<svg class=\"gantt hatches\" width=\"0\" height=\"0\" style=\"position:absolute\" aria-hidden=\"true\">\n",
          out);
    fsm_paint_write_hatches(out, lanes);
    fputs("</svg>\n", out);
}
