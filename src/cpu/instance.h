/* What an instance of the CPU's operations holds behind its table.
 * In:  the table that a slot was called on, which fsm_cpu_ops_create made (or a copy of the whole struct with slots of
 *      its own, which must not outlive it).
 * Out: the instance.
 */
#ifndef FSM_CPU_INSTANCE_H
#define FSM_CPU_INSTANCE_H

#include "cpu/products.h"

typedef struct fsm_cpu {
    fsm_ops ops; /* first: all that callers see */
    int threads;
    bool row_by_row;       /* linear_forward and gemm, as ops.h says */
    float *attention_work; /* each thread's part after the other's */
    size_t attention_work_bytes;
    float *spread; /* copies of a product's operands; NULL: none are made */
    int64_t spread_elems;
    float *wide; /* rows of bf16 as floats (bf16.h); NULL: rows are floats */
    int64_t wide_elems;
    struct fsm_bf16_matmul
        *bf16; /* products of rows of bf16 as they are (bf16_matmul.h); NULL: they are computed as floats */
    fsm_products *products; /* its own; NULL: the choice of a build without measurements */
} fsm_cpu;

static inline const fsm_cpu *fsm_cpu_of(const fsm_ops *self)
{
    return (const fsm_cpu *)self;
}

#endif
