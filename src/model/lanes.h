/* Lanes: a step taken by several passes at once. A micro-batch may be taken in parts, each some of its samples; and several
 * micro-batches may stand side by side. Lane l of L works on part l mod P of the micro-batches m with m mod (L / P) = l / P.
 * In:  a derived configuration, the topology, the samples of a micro-batch. Out: which samples a part has, how large it is.
 */
#ifndef FSM_MODEL_LANES_H
#define FSM_MODEL_LANES_H

#include "moe/layer.h"
#include "topo/topo.h"

enum { FSM_MAX_LANES = 4 };

/* Part `part` of `parts` of a group's samples: [*first, *last), as even as they go. */
void fsm_lanes_part(int64_t samples, int parts, int part, int64_t *first, int64_t *last);

/* Tokens of so many samples on the rank of an MP group that has the most. */
int64_t fsm_lanes_most_tokens(const fsmoe_config *config, const fsm_topo *topo, int64_t samples);

/* The wire of a pass over so many samples, of the rank with the most tokens. */
void fsm_lanes_wire(const fsmoe_config *config, const fsm_topo *topo, int64_t samples, fsm_wire_shape *wire);

/* Samples of a group that evaluation takes at once where training takes so many. Nothing is dropped there, so all tokens might
 * go to one rank: with a capacity, as many samples as have rows all the same, or one. */
int64_t fsm_lanes_eval_samples(const fsmoe_config *config, const fsm_topo *topo, int64_t samples);

/* The wire of a pass over so many samples in training, and over eval_samples of them in evaluation. expected: with the rows that
 * are expected where choices decide how many there are, not to be allocated for. */
void fsm_lanes_wire_within(const fsmoe_config *config, const fsm_topo *topo, int64_t samples, int64_t eval_samples,
                           bool expected, fsm_wire_shape *wire);

/* Parts that change no number of a step, at most: 1 … FSM_MAX_LANES. max_samples: of a micro-batch, of one data-parallel
 * group. *why: the key and the reason, where it is what forbids more; else NULL. Static. */
int fsm_lanes_most_parts(const fsmoe_config *config, int64_t max_samples, const char **why);

/* Tokens that may not be parted between ranks: a capacity group. */
int64_t fsm_token_unit(const fsmoe_config *config);

#endif
