/* Batches: which tokens each data-parallel group gets.
 * In:  a token stream, and numbers of samples: sample i holds tokens i L … i L + L, the last one only as a target.
 * Out: ids and targets of the group's share of a micro-batch, whatever the layout: samples [n d / dp, n (d+1) / dp) of
 *      n.
 */
#ifndef FSM_TRAIN_BATCHES_H
#define FSM_TRAIN_BATCHES_H

#include "model/model.h"
#include "tokens/sampler.h"

#include <fsmoe/tokens.h>

typedef struct fsm_batches {
    const fsmoe_tokens *tokens;
    fsm_sampler sampler;
    int64_t seq_len;
    int dp, dp_index;
    int64_t share;                   /* most samples of a load */
    int32_t *ids, *targets, *sample; /* [lanes, share, L] twice, [L + 1] */
} fsm_batches;

/* `micro_batch`: most samples, of all groups together, that one load asks for. Tokens are borrowed.
 * ERROR_CONFIG when the stream is shorter than one sample. */
fsmoe_status fsm_batches_create(const fsmoe_tokens *tokens, int64_t seq_len, uint64_t seed, bool shuffle,
                                int64_t micro_batch, const fsm_topo *topo, fsm_batches *batches);
void fsm_batches_destroy(fsm_batches *batches);

/* What a lane takes of this group's share of samples first … first + n - 1 of the order, when the share is taken in
 * `parts` (model/lanes.h). The arrays live until the lane's next load. */
fsmoe_status fsm_batches_load(fsm_batches *batches, int64_t first, int64_t n, int parts, int lane, fsm_batch *batch);

/* Most samples of a micro-batch that one group gets. */
int64_t fsm_batches_share(int64_t micro_batch, int dp);

#endif
