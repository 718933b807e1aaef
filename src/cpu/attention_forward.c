/* Attention by blocks of queries, each on the keys it may see (Dao et al., FlashAttention, 2022, without the online
 * softmax: a block's scores fit in cache). */
#include "cpu/attention.h"
#include "cpu/simd.h"
#include "cpu/slots.h"

/* Backward needs two matrices of scores a thread; forward uses the first. */
size_t fsm_cpu_attention_work_bytes(const fsm_attention_shape *shape)
{
    return sizeof(float) * 2 * (size_t)fsm_cpu_score_elems(shape) * (size_t)omp_get_max_threads();
}

/* Row i of score [count, prefix] becomes exp(score - largest) on the keys it sees, 0 after them. */
FSM_CPU_BODY void exp_scores_body(int64_t count, int64_t prefix, float *score, float *lse, float *inverse)
{
    for (int64_t i = 0; i < count; i++, score += prefix) {
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
FSM_CPU_KERNEL(exp_scores, (int64_t count, int64_t prefix, float *score, float *lse, float *inverse),
               (count, prefix, score, lse, inverse))

FSM_CPU_BODY void scale_rows_body(int64_t n, int64_t width, const float *factor, float *x, int64_t ld)
{
    for (int64_t i = 0; i < n; i++, x += ld) {
#pragma omp simd
        for (int64_t j = 0; j < width; j++) x[j] *= factor[i];
    }
}
FSM_CPU_KERNEL(scale_rows, (int64_t n, int64_t width, const float *factor, float *x, int64_t ld),
               (n, width, factor, x, ld))

static void attend_block(const fsm_attention_shape *s, int64_t b, int64_t h, fsm_cpu_query_block block, const float *q,
                         const float *k, const float *v, float *o, float *lse, float *score)
{
    float inverse[FSM_CPU_QUERIES];
    int64_t g = h / (s->heads / s->kv_heads);
    float *out = o + fsm_cpu_query_at(s, s->ld_o, b, h, block.first);
    fsm_cpu_gemm(false, true, block.count, block.prefix, s->head_dim, s->scale,
                 q + fsm_cpu_query_at(s, s->ld_q, b, h, block.first), s->ld_q, k + fsm_cpu_key_at(s, s->ld_k, b, g),
                 s->ld_k, 0, score, block.prefix);
    exp_scores(block.count, block.prefix, score, lse + (b * s->heads + h) * s->q_len + block.first, inverse);
    fsm_cpu_gemm(false, false, block.count, s->head_dim, block.prefix, 1, score, block.prefix,
                 v + fsm_cpu_key_at(s, s->ld_v, b, g), s->ld_v, 0, out, s->ld_o);
    scale_rows(block.count, s->head_dim, inverse, out, s->ld_o);
}

/* A single query, as in generation: a matrix product would only wait for memory. */
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

static void attend_one(const fsm_attention_shape *s, int64_t b, int64_t h, const float *q, const float *k,
                       const float *v, float *o, float *lse, float *score)
{
    float inverse;
    int64_t g = h / (s->heads / s->kv_heads);
    dot_rows(s->k_len, s->head_dim, q + fsm_cpu_query_at(s, s->ld_q, b, h, 0), s->scale,
             k + fsm_cpu_key_at(s, s->ld_k, b, g), s->ld_k, score);
    exp_scores(1, s->k_len, score, lse + b * s->heads + h, &inverse);
    weigh_rows(s->k_len, s->head_dim, score, inverse, v + fsm_cpu_key_at(s, s->ld_v, b, g), s->ld_v,
               o + fsm_cpu_query_at(s, s->ld_o, b, h, 0));
}

/* Any thread may take any block: no two write the same. Later blocks see more keys, so they go first. */
void fsm_cpu_attention_forward(const fsm_attention_shape *shape, const float *q, const float *k, const float *v,
                               float *o, float *lse, void *work)
{
    const fsm_attention_shape *s = shape;
    int64_t score_elems = fsm_cpu_score_elems(s), heads = s->batch * s->heads, blocks = fsm_cpu_query_blocks(s);
#pragma omp parallel for schedule(dynamic)
    for (int64_t task = 0; task < heads * blocks; task++) {
        float *score = (float *)work + 2 * score_elems * omp_get_thread_num();
        int64_t b = task % heads / s->heads, h = task % s->heads, index = blocks - 1 - task / heads;
        if (s->q_len == 1)
            attend_one(s, b, h, q, k, v, o, lse, score);
        else
            attend_block(s, b, h, fsm_cpu_query_block_at(s, index), q, k, v, o, lse, score);
    }
}
