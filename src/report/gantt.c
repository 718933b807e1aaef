#include "report/gantt.h"

#include "base/print.h"
#include "exec/spans.h"
#include "report/gantt_paint.h"
#include "report/gantt_tracks.h"
#include "report/html.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* From MANY_TASKS on, narrow tasks that start in the same column of pixels are drawn as one: this bounds the file's
 * size. Columns are a pixel wide; where a layer has only a few pixels, that would shimmer, and wider ones show
 * averages of two layers or more. */
enum { MANY_TASKS = 6000 };
enum { WIDTH_PX = 1600, MARGIN_PX = 36, PLOT_X = 168, SPAN_PX = 20 };
#define LEAST_SPAN_PX 3.0 /* narrower micro-batches, phases and layers are not drawn */

/* ---- layout ---- */

static double span_px(const fsm_gantt_picture *p, const fsm_span *span)
{
    return fsm_gantt_place(p, span->end_s) - fsm_gantt_place(p, span->start_s);
}

static bool shows_level(const fsm_gantt_picture *p, int level)
{
    for (int i = 0; i < p->spans.count; i++) {
        const fsm_span *span = &p->spans.spans[i];
        if ((int)span->level == level && span_px(p, span) >= LEAST_SPAN_PX) return true;
    }
    return false;
}

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
    int layers = 0;
    for (int i = 0; i < p->spans.count; i++) layers += p->spans.spans[i].level == FSM_SPAN_LAYER;
    if (p->graph->count < MANY_TASKS) return;
    double layer_px = (double)FSM_GANTT_PLOT_PX / (layers > 0 ? layers : 1);
    p->column_px = layer_px > 8 ? 1 : layer_px > 2.5 ? 10 : 5; /* divisors of FSM_GANTT_PLOT_PX */
}

static void make_layout(fsm_gantt_picture *p)
{
    double y = p->frame->subtitle ? 88 : 66;
    for (int level = FSM_SPAN_MICRO; level < FSM_SPAN_LEVEL_COUNT; level++)
        if (shows_level(p, level)) y += SPAN_PX;
    p->tracks_y = y + 10;
    p->tracks_end_y = p->tracks_y;
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++)
        if (p->tracks.count[r] > 0) p->tracks_end_y += FSM_GANTT_TRACK_STEP_PX;
    double legend_px = fsm_paint_write_legend(NULL, p->graph, MARGIN_PX, 0, WIDTH_PX - 2 * MARGIN_PX);
    p->height = p->tracks_end_y + 62 + legend_px + 18;
}

static fsmoe_status begin_picture(fsm_gantt_picture *p)
{
    FSM_TRY(fsm_tracks_create(p->graph, p->timeline, &p->tracks));
    FSM_TRY(fsm_spans_create(p->graph, p->timeline, &p->spans));
    for (int i = 0; i < p->graph->count; i++) {
        double start_s = p->timeline->start_s[i], end_s = p->timeline->end_s[i];
        p->end_ms = fmax(p->end_ms, 1e3 * end_s);
        p->busy_s[p->graph->tasks[i].resource] += end_s - start_s;
    }
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
    fsm_spans_destroy(&p->spans);
}

/* ---- the frame ---- */

static void write_text(FILE *out, const char *class, double x, double y, const char *text)
{
    fprintf(out, "<text class=\"%s\" x=\"%.1f\" y=\"%.1f\">", class, x, y);
    fsm_html_text(out, text);
    fputs("</text>\n", out);
}

static void write_begin(FILE *out, double height, const fsm_gantt_frame *frame)
{
    fprintf(out,
            "<svg%s class=\"gantt\" viewBox=\"0 0 %d %.0f\" width=\"%d\" height=\"%.0f\" role=\"img\" aria-label=\"",
            frame->inside_page ? "" : " xmlns=\"http://www.w3.org/2000/svg\"", WIDTH_PX, height, WIDTH_PX, height);
    fsm_html_text(out, frame->title);
    fputs("\">\n", out);
    if (!frame->inside_page) fsm_paint_write_style(out);
    fputs("<rect class=\"paper\" width=\"100%\" height=\"100%\"/>\n", out);
    write_text(out, "title", MARGIN_PX, 46, frame->title);
    if (frame->subtitle) write_text(out, "subtitle", MARGIN_PX, 69, frame->subtitle);
}

