#include "model/lanes.h"

#include "model/model_parts.h"

#include <string.h>

int64_t fsm_token_unit(const fsmoe_config *config)
{
    return config->moe.capacity_group > 0 ? config->moe.capacity_group : 1;
}

void fsm_lanes_part(int64_t samples, int parts, int part, int64_t *first, int64_t *last)
{
    *first = samples * part / parts;
    *last = samples * (part + 1) / parts;
}

int64_t fsm_lanes_most_tokens(const fsmoe_config *config, const fsm_topo *topo, int64_t samples)
{
    int64_t most = 0;
    for (int i = 0; i < topo->mp; i++) {
        int64_t first, last;
        fsm_topo_split(samples * config->data.seq_len, fsm_token_unit(config), topo->mp, i, &first, &last);
        if (last - first > most) most = last - first;
    }
    return most;
}

void fsm_lanes_wire_within(const fsmoe_config *config, const fsm_topo *topo, int64_t samples, int64_t eval_samples,
                           bool expected, fsm_wire_shape *wire)
{
    int64_t eval_tokens = fsm_lanes_most_tokens(config, topo, eval_samples);
    fsm_moe_shape_within(&config->moe, topo->ep, topo->ep_index, topo->esp, topo->esp_index,
                         fsm_lanes_most_tokens(config, topo, samples), eval_tokens, wire);
    if (expected) wire->max_expert_rows = fsm_moe_expected_rows(&config->moe, eval_tokens, wire);
}

void fsm_lanes_wire(const fsmoe_config *config, const fsm_topo *topo, int64_t samples, fsm_wire_shape *wire)
{
    fsm_lanes_wire_within(config, topo, samples, fsm_lanes_eval_samples(config, topo, samples), false, wire);
}

/* ---- evaluation ---- */

/* Where a token's result depends on those beside it in the batch, or the sum's order is a promise, batches stay
 * whole. */
static bool evaluates_whole(const fsmoe_config *config)
{
    const fsm_gate_kind *gate = fsm_gate_find(config->moe.gate);
    return config->moe.capacity_factor <= 0 || config->parallel.canonical_sums || gate->mixes || gate->experts_choose;
}

int64_t fsm_lanes_eval_samples(const fsmoe_config *config, const fsm_topo *topo, int64_t samples)
{
    fsm_wire_shape training, both;
    int64_t fits = 1, too_many = samples + 1;
    if (samples < 2 || evaluates_whole(config)) return samples;
    fsm_lanes_wire_within(config, topo, samples, 0, false, &training);
    while (too_many - fits > 1) {
        int64_t tried = fits + (too_many - fits) / 2;
        fsm_lanes_wire_within(config, topo, samples, tried, false, &both);
        bool fit = both.max_rows <= training.max_rows && both.max_expert_rows <= training.max_expert_rows;
        if (fit) fits = tried;
        else too_many = tried;
    }
    return fits;
}

/* ---- what a part would change ---- */

/* Whether it matters which tokens stand together: they compete for places, or are mixed. */
static bool groups_matter(const fsmoe_moe_config *moe)
{
    return moe->capacity_factor > 0 || moe->balanced || fsm_gate_find(moe->gate)->mixes;
}

/* NULL: nothing forbids parts. */
static const char *forbids_parts(const fsmoe_config *config, int64_t max_samples)
{
    if (max_samples < 2) return "train.micro_batch gives a group of ranks one sample, which is not parted";
    if (config->parallel.canonical_sums) return "parallel.canonical_sums adds up the tokens of a whole micro-batch";
    if (strcmp(config->moe.aux_loss_scope, "rank") == 0 && config->parallel.mp_size > 1) /* MP shares out each part */
        return "moe.aux_loss_scope rank makes a loss of the tokens that a rank has of a whole micro-batch, and "
               "parallel.mp_size others of its parts";
    if (groups_matter(&config->moe) && config->moe.capacity_group == 0)
        return "moe.capacity_group is 0: all tokens that a rank has of a micro-batch compete for the experts' places";
    return NULL; /* a sample is whole capacity groups (src/config/check.c), so parts are */
}

int fsm_lanes_most_parts(const fsmoe_config *config, int64_t max_samples, const char **why)
{
    *why = forbids_parts(config, max_samples);
    if (*why) return 1;
    return max_samples < FSM_MAX_LANES ? (int)max_samples : FSM_MAX_LANES;
}
