/* Hooks: functions that see, and may change, the tensors of a layer at six points of either direction.
 *
 * point              forward                                backward
 * before_moe_start   x, before the gate                     dx, when all of it is there
 * before_dispatch    rows of a chunk, about to be sent      gradients of the experts' outputs, about to be sent
 * after_dispatch     those that have come                   likewise
 * before_combine     experts' outputs, about to go back     gradients of the experts' inputs
 * after_combine      those that are back                    likewise
 * before_moe_end     the layer's output                     its gradient, before anything is done with it
 *
 * In a model the output is that of the residual stream, what came into the layer and what the experts add.
 * In:  the tensor, its phase, layer and chunk. Out: the tensor, changed in place; what rows take on the wire.
 * Several hooks are called in the order of moe.hooks; after_dispatch and after_combine in the opposite one, so that
 * what the last one packed is unpacked first. Calls for different chunks or lanes may come from two threads at once. A
 * kind is one file and one row of the table in hooks.c.
 */
#ifndef FSM_MOE_HOOK_H
#define FSM_MOE_HOOK_H

#include "base/status.h"
#include "moe/phase.h"

#include <fsmoe/config.h>
#include <stdint.h>

typedef enum fsm_hook_point {
    FSM_HOOK_BEFORE_MOE_START,
    FSM_HOOK_BEFORE_DISPATCH,
    FSM_HOOK_AFTER_DISPATCH,
    FSM_HOOK_BEFORE_COMBINE,
    FSM_HOOK_AFTER_COMBINE,
    FSM_HOOK_BEFORE_MOE_END,
    FSM_HOOK_POINT_COUNT
} fsm_hook_point;

typedef struct fsm_hook_call {
    fsm_hook_point point;
    fsm_phase phase;
    bool training;        /* else evaluation */
    int lane;             /* whose pass it is: the tokens of a step may come in several (model/lanes.h) */
    int layer, chunk;     /* chunk: 0 where the whole layer is meant */
    int64_t rows, hidden; /* M */
    float *data;          /* [rows, M] */
    /* Elements that a row takes on the wire. Before dispatch and combine a hook may put rows closer together, from
     * `data` on, and say so: the same on every rank, also for no rows. The hook of the point after finds them so, and
     * puts them back to M apart. Elsewhere it is M. */
    int64_t width;
    int64_t num_experts;
    /* [E] (token, choice) pairs of this rank that an expert gets in this pass; NULL before the gate has run */
    const int64_t *kept;
} fsm_hook_call;

typedef struct fsm_hook_kind {
    const char *name, *description;
    void *user; /* data of whoever adds the hook */
    /* what `call` gets, one a model and rank; without create that is `user` */
    fsmoe_status (*create)(void *user, const fsmoe_config *config, int rank, void **state);
    void (*destroy)(void *state);
    void (*call)(void *state, fsm_hook_call *call);
    /* How many times fewer elements a row takes on the wire, which plans count with; 0: it takes as many. */
    int wire_divisor;
} fsm_hook_kind;

const fsm_hook_kind *fsm_hook_find(const char *name); /* NULL: there is none */
extern const fsm_hook_kind fsm_hook_wire_bf16, fsm_hook_token_histogram;

/* The hooks of a model. */
enum { FSM_MOST_HOOKS = 16 };
typedef struct fsm_hooks {
    const fsm_hook_kind *kind[FSM_MOST_HOOKS];
    void *state[FSM_MOST_HOOKS];
    int count;
} fsm_hooks;

/* wire_divisor of all hooks together, those that are none left out; 0: rows are as wide as ever. */
int fsm_hooks_wire_divisor(const fsmoe_moe_config *config);

/* moe.hooks. ERROR_CONFIG: no hook of that name, or too many; a hook's own errors. Destroy in any case. */
fsmoe_status fsm_hooks_create(const fsmoe_config *config, int rank, fsm_hooks *hooks);
void fsm_hooks_destroy(fsm_hooks *hooks);

void fsm_hooks_call(const fsm_hooks *hooks, fsm_hook_call *call);

#endif
