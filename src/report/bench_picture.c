/* The picture of a bench: <fsmoe/bench.h>. */
#include "base/print.h"
#include "report/axis.h"
#include "report/bench_summary.h"
#include "report/gantt_paint.h"
#include "report/html.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH_PX = 1200, MARGIN_PX = 36, RIGHT_PX = 170, MOST_LABEL_PX = 320, LEAST_LABEL_PX = 110, TEXT_PX = 12 };
enum { HEADING_Y = 108, MEAN_BAR_PX = 24, LEAST_ROW_PX = 20, ROW_GAP_PX = 9, AXIS_PX = 34, COLOURS = 8 };
#define LOG_FROM 4.0 /* the axis is logarithmic from this ratio of its ends on */

typedef struct picture {
    const fsmoe_bench_case *cases;
    int count;
    const char *title;
    const char *base; /* the schedule that all cases are relative to; NULL: not one and the same */
    bool some_dsmoe;  /* some cases are relative to dsmoe */
    const char *bars[FSMOE_BENCH_MOST_ROWS]; /* schedules but that one, in the order of their first rows */
    int n_bars;
    fsm_axis axis;
    double plot_x, plot_px, bar_px, row_px, rows_y, rows_end_y;
} picture;

/* ---- what is shown ---- */

static const fsmoe_bench_row *base_of(const fsmoe_bench_case *c)
{
    const fsmoe_bench_row *dsmoe = fsm_bench_row_of(c, "dsmoe");
    return dsmoe || c->count == 0 ? dsmoe : &c->rows[0];
}

static void find_base(picture *p)
{
    for (int i = 0; i < p->count; i++) {
        const fsmoe_bench_row *base = base_of(&p->cases[i]);
        if (!base) continue;
        if (strcmp(base->schedule, "dsmoe") == 0) p->some_dsmoe = true;
        if (!p->base) p->base = base->schedule;
    }
    for (int i = 0; i < p->count && p->base; i++) {
        const fsmoe_bench_row *base = base_of(&p->cases[i]);
        if (base && strcmp(base->schedule, p->base) != 0) p->base = NULL;
    }
}

static fsmoe_status add_bar(picture *p, const char *schedule)
{
    for (int i = 0; i < p->n_bars; i++)
        if (strcmp(p->bars[i], schedule) == 0) return FSMOE_OK;
    if (p->n_bars == FSMOE_BENCH_MOST_ROWS)
        return fsm_fail(FSMOE_ERROR_CONFIG, "more than %d schedules in one picture", FSMOE_BENCH_MOST_ROWS);
    p->bars[p->n_bars++] = schedule;
    return FSMOE_OK;
}

static fsmoe_status find_bars(picture *p)
{
    for (int i = 0; i < p->count; i++)
        for (int k = 0; k < p->cases[i].count; k++) {
            const char *schedule = p->cases[i].rows[k].schedule;
            if (!p->base || strcmp(schedule, p->base) != 0) FSM_TRY(add_bar(p, schedule));
        }
    if (p->n_bars == 0 && p->base) return add_bar(p, p->base);
    return FSMOE_OK;
}

/* How many times faster, measured and planned; NaN: there is nothing to show. */
typedef struct mark {
    double measured, planned;
} mark;

static mark mark_of(const fsmoe_bench_case *c, const char *schedule)
{
    const fsmoe_bench_row *base = base_of(c), *row = fsm_bench_row_of(c, schedule);
    return (mark){fsm_bench_faster(base, row), fsm_bench_planned_faster(base, row)};
}

/* Over all cases that have the schedule; values [count] is scratch. */
static mark mean_mark(const picture *p, const char *schedule, double *values)
{
    mark mean;
    for (int i = 0; i < p->count; i++) values[i] = mark_of(&p->cases[i], schedule).measured;
    mean.measured = fsm_bench_geometric_mean(values, p->count);
    for (int i = 0; i < p->count; i++) values[i] = mark_of(&p->cases[i], schedule).planned;
    mean.planned = fsm_bench_geometric_mean(values, p->count);
    return mean;
}

