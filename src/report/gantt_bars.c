#include "report/gantt_bars.h"

#include "report/gantt_paint.h"
#include "report/html.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROW_PX = 20 };
#define LEAST_BAR_PX 3.0 /* narrower ones are not drawn */

/* ---- which rows ---- */

static int compare_starts(const void *left, const void *right)
{
    const fsm_span *a = left, *b = right;
    if (a->start_s != b->start_s) return a->start_s < b->start_s ? -1 : 1;
    return (a->lane > b->lane) - (a->lane < b->lane);
}

/* What is of no lane stands in the first one's row. */
static bool is_in_row(const fsm_span *span, const fsm_gantt_row *row)
{
    if (span->level != row->level) return false;
    return row->lane < 0 || span->lane == row->lane || (span->lane < 0 && row->lane == 0);
}

/* The spans of the row behind the bars so far. */
static void add_row(fsm_gantt_bars *b, const fsm_spans *spans, fsm_span_level level, int lane)
{
    fsm_gantt_row row = {.level = level, .lane = lane, .first = b->count};
    fsm_span *bars = b->bars + b->count;
    for (int i = 0; i < spans->count; i++)
        if (is_in_row(&spans->spans[i], &row)) bars[row.count++] = spans->spans[i];
    qsort(bars, (size_t)row.count, sizeof *bars, compare_starts);
    b->count += row.count;
    b->rows[b->row_count++] = row;
}

/* Makes one bar of those in which lanes are in the same phase at a time. False: there are others at that time. */
static bool join_lanes(fsm_gantt_bars *b)
{
    fsm_gantt_row *row = &b->rows[b->row_count - 1];
    fsm_span *bars = b->bars + row->first;
    int kept = 0;
    for (int i = 0; i < row->count; i++) {
        fsm_span *before = kept > 0 ? &bars[kept - 1] : NULL;
        bool meets = before && bars[i].start_s < before->end_s;
        if (meets && bars[i].number != before->number) return false;
        if (meets) before->end_s = fmax(before->end_s, bars[i].end_s), before->lane = -1;
        else bars[kept++] = bars[i];
    }
    b->count -= row->count - kept;
    row->count = kept;
    return true;
}

static void drop_row(fsm_gantt_bars *b)
{
    b->count = b->rows[--b->row_count].first;
}

static void add_level(fsm_gantt_bars *b, const fsm_spans *spans, fsm_span_level level, int lanes)
{
    if (lanes == 0 || level != FSM_SPAN_LAYER) {
        add_row(b, spans, level, -1);
        if (lanes == 0 || join_lanes(b)) return;
        drop_row(b);
    }
    for (int lane = 0; lane < lanes; lane++) add_row(b, spans, level, lane);
}

fsmoe_status fsm_gantt_bars_create(const fsm_spans *spans, fsm_gantt_bars *bars)
{
    int lanes = 0;
    *bars = (fsm_gantt_bars){0};
    bars->bars = malloc(((size_t)spans->count + 1) * sizeof *bars->bars);
    if (!bars->bars) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to draw %d spans", spans->count);
    for (int i = 0; i < spans->count; i++) lanes += spans->spans[i].level == FSM_SPAN_LANE;
    for (int level = FSM_SPAN_MICRO; level < FSM_SPAN_LEVEL_COUNT; level++)
        add_level(bars, spans, (fsm_span_level)level, lanes);
    return FSMOE_OK;
}

void fsm_gantt_bars_destroy(fsm_gantt_bars *bars)
{
    free(bars->bars);
    *bars = (fsm_gantt_bars){0};
}

/* ---- how wide, how high ---- */

static double bar_px(const fsm_gantt_picture *p, const fsm_span *bar)
{
    return fsm_gantt_place(p, bar->end_s) - fsm_gantt_place(p, bar->start_s);
}

static bool is_shown(const fsm_gantt_picture *p, const fsm_gantt_row *row)
{
    for (int i = row->first; i < row->first + row->count; i++)
        if (bar_px(p, &p->bars.bars[i]) >= LEAST_BAR_PX) return true;
    return false;
}

int fsm_gantt_bars_most_layers(const fsm_gantt_bars *bars)
{
    int most = 0;
    for (int r = 0; r < bars->row_count; r++)
        if (bars->rows[r].level == FSM_SPAN_LAYER && bars->rows[r].count > most) most = bars->rows[r].count;
    return most;
}

double fsm_gantt_bars_px(const fsm_gantt_picture *p)
{
    double height = 0;
    for (int r = 0; r < p->bars.row_count; r++)
        if (is_shown(p, &p->bars.rows[r])) height += ROW_PX;
    return height;
}

