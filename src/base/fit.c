#include "base/fit.h"

#include <math.h>
#include <stdlib.h>

enum { LEAST_POINTS_A_LINE = 3, MOST_CUTS = 64 };

static const double good_enough = 0.10; /* largest relative residual at which one line is kept */
static const double worth_it = 0.5;     /* a line more must bring the root mean square down to this part */
static const double least_r2 = 0.98, largest_worst = 0.30;

static bool is_sound(fsm_point p)
{
    return isfinite(p.size) && p.size >= 0 && isfinite(p.time_s) && p.time_s > 0;
}

static bool has_two_sizes(const fsm_point *points, int n)
{
    for (int i = 1; i < n; i++)
        if (points[i].size != points[0].size) return true;
    return false;
}

static fsmoe_status check_points(const fsm_point *points, int n)
{
    for (int i = 0; i < n; i++)
        if (!is_sound(points[i]))
            return fsm_fail(
                FSMOE_ERROR_NUMERIC,
                "point %d of %d has size %g and time %g s; sizes are finite and not negative, times positive", i + 1, n,
                points[i].size, points[i].time_s);
    if (!has_two_sizes(points, n))
        return fsm_fail(FSMOE_ERROR_NUMERIC, "%d points are not enough: a line needs two different sizes", n);
    return FSMOE_OK;
}

/* Minimises the sum of ((alpha + n beta - t) / t)^2: weights 1 / t^2. Sizes are divided by the largest and times by the
 * least, so that no square leaves the range of a double. At most one of alpha and beta comes out negative. */
static fsm_line fit(const fsm_point *points, int n)
{
    double unit_size = 0, unit_s = INFINITY;
    for (int i = 0; i < n; i++) {
        unit_size = fmax(unit_size, points[i].size);
        unit_s = fmin(unit_s, points[i].time_s);
    }
    double weights = 0, mean_size = 0, mean_time = 0, size_size = 0, size_time = 0;
    for (int i = 0; i < n; i++) {
        double size = points[i].size / unit_size, time = points[i].time_s / unit_s, weight = 1 / time / time;
        weights += weight;
        mean_size += weight * size;
        mean_time += weight * time;
    }
    mean_size /= weights;
    mean_time /= weights;
    for (int i = 0; i < n; i++) {
        double size = points[i].size / unit_size, time = points[i].time_s / unit_s, weight = 1 / time / time;
        size_size += weight * (size - mean_size) * (size - mean_size);
        size_time += weight * (size - mean_size) * (time - mean_time);
    }
    double beta = size_time / size_size, alpha = mean_time - beta * mean_size;
    if (beta < 0) {
        beta = 0;
        alpha = mean_time;
    } else if (alpha < 0) {
        alpha = 0;
        beta = (size_time + weights * mean_size * mean_time) / (size_size + weights * mean_size * mean_size);
    }
    return (fsm_line){alpha * unit_s, beta * unit_s / unit_size};
}

/* Lines and where the second and the third begin; 0: never. */
typedef struct pieces {
    fsm_line line[3];
    double from[2];
} pieces;

static double residual_s(const pieces *p, fsm_point point)
{
    int i = 0;
    while (i < 2 && p->from[i] > 0 && point.size >= p->from[i]) i++;
    return point.time_s - fsm_line_at(p->line[i], point.size);
}

static double r_squared(const fsm_point *points, int n, const pieces *p)
{
    double mean_s = 0, scale = 0, residual = 0, deviation = 0;
    for (int i = 0; i < n; i++) mean_s += points[i].time_s / n;
    for (int i = 0; i < n; i++) {
        scale += points[i].time_s * points[i].time_s;
        residual += pow(residual_s(p, points[i]), 2);
        deviation += pow(points[i].time_s - mean_s, 2);
    }
    const double rounding = 1e-24;
    if (deviation <= rounding * scale && residual <= rounding * scale) return 1;
    return 1 - residual / deviation;
}

static double relative_squares(const fsm_point *points, int n, const pieces *p)
{
    double sum = 0;
    for (int i = 0; i < n; i++) sum += pow(residual_s(p, points[i]) / points[i].time_s, 2);
    return sum;
}

static double worst_relative(const fsm_point *points, int n, const pieces *p)
{
    double worst = 0;
    for (int i = 0; i < n; i++) worst = fmax(worst, fabs(residual_s(p, points[i])) / points[i].time_s);
    return worst;
}

bool fsm_fit_is_bad(double r2, double worst)
{
    return r2 < least_r2 || worst > largest_worst;
}

/* Sizes or times too far apart for a double to hold their squares make no line. */
static fsmoe_status check_found(const pieces *p, int n, double r2)
{
    bool found = isfinite(r2);
    for (size_t i = 0; i < sizeof p->line / sizeof *p->line; i++)
        found &= p->line[i].alpha_s >= 0 && p->line[i].beta_s >= 0 && isfinite(p->line[i].alpha_s) &&
                 isfinite(p->line[i].beta_s);
    return found ? FSMOE_OK : fsm_fail(FSMOE_ERROR_NUMERIC, "%d points make no line: they are too far apart", n);
}

