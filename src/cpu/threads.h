/* How an op shares its rows among OpenMP threads.
 * In:  an instance, a number of independent rows (or elements, or columns) and how much work they are.
 * Out: how many threads to start, and inside the parallel region this thread's contiguous share.
 * Shares depend only on the counts, so a fixed number of threads gives the same bits every run.
 */
#ifndef FSM_CPU_THREADS_H
#define FSM_CPU_THREADS_H

#include "cpu/instance.h"

#include <omp.h>
#include <stdint.h>

/* Elements touched below which waking other threads costs more than it gives: some 15 microseconds where they sleep
 * between operations (OMP_WAIT_POLICY=passive, the only good choice on a shared machine). */
enum { FSM_CPU_SERIAL_ELEMS = 65536 };

static inline int fsm_cpu_threads(const fsm_ops *self, int64_t n_elems)
{
    return n_elems < FSM_CPU_SERIAL_ELEMS ? 1 : fsm_cpu_of(self)->threads;
}

/* A library of products asks OpenMP how many threads its caller wants: while it runs these are the instance's, and then
 * again what they were. begin returns what end is given. */
static inline int fsm_cpu_library_begin(const fsm_ops *self)
{
    int threads = fsm_cpu_of(self)->threads, before = omp_get_max_threads();
    if (before != threads) omp_set_num_threads(threads);
    return before;
}

static inline void fsm_cpu_library_end(const fsm_ops *self, int before)
{
    if (before != fsm_cpu_of(self)->threads) omp_set_num_threads(before);
}

typedef struct fsm_cpu_share {
    int64_t begin, count;
} fsm_cpu_share;

/* This thread's part of n, in multiples of `grain` but for the last. */
static inline fsm_cpu_share fsm_cpu_my_share(int64_t n, int64_t grain)
{
    int64_t grains = (n + grain - 1) / grain, threads = omp_get_num_threads(), me = omp_get_thread_num();
    int64_t begin = grains * me / threads * grain, end = grains * (me + 1) / threads * grain;
    if (end > n) end = n;
    return (fsm_cpu_share){begin, end - begin};
}

#endif