/* Idle time, which ends with the step, first, then the grid: what is drawn later covers both. */
static void write_background(FILE *out, const fsm_gantt_picture *p)
{
    char label[FSM_NUMBER_BYTES];
    double y = p->tracks_y, bottom = p->tracks_end_y;
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++) {
        if (p->tracks.count[r] == 0) continue;
        fprintf(out, "<rect class=\"idle\" x=\"%d\" y=\"%.1f\" width=\"%.1f\" height=\"%d\"/>\n", PLOT_X, y,
                fsm_gantt_place(p, 1e-3 * p->end_ms), FSM_GANTT_TRACK_PX);
        y += FSM_GANTT_TRACK_STEP_PX;
    }
    for (size_t i = 0; i < p->axis.n_ticks; i++) {
        double x = PLOT_X + fsm_gantt_place(p, p->axis.ticks[i] / 1e3);
        fprintf(out, "<path class=\"grid\" d=\"M%.1f %.1fV%.1f\"/>", x, p->tracks_y, bottom - 4);
        write_text(out, "middle", x, bottom + 12, fsm_axis_label(&p->axis, i, label));
    }
    write_text(out, "middle", PLOT_X + FSM_GANTT_PLOT_PX / 2, bottom + 32, "time, ms");
    if (p->column_px == 0) return;
    char note[64 + FSM_NUMBER_BYTES];
    snprintf(note, sizeof note, "where tasks are too narrow, columns show each kind's share of %s ms",
             fsm_number_short(label, p->axis.high * p->column_px / FSM_GANTT_PLOT_PX));
    write_text(out, "end", PLOT_X + FSM_GANTT_PLOT_PX, bottom + 32, note);
}

static const char *resource_title(int resource)
{
    static const char *const titles[FSM_RESOURCE_COUNT] = {"compute", "intra-node link", "inter-node link"};
    return titles[resource];
}

static void write_row_ends(FILE *out, const fsm_gantt_picture *p)
{
    double y = p->tracks_y + FSM_GANTT_TRACK_PX / 2.0, x = PLOT_X + FSM_GANTT_PLOT_PX + 14;
    char number[FSM_NUMBER_BYTES], text[2 * FSM_NUMBER_BYTES];
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++) {
        if (p->tracks.count[r] == 0) continue;
        write_text(out, "row end", PLOT_X - 14, y + 5, resource_title(r));
        snprintf(text, sizeof text, "%.0f %%", 1e5 * p->busy_s[r] / p->end_ms);
        write_text(out, "share", x, y + 1, text);
        snprintf(text, sizeof text, "busy %s ms", fsm_number_short(number, 1e3 * p->busy_s[r]));
        write_text(out, "more", x, y + 19, text);
        y += FSM_GANTT_TRACK_STEP_PX;
    }
}

/* ---- micro-batches, phases, layers ---- */

/* Labels of micro-batches and layers stand at every n-th one, n such that they have room. */
static int label_stride(const fsm_gantt_picture *p, int level)
{
    static const int strides[] = {1, 2, 5, 10, 20, 50, 100};
    double sum_px = 0, label_px = 0;
    int count = 0;
    for (int i = 0; i < p->spans.count; i++) {
        const fsm_span *span = &p->spans.spans[i];
        char number[16];
        if ((int)span->level != level) continue;
        snprintf(number, sizeof number, "%d", span->number);
        label_px = fmax(label_px, fsm_paint_text_px(number, 12));
        sum_px += span_px(p, span);
        count++;
    }
    size_t i = 0;
    while (i < 6 && strides[i] * 0.7 * sum_px < (label_px + 6) * count) i++; /* forward is shorter than average */
    return strides[i];
}

