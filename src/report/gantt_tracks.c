#include "report/gantt_tracks.h"

#include "report/gantt_paint.h"
#include "report/html.h"

#include <math.h>
#include <string.h>

#define LABEL_PX 11.5        /* size of a label's letters */
#define LEAST_HATCHED_PX 2.0 /* narrower tasks are too narrow for stripes */

double fsm_gantt_place(const fsm_gantt_picture *p, double time_s)
{
    return FSM_GANTT_PLOT_PX * fsm_axis_place(&p->axis, 1e3 * time_s);
}

static double task_x(const fsm_gantt_picture *p, int task)
{
    return fsm_gantt_place(p, p->timeline->start_s[task]);
}

static double task_px(const fsm_gantt_picture *p, int task)
{
    return fsm_gantt_place(p, p->timeline->end_s[task]) - task_x(p, task);
}

static void rows_text(int64_t first, int64_t last, char text[64])
{
    snprintf(text, 64, "%lld–%lld", (long long)first, (long long)last);
}

double fsm_gantt_rows_px(const fsm_graph *graph)
{
    double longest_px = 0;
    for (int i = 0; i < graph->count; i++) {
        char rows[64];
        rows_text(graph->tasks[i].rows_first, graph->tasks[i].rows_last, rows);
        longest_px = fmax(longest_px, fsm_paint_text_px(rows, LABEL_PX));
    }
    return longest_px;
}

/* Chunks of one layer, in one lane, are numbered by their rows; 0 for the first. */
static int chunk_number(const fsm_graph *graph, const fsm_task *task)
{
    int number = 0;
    for (int i = 0; i < graph->count; i++) {
        const fsm_task *t = &graph->tasks[i];
        if (t->kind == task->kind && t->phase == task->phase && t->layer == task->layer && t->micro == task->micro &&
            t->lane == task->lane)
            number += t->rows_first < task->rows_first;
    }
    return number;
}

static void write_label(FILE *out, const char *class, const char *text, double x, double width)
{
    fprintf(out, "<text class=\"middle t%s\" x=\"%.1f\" y=\"%d\">%s</text>\n", class, x + width / 2,
            FSM_GANTT_TRACK_PX / 2 + 4, text);
}

/* What fits of kind and rows; of a chunk at least its number. All chunks of one width are labelled alike. */
static void write_task_label(FILE *out, const fsm_gantt_picture *p, int index)
{
    const fsm_task *task = &p->graph->tasks[index];
    double x = task_x(p, index), width = task_px(p, index);
    const char *kind = fsm_task_kind_name(task->kind);
    bool is_chunk = task->rows_last > task->rows_first;
    double room_px = width - 8, kind_px = fsm_paint_text_px(kind, LABEL_PX);
    char rows[64], text[128] = "", class[FSM_PAINT_CLASS_BYTES];
    rows_text(task->rows_first, task->rows_last, rows);
    if (!is_chunk && kind_px <= room_px) snprintf(text, sizeof text, "%s", kind);
    else if (is_chunk && kind_px + LABEL_PX / 2 + p->rows_px <= room_px)
        snprintf(text, sizeof text, "%s %s", kind, rows);
    else if (is_chunk && p->rows_px <= room_px) snprintf(text, sizeof text, "%s", rows);
    else if (is_chunk && room_px >= LABEL_PX / 2) {
        snprintf(text, sizeof text, "%d", chunk_number(p->graph, task));
        if (fsm_paint_text_px(text, LABEL_PX) > room_px) return;
    }
    if (text[0]) write_label(out, fsm_paint_class(fsm_paint_of(task), class), text, x, width);
}

static void write_task(FILE *out, const fsm_gantt_picture *p, int index)
{
    const fsm_task *task = &p->graph->tasks[index];
    double start_s = p->timeline->start_s[index], end_s = p->timeline->end_s[index];
    double x = task_x(p, index), width = task_px(p, index);
    char name[128], class[FSM_PAINT_CLASS_BYTES];
    fsm_paint_class(fsm_paint_of(task), class);
    fsm_task_name(task, name);
    fprintf(out, "<rect class=\"%s%s\" x=\"%.2f\" width=\"%.2f\" height=\"%d\"><title>", class, width > 4 ? " w" : "",
            x, width, FSM_GANTT_TRACK_PX);
    fsm_html_text(out, name);
    fprintf(out, "\n%.*f – %.*f ms, %.*f ms</title></rect>\n", p->decimals, 1e3 * start_s, p->decimals, 1e3 * end_s,
            p->decimals, 1e3 * (end_s - start_s));
}

/* A few pixels' narrow tasks: a piece a shade, as high as its share of the column's time. */
typedef struct column {
    int number, tasks;
    double busy_s[FSM_PAINT_HUES][2];
} column;

static int column_of(const fsm_gantt_picture *p, int task)
{
    return (int)(fsm_gantt_place(p, p->timeline->start_s[task]) / p->column_px);
}

