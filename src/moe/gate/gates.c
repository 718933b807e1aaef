/* The gates there are. */
#include "moe/gate/gate.h"

#include <string.h>

static const fsm_gate_kind *const gates[] = {
    &fsm_gate_gshard,
};

const fsm_gate_kind *fsm_gate_find(const char *name)
{
    for (size_t i = 0; i < sizeof gates / sizeof *gates; i++)
        if (strcmp(gates[i]->name, name) == 0) return gates[i];
    return NULL;
}

const fsm_gate_kind *fsm_gate_at(int index)
{
    return index >= 0 && (size_t)index < sizeof gates / sizeof *gates ? gates[index] : NULL;
}

void fsm_gate_take(fsm_arena *arena, int64_t max_tokens, fsm_gate *gate)
{
    int64_t scores = max_tokens * gate->num_experts, choices = max_tokens * gate->top_k;
    gate->logits = FSM_ARENA_ARRAY(arena, float, scores);
    gate->prob = FSM_ARENA_ARRAY(arena, float, scores);
    gate->lse = FSM_ARENA_ARRAY(arena, float, max_tokens);
    gate->choice = FSM_ARENA_ARRAY(arena, int32_t, choices);
    gate->score = FSM_ARENA_ARRAY(arena, float, choices);
    gate->weight = FSM_ARENA_ARRAY(arena, float, choices);
    gate->dlogits = FSM_ARENA_ARRAY(arena, float, scores);
    if (!gate->noisy) return;
    gate->noise = FSM_ARENA_ARRAY(arena, float, scores);
    gate->spread = FSM_ARENA_ARRAY(arena, float, scores);
    gate->dspread = FSM_ARENA_ARRAY(arena, float, scores);
}
