/* What tests of whole models share: a configuration from a list of settings, a batch by formula, and gathering of
 * gradients as whole tensors.
 */
#ifndef FSM_TESTS_MODEL_CASE_H
#define FSM_TESTS_MODEL_CASE_H

#include "base/rng.h"
#include "config/config.h"
#include "train/stepper.h"

#include <stdio.h>
#include <stdlib.h>

/* A derived configuration; aborts on an error, since a test's settings are right. */
static inline fsmoe_config *model_case_config(const char *const *settings)
{
    fsmoe_config *config = NULL;
    fsmoe_status status = fsmoe_config_create(&config);
    for (; status == FSMOE_OK && *settings; settings++) status = fsmoe_config_set(config, *settings);
    if (status == FSMOE_OK) status = fsm_config_check(config);
    if (status == FSMOE_OK) status = fsm_config_derive(config);
    if (status != FSMOE_OK) {
        fprintf(stderr, "test settings: %s\n", fsmoe_last_error());
        abort();
    }
    return config;
}

/* Every parameter away from its special starting value (zeros, ones), by formula of its place in the whole tensor. */
static inline void model_case_randomize(const fsm_params *params, float scale, float *values)
{
    for (int i = 0; i < params->count; i++) {
        const fsm_param *p = &params->items[i];
        for (int64_t e = 0; e == 0 || e < p->experts; e++)
            for (int64_t r = 0; r < p->rows; r++)
                for (int64_t c = 0; c < p->cols; c++) {
                    int64_t row = (p->first_expert + e) * p->spec.rows + p->row0 + r;
                    double noise =
                        fsm_rng_normal(7, FSM_RNG_TEST + p->number, (uint64_t)(row * p->spec.cols + p->col0 + c));
                    double base = p->spec.init == FSM_INIT_ONE ? 1 : 0;
                    values[p->offset + e * p->expert_stride + r * p->cols + c] = (float)(base + scale * noise);
                }
    }
}

#endif
