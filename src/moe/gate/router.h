/* What gates are made of: a projection to logits, probabilities, the k best, weights; each with its backward.
 * In:  a pass of tokens through a gate. Out: the fields of fsm_gate_pass that the names say; dlogits in backward.
 * Order of a backward: fsm_router_losses_backward sets dlogits, the others add to it, the projection's comes last.
 */
#ifndef FSM_MOE_ROUTER_H
#define FSM_MOE_ROUTER_H

#include <fsmoe/export.h>

#include "moe/gate/gate.h"

enum { FSM_ROUTER_WEIGHT = 0 }; /* params[0]: Wg [E, M], named "weight" */

/* Its spec, for list_params; and the list_params of kinds that have no other. */
FSMOE_API fsm_param_spec fsm_router_weight_spec(const fsmoe_moe_config *config, int64_t hidden);
FSMOE_API int fsm_router_list_weight(const fsmoe_moe_config *config, int64_t hidden, fsm_param_spec *specs);

/* logits = x Wg^T, x the input's or what a kind has made of it; of the input's x: dWg += dlogits^T x, dx += dlogits
 * Wg. */
FSMOE_API void fsm_router_project(fsm_gate_pass *pass, const fsm_row *x);
FSMOE_API void fsm_router_project_backward(fsm_gate_pass *pass);

/* prob = softmax(logits), lse. */
FSMOE_API void fsm_router_softmax(fsm_gate_pass *pass);

/* choice, score: the k best of scores [n, E], ties to the lower expert. */
FSMOE_API void fsm_router_choose(fsm_gate_pass *pass, const fsm_real *scores);

/* weight = softmax over the logits of the choices (k = 1: prob of the choice, or 1 with normalize_top_k). dlogits
 * +=. */
FSMOE_API void fsm_router_softmax_weights(fsm_gate_pass *pass);
FSMOE_API void fsm_router_softmax_weights_backward(fsm_gate_pass *pass);

/* d loss / d probability sum [E], or NULL where the loss is not of probabilities. */
FSMOE_API const fsm_sum *fsm_router_share(const fsm_gate_pass *pass);

/* dlogits = what the losses send back: into prob, where the loss is of probabilities, and from the z-loss. The second
 * when prob is not the logits' softmax: then the z-loss alone. */
FSMOE_API void fsm_router_losses_backward(fsm_gate_pass *pass);
FSMOE_API void fsm_router_z_backward(fsm_gate_pass *pass);

/* ---- of kinds that run on the host (fsm_gate_kind.runs_on_host) ---- */

/* What a loop over tokens does with one of them. */
typedef void fsm_token_body(const fsm_gate_pass *pass, int64_t token);

/* body for every token, where there are no copies on the rank's threads at once; a token touches `width` elements, and
 * no other's. */
FSMOE_API void fsm_router_each_token(const fsm_gate_pass *pass, int64_t width, fsm_token_body *body);

/* weight = f(logit) of each choice, 0 where there is none; dlogits += dweight f'(logit). f puts its derivative into
 * *slope. */
typedef float fsm_weight_body(float logit, float *slope);
FSMOE_API void fsm_router_weigh(fsm_gate_pass *pass, fsm_weight_body *f);
FSMOE_API void fsm_router_weigh_backward(fsm_gate_pass *pass, fsm_weight_body *f);

#endif
