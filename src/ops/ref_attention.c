#include "ops/ref.h"

#include <math.h>

void fsm_ref_rope(const fsm_ops *self, int64_t n, int64_t heads, int64_t head_dim, const int32_t *position,
                  const float *cosine, const float *sine, int direction, float *x, int64_t ld)
{
    (void)self;
    int64_t half = head_dim / 2;
    for (int64_t i = 0; i < n; i++) {
        const float *c = cosine + position[i] * half, *s = sine + position[i] * half;
        for (int64_t h = 0; h < heads; h++) {
            float *first = x + i * ld + h * head_dim, *second = first + half;
            for (int64_t j = 0; j < half; j++) {
                double a = first[j], b = second[j], turn = direction * (double)s[j];
                first[j] = (float)(a * c[j] - b * turn);
                second[j] = (float)(b * c[j] + a * turn);
            }
        }
    }
}

/* Where head h of token i of sample b begins, in q (and o, with its ld) and in k (and v, with its ld). */
static int64_t query_at(const fsm_attention_shape *s, int64_t ld, int64_t b, int64_t h, int64_t i)
{
    return (b * s->q_len + i) * ld + h * s->head_dim;
}

static int64_t key_at(const fsm_attention_shape *s, int64_t ld, int64_t b, int64_t h, int64_t j)
{
    int64_t first = s->k_first ? s->k_first[b] : b * s->sample_k;
    return (first + j) * ld + h / (s->heads / s->kv_heads) * s->head_dim;
}

static double dot(int64_t n, const float *x, const float *y)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)x[i] * y[i];
    return sum;
}

size_t fsm_ref_attention_work_bytes(const fsm_ops *self, const fsm_attention_shape *shape)
{
    (void)self, (void)shape;
    return 0;
}

bool fsm_ref_attention_reserve(fsm_ops *self, const fsm_attention_shape *shape)
{
    (void)self, (void)shape;
    return true;
}

/* One query: log sum exp of its scores on keys 0..visible-1, then the weighted mean of the values in `sum`. */
static double attend(const fsm_attention_shape *s, int64_t b, int64_t h, int64_t visible, const float *q,
                     const float *k, const float *v, double *sum)
{
    double largest = -INFINITY, total = 0;
    for (int64_t j = 0; j < visible; j++)
        largest = fmax(largest, s->scale * dot(s->head_dim, q, k + key_at(s, s->ld_k, b, h, j)));
    for (int64_t d = 0; d < s->head_dim; d++) sum[d] = 0;
    for (int64_t j = 0; j < visible; j++) {
        double e = exp(s->scale * dot(s->head_dim, q, k + key_at(s, s->ld_k, b, h, j)) - largest);
        const float *value = v + key_at(s, s->ld_v, b, h, j);
        for (int64_t d = 0; d < s->head_dim; d++) sum[d] += e * value[d];
        total += e;
    }
    for (int64_t d = 0; d < s->head_dim; d++) sum[d] /= total;
    return largest + log(total);
}

void fsm_ref_attention_forward(const fsm_ops *self, const fsm_attention_shape *shape, const float *q, const float *k,
                               const float *v, float *o, float *lse)
{
    (void)self;
    const fsm_attention_shape *s = shape;
    double sum[s->head_dim];
    for (int64_t b = 0; b < s->batch; b++) {
        int64_t keys = s->k_count ? s->k_count[b] : s->k_len;
        for (int64_t h = 0; h < s->heads; h++) {
            for (int64_t i = 0; i < s->q_len; i++) {
                int64_t visible = keys - s->q_len + i + 1;
                double log_sum = attend(s, b, h, visible, q + query_at(s, s->ld_q, b, h, i), k, v, sum);
                float *out = o + query_at(s, s->ld_o, b, h, i);
                for (int64_t d = 0; d < s->head_dim; d++) out[d] = (float)sum[d];
                lse[(b * s->heads + h) * s->q_len + i] = (float)log_sum;
            }
        }
    }
}

static void zero_rows(const fsm_attention_shape *s, int64_t ld, int64_t tokens, int64_t samples_apart, int64_t heads,
                      float *x)
{
    for (int64_t b = 0; b < s->batch; b++)
        for (int64_t i = 0; i < tokens; i++)
            for (int64_t d = 0; d < heads * s->head_dim; d++) x[(b * samples_apart + i) * ld + d] = 0;
}

/* One query: p_j = exp(score_j - lse), dv_j += p_j do, ds_j = p_j (do.v_j - do.o) scale, dq += ds_j k_j,
 * dk_j += ds_j q. */
static void attend_backward(const fsm_attention_shape *s, int64_t b, int64_t h, int64_t i, const float *q,
                            const float *k, const float *v, const float *o, double lse, const float *do_, float *dq,
                            float *dk, float *dv)
{
    const float *q_i = q + query_at(s, s->ld_q, b, h, i), *do_i = do_ + query_at(s, s->ld_o, b, h, i);
    float *dq_i = dq + query_at(s, s->ld_q, b, h, i);
    double do_o = dot(s->head_dim, do_i, o + query_at(s, s->ld_o, b, h, i));
    for (int64_t j = 0; j < s->k_len - s->q_len + i + 1; j++) {
        const float *k_j = k + key_at(s, s->ld_k, b, h, j), *v_j = v + key_at(s, s->ld_v, b, h, j);
        float *dk_j = dk + key_at(s, s->ld_k, b, h, j), *dv_j = dv + key_at(s, s->ld_v, b, h, j);
        double p = exp(s->scale * dot(s->head_dim, q_i, k_j) - lse);
        double ds = p * (dot(s->head_dim, do_i, v_j) - do_o) * s->scale;
        for (int64_t d = 0; d < s->head_dim; d++) {
            dv_j[d] += (float)(p * do_i[d]);
            dq_i[d] += (float)(ds * k_j[d]);
            dk_j[d] += (float)(ds * q_i[d]);
        }
    }
}

void fsm_ref_attention_backward(const fsm_ops *self, const fsm_attention_shape *shape, const float *q, const float *k,
                                const float *v, const float *o, const float *lse, const float *do_, float *dq,
                                float *dk, float *dv)
{
    (void)self;
    const fsm_attention_shape *s = shape;
    zero_rows(s, s->ld_q, s->q_len, s->q_len, s->heads, dq);
    zero_rows(s, s->ld_k, s->k_len, s->sample_k, s->kv_heads, dk);
    zero_rows(s, s->ld_v, s->k_len, s->sample_k, s->kv_heads, dv);
    for (int64_t b = 0; b < s->batch; b++)
        for (int64_t h = 0; h < s->heads; h++)
            for (int64_t i = 0; i < s->q_len; i++)
                attend_backward(s, b, h, i, q, k, v, o, lse[(b * s->heads + h) * s->q_len + i], do_, dq, dk, dv);
}
