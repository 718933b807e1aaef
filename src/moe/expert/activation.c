#include "moe/expert/activation.h"

#include <string.h>

/* The two functions of an activation from the operations of its name and the sizes that these take. */
#define ACTIVATION(op, ...)                                                                                          \
    static void forward_##op(const fsm_ops *ops, int64_t n, int64_t width, const fsm_row *pre, fsm_row *act)         \
    {                                                                                                                \
        ops->op##_forward(ops, __VA_ARGS__, pre, act);                                                               \
    }                                                                                                                \
    static void backward_##op(const fsm_ops *ops, int64_t n, int64_t width, const fsm_row *pre, const fsm_row *dact, \
                              fsm_row *dpre)                                                                         \
    {                                                                                                                \
        ops->op##_backward(ops, __VA_ARGS__, pre, dact, dpre);                                                       \
    }

ACTIVATION(gelu, n *width)
ACTIVATION(gelu_tanh, n *width)
ACTIVATION(relu, n *width)
ACTIVATION(relu_squared, n *width)
ACTIVATION(swiglu, n, width)
ACTIVATION(geglu, n, width)

static const fsm_activation activations[] = {
    {"gelu", false, forward_gelu, backward_gelu},
    {"gelu_tanh", false, forward_gelu_tanh, backward_gelu_tanh},
    {"relu", false, forward_relu, backward_relu},
    {"relu_squared", false, forward_relu_squared, backward_relu_squared},
    {"swiglu", true, forward_swiglu, backward_swiglu},
    {"geglu", true, forward_geglu, backward_geglu},
};

const fsm_activation *fsm_activation_find(const char *name)
{
    for (size_t i = 0; i < sizeof activations / sizeof *activations; i++)
        if (strcmp(activations[i].name, name) == 0) return &activations[i];
    return NULL;
}

const fsm_activation *fsm_activation_at(int index)
{
    return index >= 0 && (size_t)index < sizeof activations / sizeof *activations ? &activations[index] : NULL;
}
