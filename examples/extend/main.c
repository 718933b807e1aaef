/* A program with kinds of its own: extended LAYER.yaml IN OUT runs one layer, as `fsmoe layer` does, with one more
 * gate, order, all-to-all, expert and hook to choose from. */
#include "extend.h"

#include <fsmoe/fsmoe.h>
#include <stdio.h>

static fsmoe_status add_kinds(void)
{
    fsmoe_status status = fsm_add_gate(&my_gate);
    if (status == FSMOE_OK) status = fsm_add_order(&my_order);
    if (status == FSMOE_OK) status = fsm_add_alltoall(&my_alltoall);
    if (status == FSMOE_OK) status = fsm_add_expert(&my_expert);
    return status == FSMOE_OK ? fsm_add_hook(&my_hook) : status;
}

int main(int argc, char **argv)
{
    fsmoe_world *world = NULL;
    if (argc != 4) {
        fprintf(stderr, "usage: %s LAYER.yaml IN.safetensors OUT.safetensors\n", argv[0]);
        return 2;
    }
    const fsmoe_layer_options options = {.layer = argv[1], .in = argv[2], .out = argv[3]};
    fsmoe_status status = add_kinds();
    if (status == FSMOE_OK) status = fsmoe_world_create(&world);
    if (status == FSMOE_OK) status = fsmoe_layer(world, &options);
    if (status != FSMOE_OK) fprintf(stderr, "%s\n", fsmoe_last_error());
    if (world && fsmoe_world_size(world) > 1) printf("sent: %lld elements\n", (long long)sent_elems);
    int exit_code = fsmoe_status_exit_code(status);
    if (status == FSMOE_ERROR_COMM) fsmoe_world_abort(world, exit_code);
    if (world) fsmoe_world_destroy(world);
    return exit_code;
}
