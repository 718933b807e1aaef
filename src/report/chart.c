#include "report/chart.h"

#include "report/axis.h"
#include "report/html.h"
#include "report/series.h"

#include <math.h>

enum { LINE_POINTS = 1000, DOT_POINTS = 200, HOVER_STRIPS = 60, LABEL_PX = 30, PLOT_UNITS = 1000 };

typedef struct plot {
    const fsm_chart *chart;
    fsm_points points[FSM_CHART_MAX_SERIES];
    fsm_axis x, y;
} plot;

static double x_percent(const plot *p, double x)
{
    return 100 * fsm_axis_place(&p->x, x);
}

static double y_px(const plot *p, double y)
{
    return p->chart->height_px * (1 - fsm_axis_place(&p->y, y));
}

bool fsm_chart_spans(const double *y, size_t count, double factor)
{
    double low = INFINITY, high = 0;
    for (size_t i = 0; i < count; i++)
        if (y[i] > 0) low = fmin(low, y[i]), high = fmax(high, y[i]);
    return high > factor * low;
}

static void drop_not_positive(fsm_points *points)
{
    size_t kept = 0;
    for (size_t i = 0; i < points->count; i++) {
        if (!(points->y[i] > 0)) continue;
        points->x[kept] = points->x[i];
        points->y[kept++] = points->y[i];
    }
    points->count = kept;
}

static fsmoe_status gather_points(plot *p)
{
    for (size_t s = 0; s < p->chart->n_series; s++) {
        const fsm_chart_series *series = &p->chart->series[s];
        size_t limit = series->kind == FSM_CHART_DOTS ? DOT_POINTS : LINE_POINTS;
        FSM_TRY(fsm_series_thin(series->x, series->y, series->count, limit, &p->points[s]));
        if (p->chart->logarithmic) drop_not_positive(&p->points[s]);
    }
    return FSMOE_OK;
}

/* False when there is nothing to draw. */
static bool make_axes(plot *p)
{
    double x_low = INFINITY, x_high = -INFINITY, y_low = INFINITY, y_high = -INFINITY;
    for (size_t s = 0; s < p->chart->n_series; s++)
        for (size_t i = 0; i < p->points[s].count; i++) {
            x_low = fmin(x_low, p->points[s].x[i]), x_high = fmax(x_high, p->points[s].x[i]);
            y_low = fmin(y_low, p->points[s].y[i]), y_high = fmax(y_high, p->points[s].y[i]);
        }
    if (!(x_low <= x_high)) return false;
    if (!isnan(p->chart->even)) y_low = fmin(y_low, p->chart->even), y_high = fmax(y_high, p->chart->even);
    if (p->chart->from_zero) y_low = fmin(y_low, 0), y_high = fmax(y_high, 0);
    p->x = fsm_axis_steps(x_low, x_high, 6);
    p->y = p->chart->logarithmic ? fsm_axis_logarithmic(y_low, y_high) : fsm_axis_values(y_low, y_high, 5);
    return true;
}

static void write_caption(FILE *out, const fsm_chart *chart)
{
    fputs("<figcaption><b>", out);
    fsm_html_text(out, chart->title);
    fputs("</b>", out);
    if (chart->unit || chart->logarithmic) {
        fputs("<span class=\"unit\">", out);
        fsm_html_text(out, chart->unit ? chart->unit : "");
        if (chart->logarithmic) fputs(chart->unit ? ", log scale" : "log scale", out);
        fputs("</span>", out);
    }
    for (size_t s = 0; s < chart->n_series && chart->n_series > 1; s++) {
        static const char *const marks[] = {"line", "faint", "dot"};
        fprintf(out, "<span class=\"key c%d\"><i class=\"%s\"></i><span class=\"name\">", chart->series[s].colour,
                marks[chart->series[s].kind]);
        fsm_html_text(out, chart->series[s].name);
        fputs("</span></span>", out);
    }
    fputs("</figcaption>\n", out);
}

static void write_axes(FILE *out, const plot *p)
{
    char label[FSM_NUMBER_BYTES];
    int height = p->chart->height_px;
    for (size_t i = 0; i < p->y.n_ticks; i++) {
        double y = y_px(p, p->y.ticks[i]);
        fprintf(out, "<line class=\"%s\" x1=\"0\" x2=\"100%%\" y1=\"%.1f\" y2=\"%.1f\"/>", i ? "grid" : "base", y, y);
        fprintf(out, "<text x=\"-8\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n", y + 4,
                fsm_axis_label(&p->y, i, label));
    }
    for (size_t i = 0; i < p->x.n_ticks; i++) {
        double x = x_percent(p, p->x.ticks[i]);
        fprintf(out, "<line class=\"base\" x1=\"%.2f%%\" x2=\"%.2f%%\" y1=\"%d\" y2=\"%d\"/>", x, x, height,
                height + 5);
        fprintf(out, "<text x=\"%.2f%%\" y=\"%d\" text-anchor=\"middle\">%s</text>\n", x, height + 19,
                fsm_axis_label(&p->x, i, label));
    }
    fprintf(out, "<text x=\"50%%\" y=\"%d\" text-anchor=\"middle\">", height + 36);
    fsm_html_text(out, p->chart->x_name);
    fputs("</text>\n", out);
    if (!isnan(p->chart->even))
        fprintf(out, "<line class=\"even\" x1=\"0\" x2=\"100%%\" y1=\"%.1f\" y2=\"%.1f\"/>\n", y_px(p, p->chart->even),
                y_px(p, p->chart->even));
}

