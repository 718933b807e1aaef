/* The contract of every tensor operation: an instance that begins with a table of functions, the same for every
 * backend.
 * In:  the instance (`self`), which knows its threads and its work memory; row-major tensors (tensor.h); shapes are
 *      arguments, in elements; `ld` is the distance of two rows in elements.
 * Out: results in caller-owned memory. No operation allocates, blocks or fails: shapes are checked before a step.
 * One call at a time on an instance, from any thread; instances are strangers to each other and to what their callers
 * have told OpenMP. `fsm_ops_reference` (ref_*.c) is naive, obviously right and without state; a backend's struct
 * begins with the table, overrides slots and inherits the rest.
 * Letters: n rows (tokens), M width, H expert width, E experts, k choices a token, V vocabulary, B samples, L
 * positions. "+=" marks outputs that are accumulated into; all others are overwritten. Pointers of one call must not
 * alias unless the slot says so. Any n may be 0. Sums over rows are deterministic for given arguments and thread count.
 */
#ifndef FSM_OPS_OPS_H
#define FSM_OPS_OPS_H

#include "ops/linear.h"
#include "ops/place.h"
#include "ops/route.h"
#include "ops/tensor.h"

#include <stdbool.h>
#include <stddef.h>

/* Causal attention of Lq queries on Lk >= Lq keys of each sample; query i sits at position Lk - Lq + i.
 * q [B, Lq, heads, head_dim], k and v [B, Lk, kv_heads, head_dim], o like q; a row is one token, heads side by side.
 * Head h reads key/value head h / (heads / kv_heads): grouped-query attention. */
typedef struct fsm_attention_shape {
    int64_t batch, q_len, k_len, heads, kv_heads, head_dim;
    int64_t ld_q, ld_k, ld_v, ld_o; /* elements between two tokens */
    int64_t sample_k;               /* tokens between two samples of k and v (k_len, or a cache's capacity) */
    float scale;                    /* multiplies q.k, usually 1/sqrt(head_dim) */
    /* Forward alone, where samples are not alike, as in generation: [B] the row of k and v where a sample's keys begin,
     * instead of b sample_k; [B] how many it has, at most k_len, instead of k_len. NULL: they are alike. */
    const fsm_index *k_first, *k_count;
} fsm_attention_shape;

/* AdamW (Loshchilov & Hutter 2019): m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2;
 * p -= lr * (m / c1 / (sqrt(v / c2) + eps) + decay * p), c1 = 1 - b1^t, c2 = 1 - b2^t. */
enum { FSM_ADAMW_LR, FSM_ADAMW_C1, FSM_ADAMW_C2, FSM_ADAMW_RATES };
typedef struct fsm_adamw {
    const fsm_real *rates; /* [FSM_ADAMW_RATES] lr, and c1, c2 of step t = 1, 2, …: what is another every step */
    float beta1, beta2, eps, decay;
    double clip;            /* g is first multiplied by clip / (norm + 1e-6) if norm is above clip; 0: never */
    const fsm_sum *squares; /* norm^2; NULL where nothing is clipped */
    const fsm_sum *loss;    /* NULL or the step's: where it, or the norm, is not finite, nothing changes */
} fsm_adamw;

/* Some rows of a loop over rows: [first, first + count). */
typedef void fsm_rows_body(void *context, int64_t first, int64_t count);

struct fsm_ops {
    const char *name;
    int64_t row_bytes;         /* of an element of a row */
    struct fsm_device *device; /* that tensors are on; NULL: this machine's memory */
    bool on_host;              /* tensors are the host's memory: what runs on the host may look into them */
    fsm_route_ops route;

    void (*destroy)(fsm_ops *self);

    /* C[m,n] = alpha op(A) op(B) + beta C; op(A) is [m,k], op(B) is [k,n]; alpha NULL means 1; beta 0 ignores what C
     * held. m, n or k may be 0 (k = 0: C = beta C). */
    void (*gemm)(const fsm_ops *self, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k,
                 const fsm_real *alpha, fsm_matrix a, fsm_matrix b, float beta, fsm_matrix c);

    /* For decoding: while on, a row of what linear_forward makes, and of a gemm of A B^T with beta 0, has the same bits
     * whatever rows are beside it. Made for few rows, where reading the weight is what takes time. Off at first. */
    void (*row_by_row)(fsm_ops *self, bool on);

    /* To the host, to the device, within it; blocking. Everything else is done where tensors are. */
    void (*read)(const fsm_ops *self, size_t bytes, const void *tensor, void *host);
    void (*write)(const fsm_ops *self, size_t bytes, const void *host, void *tensor);
    void (*copy)(const fsm_ops *self, size_t bytes, const void *from, void *to);

