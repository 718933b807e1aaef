/* Rows that are written whole and read much later, past the caches: a plain store fetches the line that it overwrites.
 * In:  floats; how many bytes an operation writes in all.
 * Out: the same bits as plain stores, in memory once fsm_cpu_stream_end has been called by the thread that wrote.
 */
#ifndef FSM_CPU_STREAM_H
#define FSM_CPU_STREAM_H

#include "base/kernel.h"

#include <stdbool.h>
#include <stdint.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* More than stays in a last-level cache beside what is read with it: below, whoever reads the rows next finds them
 * there. */
#define FSM_CPU_STREAM_BYTES ((int64_t)24 << 20)

/* Whether n rows of `width` floats at y are better written past the caches. */
static inline bool fsm_cpu_streams(int64_t n, int64_t width, const float *y)
{
#ifdef __SSE2__
    return n * width * (int64_t)sizeof *y >= FSM_CPU_STREAM_BYTES && width % 4 == 0 && (uintptr_t)y % 16 == 0;
#else
    (void)n, (void)width, (void)y;
    return false;
#endif
}

/* y = w x of one row. */
FSM_CPU_BODY void fsm_cpu_stream_scaled(int64_t width, float w, const float *x, float *y)
{
#ifdef __SSE2__
    for (int64_t j = 0; j < width; j += 4) _mm_stream_ps(y + j, _mm_mul_ps(_mm_set1_ps(w), _mm_loadu_ps(x + j)));
#else
    for (int64_t j = 0; j < width; j++) y[j] = w * x[j];
#endif
}

static inline void fsm_cpu_stream_end(void)
{
#ifdef __SSE2__
    _mm_sfence();
#endif
}

#endif
