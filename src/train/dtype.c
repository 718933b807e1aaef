#include "train/dtype.h"

#include "config/config.h"
#include "cpu/products.h"
#include "train/backend.h"
#include "train/place.h"
#include "train/products.h"
#include "train/state.h"

#include <stdio.h>
#include <string.h>

/* What rank 0 has to say. */
typedef struct choice {
    int64_t bf16;
    char told[FSM_DTYPE_TOLD_BYTES];
} choice;

bool fsm_dtype_is_bf16(const double gflops[2])
{
    return gflops[1] > FSM_PRODUCTS_CLEARLY * gflops[0];
}

/* Some keys want rows of fp32 (config/check.c). */
static bool allows_bf16(fsmoe_config *config)
{
    bool allowed =
        fsmoe_config_set(config, "train.compute_dtype=bf16") == FSMOE_OK && fsm_config_check(config) == FSMOE_OK;
    return fsmoe_config_set(config, "train.compute_dtype=fp32") == FSMOE_OK && allowed;
}

static fsmoe_status measure(fsmoe_config *config, int threads, choice *c)
{
    int64_t shapes[FSM_MOST_SHAPES][2];
    int count;
    double gflops[2];
    char *told = c->told;
    FSM_TRY(fsm_list_product_shapes(config, shapes, &count));
    FSM_TRY(fsm_backend_compare_rows(threads, shapes[0][0], shapes[0][1], gflops));
    bool faster = fsm_dtype_is_bf16(gflops), allowed = faster && allows_bf16(config);
    c->bf16 = faster && allowed;
    if (gflops[1] == 0)
        snprintf(told, sizeof c->told, "train.compute_dtype auto is fp32: this processor has no arithmetic of bf16");
    else
        snprintf(told, sizeof c->told,
                 "train.compute_dtype auto is %s: products of an expert reach %.0f GF/s in fp32, %.0f in bf16%s",
                 c->bf16 ? "bf16" : "fp32", gflops[0], gflops[1],
                 faster && !allowed ? ", which this configuration does without" : "");
    return FSMOE_OK;
}

static fsmoe_status keep(const char *checkpoint, choice *c)
{
    char was[16];
    FSM_TRY(fsm_state_read_dtype(checkpoint, was, sizeof was));
    c->bf16 = strcmp(was, "bf16") == 0;
    snprintf(c->told, sizeof c->told, "train.compute_dtype auto is %s, as in the run so far", was);
    return FSMOE_OK;
}

fsmoe_status fsm_dtype_choose(fsmoe_config *config, bool open, fsm_comm *world, const char *checkpoint,
                              char told[FSM_DTYPE_TOLD_BYTES])
{
    int threads;
    choice c = {0};
    fsmoe_status status = FSMOE_OK;
    FSM_TRY(fsm_count_threads(config, world, &threads));
    if (open && !checkpoint) status = measure(config, threads, &c); /* on all at once, as a step loads the machine */
    if (open && checkpoint && world->rank == 0) status = keep(checkpoint, &c);
    FSM_TRY(fsm_comm_agree(world, status));
    FSM_TRY(world->control->broadcast_bytes(world, &c, sizeof c, 0));
    memcpy(told, c.told, sizeof c.told);
    if (!open || !c.bf16) return FSMOE_OK;
    status = fsmoe_config_set(config, "train.compute_dtype=bf16");
    if (status == FSMOE_OK)
        status = fsm_config_check(config); /* what a run goes on with may no longer go with the rest */
    return status;
}
