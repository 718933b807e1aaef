/* Rows of bf16 on the CPU: kept and sent as bf16, computed in float by the same operations as rows of float.
 * In:  an instance of the fast table.
 * Out: its table with rows of bf16. A block of rows at a time is widened into the instance's work memory, the operation
 *      on floats runs there, and what it made is rounded once, to the nearest, ties to even. Weights, statistics, sums
 *      and gradients are floats as ever.
 * Nothing here depends on how many threads there are but for what the operations on floats do.
 */
#ifndef FSM_CPU_BF16_H
#define FSM_CPU_BF16_H

#include "cpu/cpu.h"
#include "cpu/instance.h"
#include "cpu/simd.h"

#include <stdbool.h>

enum { FSM_CPU_BF16_BYTES = 2 };

static inline bool fsm_cpu_rows_are_float(const fsm_ops *self)
{
    return self->row_bytes == (int64_t)sizeof(float);
}

/* base/bf16.h for vectors: without a branch an element. */
FSM_CPU_BODY float fsm_cpu_of_bf16(uint16_t half)
{
    return fsm_cpu_float_of_bits((uint32_t)half << 16);
}

FSM_CPU_BODY uint16_t fsm_cpu_to_bf16(float value)
{
    uint32_t bits = fsm_cpu_bits_of_float(value), nan = -(uint32_t)(value != value);
    return (uint16_t)((((bits + 0x7fff + (bits >> 16 & 1)) & ~nan) | ((bits | 0x400000) & nan)) >> 16);
}

/* n rows of `width` from bf16, and to it after each was multiplied by its factor (NULL: 1). On the calling thread. */
void fsm_cpu_widen(int64_t n, int64_t width, const fsm_row *from, int64_t ld_from, float *to, int64_t ld_to);
void fsm_cpu_narrow(int64_t n, int64_t width, const float *factor, const float *from, int64_t ld_from, fsm_row *to,
                    int64_t ld_to);

/* The same on the instance's threads, without factors. */
void fsm_cpu_widen_all(const fsm_ops *self, int64_t n, int64_t width, const fsm_row *from, int64_t ld_from, float *to,
                       int64_t ld_to);
void fsm_cpu_narrow_all(const fsm_ops *self, int64_t n, int64_t width, const float *from, int64_t ld_from, fsm_row *to,
                        int64_t ld_to);

/* How many rows, at least 1, an operation takes at a time that needs so many floats of work memory for each; fewer, so
 * that they stay in the cache, where each is read but once. */
int64_t fsm_cpu_rows_that_fit(const fsm_ops *self, int64_t elems);
int64_t fsm_cpu_rows_in_cache(const fsm_ops *self, int64_t elems);

/* Widest row that an operation may have: some need six of them in work memory. */
enum { FSM_CPU_WIDEST_ROW = FSM_CPU_BF16_WORK_BYTES / 6 / (int)sizeof(float) };

/* Makes the table of a fast instance, with its work memory, one of bf16. ERROR_MEMORY. Who destroys the instance frees
 * `wide`. */
fsmoe_status fsm_cpu_use_bf16(fsm_cpu *cpu);

/* What fsm_cpu_use_bf16 puts into the table. */
void fsm_cpu_bf16_products(fsm_ops *ops); /* gemm, linear */
void fsm_cpu_bf16_elements(fsm_ops *ops); /* activations, norms, rotation, jitter, directions */
void fsm_cpu_bf16_rows(fsm_ops *ops);     /* what moves and mixes rows */

#endif
