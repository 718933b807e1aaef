/* Every slot of fsm_ops that works on tensors, for tables that wrap another: they include this with a SLOT of their own each time.
 * SLOT(kind, table, slot, parameters, arguments, FLOPs, bytes): `table` is empty, or the sub-table with a dot (place., route.); REAL,
 * INDEX, SUM and row_bytes are the bytes of an element.
 */

/* clang-format off */
SLOT(PRODUCT, , gemm, (bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, const fsm_real *alpha, fsm_matrix a,
                       fsm_matrix b, float beta, fsm_matrix c),
     (trans_a, trans_b, m, n, k, alpha, a, b, beta, c), 2 * m * n * k, 0)
SLOT(PRODUCT, , linear_forward, (int64_t n, const fsm_weight *weight, const fsm_real *bias, fsm_matrix x, fsm_matrix y),
     (n, weight, bias, x, y), 2 * n * weight->out * weight->in, 0)
SLOT(PRODUCT_INPUT, , linear_backward_input, (int64_t n, const fsm_weight *weight, fsm_matrix dy, float beta, fsm_matrix dx),
     (n, weight, dy, beta, dx), 2 * n * weight->out * weight->in, 0)
SLOT(PRODUCT_INPUT, , linear_backward_joined, (int64_t n, const fsm_weight *weight, const fsm_joined *joined, fsm_matrix dy,
                                               fsm_matrix dx),
     (n, weight, joined, dy, dx), 2 * n * weight->out * weight->in, 0)
SLOT(PRODUCT_WEIGHT, , linear_backward_weight, (int64_t n, int64_t out, int64_t in, fsm_matrix dy, fsm_matrix x, fsm_real *dw,
                                                fsm_real *dbias),
     (n, out, in, dy, x, dw, dbias), 2 * n * out * in, 0)
SLOT(PRODUCT, grouped., forward, (const fsm_runs *runs, const fsm_linear *linear, fsm_matrix x, fsm_matrix y),
     (runs, linear, x, y), 2 * fsm_runs_rows(runs) * linear->weight.out * linear->weight.in, 0)
SLOT(PRODUCT_INPUT, grouped., backward_input, (const fsm_runs *runs, const fsm_linear *linear, const fsm_joined *joined,
                                               fsm_matrix dy, fsm_matrix dx),
     (runs, linear, joined, dy, dx), 2 * fsm_runs_rows(runs) * linear->weight.out * linear->weight.in, 0)
SLOT(PRODUCT_WEIGHT, grouped., backward_weight, (const fsm_runs *runs, const fsm_linear *linear, fsm_matrix dy, fsm_matrix x),
     (runs, linear, dy, x), 2 * fsm_runs_rows(runs) * linear->weight.out * linear->weight.in, 0)

/* Forward is two products of queries and keys, backward five: it works out the scores again. */
SLOT(ATTENTION, , attention_forward, (const fsm_attention_shape *shape, const fsm_row *q, const fsm_row *k, const fsm_row *v,
                                      fsm_row *o, fsm_real *lse),
     (shape, q, k, v, o, lse), 2 * 2 * seen(shape) * shape->head_dim, 0)
SLOT(ATTENTION, , attention_backward, (const fsm_attention_shape *shape, const fsm_row *q, const fsm_row *k, const fsm_row *v,
                                       const fsm_row *o, const fsm_real *lse, const fsm_row *do_, fsm_row *dq, fsm_row *dk,
                                       fsm_row *dv),
     (shape, q, k, v, o, lse, do_, dq, dk, dv), 5 * 2 * seen(shape) * shape->head_dim, 0)
SLOT(ROTARY, , rope, (int64_t n, int64_t heads, int64_t head_dim, const fsm_index *position, const fsm_real *cosine,
                      const fsm_real *sine, int direction, fsm_row *x, int64_t ld),
     (n, heads, head_dim, position, cosine, sine, direction, x, ld), 0,
     n * (2 * heads * head_dim * row_bytes + head_dim * REAL + INDEX))

SLOT(NORM, , rmsnorm_forward, (int64_t n, int64_t width, float eps, const fsm_real *x, const fsm_real *gain, fsm_row *y,
                               fsm_real *rstd),
     (n, width, eps, x, gain, y, rstd), 0, n * width * (REAL + row_bytes) + (width + n) * REAL)