static void write_column(FILE *out, const fsm_gantt_picture *p, const column *c)
{
    double column_s = 1e-3 * p->axis.high * p->column_px / FSM_GANTT_PLOT_PX, y = FSM_GANTT_TRACK_PX, sum_s = 0;
    for (int h = 0; h < FSM_PAINT_HUES; h++) sum_s += c->busy_s[h][0] + c->busy_s[h][1];
    if (!(sum_s > 0)) return;
    fprintf(out, "<g class=\"column\"><title>%d tasks\n%.*f – %.*f ms, busy %.*f ms</title>", c->tasks, p->decimals,
            1e3 * column_s * c->number, p->decimals, 1e3 * column_s * (c->number + 1), p->decimals, 1e3 * sum_s);
    for (int h = 0; h < FSM_PAINT_HUES; h++)
        for (int dark = 0; dark < 2; dark++) {
            char class[FSM_PAINT_CLASS_BYTES];
            double height = FSM_GANTT_TRACK_PX * c->busy_s[h][dark] / column_s;
            if (height <= 0) continue;
            y -= height;
            fprintf(out, "<rect class=\"%s\" x=\"%d\" y=\"%.2f\" width=\"%d\" height=\"%.2f\"/>",
                    fsm_paint_class((fsm_paint){h, dark}, class), c->number * p->column_px, y, p->column_px, height);
        }
    fputs("</g>\n", out);
}

/* Draws the column and makes it an empty one. */
static void next_column(FILE *out, const fsm_gantt_picture *p, column *c, int number)
{
    write_column(out, p, c);
    *c = (column){.number = number};
}

/* Adds a narrow task to the columns that it touches, which are two at most; its time is counted in both, itself in
 * one. */
static void add_to_columns(FILE *out, const fsm_gantt_picture *p, column *c, int task)
{
    fsm_paint paint = fsm_paint_of(&p->graph->tasks[task]);
    double x = fsm_gantt_place(p, p->timeline->start_s[task]), end_x = fsm_gantt_place(p, p->timeline->end_s[task]);
    double task_s = p->timeline->end_s[task] - p->timeline->start_s[task];
    int number = column_of(p, task), border = (number + 1) * p->column_px;
    double inside = end_x > border ? (border - x) / (end_x - x) : 1;
    if (c->number != number) next_column(out, p, c, number);
    c->tasks++;
    c->busy_s[paint.hue][paint.dark] += inside * task_s;
    if (inside == 1) return;
    next_column(out, p, c, number + 1);
    c->busy_s[paint.hue][paint.dark] += (1 - inside) * task_s;
}

/* Whether both are narrow and start in one column. */
static bool share_column(const fsm_gantt_picture *p, int a, int b)
{
    if (p->column_px == 0 || column_of(p, a) != column_of(p, b)) return false;
    return task_px(p, a) < p->column_px && task_px(p, b) < p->column_px;
}

static bool is_crowded(const fsm_gantt_picture *p, const int *tasks, int count, int i)
{
    return (i > 0 && share_column(p, tasks[i - 1], tasks[i])) ||
           (i + 1 < count && share_column(p, tasks[i], tasks[i + 1]));
}

static void write_rectangles(FILE *out, const fsm_gantt_picture *p, const int *tasks, int count)
{
    column c = {.number = 0};
    for (int i = 0; i < count; i++) {
        if (is_crowded(p, tasks, count, i)) {
            add_to_columns(out, p, &c, tasks[i]);
        } else {
            next_column(out, p, &c, c.number);
            write_task(out, p, tasks[i]);
        }
    }
    next_column(out, p, &c, c.number);
}

/* One shape over all tasks of a lane. */
static void write_hatch(FILE *out, const fsm_gantt_picture *p, const int *tasks, int count, int lane)
{
    char class[FSM_PAINT_CLASS_BYTES];
    bool any = false;
    for (int i = 0; i < count; i++) {
        double width = task_px(p, tasks[i]);
        if (fsm_task_lane(&p->graph->tasks[tasks[i]]) != lane || width < LEAST_HATCHED_PX ||
            is_crowded(p, tasks, count, i))
            continue;
        if (!any) fprintf(out, "<path class=\"%s\" d=\"", fsm_paint_hatch(lane, class));
        fprintf(out, "M%.2f 0h%.2fv%dh-%.2fz", task_x(p, tasks[i]), width, FSM_GANTT_TRACK_PX, width);
        any = true;
    }
    if (any) fputs("\"/>\n", out);
}

static void write_track(FILE *out, const fsm_gantt_picture *p, const int *tasks, int count)
{
    write_rectangles(out, p, tasks, count);
    for (int lane = 1; lane < fsm_graph_lanes(p->graph); lane++) write_hatch(out, p, tasks, count, lane);
    for (int i = 0; i < count; i++)
        if (!is_crowded(p, tasks, count, i)) write_task_label(out, p, tasks[i]);
}

void fsm_gantt_write_tracks(FILE *out, const fsm_gantt_picture *p, double x)
{
    double y = p->tracks_y;
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++) {
        if (p->tracks.count[r] == 0) continue;
        fputs("<g class=\"track\"", out);
        if (!p->frame->inside_page) fprintf(out, " id=\"%s\"", fsm_resource_name((fsm_resource)r));
        fprintf(out, " transform=\"translate(%.0f %.1f)\">\n", x, y);
        write_track(out, p, p->tracks.order[r], p->tracks.count[r]);
        fputs("</g>\n", out);
        y += FSM_GANTT_TRACK_STEP_PX;
    }
}
