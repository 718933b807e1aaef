/* Attention by blocks of queries, each on the keys it may see (Dao et al., FlashAttention, 2022, without the online
 * softmax: a block's scores fit in cache). */
#include "cpu/attention.h"
#include "cpu/bf16.h"
#include "cpu/gemm.h"
#include "cpu/simd.h"
#include "cpu/slots.h"

/* Row i of score [count, prefix] becomes exp(score - largest) on the keys it sees, 0 after them. */
FSM_CPU_BODY void exp_scores_body(int64_t count, int64_t prefix, float *score, int64_t ld_score, float *lse,
                                  float *inverse)
{
    for (int64_t i = 0; i < count; i++, score += ld_score) {
        const int64_t visible = prefix - count + 1 + i;
        const float largest = fsm_cpu_max(visible, score);
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t j = 0; j < visible; j++) {
            float e = fsm_cpu_exp(score[j] - largest);
            score[j] = e;
            sum += e;
        }
        for (int64_t j = visible; j < prefix; j++) score[j] = 0;
        lse[i] = largest + logf(sum);
        inverse[i] = 1 / sum;
    }
}
FSM_CPU_KERNEL(exp_scores, (int64_t count, int64_t prefix, float *score, int64_t ld_score, float *lse, float *inverse),
               (count, prefix, score, ld_score, lse, inverse))

/* q, o and lse at the head's first query; its keys and values are in w. */
static void attend_block(const fsm_ops *self, const fsm_attention_shape *s, fsm_cpu_query_block block,
                         const fsm_cpu_head_work *w, const fsm_row *q, fsm_row *o, float *lse)
{
    float inverse[FSM_CPU_QUERIES];
    int64_t dim = s->head_dim, ld_q = s->ld_q;
    const float *queries =
        fsm_cpu_floats_of(self, block.count, dim, fsm_row_at(q, self->row_bytes, block.first * ld_q), &ld_q, w->q);
    fsm_cpu_sgemm(self, false, true, block.count, block.prefix, dim, s->scale, queries, ld_q, w->k, dim, 0, w->score,
                  w->ld_score);
    exp_scores(block.count, block.prefix, w->score, w->ld_score, lse + block.first, inverse);
    fsm_cpu_sgemm(self, false, false, block.count, dim, block.prefix, 1, w->score, w->ld_score, w->v, dim, 0, w->o,
                  dim);
    fsm_cpu_store_rows(self, block.count, dim, inverse, w->o, fsm_row_at(o, self->row_bytes, block.first * s->ld_o),
                       s->ld_o);
}

/* All queries of all heads that read key/value head g of sample b. */
static void attend_group(const fsm_ops *self, const fsm_attention_shape *s, int64_t b, int64_t g,
                         const fsm_cpu_head_work *w, const fsm_row *q, const fsm_row *k, const fsm_row *v, fsm_row *o,
                         float *lse)
{
    int64_t group = s->heads / s->kv_heads, keys = fsm_cpu_key_count(s, b), bytes = self->row_bytes;
    fsm_cpu_load_rows(self, keys, s->head_dim, fsm_row_at(k, bytes, fsm_cpu_key_at(s, s->ld_k, b, g)), s->ld_k, w->k);
    fsm_cpu_load_rows(self, keys, s->head_dim, fsm_row_at(v, bytes, fsm_cpu_key_at(s, s->ld_v, b, g)), s->ld_v, w->v);
    for (int64_t h = g * group; h < (g + 1) * group; h++)
        for (int64_t index = 0; index < fsm_cpu_query_blocks(s); index++)
            attend_block(self, s, fsm_cpu_query_block_at(s, keys, index), w,
                         fsm_row_at(q, bytes, fsm_cpu_query_at(s, s->ld_q, b, h, 0)),
                         fsm_row_at(o, bytes, fsm_cpu_query_at(s, s->ld_o, b, h, 0)),
                         lse + (b * s->heads + h) * s->q_len);
}

/* A single query of floats, as in generation: a matrix product would only wait for memory, and so would a copy. */
FSM_CPU_BODY void dot_rows_body(int64_t n, int64_t width, const float *x, float factor, const float *rows, int64_t ld,
                                float *y)
{
    for (int64_t i = 0; i < n; i++, rows += ld) {
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t j = 0; j < width; j++) sum += x[j] * rows[j];
        y[i] = factor * sum;
    }
}
FSM_CPU_KERNEL(dot_rows,
               (int64_t n, int64_t width, const float *x, float factor, const float *rows, int64_t ld, float *y),
               (n, width, x, factor, rows, ld, y))

FSM_CPU_BODY void weigh_rows_body(int64_t n, int64_t width, const float *weight, float factor, const float *rows,
                                  int64_t ld, float *y)
{
    for (int64_t j = 0; j < width; j++) y[j] = 0;
    for (int64_t i = 0; i < n; i++, rows += ld) {
        const float w = weight[i] * factor;
#pragma omp simd
        for (int64_t j = 0; j < width; j++) y[j] += w * rows[j];
    }
}
FSM_CPU_KERNEL(weigh_rows,
               (int64_t n, int64_t width, const float *weight, float factor, const float *rows, int64_t ld, float *y),
               (n, width, weight, factor, rows, ld, y))

static void attend_one(const fsm_attention_shape *s, int64_t b, int64_t h, float *score, const float *q, const float *k,
                       const float *v, float *o, float *lse)
{
    float inverse;
    int64_t g = h / (s->heads / s->kv_heads), keys = fsm_cpu_key_count(s, b);
    dot_rows(keys, s->head_dim, q + fsm_cpu_query_at(s, s->ld_q, b, h, 0), s->scale,
             k + fsm_cpu_key_at(s, s->ld_k, b, g), s->ld_k, score);
    exp_scores(1, keys, score, keys, lse + b * s->heads + h, &inverse);
    weigh_rows(keys, s->head_dim, score, inverse, v + fsm_cpu_key_at(s, s->ld_v, b, g), s->ld_v,
               o + fsm_cpu_query_at(s, s->ld_o, b, h, 0));
}

void fsm_cpu_attention_forward(const fsm_ops *self, const fsm_attention_shape *shape, const fsm_row *q,
                               const fsm_row *k, const fsm_row *v, fsm_row *o, fsm_real *lse)
{
    const fsm_attention_shape *s = shape;
#pragma omp parallel num_threads(fsm_cpu_attention_threads(self, s))
    {
        fsm_cpu_head_work w = fsm_cpu_head_work_of(self, s);
        if (s->q_len == 1 && fsm_cpu_rows_are_float(self)) {
#pragma omp for schedule(static)
            for (int64_t task = 0; task < s->batch * s->heads; task++)
                attend_one(s, task / s->heads, task % s->heads, w.score, q, k, v, o, lse);
        } else {
#pragma omp for schedule(static)
            for (int64_t task = 0; task < s->batch * s->kv_heads; task++)
                attend_group(self, s, task / s->kv_heads, task % s->kv_heads, &w, q, k, v, o, lse);
        }
    }
}