/* ---- layout ---- */

static void make_axis(picture *p)
{
    double low = 1, high = 1;
    for (int i = 0; i < p->count; i++)
        for (int k = 0; k < p->n_bars; k++) {
            mark m = mark_of(&p->cases[i], p->bars[k]);
            low = fmin(low, fmin(m.measured, m.planned)); /* fmin and fmax pass NaN over */
            high = fmax(high, fmax(m.measured, m.planned));
        }
    p->axis = high / low >= LOG_FROM ? fsm_axis_logarithmic(low, high) : fsm_axis_values(low, high, 8);
}

static void make_layout(picture *p)
{
    double label_px = LEAST_LABEL_PX;
    for (int i = 0; i < p->count && p->count > 1; i++)
        label_px = fmax(label_px, fsm_paint_text_px(p->cases[i].name, TEXT_PX));
    for (int k = 0; k < p->n_bars; k++) label_px = fmax(label_px, fsm_paint_text_px(p->bars[k], TEXT_PX));
    p->plot_x = MARGIN_PX + fmin(label_px, MOST_LABEL_PX) + 14;
    p->plot_px = WIDTH_PX - RIGHT_PX - p->plot_x;
    p->bar_px = p->count <= 8 ? 9 : p->count <= 40 ? 6 : 5;
    p->row_px = fmax(LEAST_ROW_PX, p->n_bars * p->bar_px + ROW_GAP_PX);
    p->rows_y = HEADING_Y + 12 + p->n_bars * MEAN_BAR_PX + AXIS_PX;
    p->rows_end_y = p->count > 1 ? p->rows_y + p->count * p->row_px : p->rows_y - AXIS_PX;
}

static double place(const picture *p, double value)
{
    return p->plot_x + p->plot_px * fsm_axis_place(&p->axis, value);
}

/* ---- drawing ---- */

/* Right of it ends at x; what is too wide loses its end. */
static void write_label(FILE *out, double x, double y, const char *text)
{
    char cut[256 + 4];
    size_t length = strnlen(text, 256);
    memcpy(cut, text, length);
    cut[length] = 0;
    bool whole = text[length] == 0 && fsm_paint_text_px(cut, TEXT_PX) <= MOST_LABEL_PX;
    while (!whole && length > 0) {
        do length--;
        while (length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80); /* between characters of UTF-8 */
        strcpy(cut + length, "…");
        if (fsm_paint_text_px(cut, TEXT_PX) <= MOST_LABEL_PX) break;
    }
    fsm_svg_text(out, "end", x, y, cut);
}

/* The schedules have colours of their own: those of the Gantt pictures stand for tasks. */
static void write_style(FILE *out)
{
    static const unsigned colours[COLOURS] = {0x4a90c9, 0x2fa298, 0x8673c9, 0xc9a227,
                                              0xe58632, 0xc94f43, 0x759c3e, 0xb9609a};
    fsm_paint_write_style(out);
    fputs("<style>\n.bench .one,.bench .plan{stroke:#777;stroke:var(--ink);fill:none}"
          ".bench .one{shape-rendering:crispEdges}.bench .plan{stroke-width:1.5}.bench "
          ".value{font-weight:650;fill:#777;fill:var(--ink)}\n",
          out);
    for (int i = 0; i < COLOURS; i++) fprintf(out, ".bench .c%d{fill:#%06x}", i, colours[i]);
    fputs("\n</style>\n", out);
}

static void write_axis_title(FILE *out, const picture *p)
{
    char title[256];
    snprintf(title, sizeof title, "times faster than %s%s",
             p->base         ? p->base
             : p->some_dsmoe ? "dsmoe (cases without it: than their first schedule)"
                             : "the first schedule of the case",
             p->axis.logarithmic ? ", log scale" : "");
    fsm_svg_text(out, "middle", p->plot_x + p->plot_px / 2, p->rows_end_y + 38, title);
}