/* ---- drawing ---- */

/* Labels of micro-batches and layers stand at every n-th one, n such that they have room. */
static int label_stride(const fsm_gantt_picture *p, const fsm_gantt_row *row)
{
    static const int strides[] = {1, 2, 5, 10, 20, 50, 100};
    double sum_px = 0, label_px = 0;
    for (int i = row->first; i < row->first + row->count; i++) {
        char number[16];
        snprintf(number, sizeof number, "%d", p->bars.bars[i].number);
        label_px = fmax(label_px, fsm_paint_text_px(number, 12));
        sum_px += bar_px(p, &p->bars.bars[i]);
    }
    size_t i = 0;
    while (i < 6 && strides[i] * 0.7 * sum_px < (label_px + 6) * row->count) i++; /* forward is shorter than average */
    return strides[i];
}

static void write_bar(FILE *out, const fsm_gantt_picture *p, const fsm_span *bar, double y)
{
    char name[FSM_SPAN_NAME_BYTES], lane[24] = "";
    double x = FSM_GANTT_PLOT_X + fsm_gantt_place(p, bar->start_s), width = bar_px(p, bar);
    fsm_span_name(bar, name);
    if (bar->lane >= 0) snprintf(lane, sizeof lane, ", lane %d", bar->lane);
    fprintf(out,
            "<rect class=\"span\" x=\"%.2f\" y=\"%.1f\" width=\"%.2f\" height=\"%d\">"
            "<title>%s%s\n%.*f – %.*f ms, %.*f ms</title></rect>\n",
            x, y, width, ROW_PX - 2, name, lane, p->decimals, 1e3 * bar->start_s, p->decimals, 1e3 * bar->end_s,
            p->decimals, 1e3 * (bar->end_s - bar->start_s));
}

static void write_label(FILE *out, const fsm_gantt_picture *p, const fsm_span *bar, int stride, double y)
{
    char name[FSM_SPAN_NAME_BYTES];
    double width = bar_px(p, bar);
    fsm_span_name(bar, name);
    const char *number = strrchr(name, ' '); /* the row's name tells of what */
    bool fits = number ? bar->number % stride == 0 : fsm_paint_text_px(name, 12) + 4 <= width;
    if (fits)
        fsm_svg_text(out, "middle", FSM_GANTT_PLOT_X + fsm_gantt_place(p, bar->start_s) + width / 2, y + 13.5,
                             number ? number + 1 : name);
}

static void write_row(FILE *out, const fsm_gantt_picture *p, const fsm_gantt_row *row, double y)
{
    static const char *const titles[FSM_SPAN_LEVEL_COUNT] = {
        [FSM_SPAN_MICRO] = "micro-batch", [FSM_SPAN_PHASE] = "phase", [FSM_SPAN_LAYER] = "layer"};
    char title[64];
    const fsm_span *bars = p->bars.bars + row->first;
    int stride = label_stride(p, row);
    if (row->lane < 0) snprintf(title, sizeof title, "%s", titles[row->level]);
    else snprintf(title, sizeof title, "lane %d, %s", row->lane, titles[row->level]);
    fsm_svg_text(out, "end", FSM_GANTT_PLOT_X - 14, y + 13.5, title);
    for (int i = 0; i < row->count; i++)
        if (bar_px(p, &bars[i]) >= LEAST_BAR_PX) write_bar(out, p, &bars[i], y);
    for (int i = 0; i < row->count; i++)
        if (bar_px(p, &bars[i]) >= LEAST_BAR_PX) write_label(out, p, &bars[i], stride, y);
}

void fsm_gantt_write_bars(FILE *out, const fsm_gantt_picture *p)
{
    double y = p->tracks_y - 10 - fsm_gantt_bars_px(p);
    fputs("<g class=\"apart\">\n", out);
    for (int r = 0; r < p->bars.row_count; r++) {
        if (!is_shown(p, &p->bars.rows[r])) continue;
        write_row(out, p, &p->bars.rows[r], y);
        y += ROW_PX;
    }
    fputs("</g>\n", out);
}

void fsm_gantt_write_phase_ends(FILE *out, const fsm_gantt_picture *p)
{
    for (int i = 0; i < p->bars.count; i++) {
        const fsm_span *bar = &p->bars.bars[i];
        double x = FSM_GANTT_PLOT_X + fsm_gantt_place(p, bar->end_s);
        if (bar->level != FSM_SPAN_PHASE || bar->lane >= 0 || bar_px(p, bar) < 24) continue;
        if (x < FSM_GANTT_PLOT_X + FSM_GANTT_PLOT_PX - 1) fsm_gantt_write_rule(out, p, "phase", x);
    }
}