SLOT(NORM, , rmsnorm_backward, (int64_t n, int64_t width, const fsm_real *x, const fsm_real *gain, const fsm_real *rstd,
                                const fsm_real *dy, fsm_real *dx, fsm_real *dgain),
     (n, width, x, gain, rstd, dy, dx, dgain), 0, (4 * n * width + n + 3 * width) * REAL)
SLOT(NORM, , layernorm_forward, (int64_t n, int64_t width, float eps, const fsm_real *x, const fsm_real *gain,
                                 const fsm_real *bias, fsm_row *y, fsm_real *mean, fsm_real *rstd),
     (n, width, eps, x, gain, bias, y, mean, rstd), 0, n * width * (REAL + row_bytes) + 2 * (width + n) * REAL)
SLOT(NORM, , layernorm_backward, (int64_t n, int64_t width, const fsm_real *x, const fsm_real *gain, const fsm_real *mean,
                                  const fsm_real *rstd, const fsm_real *dy, fsm_real *dx, fsm_real *dgain, fsm_real *dbias),
     (n, width, x, gain, mean, rstd, dy, dx, dgain, dbias), 0, (4 * n * width + 2 * n + 5 * width) * REAL)

/* All activations of n elements are alike, and so are the gated ones. */
#define FORWARD(slot) \
    SLOT(ACTIVATION, , slot, (int64_t n, const fsm_row *x, fsm_row *y), (n, x, y), 0, 2 * n * row_bytes)
#define BACKWARD(slot)                                                                                               \
    SLOT(ACTIVATION, , slot, (int64_t n, const fsm_row *x, const fsm_row *dy, fsm_row *dx), (n, x, dy, dx), 0, \
         3 * n * row_bytes)
#define GATED_FORWARD(slot)                                                                                          \
    SLOT(ACTIVATION, , slot, (int64_t n, int64_t width, const fsm_row *ab, fsm_row *y), (n, width, ab, y), 0, \
         3 * n * width * row_bytes)
#define GATED_BACKWARD(slot)                                                                               \
    SLOT(ACTIVATION, , slot, (int64_t n, int64_t width, const fsm_row *ab, const fsm_row *dy, fsm_row *dab), \
         (n, width, ab, dy, dab), 0, 5 * n * width * row_bytes)
FORWARD(gelu_forward)
BACKWARD(gelu_backward)
FORWARD(gelu_tanh_forward)
BACKWARD(gelu_tanh_backward)
FORWARD(relu_forward)
BACKWARD(relu_backward)
FORWARD(relu_squared_forward)
BACKWARD(relu_squared_backward)
GATED_FORWARD(swiglu_forward)
GATED_BACKWARD(swiglu_backward)
GATED_FORWARD(geglu_forward)
GATED_BACKWARD(geglu_backward)
#undef FORWARD
#undef BACKWARD
#undef GATED_FORWARD
#undef GATED_BACKWARD
SLOT(ACTIVATION, , add_bias, (int64_t n, int64_t width, const fsm_real *bias, fsm_real *y), (n, width, bias, y), 0,
     (2 * n + 1) * width * REAL)
SLOT(ACTIVATION, , add_bias_backward, (int64_t n, int64_t width, const fsm_real *y, fsm_real *bias), (n, width, y, bias), 0,
     (n + 2) * width * REAL)
SLOT(ACTIVATION, , sigmoid, (int64_t n, const fsm_real *x, fsm_real *y), (n, x, y), 0, 2 * n * REAL)
SLOT(ACTIVATION, , sigmoid_backward, (int64_t n, const fsm_real *y, const fsm_real *dy, fsm_real *dx), (n, y, dy, dx), 0,
     3 * n * REAL)

SLOT(GATE, , softmax, (int64_t n, int64_t width, const fsm_real *x, fsm_real *y, fsm_real *lse), (n, width, x, y, lse), 0,
     (2 * n * width + (lse ? n : 0)) * REAL)
