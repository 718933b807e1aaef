#include "train/draw.h"

#include <math.h>
#include <stdbool.h>

static bool is_likelier(const fsm_candidate *x, const fsm_candidate *y)
{
    return x->probability != y->probability ? x->probability > y->probability : x->id < y->id;
}

/* Candidate `at` of a heap, whose first is the likeliest, sinks to its place. */
static void sink(fsm_candidate *heap, int64_t n, int64_t at)
{
    const fsm_candidate moved = heap[at];
    for (int64_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && is_likelier(&heap[child + 1], &heap[child])) child++;
        if (!is_likelier(&heap[child], &moved)) break;
        heap[at] = heap[child];
    }
    heap[at] = moved;
}

static int64_t likeliest(const float *logits, int64_t n)
{
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (logits[i] > logits[best]) best = i;
    return best;
}

/* Takes the likeliest off the heap until they reach top_p of `total`; they stand at the end then, the likeliest last. A
 * vocabulary is much larger than its nucleus, so it is not worth sorting. */
static int64_t take_nucleus(fsm_candidate *heap, int64_t n, double top_p, double total, double *nucleus)
{
    int64_t left = n;
    *nucleus = 0;
    for (int64_t i = n / 2 - 1; i >= 0; i--) sink(heap, n, i);
    while (left > 0 && (left == n || *nucleus < top_p * total)) {
        const fsm_candidate taken = heap[0];
        heap[0] = heap[--left];
        sink(heap, left, 0);
        heap[left] = taken;
        *nucleus += taken.probability;
    }
    return left;
}

int32_t fsm_draw_token(const float *logits, int64_t n, double temperature, double top_p, double uniform,
                       fsm_candidate *candidates)
{
    int64_t best = likeliest(logits, n);
    if (temperature <= 0) return (int32_t)best;
    double total = 0, nucleus;
    for (int64_t i = 0; i < n; i++) {
        candidates[i] = (fsm_candidate){(int32_t)i, exp((logits[i] - (double)logits[best]) / temperature)};
        total += candidates[i].probability;
    }
    int64_t left = take_nucleus(candidates, n, top_p, total, &nucleus);
    double at = uniform * nucleus;
    for (int64_t i = n - 1; i >= left; i--) {
        at -= candidates[i].probability;
        if (at < 0) return candidates[i].id;
    }
    return candidates[left].id;
}
