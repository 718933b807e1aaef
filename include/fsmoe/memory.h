/* How much memory training takes, before anything is allocated.
 * In:  a configuration that fsmoe_plan_create has completed, nodes and ranks on each.
 * Out: bytes of rank 0, which has as many tokens as any; INT64_MAX where no machine could hold a step.
 */
#ifndef FSMOE_MEMORY_H
#define FSMOE_MEMORY_H

#include <fsmoe/config.h>

typedef struct fsmoe_memory {
    int64_t parameters, gradients;
    int64_t optimizer;   /* both moments of AdamW */
    int64_t activations; /* everything a step in one lane works on: saved for backward, chunks under way, their gradients;
                          * plans say what theirs takes (fsmoe_plan_summary) */
} fsmoe_memory;

/* ERROR_LAYOUT, ERROR_CONFIG, ERROR_MEMORY. */
FSMOE_API fsmoe_status fsmoe_memory_of(const fsmoe_config *config, int nodes, int ranks_per_node, fsmoe_memory *memory);

#endif
