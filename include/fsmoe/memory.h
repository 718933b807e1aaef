/* How much memory training takes of a rank, by what it is for, before anything is allocated.
 * In:  a configuration that fsmoe_plan_create has completed, nodes and ranks on each.
 * Out: bytes of rank 0, which has as many tokens as any and gathers what is saved; INT64_MAX where no machine could
 *      hold a step.
 */
#ifndef FSMOE_MEMORY_H
#define FSMOE_MEMORY_H

#include <fsmoe/config.h>

#include <stddef.h>

typedef struct fsmoe_memory {
    int64_t parameters, gradients;
    int64_t optimizer; /* both moments of AdamW */
    int64_t saved;     /* rows that passes keep from forward until backward has read them */
    int64_t staging;   /* rows under way between ranks */
    int64_t packed;    /* copies of weights that products read fastest; the most, where these are yet to be measured */
    int64_t workspace; /* of tasks, attention, sums over ranks; of measuring, saving and the sample */
    int64_t host_tables; /* counts and maps of the host's, batches */
    int64_t process;     /* what a process has anyway; 0: it was not asked */
    /* Where choices decide how many rows a rank computes, the above has what is expected of a young router. Should all
     * tokens choose experts of one rank, that rank takes so much more; until then these are pages that nobody has
     * touched. */
    int64_t worst_more;
} fsmoe_memory;

/* Of a step in one lane; plans say what theirs takes (fsmoe_plan_summary). ERROR_LAYOUT, ERROR_CONFIG, ERROR_MEMORY. */
FSMOE_API fsmoe_status fsmoe_memory_of(const fsmoe_config *config, int nodes, int ranks_per_node, fsmoe_memory *memory);

/* The sum of all kinds but worst_more. */
FSMOE_API int64_t fsmoe_memory_total(const fsmoe_memory *memory);

/* "1.234 GB: parameters 0.100, gradients 0.100, …", in 10^9 bytes, cut to the buffer; 512 bytes are enough. */
FSMOE_API void fsmoe_memory_describe(const fsmoe_memory *memory, char *text, size_t size);

#endif