SLOT(GATE, , softmax_backward, (int64_t n, int64_t width, const fsm_real *y, const fsm_real *dy, float beta, fsm_real *dx),
     (n, width, y, dy, beta, dx), 0, (beta != 0 ? 4 : 3) * n * width * REAL)
SLOT(GATE, , softmax_columns, (int64_t n, int64_t width, const fsm_real *x, fsm_real *y), (n, width, x, y), 0,
     2 * n * width * REAL)
SLOT(GATE, , softmax_columns_backward, (int64_t n, int64_t width, const fsm_real *y, const fsm_real *dy, float beta,
                                        fsm_real *dx),
     (n, width, y, dy, beta, dx), 0, (beta != 0 ? 4 : 3) * n * width * REAL)
SLOT(GATE, , top_k, (int64_t n, int64_t width, int64_t k, const fsm_real *x, fsm_index *index, fsm_real *value),
     (n, width, k, x, index, value), 0, n * (width * REAL + k * (INDEX + REAL)))
SLOT(GATE, , for_rows, (int64_t n, int64_t width, fsm_rows_body *body, void *context), (n, width, body, context), 0,
     n * width * REAL)

SLOT(GATE, route., add_columns, (int64_t n, int64_t num_experts, const fsm_real *x, fsm_sum *sum), (n, num_experts, x, sum), 0,
     num_experts * (n * REAL + 2 * SUM))
SLOT(GATE, route., add_choices, (int64_t n, int64_t k, int64_t first, const fsm_index *choice, const fsm_real *weight,
                                 double amount, fsm_sum *sum),
     (n, k, first, choice, weight, amount, sum), 0, n * first * (INDEX + (weight ? REAL : 0)))
SLOT(GATE, route., add_squares, (int64_t n, const fsm_real *x, fsm_sum *sum), (n, x, sum), 0, n * REAL)
SLOT(GATE, route., fill, (int64_t n, float value, fsm_real *y), (n, value, y), 0, n * REAL)
SLOT(GATE, route., pick, (int64_t n, int64_t num_experts, int64_t k, const fsm_real *x, const fsm_index *choice, fsm_real *y),
     (n, num_experts, k, x, choice, y), 0, n * k * (2 * REAL + INDEX))
SLOT(GATE, route., choose_by_columns, (int64_t n, int64_t num_experts, int64_t group, int64_t capacity, const fsm_real *x,
                                       fsm_index *choice, fsm_real *weight),
     (n, num_experts, group, capacity, x, choice, weight), 0, n * num_experts * (2 * REAL + INDEX))
SLOT(GATE, route., choose_modulo, (int64_t n, int64_t num_experts, int64_t k, const fsm_index *id, uint64_t first,
                                   uint64_t step, fsm_index *choice),
     (n, num_experts, k, id, first, step, choice), 0, n * (k + (id != NULL)) * INDEX)
SLOT(GATE, route., choose_hashed, (int64_t n, int64_t num_experts, int64_t k, const fsm_index *id, const fsm_draw *draw,
                                   fsm_index *choice),
     (n, num_experts, k, id, draw, choice), 0, n * (k + 1) * INDEX)
SLOT(GATE, route., softmax_weights_backward, (int64_t n, int64_t num_experts, int64_t k, const fsm_index *choice,
                                              const fsm_real *weight, const fsm_real *dweight, fsm_real *dlogits),
     (n, num_experts, k, choice, weight, dweight, dlogits), 0, n * k * (4 * REAL + INDEX))
SLOT(GATE, route., prob_weights_backward, (int64_t n, int64_t num_experts, const fsm_real *prob, const fsm_index *choice,
                                           const fsm_real *weight, const fsm_real *dweight, fsm_real *dlogits),
     (n, num_experts, prob, choice, weight, dweight, dlogits), 0, n * ((3 * num_experts + 2) * REAL + INDEX))
SLOT(GATE, route., sigmoid_weights_backward, (int64_t n, int64_t num_experts, int64_t k, const fsm_index *choice,
                                              const fsm_real *weight, const fsm_real *dweight, fsm_real *dlogits),
     (n, num_experts, k, choice, weight, dweight, dlogits), 0, n * k * (4 * REAL + INDEX))
