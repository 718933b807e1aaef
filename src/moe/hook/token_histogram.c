/* Where tokens of training went, steps that are undone among them: how many (token, choice) pairs of this rank each
 * expert got, layer by layer; on stderr at the end. */
#include "moe/hook/hook.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct histogram {
    int rank, layers;
    int64_t num_experts;
    int64_t counts[]; /* [layers, E] */
} histogram;

static fsmoe_status create(void *user, const fsmoe_config *config, int rank, void **state)
{
    (void)user;
    int64_t layers = config->model.num_layers, experts = config->moe.num_experts;
    histogram *h = calloc(1, sizeof *h + sizeof *h->counts * (size_t)(layers * experts));
    if (!h) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for token_histogram");
    h->rank = rank;
    h->layers = (int)layers;
    h->num_experts = experts;
    *state = h;
    return FSMOE_OK;
}

static void count(void *state, fsm_hook_call *call)
{
    histogram *h = state;
    if (call->point != FSM_HOOK_BEFORE_MOE_END || call->phase != FSM_FORWARD || !call->training) return;
    for (int64_t e = 0; e < h->num_experts; e++) h->counts[call->layer * h->num_experts + e] += call->kept[e];
}

static void destroy(void *state)
{
    const histogram *h = state;
    for (int i = 0; h && i < h->layers; i++) {
        int64_t total = 0;
        for (int64_t e = 0; e < h->num_experts; e++) total += h->counts[i * h->num_experts + e];
        if (total == 0) continue; /* without experts */
        fprintf(stderr, "token_histogram: rank %d, layer %d, %lld pairs:", h->rank, i, (long long)total);
        for (int64_t e = 0; e < h->num_experts; e++)
            fprintf(stderr, " %.1f%%", 100 * (double)h->counts[i * h->num_experts + e] / (double)total);
        fputc('\n', stderr);
    }
    free(state);
}

const fsm_hook_kind fsm_hook_token_histogram = {
    .name = "token_histogram",
    .description = "logs which experts got how many tokens",
    .create = create,
    .destroy = destroy,
    .call = count,
};
