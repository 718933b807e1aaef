/* Whether the values of a model are finite: weights, moments, logits.
 * In:  arrays of float32.
 * Out: the first element that is infinite or no number, by the name of its tensor and its place in the whole tensor.
 */
#ifndef FSM_MODEL_FINITE_H
#define FSM_MODEL_FINITE_H

#include "model/params.h"

/* The index of the first of x[n] that is not finite; n: all are. */
int64_t fsm_first_not_finite(const float *x, int64_t n);

/* ERROR_NUMERIC: the tensor `name` has `value`, which is not finite, at [row, col]; row -1: it is a vector. */
fsmoe_status fsm_fail_not_finite(const char *name, float value, int64_t row, int64_t col);

/* Rows first_row … first_row + rows - 1 of this rank's block of a tensor called `name`; they stand at `elems` one after
 * another. ERROR_NUMERIC. */
fsmoe_status fsm_param_check_finite(const fsm_param *param, const char *name, const float *elems, int64_t first_row,
                                    int64_t rows);

/* All of this rank's shards in array[params.elems], the values or one of the moments, whose tensors' names begin with
 * `prefix` ("", "m.", "v."). ERROR_NUMERIC: the sentence says which tensor, where and what. Not collective: a rank sees
 * its own shards, so ranks agree afterwards (fsm_comm_agree). Reads the array once; ERROR_MEMORY. */
fsmoe_status fsm_params_check_finite(const fsm_params *params, const fsm_ops *ops, const fsm_real *array,
                                     const char *prefix);

#endif