static void write_span(FILE *out, const fsm_gantt_picture *p, const fsm_span *span, double y)
{
    char name[FSM_SPAN_NAME_BYTES];
    if (span_px(p, span) < LEAST_SPAN_PX) return;
    fsm_span_name(span, name);
    fprintf(out,
            "<rect class=\"span\" x=\"%.2f\" y=\"%.1f\" width=\"%.2f\" height=\"%d\">"
            "<title>%s\n%.*f – %.*f ms, %.*f ms</title></rect>\n",
            PLOT_X + fsm_gantt_place(p, span->start_s), y, span_px(p, span), SPAN_PX - 2, name, p->decimals,
            1e3 * span->start_s, p->decimals, 1e3 * span->end_s, p->decimals, 1e3 * (span->end_s - span->start_s));
}

static void write_span_label(FILE *out, const fsm_gantt_picture *p, const fsm_span *span, int stride, double y)
{
    char name[FSM_SPAN_NAME_BYTES];
    double width = span_px(p, span);
    fsm_span_name(span, name);
    const char *number = strrchr(name, ' '); /* the row's name tells of what */
    bool fits = number ? span->number % stride == 0 : fsm_paint_text_px(name, 12) + 4 <= width;
    if (fits && width >= LEAST_SPAN_PX)
        write_text(out, "middle", PLOT_X + fsm_gantt_place(p, span->start_s) + width / 2, y + 13.5,
                   number ? number + 1 : name);
}

static void write_spans(FILE *out, const fsm_gantt_picture *p)
{
    static const char *const titles[FSM_SPAN_LEVEL_COUNT] = {"", "micro-batch", "phase", "layer"};
    double y = p->tracks_y - 10;
    fputs("<g class=\"apart\">\n", out);
    for (int level = FSM_SPAN_LEVEL_COUNT - 1; level >= FSM_SPAN_MICRO; level--) {
        if (!shows_level(p, level)) continue;
        y -= SPAN_PX;
        write_text(out, "end", PLOT_X - 14, y + 13.5, titles[level]);
        for (int i = 0; i < p->spans.count; i++)
            if ((int)p->spans.spans[i].level == level) write_span(out, p, &p->spans.spans[i], y);
        for (int i = 0, stride = label_stride(p, level); i < p->spans.count; i++)
            if ((int)p->spans.spans[i].level == level) write_span_label(out, p, &p->spans.spans[i], stride, y);
    }
    fputs("</g>\n", out);
}

/* Where a phase ends, across all rows. */
static void write_phase_ends(FILE *out, const fsm_gantt_picture *p)
{
    for (int i = 0; i < p->spans.count; i++) {
        const fsm_span *span = &p->spans.spans[i];
        double x = PLOT_X + fsm_gantt_place(p, span->end_s);
        if (span->level != FSM_SPAN_PHASE || span_px(p, span) < 24) continue;
        if (x < PLOT_X + FSM_GANTT_PLOT_PX - 1)
            fprintf(out, "<path class=\"phase\" d=\"M%.1f %.1fV%.1f\"/>\n", x, p->tracks_y - 8, p->tracks_end_y - 6);
    }
}

/* ---- the picture ---- */

static void write_picture(FILE *out, const fsm_gantt_picture *p)
{
    if (!(p->end_ms > 0)) {
        write_begin(out, 150, p->frame);
        write_text(out, "row", MARGIN_PX, 112,
                   p->graph->count == 0 ? "This graph has no tasks." : "The tasks of this graph take no time.");
        fputs("</svg>\n", out);
        return;
    }
    write_begin(out, p->height, p->frame);
    write_background(out, p);
    write_spans(out, p);
    fsm_gantt_write_tracks(out, p, PLOT_X);
    write_phase_ends(out, p);
    write_row_ends(out, p);
    fsm_paint_write_legend(out, p->graph, MARGIN_PX, p->tracks_end_y + 62, WIDTH_PX - 2 * MARGIN_PX);
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

void fsm_gantt_write_style(FILE *out)
{
    fsm_paint_write_style(out);
}