static void write_ticks(FILE *out, const picture *p, double y)
{
    char label[FSM_NUMBER_BYTES];
    for (size_t i = 0; i < p->axis.n_ticks; i++)
        fsm_svg_text(out, "middle tick", place(p, p->axis.ticks[i]), y, fsm_axis_label(&p->axis, i, label));
}

static void write_grid(FILE *out, const picture *p, double top, double bottom)
{
    for (size_t i = 0; i < p->axis.n_ticks; i++)
        fprintf(out, "<path class=\"grid\" d=\"M%.1f %.1fV%.1f\"/>\n", place(p, p->axis.ticks[i]), top, bottom);
    fprintf(out, "<path class=\"one\" d=\"M%.1f %.1fV%.1f\"/>\n", place(p, 1), top, bottom);
}

static void write_background(FILE *out, const picture *p)
{
    double means_end_y = p->rows_y - AXIS_PX + 4;
    write_grid(out, p, HEADING_Y + 8, means_end_y);
    if (p->count > 1) {
        for (int i = 0; i < p->count; i += 2)
            fprintf(out, "<rect class=\"idle\" x=\"%d\" y=\"%.1f\" width=\"%d\" height=\"%.1f\"/>\n", MARGIN_PX / 2,
                    p->rows_y + i * p->row_px, WIDTH_PX - MARGIN_PX, p->row_px);
        write_grid(out, p, p->rows_y, p->rows_end_y + 4);
        write_ticks(out, p, means_end_y + 16);
    }
    write_ticks(out, p, p->rows_end_y + 18);
    write_axis_title(out, p);
}

/* From 1 to the measured value, `height` about y; a tick where it was expected. `of` is told with the values. */
static void write_mark(FILE *out, const picture *p, const char *of, int bar, mark m, double y, double height)
{
    double one = place(p, 1), end = place(p, m.measured), width = fmax(1, fabs(end - one));
    char number[FSM_NUMBER_BYTES];
    if (isnan(m.measured)) return;
    fprintf(out, "<rect class=\"c%d\" x=\"%.2f\" y=\"%.1f\" width=\"%.2f\" height=\"%.1f\"><title>", bar % COLOURS,
            fmin(one, end), y - height / 2, width, height);
    fsm_html_text(out, of);
    fputs("\n", out);
    fsm_html_text(out, p->bars[bar]);
    fprintf(out, " %.3f, planned %s</title></rect>\n", m.measured, fsm_number_short(number, m.planned));
    if (!isnan(m.planned))
        fprintf(out, "<path class=\"plan\" d=\"M%.2f %.1fV%.1f\"/>\n", place(p, m.planned), y - height / 2 - 1,
                y + height / 2 + 1);
}

/* The means, or the only case: names and values stand beside the bars, which makes them the legend of what follows. */
static void write_means(FILE *out, const picture *p, double *values)
{
    char heading[64], value[32];
    bool one_case = p->count == 1;
    snprintf(heading, sizeof heading, "geometric mean of %d cases", p->count);
    const char *of = one_case ? p->cases[0].name : heading;
    fsm_svg_text(out, "row", MARGIN_PX, HEADING_Y, of);
    fputs("<g class=\"means\">\n", out);
    for (int k = 0; k < p->n_bars; k++) {
        double y = HEADING_Y + 12 + (k + 0.5) * MEAN_BAR_PX;
        mark m = mean_mark(p, p->bars[k], values);
        write_label(out, p->plot_x - 14, y + 4, p->bars[k]);
        write_mark(out, p, of, k, m, y, MEAN_BAR_PX - 10);
        if (isnan(m.measured)) continue;
        snprintf(value, sizeof value, "%.3f", m.measured);
        fsm_svg_text(out, "value", place(p, fmax(1, fmax(m.measured, m.planned))) + 8, y + 4, value);
    }
    fputs("</g>\n", out);
}

