/* Tensors as everything above a table of operations sees them: pointers to memory of the device, which only operations,
 * communication and copies reach.
 * In:  a table of operations, which knows how large an element of a row is; memory (ops/memory.h).
 * Out: pointers by kind, and the few things that may be done with them outside: move on by elements, and be part of a
 *      product.
 *   fsm_row    activations: what the table computes in, fp32 or bf16
 *   fsm_real   fp32: residual stream, statistics, logits, weights, gradients, moments
 *   fsm_index  int32: ids, choices, row numbers
 *   fsm_sum    double: sums over tokens
 * Outside the tables these types are incomplete: to look into one, to take its size or to add to a pointer does not
 * compile. Files of a table, and kinds that say they run on the host, are compiled with FSM_TENSORS_OPEN and have plain
 * arrays.
 */
#ifndef FSM_OPS_TENSOR_H
#define FSM_OPS_TENSOR_H

#include <fsmoe/export.h>
#include <stdint.h>

#ifdef FSM_TENSORS_OPEN
typedef float fsm_row, fsm_real;
typedef int32_t fsm_index;
typedef double fsm_sum;
#else
typedef struct fsm_row fsm_row;
typedef struct fsm_real fsm_real;
typedef struct fsm_index fsm_index;
typedef struct fsm_sum fsm_sum;
#endif

enum { FSM_REAL_BYTES = 4, FSM_INDEX_BYTES = 4, FSM_SUM_BYTES = 8 };

/* ---- a pointer n elements further on; of what a measuring arena gave, too ---- */

static inline fsm_row *fsm_row_at(const fsm_row *p, int64_t row_bytes, int64_t n)
{
    return (fsm_row *)((uintptr_t)p + (uintptr_t)(n * row_bytes));
}

static inline fsm_real *fsm_real_at(const fsm_real *p, int64_t n)
{
    return (fsm_real *)((uintptr_t)p + (uintptr_t)(n * FSM_REAL_BYTES));
}

static inline fsm_index *fsm_index_at(const fsm_index *p, int64_t n)
{
    return (fsm_index *)((uintptr_t)p + (uintptr_t)(n * FSM_INDEX_BYTES));
}

static inline fsm_sum *fsm_sum_at(const fsm_sum *p, int64_t n)
{
    return (fsm_sum *)((uintptr_t)p + (uintptr_t)(n * FSM_SUM_BYTES));
}

/* ---- a matrix of a product: where it begins, the elements from one of its rows to the next, and what they are ---- */

typedef enum fsm_elem { FSM_ELEM_REAL, FSM_ELEM_ROW } fsm_elem;

typedef struct fsm_matrix {
    void *at;
    int64_t ld;
    fsm_elem elem;
} fsm_matrix;

static inline fsm_matrix fsm_rows(const fsm_row *at, int64_t ld)
{
    return (fsm_matrix){(void *)at, ld, FSM_ELEM_ROW};
}

static inline fsm_matrix fsm_reals(const fsm_real *at, int64_t ld)
{
    return (fsm_matrix){(void *)at, ld, FSM_ELEM_REAL};
}

#endif
