#include "cpu/bf16.h"

#include "cpu/bf16_matmul.h"

#include "base/status.h"
#include "cpu/threads.h"

#include <stdlib.h>

enum { WIDE_ELEMS = FSM_CPU_BF16_WORK_BYTES / (int)sizeof(float), CACHE_ELEMS = 1 << 17, LINE_ELEMS = 32 };

FSM_CPU_BODY void widen_body(int64_t n, int64_t width, const uint16_t *from, int64_t ld_from, float *to, int64_t ld_to)
{
    for (int64_t i = 0; i < n; i++, from += ld_from, to += ld_to) {
#pragma omp simd
        for (int64_t j = 0; j < width; j++) to[j] = fsm_cpu_of_bf16(from[j]);
    }
}
FSM_CPU_KERNEL(widen, (int64_t n, int64_t width, const uint16_t *from, int64_t ld_from, float *to, int64_t ld_to),
               (n, width, from, ld_from, to, ld_to))

FSM_CPU_BODY void narrow_body(int64_t n, int64_t width, const float *factor, const float *from, int64_t ld_from,
                              uint16_t *to, int64_t ld_to)
{
    for (int64_t i = 0; i < n; i++, from += ld_from, to += ld_to) {
        const float f = factor ? factor[i] : 1;
#pragma omp simd
        for (int64_t j = 0; j < width; j++) to[j] = fsm_cpu_to_bf16(f * from[j]);
    }
}
FSM_CPU_KERNEL(narrow,
               (int64_t n, int64_t width, const float *factor, const float *from, int64_t ld_from, uint16_t *to,
                int64_t ld_to),
               (n, width, factor, from, ld_from, to, ld_to))

void fsm_cpu_widen(int64_t n, int64_t width, const fsm_row *from, int64_t ld_from, float *to, int64_t ld_to)
{
    widen(n, width, (const void *)from, ld_from, to, ld_to);
}

void fsm_cpu_narrow(int64_t n, int64_t width, const float *factor, const float *from, int64_t ld_from, fsm_row *to,
                    int64_t ld_to)
{
    narrow(n, width, factor, from, ld_from, (void *)to, ld_to);
}

/* Rows without gaps are one: threads then share whole lines of it. */
static bool join_rows(int64_t *n, int64_t *width, int64_t ld_from, int64_t ld_to)
{
    if (ld_from != *width || ld_to != *width) return false;
    *width *= *n;
    *n = 1;
    return true;
}

void fsm_cpu_widen_all(const fsm_ops *self, int64_t n, int64_t width, const fsm_row *from, int64_t ld_from, float *to,
                       int64_t ld_to)
{
    const uint16_t *halves = (const void *)from;
    bool joined = join_rows(&n, &width, ld_from, ld_to);
#pragma omp parallel num_threads(fsm_cpu_threads(self, n *width))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(joined ? width : n, joined ? LINE_ELEMS : 1);
        if (joined) widen(1, mine.count, halves + mine.begin, 0, to + mine.begin, 0);
        else widen(mine.count, width, halves + mine.begin * ld_from, ld_from, to + mine.begin * ld_to, ld_to);
    }
}

void fsm_cpu_narrow_all(const fsm_ops *self, int64_t n, int64_t width, const float *from, int64_t ld_from, fsm_row *to,
                        int64_t ld_to)
{
    uint16_t *halves = (void *)to;
    bool joined = join_rows(&n, &width, ld_from, ld_to);
#pragma omp parallel num_threads(fsm_cpu_threads(self, n *width))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(joined ? width : n, joined ? LINE_ELEMS : 1);
        if (joined) narrow(1, mine.count, NULL, from + mine.begin, 0, halves + mine.begin, 0);
        else narrow(mine.count, width, NULL, from + mine.begin * ld_from, ld_from, halves + mine.begin * ld_to, ld_to);
    }
}

static int64_t rows_of(int64_t most, int64_t elems)
{
    return elems > most ? 1 : elems > 0 ? most / elems : most;
}

int64_t fsm_cpu_rows_that_fit(const fsm_ops *self, int64_t elems)
{
    return rows_of(fsm_cpu_of(self)->wide_elems, elems);
}

int64_t fsm_cpu_rows_in_cache(const fsm_ops *self, int64_t elems)
{
    int64_t cached = (int64_t)CACHE_ELEMS * fsm_cpu_of(self)->threads, all = fsm_cpu_of(self)->wide_elems;
    return rows_of(cached < all ? cached : all, elems);
}

fsmoe_status fsm_cpu_use_bf16(fsm_cpu *cpu)
{
    cpu->wide = aligned_alloc(LINE_ELEMS * sizeof *cpu->wide, WIDE_ELEMS * sizeof *cpu->wide);
    if (!cpu->wide) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for the operations on bf16");
    cpu->wide_elems = WIDE_ELEMS;
    cpu->ops.name = "cpu-bf16";
    cpu->ops.row_bytes = FSM_CPU_BF16_BYTES;
    if (fsm_cpu_multiplies_bf16()) cpu->bf16 = fsm_bf16_matmul_create(false); /* NULL: they are computed as floats */
    fsm_cpu_bf16_products(&cpu->ops);
    fsm_cpu_bf16_elements(&cpu->ops);
    fsm_cpu_bf16_rows(&cpu->ops);
    return FSMOE_OK;
}