    /* Packed copies of a weight. create may leave pack NULL (no gain on this machine); update after w changed. */
    bool (*weight_create)(const fsm_ops *self, fsm_weight *weight);       /* false: out of memory */
    size_t (*weight_bytes)(const fsm_ops *self, int64_t out, int64_t in); /* of the copies that create makes */
    void (*weight_update)(const fsm_ops *self, fsm_weight *weight);
    void (*weight_destroy)(const fsm_ops *self, fsm_weight *weight);

    /* y[n,out] = x[n,in] w^T + bias (bias [out] or NULL) */
    void (*linear_forward)(const fsm_ops *self, int64_t n, const fsm_weight *weight, const fsm_real *bias, fsm_matrix x,
                           fsm_matrix y);
    /* dx[n,in] = dy[n,out] w + beta dx, beta 0 or 1 */
    void (*linear_backward_input)(const fsm_ops *self, int64_t n, const fsm_weight *weight, fsm_matrix dy, float beta,
                                  fsm_matrix dx);
    /* The same (beta 0) of a weight that is several side by side. */
    void (*linear_backward_joined)(const fsm_ops *self, int64_t n, const fsm_weight *weight, const fsm_joined *joined,
                                   fsm_matrix dy, fsm_matrix dx);
    /* dw[out,in] += dy^T x;  dbias[out] += column sums of dy (dbias may be NULL) */
    void (*linear_backward_weight)(const fsm_ops *self, int64_t n, int64_t out, int64_t in, fsm_matrix dy, fsm_matrix x,
                                   fsm_real *dw, fsm_real *dbias);
    /* The same of several weights, each with a run of rows. */
    fsm_grouped_ops grouped;

    /* RMSNorm (Zhang & Sennrich 2019): y = x * rstd * gain, rstd = 1/sqrt(mean(x^2) + eps); rstd [n] is saved. */
    void (*rmsnorm_forward)(const fsm_ops *self, int64_t n, int64_t width, float eps, const fsm_real *x,
                            const fsm_real *gain, fsm_row *y, fsm_real *rstd);
    /* dx += ..., dgain += ... */
    void (*rmsnorm_backward)(const fsm_ops *self, int64_t n, int64_t width, const fsm_real *x, const fsm_real *gain,
                             const fsm_real *rstd, const fsm_real *dy, fsm_real *dx, fsm_real *dgain);
    /* LayerNorm (Ba et al. 2016): y = (x - mean) * rstd * gain + bias, rstd = 1/sqrt(var + eps), var over width. */
    void (*layernorm_forward)(const fsm_ops *self, int64_t n, int64_t width, float eps, const fsm_real *x,
                              const fsm_real *gain, const fsm_real *bias, fsm_row *y, fsm_real *mean, fsm_real *rstd);
    /* dx += ..., dgain += ..., dbias += ... */
    void (*layernorm_backward)(const fsm_ops *self, int64_t n, int64_t width, const fsm_real *x, const fsm_real *gain,
                               const fsm_real *mean, const fsm_real *rstd, const fsm_real *dy, fsm_real *dx,
                               fsm_real *dgain, fsm_real *dbias);

    /* Rotary embedding (Su et al. 2021) in place, halves paired as Hugging Face does: (x_i, x_{i+D/2}) is turned by the
     * angle of row position[n] and pair i. cosine, sine [positions, head_dim/2]. direction +1 turns, -1 turns back
     * (backward). x [n, heads, head_dim], rows `ld` apart. */
    void (*rope)(const fsm_ops *self, int64_t n, int64_t heads, int64_t head_dim, const fsm_index *position,
                 const fsm_real *cosine, const fsm_real *sine, int direction, fsm_row *x, int64_t ld);

    /* Work memory of attention: reserve makes the instance's large enough for this shape and for any with no larger
     * k_len and head_dim, and comes before the first of them (false: out of memory); work_bytes is how much that
     * takes. */
    bool (*attention_reserve)(fsm_ops *self, const fsm_attention_shape *shape);
    size_t (*attention_work_bytes)(const fsm_ops *self, const fsm_attention_shape *shape);
    /* o = softmax(scale q k^T, causal) v;  lse [B, heads, Lq] = log of the sum of exp of the scaled scores, saved for
     * backward. */
    void (*attention_forward)(const fsm_ops *self, const fsm_attention_shape *shape, const fsm_row *q, const fsm_row *k,
                              const fsm_row *v, fsm_row *o, fsm_real *lse);
    /* dq, dk, dv are overwritten, laid out as q, k, v (same ld); do_ is laid out as o. */
    void (*attention_backward)(const fsm_ops *self, const fsm_attention_shape *shape, const fsm_row *q,
                               const fsm_row *k, const fsm_row *v, const fsm_row *o, const fsm_real *lse,
                               const fsm_row *do_, fsm_row *dq, fsm_row *dk, fsm_row *dv);