/* Which schedule was the fastest, at the end of the row. */
static void write_best(FILE *out, const fsmoe_bench_case *c, double y)
{
    const fsmoe_bench_row *base = base_of(c), *best = base;
    char text[128];
    for (int i = 0; i < c->count; i++)
        if (fsm_bench_faster(best, &c->rows[i]) > 1) best = &c->rows[i];
    if (isnan(fsm_bench_faster(base, best))) return;
    snprintf(text, sizeof text, "%.3f %s", fsm_bench_faster(base, best), best->schedule);
    fsm_svg_text(out, "best", WIDTH_PX - RIGHT_PX + 26, y, text);
}

static void write_cases(FILE *out, const picture *p)
{
    fsm_svg_text(out, "best", WIDTH_PX - RIGHT_PX + 26, p->rows_y - AXIS_PX + 20, "fastest");
    for (int i = 0; i < p->count; i++) {
        const fsmoe_bench_case *c = &p->cases[i];
        double middle = p->rows_y + (i + 0.5) * p->row_px, top = middle - p->n_bars * p->bar_px / 2;
        fputs("<g class=\"case\">\n", out);
        write_label(out, p->plot_x - 14, middle + 4, c->name);
        for (int k = 0; k < p->n_bars; k++)
            write_mark(out, p, c->name, k, mark_of(c, p->bars[k]), top + (k + 0.5) * p->bar_px, p->bar_px - 1.5);
        write_best(out, c, middle + 4);
        fputs("</g>\n", out);
    }
}

static void write_begin(FILE *out, double height, const picture *p, const char *subtitle)
{
    fprintf(out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"gantt bench\" viewBox=\"0 0 %d %.0f\" width=\"%d\" "
            "height=\"%.0f\" role=\"img\" aria-label=\"",
            WIDTH_PX, height, WIDTH_PX, height);
    fsm_html_text(out, p->title);
    fputs("\">\n", out);
    write_style(out);
    fputs("<rect class=\"paper\" width=\"100%\" height=\"100%\"/>\n", out);
    fsm_svg_text(out, "title", MARGIN_PX, 46, p->title);
    fsm_svg_text(out, "subtitle", MARGIN_PX, 70, subtitle);
}

/* All of it, or nothing. */
static bool is_rehearsed(const picture *p)
{
    for (int i = 0; i < p->count; i++)
        if (p->cases[i].count > 0) return p->cases[i].rows[0].stretch > 0;
    return false;
}

static void write_picture(FILE *out, const picture *p, double *values)
{
    if (p->n_bars == 0) {
        write_begin(out, 100, p, "No case has been measured.");
        fputs("</svg>\n", out);
        return;
    }
    write_begin(out, p->rows_end_y + 60, p,
                is_rehearsed(p) ? "bars: rehearsed, from the median step; thin ticks: as planned"
                                : "bars: measured, from the median step; thin ticks: as planned");
    write_background(out, p);
    write_means(out, p, values);
    if (p->count > 1) write_cases(out, p);
    fputs("</svg>\n", out);
}

fsmoe_status fsmoe_bench_draw(const fsmoe_bench_case *cases, int count, const char *title, const char *path)
{
    picture p = {.cases = cases, .count = count, .title = title};
    fsm_print print;
    find_base(&p);
    FSM_TRY(find_bars(&p));
    make_axis(&p);
    make_layout(&p);
    double *values = malloc(((size_t)count + 1) * sizeof *values);
    if (!values) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to draw %d cases", count);
    fsmoe_status status = fsm_print_begin(&print);
    if (status == FSMOE_OK) {
        write_picture(print.out, &p, values);
        status = fsm_print_write(&print, status, path);
    }
    free(values);
    return status;
}
