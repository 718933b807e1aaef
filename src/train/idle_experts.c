#include "train/idle_experts.h"

#include <stdio.h>
#include <stdlib.h>

enum { MOST_NAMED = 12 };

fsmoe_status fsm_idle_experts_create(const fsm_model *model, int64_t limit, fsm_idle_experts *experts)
{
    *experts = (fsm_idle_experts){.limit = limit};
    size_t count = (size_t)model->moe_layers * (size_t)model->config->moe.num_experts;
    if (limit == 0 || count == 0) return FSMOE_OK;
    experts->count = (int64_t)count;
    experts->idle = calloc(count, sizeof *experts->idle);
    return experts->idle ? FSMOE_OK : fsm_fail(FSMOE_ERROR_MEMORY, "no memory to watch %zu experts", count);
}

void fsm_idle_experts_destroy(fsm_idle_experts *experts)
{
    free(experts->idle);
    *experts = (fsm_idle_experts){0};
}

/* " layer 3: 1 5," after what is there; names a few. */
static size_t name_expert(char *sentence, size_t used, int layer, bool first_of_layer, int64_t expert)
{
    size_t left = FSM_IDLE_SENTENCE_BYTES - used;
    int n = first_of_layer
                ? snprintf(sentence + used, left, "%slayer %d: %lld", used ? "; " : "", layer, (long long)expert)
                : snprintf(sentence + used, left, ", %lld", (long long)expert);
    return n > 0 && (size_t)n < left ? used + (size_t)n : used;
}

bool fsm_idle_experts_count(fsm_idle_experts *experts, const fsm_model *model, const double *sums,
                            char sentence[FSM_IDLE_SENTENCE_BYTES])
{
    char names[FSM_IDLE_SENTENCE_BYTES] = "";
    int64_t num_experts = model->config->moe.num_experts, every = model->config->model.moe_every, found = 0;
    size_t used = 0;
    for (int i = 0; experts->idle && i < model->moe_layers; i++) {
        const double *kept = fsm_model_layer_load(model, sums, i).kept;
        bool first = true;
        for (int64_t e = 0; e < num_experts; e++) {
            int64_t *idle = &experts->idle[i * num_experts + e];
            if (*idle >= 0) *idle = kept[e] > 0 ? 0 : *idle + 1;
            if (*idle < experts->limit) continue;
            *idle = -1;
            if (++found > MOST_NAMED) continue;
            used = name_expert(names, used, (int)((i + 1) * every - 1), first, e);
            first = false;
        }
    }
    if (found == 0) return false;
    snprintf(sentence, FSM_IDLE_SENTENCE_BYTES, "%lld expert%s had no token for %lld steps (%.380s%s)",
             (long long)found, found > 1 ? "s have" : " has", (long long)experts->limit, names,
             found > MOST_NAMED ? ", ..." : "");
    return true;
}