    /* Activations of n elements; dx = dy y'(x), dx may alias dy or x.
     * GELU, exact (Hendrycks & Gimpel 2016): y = x/2 (1 + erf(x/sqrt 2)) */
    void (*gelu_forward)(const fsm_ops *self, int64_t n, const fsm_row *x, fsm_row *y);
    void (*gelu_backward)(const fsm_ops *self, int64_t n, const fsm_row *x, const fsm_row *dy, fsm_row *dx);
    /* its tanh form (same paper; GPT-2's own): y = x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) */
    void (*gelu_tanh_forward)(const fsm_ops *self, int64_t n, const fsm_row *x, fsm_row *y);
    void (*gelu_tanh_backward)(const fsm_ops *self, int64_t n, const fsm_row *x, const fsm_row *dy, fsm_row *dx);
    /* ReLU (Nair & Hinton 2010): y = max(x, 0); y'(0) = 0 */
    void (*relu_forward)(const fsm_ops *self, int64_t n, const fsm_row *x, fsm_row *y);
    void (*relu_backward)(const fsm_ops *self, int64_t n, const fsm_row *x, const fsm_row *dy, fsm_row *dx);
    /* Squared ReLU (So et al. 2021): y = max(x, 0)^2 */
    void (*relu_squared_forward)(const fsm_ops *self, int64_t n, const fsm_row *x, fsm_row *y);
    void (*relu_squared_backward)(const fsm_ops *self, int64_t n, const fsm_row *x, const fsm_row *dy, fsm_row *dx);
    /* Gated activations (Shazeer 2020): ab [n, 2H] holds a (gated half) then b of each row; y[n,H] = f(a) * b;
     * dab [n, 2H] = (dy b f'(a), dy f(a)), which may alias ab. SwiGLU: f(a) = silu(a) = a / (1 + e^-a) */
    void (*swiglu_forward)(const fsm_ops *self, int64_t n, int64_t width, const fsm_row *ab, fsm_row *y);
    void (*swiglu_backward)(const fsm_ops *self, int64_t n, int64_t width, const fsm_row *ab, const fsm_row *dy,
                            fsm_row *dab);
    /* GEGLU: f(a) = gelu(a), exact */
    void (*geglu_forward)(const fsm_ops *self, int64_t n, int64_t width, const fsm_row *ab, fsm_row *y);
    void (*geglu_backward)(const fsm_ops *self, int64_t n, int64_t width, const fsm_row *ab, const fsm_row *dy,
                           fsm_row *dab);

    /* y[i] = token[id[i]] + (position_table ? position_table[position[i]] : 0) */
    void (*embedding_forward)(const fsm_ops *self, int64_t n, int64_t width, const fsm_index *id,
                              const fsm_real *token_table, const fsm_index *position, const fsm_real *position_table,
                              fsm_real *y);
    /* dtable[id[i]] += dy[i], in the order of i */
    void (*embedding_backward)(const fsm_ops *self, int64_t n, int64_t width, const fsm_index *id, const fsm_real *dy,
                               fsm_real *dtable);

    /* Cross-entropy of logits [n, V] against target [n]: *loss += sum over rows of (logsumexp - logit[target]), in
     * double. If gradient: logits become scale * (softmax - onehot). */
    void (*cross_entropy)(const fsm_ops *self, int64_t n, int64_t vocab, fsm_real *logits, const fsm_index *target,
                          float scale, bool gradient, fsm_sum *loss);

    /* y += x;  y *= a;  y = 0, likewise of n elements of rows */
    void (*add)(const fsm_ops *self, int64_t n, const fsm_real *x, fsm_real *y);
    void (*scale)(const fsm_ops *self, int64_t n, float a, fsm_real *y);
    void (*zero)(const fsm_ops *self, int64_t n, fsm_real *y);
    void (*zero_rows)(const fsm_ops *self, int64_t n, fsm_row *y);

    /* y [n, width] += bias in every row;  bias [width] += the rows of y, in their order */
    void (*add_bias)(const fsm_ops *self, int64_t n, int64_t width, const fsm_real *bias, fsm_real *y);
    void (*add_bias_backward)(const fsm_ops *self, int64_t n, int64_t width, const fsm_real *y, fsm_real *bias);
    /* y = 1 / (1 + e^-x);  dx = dy y (1 - y), y that of forward. y may be x, dx may be dy. */
    void (*sigmoid)(const fsm_ops *self, int64_t n, const fsm_real *x, fsm_real *y);
    void (*sigmoid_backward)(const fsm_ops *self, int64_t n, const fsm_real *y, const fsm_real *dy, fsm_real *dx);
    /* y[i] = first + i % period */
    void (*count_from)(const fsm_ops *self, int64_t n, int64_t first, int64_t period, fsm_index *y);
    /* n rows of `width` elements, ld apart, to where they are ld_y apart */
    void (*copy_rows)(const fsm_ops *self, int64_t n, int64_t width, const fsm_row *x, int64_t ld_x, fsm_row *y,
                      int64_t ld_y);
    /* *sum becomes NaN if an element is not finite */
    void (*check_finite)(const fsm_ops *self, int64_t n, const fsm_real *x, fsm_sum *sum);

