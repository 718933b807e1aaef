#include "report/heatmap.h"

#include "report/axis.h"

#include <math.h>
#include <stdlib.h>

enum { COLOURS = 11, MAX_CELLS = 24000, MAX_BUCKETS = 160, MAX_ROWS = 3000, MAX_TITLED_ROWS = 600 };
enum { ROW_PX = 14, GAP_PX = 6, ALL_ROWS_PX = 900, ALL_GAPS_PX = 200 };

typedef struct map {
    const fsm_log *log;
    size_t experts_per_row; /* neighbours that share a row: 1 unless there are thousands */
    size_t rows_per_layer, n_rows, n_buckets;
    double row_px, gap_px; /* of a row, and between layers */
    float *cells;          /* [n_rows][n_buckets] load relative to 1/E */
} map;

int fsm_heatmap_colour(double relative)
{
    double level = 5 * (1 + log2(fmax(relative, 1e-9)));
    return (int)round(fmin(COLOURS - 1, fmax(0, level)));
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static map plan_map(const fsm_log *log)
{
    map m = {.log = log, .experts_per_row = 1 + log->n_layers * log->n_experts / MAX_ROWS};
    m.rows_per_layer = (log->n_experts + m.experts_per_row - 1) / m.experts_per_row;
    m.n_rows = m.rows_per_layer * log->n_layers;
    m.n_buckets = least(log->n_loads, least(MAX_BUCKETS, 1 + MAX_CELLS / m.n_rows));
    m.gap_px = fmin(GAP_PX, ALL_GAPS_PX / (double)log->n_layers);
    m.row_px = fmin(ROW_PX, ALL_ROWS_PX / (double)m.n_rows);
    if (m.row_px >= 2) m.row_px = floor(m.row_px);
    return m;
}

/* Of experts that share a row, the one farthest from even shows: an average would hide a collapse. */
static float row_load(const map *m, const float *sum, size_t row, double scale)
{
    size_t layer = row / m->rows_per_layer, first = row % m->rows_per_layer * m->experts_per_row;
    size_t end = least(first + m->experts_per_row, m->log->n_experts);
    double extreme = 1, distance = -1;
    for (size_t e = first; e < end; e++) {
        double relative = scale * sum[layer * m->log->n_experts + e];
        double away = fabs(log2(fmax(relative, 1e-3)));
        if (away > distance) extreme = relative, distance = away;
    }
    return (float)extreme;
}

static size_t bucket_of(const map *m, double step)
{
    const fsm_log *log = m->log;
    double first = log->load_step[0], last = log->load_step[log->n_loads - 1];
    if (last <= first) return 0;
    return least(m->n_buckets - 1, (size_t)((step - first) / (last - first) * (double)m->n_buckets));
}

static void fill_cells(const map *m, float *sum)
{
    const fsm_log *log = m->log;
    size_t width = log->n_layers * log->n_experts, i = 0;
    for (size_t b = 0; b < m->n_buckets; b++) {
        size_t count = 0;
        for (size_t c = 0; c < width; c++) sum[c] = 0;
        for (; i < log->n_loads && bucket_of(m, log->load_step[i]) == b; i++, count++)
            for (size_t c = 0; c < width; c++) sum[c] += log->load[i * width + c];
        for (size_t r = 0; r < m->n_rows; r++) {
            float *cell = m->cells + r * m->n_buckets + b;
            /* A bucket between two logged steps shows the earlier one. */
            *cell = count ? row_load(m, sum, r, (double)log->n_experts / (double)count) : cell[-1];
        }
    }
}

static double row_top(const map *m, size_t row)
{
    return (double)row * m->row_px + (double)(row / m->rows_per_layer) * m->gap_px;
}

static double map_height(const map *m)
{
    return row_top(m, m->n_rows) - m->gap_px;
}

/* All runs of equal colour are one path a colour: thick horizontal strokes. */
static void write_cells(FILE *out, const map *m)
{
    fprintf(out, "<svg viewBox=\"0 0 %zu %.1f\" preserveAspectRatio=\"none\" width=\"100%%\" height=\"%.1f\">\n",
            m->n_buckets, map_height(m), map_height(m));
    for (int colour = 0; colour < COLOURS; colour++) {
        fprintf(out, "<path class=\"heat h%d\" stroke-width=\"%.2f\" d=\"", colour, m->row_px);
        for (size_t r = 0; r < m->n_rows; r++)
            for (size_t b = 0, end; b < m->n_buckets; b = end) {
                const float *cells = m->cells + r * m->n_buckets;
                int here = fsm_heatmap_colour(cells[b]);
                for (end = b + 1; end < m->n_buckets && fsm_heatmap_colour(cells[end]) == here;) end++;
                if (here == colour) fprintf(out, "M%zu %.2fh%zu", b, row_top(m, r) + m->row_px / 2, end - b);
            }
        fputs("\"/>\n", out);
    }
    fputs("</svg>\n", out);
}

static void write_row_labels(FILE *out, const map *m)
{
    double layer_px = (double)m->rows_per_layer * m->row_px;
    size_t every = (size_t)fmax(1, ceil(14 / (layer_px + m->gap_px)));
    for (size_t l = 0; l < m->log->n_layers; l += every)
        fprintf(out, "<text x=\"-28\" y=\"%.1f\" text-anchor=\"end\">layer %zu</text>\n",
                row_top(m, l * m->rows_per_layer) + layer_px / 2 + 4, l);
    for (size_t r = 0; r < m->n_rows && m->row_px >= 11; r++)
        fprintf(out, "<text x=\"-8\" y=\"%.1f\" text-anchor=\"end\">%zu</text>\n", row_top(m, r) + m->row_px / 2 + 4,
                r % m->rows_per_layer);
}

static void write_step_labels(FILE *out, const map *m)
{
    double height = map_height(m);
    const fsm_log *log = m->log;
    char label[FSM_NUMBER_BYTES];
    fsm_axis axis = fsm_axis_steps(log->load_step[0], log->load_step[log->n_loads - 1], 6);
    for (size_t i = 0; i < axis.n_ticks; i++) {
        double x = 100 * fsm_axis_place(&axis, axis.ticks[i]);
        fprintf(out, "<line class=\"base\" x1=\"%.2f%%\" x2=\"%.2f%%\" y1=\"%.1f\" y2=\"%.1f\"/>", x, x, height,
                height + 5);
        fprintf(out, "<text x=\"%.2f%%\" y=\"%.1f\" text-anchor=\"middle\">%s</text>\n", x, height + 19,
                fsm_axis_label(&axis, i, label));
    }
    fprintf(out, "<text x=\"50%%\" y=\"%.1f\" text-anchor=\"middle\">step</text>\n", height + 36);
}

static void write_row_titles(FILE *out, const map *m)
{
    for (size_t r = 0; r < m->n_rows && m->n_rows <= MAX_TITLED_ROWS; r++) {
        const float *cells = m->cells + r * m->n_buckets;
        double sum = 0;
        for (size_t b = 0; b < m->n_buckets; b++) sum += cells[b];
        fprintf(out,
                "<rect class=\"hit\" x=\"0\" y=\"%.1f\" width=\"100%%\" height=\"%.1f\"><title>"
                "layer %zu, expert %zu: mean %.2f×, at the end %.2f× an even share</title></rect>\n",
                row_top(m, r), m->row_px, r / m->rows_per_layer, r % m->rows_per_layer, sum / (double)m->n_buckets,
                cells[m->n_buckets - 1]);
    }
}

static void write_legend(FILE *out, const map *m)
{
    fputs("<div class=\"legend\"><span>½× or less</span><span>", out);
    for (int colour = 0; colour < COLOURS; colour++) fprintf(out, "<i class=\"b%d\"></i>", colour);
    fprintf(out, "</span><span>2× or more</span><span>of an even share, 1/%zu of a layer's tokens</span></div>\n",
            m->log->n_experts);
    if (m->experts_per_row > 1)
        fprintf(out,
                "<div class=\"legend\">a row shows, of %zu neighbouring experts, the one farthest from even</div>\n",
                m->experts_per_row);
}

fsmoe_status fsm_heatmap_write(FILE *out, const fsm_log *log)
{
    if (log->n_loads == 0) return FSMOE_OK;
    map m = plan_map(log);
    m.cells = malloc(m.n_rows * m.n_buckets * sizeof(float));
    float *sum = malloc(log->n_layers * log->n_experts * sizeof(float));
    fsmoe_status status = FSMOE_OK;
    if (!m.cells || !sum) {
        status = fsm_fail(FSMOE_ERROR_MEMORY, "no memory for a heat map of %zu rows", m.n_rows);
        goto done;
    }
    fill_cells(&m, sum);
    fputs("<figure class=\"chart\" id=\"expert-load\">\n", out);
    write_legend(out, &m);
    fprintf(out,
            "<div class=\"plot map\"><svg height=\"%.1f\" role=\"img\" "
            "aria-label=\"expert load by layer and step\">\n",
            map_height(&m));
    write_cells(out, &m);
    write_row_labels(out, &m);
    write_step_labels(out, &m);
    write_row_titles(out, &m);
    fputs("</svg></div>\n</figure>\n", out);
done:
    free(sum);
    free(m.cells);
    return status;
}