fsmoe_status fsm_fit_line(const fsm_point *points, int n, fsm_line *line, double *r2)
{
    FSM_TRY(check_points(points, n));
    pieces one = {{fit(points, n)}, {0}};
    *line = one.line[0];
    *r2 = r_squared(points, n, &one);
    return check_found(&one, n, *r2);
}

static int by_size(const void *a, const void *b)
{
    double x = ((const fsm_point *)a)->size, y = ((const fsm_point *)b)->size;
    return (x > y) - (x < y);
}

/* Where sorted points may be cut: equal sizes stay on one side. Returns how many places there are. */
static int find_cuts(const fsm_point *points, int n, int cuts[MOST_CUTS])
{
    int places = 0, count = 0;
    for (int i = 1; i < n; i++) places += points[i].size != points[i - 1].size;
    int every = (places + MOST_CUTS - 1) / MOST_CUTS, place = 0;
    for (int i = 1; i < n; i++)
        if (points[i].size != points[i - 1].size && place++ % every == 0) cuts[count++] = i;
    return count;
}

static bool makes_a_line(const fsm_point *points, int n)
{
    return n >= LEAST_POINTS_A_LINE && has_two_sizes(points, n);
}

/* The best cut of sorted points at all places; without any allowed cut *best is left as it is. */
static double best_cut(const fsm_point *points, int n, pieces *best)
{
    double least = INFINITY;
    for (int cut = 1; cut < n; cut++) {
        if (points[cut].size == points[cut - 1].size) continue;
        if (!makes_a_line(points, cut) || !makes_a_line(points + cut, n - cut)) continue;
        pieces two = {{fit(points, cut), fit(points + cut, n - cut)}, {points[cut].size}};
        double squares = relative_squares(points, n, &two);
        if (squares >= least) continue;
        least = squares;
        *best = two;
    }
    return least;
}

static double best_two_cuts(const fsm_point *points, int n, pieces *best)
{
    double least = INFINITY;
    int cuts[MOST_CUTS], count = find_cuts(points, n, cuts);
    for (int i = 0; i < count; i++)
        for (int j = i + 1; j < count; j++) {
            int first = cuts[i], second = cuts[j];
            if (!makes_a_line(points, first) || !makes_a_line(points + first, second - first) ||
                !makes_a_line(points + second, n - second))
                continue;
            pieces three = {{fit(points, first), fit(points + first, second - first), fit(points + second, n - second)},
                            {points[first].size, points[second].size}};
            double squares = relative_squares(points, n, &three);
            if (squares >= least) continue;
            least = squares;
            *best = three;
        }
    return least;
}

static fsmoe_status sort_points(const fsm_point *points, int n, fsm_point **sorted)
{
    *sorted = malloc((size_t)n * sizeof **sorted);
    if (!*sorted) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to sort %d points", n);
    for (int i = 0; i < n; i++) (*sorted)[i] = points[i];
    qsort(*sorted, (size_t)n, sizeof **sorted, by_size);
    return FSMOE_OK;
}

/* What is better by a line more replaces what is kept, if it is better by enough. */
static void add_line(const fsm_point *sorted, int n, double (*best)(const fsm_point *, int, pieces *), pieces *kept)
{
    pieces more;
    double squares = best(sorted, n, &more);
    if (isfinite(squares) && squares <= worth_it * worth_it * relative_squares(sorted, n, kept)) *kept = more;
}

static fsmoe_status fit_pieces(const fsm_point *points, int n, int most_lines, pieces *kept)
{
    fsm_point *sorted;
    FSM_TRY(check_points(points, n));
    *kept = (pieces){{fit(points, n)}, {0}};
    if (worst_relative(points, n, kept) <= good_enough) return FSMOE_OK;
    FSM_TRY(sort_points(points, n, &sorted));
    add_line(sorted, n, best_cut, kept);
    if (most_lines > 2 && fsm_fit_is_bad(r_squared(points, n, kept), worst_relative(points, n, kept)))
        add_line(sorted, n, best_two_cuts, kept);
    free(sorted);
    return FSMOE_OK;
}

fsmoe_status fsm_fit_two_lines(const fsm_point *points, int n, fsm_line lines[2], double *large_from, double *r2)
{
    pieces kept;
    FSM_TRY(fit_pieces(points, n, 2, &kept));
    lines[0] = kept.line[0];
    lines[1] = kept.line[1];
    *large_from = kept.from[0];
    *r2 = r_squared(points, n, &kept);
    return check_found(&kept, n, *r2);
}

fsmoe_status fsm_fit_three_lines(const fsm_point *points, int n, fsm_fit *fit)
{
    pieces kept;
    FSM_TRY(fit_pieces(points, n, 3, &kept));
    *fit = (fsm_fit){.line = {kept.line[0], kept.line[1], kept.line[2]}, .from = {kept.from[0], kept.from[1]}};
    fit->r2 = r_squared(points, n, &kept);
    return check_found(&kept, n, fit->r2);
}