    /* Sums: y [n] = 0;  y [n] += x;  y = beta y + a x / d of one, x and d being 1 where they are NULL or d is not above
     * 0 */
    void (*zero_sums)(const fsm_ops *self, int64_t n, fsm_sum *y);
    void (*add_sums)(const fsm_ops *self, int64_t n, const fsm_sum *x, fsm_sum *y);
    void (*ratio)(const fsm_ops *self, double a, const fsm_sum *x, const fsm_sum *d, double beta, fsm_sum *y);
    /* y [n] += value */
    void (*add_to_sums)(const fsm_ops *self, int64_t n, double value, fsm_sum *y);

    /* Row softmax of x [n, width]; y may alias x. lse [n] (or NULL) = logsumexp of the row. */
    void (*softmax)(const fsm_ops *self, int64_t n, int64_t width, const fsm_real *x, fsm_real *y, fsm_real *lse);
    /* Its backward: dx = y (dy - sum over the row of y dy) + beta dx, beta 0 or 1; with 0 dx may alias dy. */
    void (*softmax_backward)(const fsm_ops *self, int64_t n, int64_t width, const fsm_real *y, const fsm_real *dy,
                             float beta, fsm_real *dx);
    /* The same of each column. */
    void (*softmax_columns)(const fsm_ops *self, int64_t n, int64_t width, const fsm_real *x, fsm_real *y);
    void (*softmax_columns_backward)(const fsm_ops *self, int64_t n, int64_t width, const fsm_real *y,
                                     const fsm_real *dy, float beta, fsm_real *dx);
    /* The k largest of each row of x [n, width], falling, ties to the lower index: index [n,k], value [n,k]. 1 <= k <=
     * width. */
    void (*top_k)(const fsm_ops *self, int64_t n, int64_t width, int64_t k, const fsm_real *x, fsm_index *index,
                  fsm_real *value);

    /* y[i] = row[i] < 0 ? 0 : x[row[i]];  x rows `width` apart */
    void (*gather_rows)(const fsm_ops *self, int64_t n, int64_t width, const fsm_index *row, const fsm_row *x,
                        fsm_row *y);
    /* Weighted combine: y[i] += sum_j weight[i,j] * x[row[i,j]], choices with row < 0 left out; weight NULL means 1.
     * row, weight [n,k]. */
    void (*combine_rows)(const fsm_ops *self, int64_t n, int64_t k, int64_t width, const fsm_index *row,
                         const fsm_real *weight, const fsm_row *x, fsm_real *y);
    /* Its backward in the rows: dx[to[i,j]] = weight[i,j] * dy[i] (to < 0 left out; rows of dx nobody names are
     * untouched) and in the weights: dweight[i,j] = dy[i] . x[from[i,j]] (0 where from < 0). from and to differ when
     * forward and backward lay rows out differently; every row is named at most once. */
    void (*combine_rows_backward)(const fsm_ops *self, int64_t n, int64_t k, int64_t width, const fsm_index *from,
                                  const fsm_index *to, const fsm_real *weight, const fsm_row *x, const fsm_real *dy,
                                  fsm_row *dx, fsm_real *dweight);

    fsm_place_ops place;

    /* Calls body for runs of rows that together are all n, at once on a rank's threads; a row touches `width` elements
     * and no row what another writes. For the loops over tokens that are no operation of their own. */
    void (*for_rows)(const fsm_ops *self, int64_t n, int64_t width, fsm_rows_body *body, void *context);

    /* *sum += sum of squares, independent of the number of threads up to rounding of doubles. */
    void (*sum_squares)(const fsm_ops *self, int64_t n, const fsm_real *x, fsm_sum *sum);
    void (*adamw)(const fsm_ops *self, int64_t n, const fsm_adamw *step, const fsm_real *g, fsm_real *m, fsm_real *v,
                  fsm_real *p);
};

/* The naive table; every slot filled. */
extern const fsm_ops fsm_ops_reference;

/* Weights packed by the instance go first. NULL: nothing. */
static inline void fsm_ops_destroy(fsm_ops *ops)
{
    if (ops) ops->destroy(ops);
}

#endif