static void write_line(FILE *out, const plot *p, size_t s)
{
    const fsm_points *points = &p->points[s];
    if (points->count < 2) return;
    fprintf(out, "<path class=\"%s c%d\" d=\"", p->chart->series[s].kind == FSM_CHART_FAINT ? "faint" : "line",
            p->chart->series[s].colour);
    for (size_t i = 0; i < points->count; i++)
        fprintf(out, "%c%.1f %.1f", i ? 'L' : 'M', PLOT_UNITS / 100.0 * x_percent(p, points->x[i]),
                y_px(p, points->y[i]));
    fputs("\"/>\n", out);
}

static void write_dots(FILE *out, const plot *p, size_t s)
{
    const fsm_points *points = &p->points[s];
    bool all = p->chart->series[s].kind == FSM_CHART_DOTS;
    double radius = points->count > 60 ? 2 : 4;
    for (size_t i = 0; i < points->count && (all || points->count == 1); i++)
        fprintf(out, "<circle class=\"dot f%d\" cx=\"%.2f%%\" cy=\"%.1f\" r=\"%g\"/>\n", p->chart->series[s].colour,
                x_percent(p, points->x[i]), y_px(p, points->y[i]), radius);
}

/* The labels at the lines' ends, moved apart so that none covers another. */
static void write_end_labels(FILE *out, const plot *p)
{
    size_t order[FSM_CHART_MAX_SERIES], count = 0;
    double at[FSM_CHART_MAX_SERIES];
    for (size_t s = 0; s < p->chart->n_series; s++) {
        if (p->chart->series[s].kind == FSM_CHART_FAINT || p->points[s].count == 0) continue;
        double y = y_px(p, p->points[s].y[p->points[s].count - 1]);
        size_t i = count++;
        for (; i > 0 && at[i - 1] > y; i--) order[i] = order[i - 1], at[i] = at[i - 1];
        order[i] = s, at[i] = y;
    }
    for (size_t i = 1; i < count; i++) at[i] = fmax(at[i], at[i - 1] + LABEL_PX);
    double floor_px = p->chart->height_px;
    for (size_t i = count; i-- > 0; floor_px = at[i] - LABEL_PX) at[i] = fmin(at[i], floor_px);
    for (size_t i = 0; i < count; i++) {
        const fsm_points *points = &p->points[order[i]];
        char value[FSM_NUMBER_BYTES];
        bool named = p->chart->n_series > 1;
        fprintf(out, "<text class=\"end f%d\" x=\"100%%\" dx=\"8\" y=\"%.1f\">%s</text>",
                p->chart->series[order[i]].colour, at[i] + (named ? -1 : 4),
                fsm_number_short(value, points->y[points->count - 1]));
        if (!named) continue;
        fprintf(out, "<text x=\"100%%\" dx=\"8\" y=\"%.1f\">", at[i] + 13);
        fsm_html_text(out, p->chart->series[order[i]].name);
        fputs("</text>\n", out);
    }
}

/* Invisible strips whose titles tell the values near the pointer. */
static void write_hover(FILE *out, const plot *p)
{
    size_t widest = 0;
    for (size_t s = 1; s < p->chart->n_series; s++)
        if (p->points[s].count > p->points[widest].count) widest = s;
    size_t count = p->points[widest].count, n_strips = count < HOVER_STRIPS ? count : HOVER_STRIPS;
    size_t next[FSM_CHART_MAX_SERIES] = {0};
    char text[FSM_NUMBER_BYTES];
    for (size_t i = 0; i < n_strips; i++) {
        double middle = p->x.low + (p->x.high - p->x.low) * ((double)i + 0.5) / (double)n_strips;
        fprintf(out, "<rect class=\"hit\" x=\"%.2f%%\" y=\"0\" width=\"%.2f%%\" height=\"%d\"><title>",
                100.0 * (double)i / (double)n_strips, 100.0 / (double)n_strips, p->chart->height_px);
        fsm_html_text(out, p->chart->x_name);
        fprintf(out, " %s", fsm_number_whole(text, middle));
        for (size_t s = 0; s < p->chart->n_series; s++) {
            const fsm_points *points = &p->points[s];
            while (next[s] + 1 < points->count && points->x[next[s] + 1] <= middle) next[s]++;
            if (points->count == 0 || p->chart->series[s].kind == FSM_CHART_FAINT) continue;
            fputs("\n", out);
            fsm_html_text(out, p->chart->series[s].name);
            fprintf(out, " %s", fsm_number_short(text, points->y[next[s]]));
        }
        fputs("</title></rect>\n", out);
    }
}

static void write_plot(FILE *out, const plot *p)
{
    const fsm_chart *chart = p->chart;
    fprintf(out, "<figure class=\"chart\" id=\"%s\">\n", chart->id);
    write_caption(out, chart);
    fprintf(out, "<div class=\"plot\"><svg height=\"%d\" role=\"img\" aria-label=\"", chart->height_px);
    fsm_html_text(out, chart->title);
    fputs("\">\n", out);
    write_axes(out, p);
    fprintf(out, "<svg viewBox=\"0 0 %d %d\" preserveAspectRatio=\"none\" width=\"100%%\" height=\"%d\">\n", PLOT_UNITS,
            chart->height_px, chart->height_px);
    for (size_t s = 0; s < chart->n_series; s++) write_line(out, p, s);
    fputs("</svg>\n", out);
    for (size_t s = 0; s < chart->n_series; s++) write_dots(out, p, s);
    write_end_labels(out, p);
    write_hover(out, p);
    fputs("</svg></div>\n</figure>\n", out);
}

fsmoe_status fsm_chart_write(FILE *out, const fsm_chart *chart)
{
    plot p = {.chart = chart};
    fsmoe_status status = gather_points(&p);
    if (status == FSMOE_OK && make_axes(&p)) write_plot(out, &p);
    for (size_t s = 0; s < chart->n_series; s++) fsm_points_destroy(&p.points[s]);
    return status;
}
