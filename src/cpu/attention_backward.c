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
    const fsm_row *q, *o, *do_;
    const float *lse;
    fsm_row *dq;
} query_head;

/* dot[i] = do_i.o_i; w->do_ and w->q become the block's. */
static void load_block(const fsm_ops *self, const fsm_attention_shape *s, fsm_cpu_query_block block,
                       const fsm_cpu_head_work *w, const query_head *at, float *dot)
{
    int64_t rows = block.count, dim = s->head_dim, ld_do = s->ld_o, ld_o = s->ld_o, bytes = self->row_bytes;
    const fsm_row *do_ = fsm_row_at(at->do_, bytes, block.first * s->ld_o);
    const fsm_row *o = fsm_row_at(at->o, bytes, block.first * s->ld_o);
    const float *do_floats = fsm_cpu_floats_of(self, rows, dim, do_, &ld_do, w->do_);
    const float *o_floats = fsm_cpu_floats_of(self, rows, dim, o, &ld_o, w->o);
    dot_rows(rows, dim, do_floats, ld_do, o_floats, ld_o, dot);
    fsm_cpu_load_rows(self, rows, dim, do_, s->ld_o, w->do_);
    fsm_cpu_load_rows(self, rows, dim, fsm_row_at(at->q, bytes, block.first * s->ld_q), s->ld_q, w->q);
}

/* beta 0 writes dk and dv, 1 adds to them. */
static void block_backward(const fsm_ops *self, const fsm_attention_shape *s, fsm_cpu_query_block block,
                           const fsm_cpu_head_work *w, const query_head *at, float beta)
{
    float do_o[FSM_CPU_QUERIES];
    int64_t rows = block.count, keys = block.prefix, dim = s->head_dim, ld = w->ld_score;
    load_block(self, s, block, w, at, do_o);
    fsm_cpu_sgemm(self, false, true, rows, keys, dim, s->scale, w->q, dim, w->k, dim, 0, w->score, ld);
    fsm_cpu_sgemm(self, false, true, rows, keys, dim, 1, w->do_, dim, w->v, dim, 0, w->dp, ld);
    differentiate(rows, keys, s->scale, at->lse + block.first, do_o, w->score, w->dp, ld);
    fsm_cpu_sgemm(self, true, false, keys, dim, rows, 1, w->score, ld, w->do_, dim, beta, w->dv, dim);
    fsm_cpu_sgemm(self, true, false, keys, dim, rows, 1, w->dp, ld, w->q, dim, beta, w->dk, dim);
    fsm_cpu_sgemm(self, false, false, rows, dim, keys, 1, w->dp, ld, w->k, dim, 0, w->dq, dim);
    fsm_cpu_store_rows(self, rows, dim, NULL, w->dq, fsm_row_at(at->dq, self->row_bytes, block.first * s->ld_q),
                       s->ld_q);
}

/* The heads that read key/value head g of sample b. The last block of queries sees every key: it goes first and writes
 * dk and dv, the others add. */
static void group_backward(const fsm_ops *self, const fsm_attention_shape *s, int64_t b, int64_t g,
                           const fsm_cpu_head_work *w, const query_head *all)
{
    int64_t group = s->heads / s->kv_heads, bytes = self->row_bytes;
    float beta = 0;
    for (int64_t h = g * group; h < (g + 1) * group; h++) {
        int64_t at_q = fsm_cpu_query_at(s, s->ld_q, b, h, 0), at_o = fsm_cpu_query_at(s, s->ld_o, b, h, 0);
        const query_head at = {fsm_row_at(all->q, bytes, at_q), fsm_row_at(all->o, bytes, at_o),
                               fsm_row_at(all->do_, bytes, at_o), all->lse + (b * s->heads + h) * s->q_len,
                               fsm_row_at(all->dq, bytes, at_q)};
        for (int64_t index = fsm_cpu_query_blocks(s) - 1; index >= 0; index--, beta = 1)
            block_backward(self, s, fsm_cpu_query_block_at(s, s->k_len, index), w, &at, beta);
    }
}

/* A thread owns a key/value head with all its query heads, so dk and dv have one writer. */
void fsm_cpu_attention_backward(const fsm_ops *self, const fsm_attention_shape *shape, const fsm_row *q,
                                const fsm_row *k, const fsm_row *v, const fsm_row *o, const fsm_real *lse,
                                const fsm_row *do_, fsm_row *dq, fsm_row *dk, fsm_row *dv)
{
    const fsm_attention_shape *s = shape;
    const query_head all = {q, o, do_, lse, dq};
    int64_t dim = s->head_dim, n_bytes = (int64_t)sizeof(float) * s->k_len * dim, bytes = self->row_bytes;
#pragma omp parallel for schedule(static) num_threads(fsm_cpu_attention_threads(self, s))
    for (int64_t task = 0; task < s->batch * s->kv_heads; task++) {
        fsm_cpu_head_work w = fsm_cpu_head_work_of(self, s);
        int64_t b = task / s->kv_heads, g = task % s->kv_heads;
        int64_t at_k = fsm_cpu_key_at(s, s->ld_k, b, g), at_v = fsm_cpu_key_at(s, s->ld_v, b, g);
        fsm_cpu_load_rows(self, s->k_len, dim, fsm_row_at(k, bytes, at_k), s->ld_k, w.k);
        fsm_cpu_load_rows(self, s->k_len, dim, fsm_row_at(v, bytes, at_v), s->ld_v, w.v);
        if (s->q_len == 0) memset(w.dk, 0, (size_t)n_bytes), memset(w.dv, 0, (size_t)n_bytes);
        group_backward(self, s, b, g, &w, &all);
        fsm_cpu_store_rows(self, s->k_len, dim, NULL, w.dk, fsm_row_at(dk, bytes, at_k), s->ld_k);
        fsm_cpu_store_rows(self, s->k_len, dim, NULL, w.dv, fsm_row_at(dv, bytes, at_v), s->ld_v);
    }
}