SLOT(GATE, route., chosen_prob_backward, (int64_t n, int64_t num_experts, int64_t k, const fsm_real *prob,
                                          const fsm_index *choice, const fsm_real *weight, const fsm_real *dweight,
                                          fsm_real *dlogits),
     (n, num_experts, k, prob, choice, weight, dweight, dlogits), 0, n * (3 * num_experts * REAL + k * (2 * REAL + INDEX)))
SLOT(GATE, route., losses_backward, (int64_t n, int64_t num_experts, const fsm_real *prob, const fsm_real *lse,
                                     const fsm_sum *share, const fsm_sum *z, fsm_real *dlogits),
     (n, num_experts, prob, lse, share, z, dlogits), 0,
     n * (2 * num_experts + (z != NULL)) * REAL + (share ? num_experts * SUM : 0))
SLOT(GATE, route., z_backward, (int64_t n, int64_t num_experts, const fsm_real *logits, const fsm_real *lse, const fsm_sum *z,
                                fsm_real *dlogits),
     (n, num_experts, logits, lse, z, dlogits), 0, n * (2 * num_experts + 1) * REAL)
SLOT(GATE, route., add_share, (int64_t n, int64_t k, const fsm_index *choice, const fsm_sum *share, fsm_real *dweight),
     (n, k, choice, share, dweight), 0, n * k * (2 * REAL + INDEX))
SLOT(GATE, route., product_loss, (const fsm_balance_sums *sums), (sums), 0, 4 * sums->experts * SUM)
SLOT(GATE, route., variation_loss, (const fsm_balance_sums *sums), (sums), 0, 4 * sums->experts * SUM)
SLOT(GATE, route., unit_forward, (const fsm_vectors *vectors, fsm_matrix v, fsm_real *u, fsm_real *length),
     (vectors, v, u, length), 0,
     vectors->n * (vectors->size * ((v.elem == FSM_ELEM_ROW ? row_bytes : REAL) + REAL) + REAL))
SLOT(GATE, route., unit_backward, (const fsm_vectors *vectors, int64_t ld, const fsm_real *u, const fsm_real *length,
                                   const fsm_real *du, float beta, fsm_real *dv),
     (vectors, ld, u, length, du, beta, dv), 0, vectors->n * (vectors->size * (beta != 0 ? 4 : 3) + 1) * REAL)
SLOT(GATE, route., inverse, (int64_t n, float least, const fsm_real *x, fsm_real *y), (n, least, x, y), 0, 2 * n * REAL)
SLOT(GATE, route., temperature_backward, (int64_t n, float least, const fsm_real *tau, const fsm_real *logits,
                                          const fsm_real *dlogits, fsm_real *dtau),
     (n, least, tau, logits, dlogits, dtau), 0, (2 * n + 3) * REAL)
SLOT(GATE, route., group_scores, (const fsm_group_shape *shape, const fsm_real *logits, const fsm_real *bias, fsm_real *score,
                                  fsm_real *biased, fsm_real *prob, fsm_real *best),
     (shape, logits, bias, score, biased, prob, best), 0,
     (shape->n * (4 * shape->experts + shape->groups) + shape->experts) * REAL)
SLOT(GATE, route., close_groups, (const fsm_group_shape *shape, int64_t top, const fsm_index *open, fsm_real *biased),
     (shape, top, open, biased), 0,
     shape->n * (top * INDEX + (shape->groups - top) * (shape->experts / shape->groups) * REAL))
SLOT(GATE, route., group_weights, (const fsm_group_shape *shape, const fsm_real *score, const fsm_index *choice,
                                   fsm_real *weight),
     (shape, score, choice, weight), 0, shape->n * shape->choices * (2 * REAL + INDEX))
SLOT(GATE, route., group_backward, (const fsm_group_shape *shape, const fsm_real *score, const fsm_real *prob,
                                    const fsm_index *choice, const fsm_real *dweight, const fsm_sum *share,
                                    fsm_real *dlogits),
     (shape, score, prob, choice, dweight, share, dlogits), 0,
     shape->n * ((share ? 4 : 3) * shape->experts * REAL + shape->choices * (REAL + INDEX)))
