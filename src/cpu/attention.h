/* What the two passes of attention share: blocks of queries, and each thread's part of the work memory, where the rows
 * of one head lie side by side. Read at their distance in q, k and v, a power of two in most models, the same rows fall
 * into few sets of the cache: that halves the speed of the products.
 * In:  an instance with its work memory reserved, a shape.
 * Out: pointers into it; copies of rows.
 */
#ifndef FSM_CPU_ATTENTION_H
#define FSM_CPU_ATTENTION_H

#include "ops/ops.h"

#include <stdbool.h>

/* Queries of a block: fewer leave less above the diagonal to compute in vain, more make better products. */
enum { FSM_CPU_QUERIES = 32 };

typedef struct fsm_cpu_query_block {
    int64_t first, count; /* queries */
    int64_t prefix;       /* keys that the last of them sees; query i of the block sees prefix - count + 1 + i */
} fsm_cpu_query_block;

int64_t fsm_cpu_query_blocks(const fsm_attention_shape *shape);
fsm_cpu_query_block fsm_cpu_query_block_at(const fsm_attention_shape *shape, int64_t keys, int64_t index);

/* One thread's memory; rows of head_dim, but for the scores. */
typedef struct fsm_cpu_head_work {
    float *score, *dp;       /* [FSM_CPU_QUERIES, k_len], rows ld_score apart */
    float *k, *v, *dk, *dv;  /* [k_len, head_dim] */
    float *q, *dq, *do_, *o; /* [FSM_CPU_QUERIES, head_dim] */
    int64_t ld_score;
} fsm_cpu_head_work;

/* Threads for a shape: one where there is little to do. */
int fsm_cpu_attention_threads(const fsm_ops *self, const fsm_attention_shape *shape);

/* The part of the instance's work memory that belongs to the calling thread of an OpenMP team. */
fsm_cpu_head_work fsm_cpu_head_work_of(const fsm_ops *self, const fsm_attention_shape *shape);

/* The border between rows, of the instance's type, and work memory, which is float and dense: n rows of `width`. */
void fsm_cpu_load_rows(const fsm_ops *self, int64_t n, int64_t width, const fsm_row *from, int64_t ld_from, float *to);
/* to[i] = factor[i] * from[i]; factor NULL means 1. */
void fsm_cpu_store_rows(const fsm_ops *self, int64_t n, int64_t width, const float *factor, const float *from,
                        fsm_row *to, int64_t ld_to);

/* The rows themselves where they are float, else a copy in work memory. *ld becomes that of what is returned. */
const float *fsm_cpu_floats_of(const fsm_ops *self, int64_t n, int64_t width, const fsm_row *from, int64_t *ld,
                               float *copy);

/* Where head h of token i of sample b begins in q (and o, with its ld), and kv head g in k (and v, with its ld). */
static inline int64_t fsm_cpu_query_at(const fsm_attention_shape *s, int64_t ld, int64_t b, int64_t h, int64_t i)
{
    return (b * s->q_len + i) * ld + h * s->head_dim;
}

static inline int64_t fsm_cpu_key_at(const fsm_attention_shape *s, int64_t ld, int64_t b, int64_t g)
{
    return (s->k_first ? s->k_first[b] : b * s->sample_k) * ld + g * s->head_dim;
}

static inline int64_t fsm_cpu_key_count(const fsm_attention_shape *s, int64_t b)
{
    return s->k_count ? s->k_count[b] : s->k_len;
}

#endif
