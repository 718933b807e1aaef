#include "report/series.h"

#include <math.h>
#include <stdlib.h>

static fsmoe_status create_points(size_t count, fsm_points *points)
{
    points->count = 0;
    points->x = malloc((2 * count + 1) * sizeof(double));
    if (!points->x) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for %zu points of a chart", count);
    points->y = points->x + count;
    return FSMOE_OK;
}

void fsm_points_destroy(fsm_points *points)
{
    free(points->x);
    *points = (fsm_points){0};
}

static void add_point(fsm_points *points, double x, double y)
{
    points->x[points->count] = x;
    points->y[points->count++] = y;
}

/* The points that have a value. */
static fsmoe_status compact(const double *x, const double *y, size_t count, fsm_points *points)
{
    FSM_TRY(create_points(count, points));
    for (size_t i = 0; i < count; i++)
        if (!isnan(y[i])) add_point(points, x[i], y[i]);
    return FSMOE_OK;
}

fsmoe_status fsm_series_thin(const double *x, const double *y, size_t count, size_t limit, fsm_points *points)
{
    fsm_points all;
    FSM_TRY(compact(x, y, count, &all));
    if (all.count <= limit) {
        *points = all;
        return FSMOE_OK;
    }
    size_t n_buckets = limit / 2 - 1, last = all.count - 1;
    fsmoe_status status = create_points(limit, points);
    if (status == FSMOE_OK) add_point(points, all.x[0], all.y[0]);
    for (size_t b = 0; status == FSMOE_OK && b < n_buckets; b++) {
        size_t begin = 1 + b * (last - 1) / n_buckets, end = 1 + (b + 1) * (last - 1) / n_buckets;
        size_t least = begin, greatest = begin;
        for (size_t i = begin; i < end; i++) {
            if (all.y[i] < all.y[least]) least = i;
            if (all.y[i] > all.y[greatest]) greatest = i;
        }
        size_t first = least < greatest ? least : greatest, second = least < greatest ? greatest : least;
        add_point(points, all.x[first], all.y[first]);
        if (second != first) add_point(points, all.x[second], all.y[second]);
    }
    if (status == FSMOE_OK) add_point(points, all.x[last], all.y[last]);
    fsm_points_destroy(&all);
    return status;
}

void fsm_series_smooth(const double *y, size_t count, size_t window, double *smooth)
{
    /* A running sum of the window [begin, end), both ends of which only move right. */
    double sum = 0;
    size_t begin = 0, end = 0, n_values = 0;
    for (size_t i = 0; i < count; i++) {
        size_t half = window / 2 < i ? window / 2 : i;
        size_t want_end = i + half + 1 < count ? i + half + 1 : count;
        for (; end < want_end; end++)
            if (!isnan(y[end])) sum += y[end], n_values++;
        for (; begin < i - half; begin++)
            if (!isnan(y[begin])) sum -= y[begin], n_values--;
        smooth[i] = n_values && !isnan(y[i]) ? sum / (double)n_values : NAN;
    }
}

static int compare_numbers(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

fsmoe_status fsm_series_median(const double *y, size_t count, double *median)
{
    fsm_points points = {0};
    FSM_TRY(compact(y, y, count, &points));
    qsort(points.y, points.count, sizeof(double), compare_numbers);
    size_t half = points.count / 2;
    if (points.count == 0) *median = NAN;
    else *median = points.count % 2 ? points.y[half] : 0.5 * (points.y[half - 1] + points.y[half]);
    fsm_points_destroy(&points);
    return FSMOE_OK;
}