SLOT(GATE, route., move_bias, (int64_t num_experts, double rate, const fsm_sum *chosen, fsm_real *bias),
     (num_experts, rate, chosen, bias), 0, num_experts * (SUM + 2 * REAL))

SLOT(RANDOM, route., normal, (int64_t n, const fsm_draw *draw, fsm_real *x), (n, draw, x), 0, n * REAL)
SLOT(RANDOM, route., noise_forward, (int64_t n, const fsm_real *drawn, const fsm_real *spread, fsm_real *logits),
     (n, drawn, spread, logits), 0, 4 * n * REAL)
SLOT(RANDOM, route., noise_backward, (int64_t n, const fsm_real *drawn, const fsm_real *spread, const fsm_real *dlogits,
                                      fsm_real *dspread),
     (n, drawn, spread, dlogits, dspread), 0, 5 * n * REAL)
SLOT(RANDOM, route., jitter_forward, (int64_t n, int64_t width, float most, const fsm_draw *draw, const fsm_row *x, fsm_row *y),
     (n, width, most, draw, x, y), 0, 2 * n * width * row_bytes)
SLOT(RANDOM, route., jitter_backward, (int64_t n, int64_t width, float most, const fsm_draw *draw, const fsm_row *dy,
                                       fsm_real *dx),
     (n, width, most, draw, dy, dx), 0, n * width * (row_bytes + 2 * REAL))

SLOT(PLACES, place., keep, (const fsm_places *places, const fsm_index *choice, fsm_index *row, fsm_index *filling,
                            fsm_index *dropped),
     (places, choice, row, filling, dropped), 0, (2 * places->n * places->choices + 1) * INDEX)
SLOT(PLACES, place., number, (const fsm_places *places, const fsm_index *choice, fsm_index *row, fsm_index *filling,
                              fsm_index *kept),
     (places, choice, row, filling, kept), 0, (3 * places->n * places->choices + places->num_experts) * INDEX)
SLOT(PLACES, place., map_source, (const fsm_source_map *map, int64_t n, int64_t k, const fsm_index *choice,
                                  const fsm_index *row, int64_t send_total, fsm_index *send_row, fsm_index *token),
     (map, n, k, choice, row, send_total, send_row, token), 0, (3 * n * k + send_total) * INDEX)
/* How many rows there are is written in tensors: only the tables that say so are counted. */
SLOT(PLACES, place., map_experts, (const fsm_expert_map *map, fsm_index *wire_of_row, fsm_index *row_of_wire),
     (map, wire_of_row, row_of_wire), 0, 2 * (map->chunks + 1) * map->sources * map->num_experts * INDEX)
SLOT(PLACES, place., number_slots, (int64_t count, int64_t num_experts, int64_t slots, fsm_index *choice, fsm_index *row),
     (count, num_experts, slots, choice, row), 0, 2 * count * INDEX)
SLOT(PLACES, place., set_one_hot, (const fsm_one_hot *one_hot, const fsm_real *weight, float value, fsm_real *matrix),
     (one_hot, weight, value, matrix), 0, one_hot->tokens * one_hot->choices * (2 * INDEX + (weight ? 2 : 1) * REAL))
SLOT(PLACES, place., get_one_hot, (const fsm_one_hot *one_hot, const fsm_real *matrix, fsm_real *weight),
     (one_hot, matrix, weight), 0, one_hot->tokens * one_hot->choices * (2 * INDEX + 2 * REAL))
SLOT(PLACES, place., add_counts, (int64_t n, const fsm_index *count, fsm_sum *sum), (n, count, sum), 0, n * (INDEX + 2 * SUM))

SLOT(ROWS, , gather_rows, (int64_t n, int64_t width, const fsm_index *row, const fsm_row *x, fsm_row *y), (n, width, row, x, y),
     0, n * (2 * width * row_bytes + INDEX))
SLOT(ROWS, , combine_rows, (int64_t n, int64_t k, int64_t width, const fsm_index *row, const fsm_real *weight, const fsm_row *x,
                            fsm_real *y),
     (n, k, width, row, weight, x, y), 0,
     n * width * (k * row_bytes + 2 * REAL) + n * k * (INDEX + (weight ? REAL : 0)))
