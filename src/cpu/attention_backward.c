/* Backward of attention: recomputes each block's probabilities from lse (Dao et al., FlashAttention, 2022, alg. 4).
 * With p = exp(scale q.k - lse) and ds_ij = scale p_ij (do_i.v_j - do_i.o_i):
 * dv_j += p_ij do_i,  dq_i = sum_j ds_ij k_j,  dk_j += ds_ij q_i. */
#include "cpu/attention.h"
#include "cpu/simd.h"
#include "cpu/slots.h"

/* score [count, prefix], scale q.k, becomes p; dp [count, prefix], do.v, becomes ds; 0 where a query cannot see. */
FSM_CPU_BODY void differentiate_body(int64_t count, int64_t prefix, int64_t head_dim, float scale, const float *lse,
                                     const float *o, const float *do_, int64_t ld_o, float *score, float *dp)
{
    for (int64_t i = 0; i < count; i++, score += prefix, dp += prefix, o += ld_o, do_ += ld_o) {
        const int64_t visible = prefix - count + 1 + i;
        const float log_sum = lse[i];
        float do_o = 0;
#pragma omp simd reduction(+ : do_o)
        for (int64_t d = 0; d < head_dim; d++) do_o += do_[d] * o[d];
#pragma omp simd
        for (int64_t j = 0; j < visible; j++) {
            float p = fsm_cpu_exp(score[j] - log_sum);
            score[j] = p;
            dp[j] = scale * p * (dp[j] - do_o);
        }
        for (int64_t j = visible; j < prefix; j++) score[j] = dp[j] = 0;
    }
}
FSM_CPU_KERNEL(differentiate,
               (int64_t count, int64_t prefix, int64_t head_dim, float scale, const float *lse, const float *o,
                const float *do_, int64_t ld_o, float *score, float *dp),
               (count, prefix, head_dim, scale, lse, o, do_, ld_o, score, dp))

/* Every pointer at the first token of the head; beta 0 writes dk and dv, 1 adds to them. */
typedef struct head {
    const float *q, *k, *v, *o, *lse, *do_;
    float *dq, *dk, *dv;
    float beta;
} head;

static void block_backward(const fsm_attention_shape *s, fsm_cpu_query_block block, const head *at, float *score,
                           float *dp)
{
    const float *q = at->q + block.first * s->ld_q, *do_ = at->do_ + block.first * s->ld_o;
    int64_t rows = block.count, keys = block.prefix, dim = s->head_dim;
    fsm_cpu_gemm(false, true, rows, keys, dim, s->scale, q, s->ld_q, at->k, s->ld_k, 0, score, keys);
    fsm_cpu_gemm(false, true, rows, keys, dim, 1, do_, s->ld_o, at->v, s->ld_v, 0, dp, keys);
    differentiate(rows, keys, dim, s->scale, at->lse + block.first, at->o + block.first * s->ld_o, do_, s->ld_o, score,
                  dp);
    fsm_cpu_gemm(true, false, keys, dim, rows, 1, score, keys, do_, s->ld_o, at->beta, at->dv, s->ld_v);
    fsm_cpu_gemm(true, false, keys, dim, rows, 1, dp, keys, q, s->ld_q, at->beta, at->dk, s->ld_k);
    fsm_cpu_gemm(false, false, rows, dim, keys, 1, dp, keys, at->k, s->ld_k, 0, at->dq + block.first * s->ld_q,
                 s->ld_q);
}

static void zero_keys(const fsm_attention_shape *s, float *x, int64_t ld)
{
    for (int64_t j = 0; j < s->k_len; j++) memset(x + j * ld, 0, sizeof *x * (size_t)s->head_dim);
}

/* A thread owns a key/value head with all its query heads, so dk and dv have one writer. The last block of queries sees
 * every key: it goes first and writes dk and dv, the others add. */
void fsm_cpu_attention_backward(const fsm_attention_shape *shape, const float *q, const float *k, const float *v,
                                const float *o, const float *lse, const float *do_, float *dq, float *dk, float *dv,
                                void *work)
{
    const fsm_attention_shape *s = shape;
    int64_t score_elems = fsm_cpu_score_elems(s), group = s->kv_heads > 0 ? s->heads / s->kv_heads : 0;
#pragma omp parallel for schedule(static)
    for (int64_t task = 0; task < s->batch * s->kv_heads; task++) {
        float *score = (float *)work + 2 * score_elems * omp_get_thread_num(), *dp = score + score_elems;
        int64_t b = task / s->kv_heads, g = task % s->kv_heads;
        int64_t at_k = fsm_cpu_key_at(s, s->ld_k, b, g), at_v = fsm_cpu_key_at(s, s->ld_v, b, g);
        if (s->q_len == 0) zero_keys(s, dk + at_k, s->ld_k), zero_keys(s, dv + at_v, s->ld_v);
        for (int64_t h = g * group; h < (g + 1) * group; h++) {
            int64_t at_q = fsm_cpu_query_at(s, s->ld_q, b, h, 0), at_o = fsm_cpu_query_at(s, s->ld_o, b, h, 0);
            head at = {q + at_q,   k + at_k,  v + at_v,  o + at_o,  lse + (b * s->heads + h) * s->q_len,
                       do_ + at_o, dq + at_q, dk + at_k, dv + at_v, .beta = h > g * group};
            for (int64_t index = fsm_cpu_query_blocks(s) - 1; index >= 0; index--, at.beta = 1)
                block_backward(s, fsm_cpu_query_block_at(s, index), &at, score, dp);
        }
    }
}
