/* Backward of attention: recomputes each block's probabilities from lse (Dao et al., FlashAttention, 2022, alg. 4).
 * With p = exp(scale q.k - lse) and ds_ij = scale p_ij (do_i.v_j - do_i.o_i):
 * dv_j += p_ij do_i,  dq_i = sum_j ds_ij k_j,  dk_j += ds_ij q_i. */
#include "cpu/attention.h"
#include "cpu/gemm.h"
#include "cpu/simd.h"
#include "cpu/slots.h"

/* score [count, prefix], scale q.k, becomes p; dp [count, prefix], do.v, becomes ds; 0 where a query cannot see. */
FSM_CPU_BODY void differentiate_body(int64_t count, int64_t prefix, float scale, const float *lse, const float *do_o,
                                     float *score, float *dp, int64_t ld)
{
    for (int64_t i = 0; i < count; i++, score += ld, dp += ld) {
        const int64_t visible = prefix - count + 1 + i;
        const float log_sum = lse[i], mean = do_o[i];
#pragma omp simd
        for (int64_t j = 0; j < visible; j++) {
            float p = fsm_cpu_exp(score[j] - log_sum);
            score[j] = p;
            dp[j] = scale * p * (dp[j] - mean);
        }
        for (int64_t j = visible; j < prefix; j++) score[j] = dp[j] = 0;
    }
}
FSM_CPU_KERNEL(differentiate,
               (int64_t count, int64_t prefix, float scale, const float *lse, const float *do_o, float *score,
                float *dp, int64_t ld),
               (count, prefix, scale, lse, do_o, score, dp, ld))

FSM_CPU_BODY void dot_rows_body(int64_t n, int64_t width, const float *x, int64_t ld_x, const float *y, int64_t ld_y,
                                float *dot)
{
    for (int64_t i = 0; i < n; i++, x += ld_x, y += ld_y) {
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t j = 0; j < width; j++) sum += x[j] * y[j];
        dot[i] = sum;
    }
}
FSM_CPU_KERNEL(dot_rows,
               (int64_t n, int64_t width, const float *x, int64_t ld_x, const float *y, int64_t ld_y, float *dot),
               (n, width, x, ld_x, y, ld_y, dot))

/* One query head, every pointer at its first query; keys, values and their gradients are in the thread's work. */
typedef struct query_head {
    const float *q, *o, *lse, *do_;
    float *dq;
} query_head;

/* beta 0 writes dk and dv, 1 adds to them. */
static void block_backward(const fsm_ops *self, const fsm_attention_shape *s, fsm_cpu_query_block block,
                           const fsm_cpu_head_work *w, const query_head *at, float beta)
{
    float do_o[FSM_CPU_QUERIES];
    int64_t rows = block.count, keys = block.prefix, dim = s->head_dim, ld = w->ld_score;
    const float *do_ = at->do_ + block.first * s->ld_o;
    dot_rows(rows, dim, do_, s->ld_o, at->o + block.first * s->ld_o, s->ld_o, do_o);
    fsm_cpu_copy_rows(rows, dim, NULL, do_, s->ld_o, w->do_, dim);
    fsm_cpu_copy_rows(rows, dim, NULL, at->q + block.first * s->ld_q, s->ld_q, w->q, dim);
    fsm_cpu_sgemm(self, false, true, rows, keys, dim, s->scale, w->q, dim, w->k, dim, 0, w->score, ld);
    fsm_cpu_sgemm(self, false, true, rows, keys, dim, 1, w->do_, dim, w->v, dim, 0, w->dp, ld);
    differentiate(rows, keys, s->scale, at->lse + block.first, do_o, w->score, w->dp, ld);
    fsm_cpu_sgemm(self, true, false, keys, dim, rows, 1, w->score, ld, w->do_, dim, beta, w->dv, dim);
    fsm_cpu_sgemm(self, true, false, keys, dim, rows, 1, w->dp, ld, w->q, dim, beta, w->dk, dim);
    fsm_cpu_sgemm(self, false, false, rows, dim, keys, 1, w->dp, ld, w->k, dim, 0, w->dq, dim);
    fsm_cpu_copy_rows(rows, dim, NULL, w->dq, dim, at->dq + block.first * s->ld_q, s->ld_q);
}

/* The heads that read key/value head g of sample b. The last block of queries sees every key: it goes first and writes
 * dk and dv, the others add. */
static void group_backward(const fsm_ops *self, const fsm_attention_shape *s, int64_t b, int64_t g,
                           const fsm_cpu_head_work *w, const float *q, const float *o, const float *lse,
                           const float *do_, float *dq)
{
    int64_t group = s->heads / s->kv_heads;
    float beta = 0;
    for (int64_t h = g * group; h < (g + 1) * group; h++) {
        int64_t at_q = fsm_cpu_query_at(s, s->ld_q, b, h, 0), at_o = fsm_cpu_query_at(s, s->ld_o, b, h, 0);
        const query_head at = {q + at_q, o + at_o, lse + (b * s->heads + h) * s->q_len, do_ + at_o, dq + at_q};
        for (int64_t index = fsm_cpu_query_blocks(s) - 1; index >= 0; index--, beta = 1)
            block_backward(self, s, fsm_cpu_query_block_at(s, s->k_len, index), w, &at, beta);
    }
}

/* A thread owns a key/value head with all its query heads, so dk and dv have one writer. */
void fsm_cpu_attention_backward(const fsm_ops *self, const fsm_attention_shape *shape, const float *q, const float *k,
                                const float *v, const float *o, const float *lse, const float *do_, float *dq,
                                float *dk, float *dv)
{
    const fsm_attention_shape *s = shape;
    int64_t dim = s->head_dim, n_bytes = (int64_t)sizeof(float) * s->k_len * dim;
#pragma omp parallel for schedule(static) num_threads(fsm_cpu_attention_threads(self, s))
    for (int64_t task = 0; task < s->batch * s->kv_heads; task++) {
        fsm_cpu_head_work w = fsm_cpu_head_work_of(self, s);
        int64_t b = task / s->kv_heads, g = task % s->kv_heads;
        int64_t at_k = fsm_cpu_key_at(s, s->ld_k, b, g), at_v = fsm_cpu_key_at(s, s->ld_v, b, g);
        fsm_cpu_copy_rows(s->k_len, dim, NULL, k + at_k, s->ld_k, w.k, dim);
        fsm_cpu_copy_rows(s->k_len, dim, NULL, v + at_v, s->ld_v, w.v, dim);
        if (s->q_len == 0) memset(w.dk, 0, (size_t)n_bytes), memset(w.dv, 0, (size_t)n_bytes);
        group_backward(self, s, b, g, &w, q, o, lse, do_, dq);
        fsm_cpu_copy_rows(s->k_len, dim, NULL, w.dk, dim, dk + at_k, s->ld_k);
        fsm_cpu_copy_rows(s->k_len, dim, NULL, w.dv, dim, dv + at_v, s->ld_v);
    }
}