SLOT(ROWS, , combine_rows_backward, (int64_t n, int64_t k, int64_t width, const fsm_index *from, const fsm_index *to,
                                     const fsm_real *weight, const fsm_row *x, const fsm_real *dy, fsm_row *dx,
                                     fsm_real *dweight),
     (n, k, width, from, to, weight, x, dy, dx, dweight), 0,
     n * width * (2 * k * row_bytes + REAL) + n * k * (2 * INDEX + (weight ? REAL : 0) + REAL))

SLOT(EMBEDDING, , embedding_forward, (int64_t n, int64_t width, const fsm_index *id, const fsm_real *token_table,
                                      const fsm_index *position, const fsm_real *position_table, fsm_real *y),
     (n, width, id, token_table, position, position_table, y), 0,
     n * ((position_table ? 3 : 2) * width * REAL + (position_table ? 2 : 1) * INDEX))
SLOT(EMBEDDING, , embedding_backward, (int64_t n, int64_t width, const fsm_index *id, const fsm_real *dy, fsm_real *dtable),
     (n, width, id, dy, dtable), 0, n * (3 * width * REAL + INDEX))
SLOT(CROSS_ENTROPY, , cross_entropy, (int64_t n, int64_t vocab, fsm_real *logits, const fsm_index *target, float scale,
                                      bool gradient, fsm_sum *loss),
     (n, vocab, logits, target, scale, gradient, loss), 0, n * ((gradient ? 2 : 1) * vocab * REAL + INDEX))

SLOT(OPTIMIZER, , sum_squares, (int64_t n, const fsm_real *x, fsm_sum *sum), (n, x, sum), 0, n * REAL)
SLOT(OPTIMIZER, , adamw, (int64_t n, const fsm_adamw *step, const fsm_real *g, fsm_real *m, fsm_real *v, fsm_real *p),
     (n, step, g, m, v, p), 0, 7 * n * REAL)

SLOT(SUMS, , add, (int64_t n, const fsm_real *x, fsm_real *y), (n, x, y), 0, 3 * n * REAL)
SLOT(SUMS, , scale, (int64_t n, float a, fsm_real *y), (n, a, y), 0, 2 * n * REAL)
SLOT(SUMS, , check_finite, (int64_t n, const fsm_real *x, fsm_sum *sum), (n, x, sum), 0, n * REAL)
SLOT(SUMS, , zero_sums, (int64_t n, fsm_sum *y), (n, y), 0, n * SUM)
SLOT(SUMS, , add_sums, (int64_t n, const fsm_sum *x, fsm_sum *y), (n, x, y), 0, 3 * n * SUM)
SLOT(SUMS, , ratio, (double a, const fsm_sum *x, const fsm_sum *d, double beta, fsm_sum *y), (a, x, d, beta, y), 0,
     (1 + (x != NULL) + (d != NULL) + (beta != 0)) * SUM)
SLOT(SUMS, , add_to_sums, (int64_t n, double value, fsm_sum *y), (n, value, y), 0, 2 * n * SUM)

SLOT(COPIES, , read, (size_t bytes, const void *tensor, void *host), (bytes, tensor, host), 0, 2 * bytes)
SLOT(COPIES, , write, (size_t bytes, const void *host, void *tensor), (bytes, host, tensor), 0, 2 * bytes)
SLOT(COPIES, , copy, (size_t bytes, const void *from, void *to), (bytes, from, to), 0, 2 * bytes)
SLOT(COPIES, , weight_update, (fsm_weight *weight), (weight), 0, weight->pack ? 2 * weight->out * weight->in * REAL : 0)
SLOT(COPIES, , zero, (int64_t n, fsm_real *y), (n, y), 0, n * REAL)
SLOT(COPIES, , zero_rows, (int64_t n, fsm_row *y), (n, y), 0, n * row_bytes)
SLOT(COPIES, , count_from, (int64_t n, int64_t first, int64_t period, fsm_index *y), (n, first, period, y), 0, n * INDEX)
SLOT(COPIES, , copy_rows, (int64_t n, int64_t width, const fsm_row *x, int64_t ld_x, fsm_row *y, int64_t ld_y),
     (n, width, x, ld_x, y, ld_y), 0, 2 * n * width * row_bytes)
/* clang-format on */
