/* What the two passes of attention share: pointers to heads, blocks of queries, each thread's part of the work memory.
 * In:  a shape; q, k, v, o as ops.h lays them out.
 * Out: blocks of at most FSM_CPU_QUERIES queries; query i of a block sees the first prefix - count + 1 + i keys.
 */
#ifndef FSM_CPU_ATTENTION_H
#define FSM_CPU_ATTENTION_H

#include "ops/ops.h"

#include <omp.h>

/* Scores of a block are 64 rows of k_len floats: 32 KiB for 128 keys, in the second cache up to some 1000. */
enum { FSM_CPU_QUERIES = 64 };

typedef struct fsm_cpu_query_block {
    int64_t first, count; /* queries */
    int64_t prefix;       /* keys that the last of them sees */
} fsm_cpu_query_block;

static inline int64_t fsm_cpu_query_blocks(const fsm_attention_shape *s)
{
    return (s->q_len + FSM_CPU_QUERIES - 1) / FSM_CPU_QUERIES;
}

static inline fsm_cpu_query_block fsm_cpu_query_block_at(const fsm_attention_shape *s, int64_t index)
{
    int64_t first = index * FSM_CPU_QUERIES, count = s->q_len - first;
    if (count > FSM_CPU_QUERIES) count = FSM_CPU_QUERIES;
    return (fsm_cpu_query_block){first, count, s->k_len - s->q_len + first + count};
}

/* Where head h of token i of sample b begins in q (and o, with its ld), and kv head g in k (and v, with its ld). */
static inline int64_t fsm_cpu_query_at(const fsm_attention_shape *s, int64_t ld, int64_t b, int64_t h, int64_t i)
{
    return (b * s->q_len + i) * ld + h * s->head_dim;
}

static inline int64_t fsm_cpu_key_at(const fsm_attention_shape *s, int64_t ld, int64_t b, int64_t g)
{
    return b * s->sample_k * ld + g * s->head_dim;
}

/* Floats of one matrix of scores, in whole cache lines so that threads share none. */
static inline int64_t fsm_cpu_score_elems(const fsm_attention_shape *s)
{
    int64_t rows = s->q_len < FSM_CPU_QUERIES ? s->q_len : FSM_CPU_QUERIES;
    return (rows * s->k_len + 15) / 16 * 16;
}

#endif
