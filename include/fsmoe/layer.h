/* One MoE layer, forward and backward, on tensors from a file: for holding it against another framework.
 * In:  a file of flat keys; a safetensors file with x and dy [B, L, M] and the layer's parameters, float32.
 * Out: a safetensors file with y, dx [B, L, M], the gradient d.NAME of every parameter, losses, choices and load; the
 *      same on every layout of ranks. docs/layer.md names all tensors.
 */
#ifndef FSMOE_LAYER_H
#define FSMOE_LAYER_H

#include <fsmoe/world.h>

#include <stdbool.h>

typedef struct fsmoe_layer_options {
    const char *layer; /* the keys */
    const char *in;    /* read on every rank */
    const char *out;   /* written by rank 0, replaced in one step */
    bool eval;         /* no noise; capacity still applies, losses and gradients are still worked out */
} fsmoe_layer_options;

/* Objective: sum of dy * y, plus aux_loss_coeff times the load-balancing loss, plus z_loss_coeff times the z-loss.
 * Collective over world; every rank returns the same status unless it is ERROR_COMM (see fsmoe_train).
 * ERROR_CONFIG, ERROR_LAYOUT, ERROR_IO, ERROR_FORMAT (a tensor that is missing, of another shape, or that nothing
 * reads: the message names it), ERROR_NUMERIC (NaN or infinity in a tensor that is read or in a result: likewise;
 * nothing is written), ERROR_MEMORY, ERROR_COMM. */
FSMOE_API fsmoe_status fsmoe_layer(fsmoe_world *world, const fsmoe_layer_options *options);

#endif
