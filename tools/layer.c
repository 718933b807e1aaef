/* fsmoe layer LAYER.yaml --in IN --out OUT: one layer's forward and backward on tensors from a file. */
#include "command.h"

enum { KEY_IN = 1000, KEY_OUT, KEY_EVAL };

static const struct argp_option options[] = {
    {"in", KEY_IN, "IN.safetensors", 0, "x, dy and the layer's parameters, float32", 0},
    {"out", KEY_OUT, "OUT.safetensors", 0, "Where y, dx, gradients, losses and choices go", 0},
    {"eval", KEY_EVAL, NULL, 0, "Without noise", 0},
    {0},
};

static error_t parse(int key, char *value, struct argp_state *state)
{
    fsmoe_layer_options *o = state->input;
    switch (key) {
    case KEY_IN:
        o->in = value;
        return 0;
    case KEY_OUT:
        o->out = value;
        return 0;
    case KEY_EVAL:
        o->eval = true;
        return 0;
    case ARGP_KEY_ARG:
        command_take(state, "LAYER.yaml", value, &o->layer);
        return 0;
    case ARGP_KEY_END:
        command_require(state, "LAYER.yaml", o->layer);
        command_require(state, "--in", o->in);
        command_require(state, "--out", o->out);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int command_layer(int argc, char **argv)
{
    static const struct argp argp = {
        options,
        parse,
        "LAYER.yaml",
        "Runs one MoE layer forward and backward on tensors from a file, also under mpirun; "
        "for holding it against another framework.",
        0,
        0,
        0};
    fsmoe_layer_options o = {0};
    fsmoe_world *world;
    command_parse(&argp, argc, argv, &o);
    fsmoe_status status = fsmoe_world_create(&world);
    if (status != FSMOE_OK) return command_fail(status);
    status = fsmoe_layer(world, &o);
    int exit_code = fsmoe_status_exit_code(status);
    if (status != FSMOE_OK && (fsmoe_world_rank(world) == 0 || status == FSMOE_ERROR_COMM)) command_fail(status);
    if (status == FSMOE_ERROR_COMM) fsmoe_world_abort(world, exit_code);
    fsmoe_world_destroy(world);
    return exit_code;
}
