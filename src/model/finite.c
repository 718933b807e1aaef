#include "model/finite.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SPAN_ELEMS = 4096, PIECE_ELEMS = 1 << 16 };

static const uint32_t exponent_mask = 0x7f800000u;

/* Without a branch an element, so that it becomes vector instructions; on bits, which no option of a compiler makes
 * finite. */
static bool any_not_finite(const float *x, int64_t n)
{
    uint32_t any = 0;
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        any |= (bits & exponent_mask) == exponent_mask;
    }
    return any != 0;
}

int64_t fsm_first_not_finite(const float *x, int64_t n)
{
    for (int64_t at = 0; at < n; at += SPAN_ELEMS) {
        int64_t span = n - at < SPAN_ELEMS ? n - at : SPAN_ELEMS;
        if (!any_not_finite(x + at, span)) continue;
        while (!any_not_finite(x + at, 1)) at++;
        return at;
    }
    return n;
}

static const char *word_of(float value)
{
    if (isnan(value)) return "NaN";
    return value > 0 ? "infinity" : "-infinity";
}

fsmoe_status fsm_fail_not_finite(const char *name, float value, int64_t row, int64_t col)
{
    char rows[32] = "";
    if (row >= 0) snprintf(rows, sizeof rows, "%" PRId64 ", ", row);
    return fsm_fail(FSMOE_ERROR_NUMERIC, "tensor '%s' is not finite: it has %s at [%s%" PRId64 "]", name,
                    word_of(value), rows, col);
}

fsmoe_status fsm_param_check_finite(const fsm_param *param, const char *name, const float *elems, int64_t first_row,
                                    int64_t rows)
{
    int64_t n = rows * param->cols, at = fsm_first_not_finite(elems, n);
    if (at == n) return FSMOE_OK;
    int64_t row = param->spec.rank > 1 ? param->row0 + first_row + at / param->cols : -1;
    return fsm_fail_not_finite(name, elems[at], row, param->col0 + at % param->cols);
}

/* Rows of one block, looked at where the host sees them. */
static fsmoe_status check_block(const fsm_param *p, const fsm_ops *ops, const char *name, const fsm_real *block,
                                float *piece, int64_t most)
{
    for (int64_t row = 0; row < p->rows; row += most) {
        int64_t rows = p->rows - row < most ? p->rows - row : most;
        ops->read(ops, sizeof *piece * (size_t)(rows * p->cols), fsm_real_at(block, row * p->cols), piece);
        FSM_TRY(fsm_param_check_finite(p, name, piece, row, rows));
    }
    return FSMOE_OK;
}

static fsmoe_status check_param(const fsm_param *p, const fsm_ops *ops, const fsm_real *array, const char *prefix)
{
    int64_t most = p->cols > 0 && p->cols < PIECE_ELEMS ? PIECE_ELEMS / p->cols : 1;
    fsmoe_status status = FSMOE_OK;
    float *piece = malloc(sizeof *piece * (size_t)(most * p->cols + 1));
    if (!piece) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to look at %s%s", prefix, p->name);
    for (int64_t e = 0; status == FSMOE_OK && (e == 0 || e < p->experts); e++) {
        char name[160], full[192];
        fsm_param_name(p, p->first_expert + e, name);
        snprintf(full, sizeof full, "%s%s", prefix, name);
        status = check_block(p, ops, full, fsm_real_at(array, p->offset + e * p->expert_stride), piece, most);
    }
    free(piece);
    return status;
}

fsmoe_status fsm_params_check_finite(const fsm_params *params, const fsm_ops *ops, const fsm_real *array,
                                     const char *prefix)
{
    for (int i = 0; i < params->count; i++) FSM_TRY(check_param(&params->items[i], ops, array, prefix));
    return FSMOE_OK;
}
