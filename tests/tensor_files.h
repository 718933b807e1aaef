/* Files of tensors against one another.
 * In:  two safetensors files, float32 and whole numbers. Out: whether they hold the same tensors, to a band times the
 *      larger of 1 and a tensor's largest element; whole numbers exactly. Says on stderr what differs.
 */
#ifndef FSM_TESTS_TENSOR_FILES_H
#define FSM_TESTS_TENSOR_FILES_H

#include "model/safetensors.h"

#include <fsmoe/status.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static inline double element(const fsm_tensor_info *t, size_t i)
{
    float f32;
    int32_t i32;
    int64_t i64;
    const char *at = (const char *)t->data + i * fsm_dtype_bytes(t->dtype);
    switch (t->dtype) {
    case FSM_DTYPE_F32:
        memcpy(&f32, at, sizeof f32);
        return f32;
    case FSM_DTYPE_I32:
        memcpy(&i32, at, sizeof i32);
        return i32;
    default:
        memcpy(&i64, at, sizeof i64);
        return (double)i64;
    }
}

static inline bool same_tensor(const char *what, const fsm_tensor_info *want, const fsm_tensor_info *got, double band)
{
    size_t n = want->bytes / fsm_dtype_bytes(want->dtype);
    double largest = 1, worst = 0;
    bool same = got && got->dtype == want->dtype && got->rank == want->rank && got->bytes == want->bytes;
    for (int i = 0; same && i < want->rank; i++) same = got->shape[i] == want->shape[i];
    if (!same) {
        fprintf(stderr, "%s: %s is missing, or of another type or shape\n", what, want->name);
        return false;
    }
    for (size_t i = 0; i < n; i++) largest = fmax(largest, fabs(element(want, i)));
    for (size_t i = 0; i < n; i++) {
        double off = fabs(element(want, i) - element(got, i));
        if (!(off <= worst) && !isnan(worst)) worst = off; /* also what is no number, which stays the worst */
    }
    band *= want->dtype == FSM_DTYPE_F32 ? largest : 0;
    if (worst <= band) return true;
    fprintf(stderr, "%s: %s is off by %.3g, more than %.3g\n", what, want->name, worst, band);
    return false;
}

static inline bool same_file(const char *what, const char *want_path, const char *got_path, double band)
{
    fsm_safetensors *want, *got;
    if (fsm_safetensors_open(want_path, &want) != FSMOE_OK || fsm_safetensors_open(got_path, &got) != FSMOE_OK) {
        fprintf(stderr, "%s: %s\n", what, fsmoe_last_error());
        return false;
    }
    bool same = fsm_safetensors_count(want) == fsm_safetensors_count(got);
    if (!same) fprintf(stderr, "%s: not as many tensors as there should be\n", what);
    for (size_t i = 0; i < fsm_safetensors_count(want); i++) {
        const char *name = fsm_safetensors_name(want, i);
        same &= same_tensor(what, fsm_safetensors_find(want, name), fsm_safetensors_find(got, name), band);
    }
    fsm_safetensors_close(want);
    fsm_safetensors_close(got);
    return same;
}

#endif
