/* One layer from a file of flat keys: <fsmoe/plan.h>. */
#include "base/print.h"
#include "config/flat.h"
#include "plan/explain.h"
#include "plan/plan.h"
#include "plan/window_sizes.h"

#include <fsmoe/plan.h>

#include <stdio.h>
#include <stdlib.h>

typedef struct layer_file {
    fsm_layer_sizes sizes;
    int expert; /* of the choices below */
} layer_file;

#define INT(key, low, high, required)                                                                               \
    {                                                                                                               \
#key, FSM_FLAT_INT, offsetof(layer_file, sizes) + offsetof(fsm_layer_sizes, key), low, high, NULL, required \
    }
#define FLOAT(key, low, high, required)                                                                               \
    {                                                                                                                 \
#key, FSM_FLAT_FLOAT, offsetof(layer_file, sizes) + offsetof(fsm_layer_sizes, key), low, high, NULL, required \
    }

static const fsm_flat_key keys[] = {
    INT(batch, 1, 1e9, true),
    INT(seq_len, 1, 1e9, true),
    INT(hidden, 1, 1e7, true),
    INT(ffn_hidden, 1, 1e7, true),
    INT(heads, 1, 1e6, false),
    INT(top_k, 1, 65536, true),
    FLOAT(capacity_factor, 0, 1e6, true),
    {"expert", FSM_FLAT_CHOICE, offsetof(layer_file, expert), 0, 0, "gpt, mixtral", true},
    INT(esp_size, 1, 65536, true),
    INT(num_experts, 1, 65536, true),
    FLOAT(allreduce_elems, 0, 1e15, false),
};

static fsmoe_layer_direction direction_of(const fsm_window_plan *p)
{
    return (fsmoe_layer_direction){p->degree, p->makespan_s, p->bound_s, fsm_gap(p->makespan_s, p->bound_s),
                                   p->binding};
}

static fsmoe_status explain(const fsm_schedule *schedule, const fsm_window windows[2], const fsm_window_plan plans[2],
                            char **text)
{
    fsm_print print;
    *text = NULL;
    FSM_TRY(fsm_print_begin(&print));
    fsmoe_status status = FSMOE_OK;
    for (int phase = 0; phase < 2 && status == FSMOE_OK; phase++)
        status = fsm_window_explain(&windows[phase], schedule->freedom, plans[phase].degree,
                                    fsm_phase_name((fsm_phase)phase), print.out);
    return fsm_print_end(&print, status, "an explanation", text);
}

fsmoe_status fsmoe_plan_layer(const char *layer_path, const char *cluster_path, const char *schedule_name,
                              fsmoe_layer_plan *plan, char **explanation)
{
    layer_file file = {0};
    fsm_cluster cluster;
    fsm_window_plan plans[2];
    const fsm_schedule *schedule;
    FSM_TRY(fsm_schedule_named(schedule_name, &schedule));
    if (!schedule->plan_layer)
        return fsm_fail(FSMOE_ERROR_CONFIG, "schedule %s plans whole steps, not a layer", schedule->name);
    FSM_TRY(fsm_flat_read(layer_path, keys, sizeof keys / sizeof *keys, &file));
    file.sizes.gated = file.expert == 1;
    if (file.sizes.top_k > file.sizes.num_experts)
        return fsm_fail(FSMOE_ERROR_CONFIG, "%s: top_k = %lld is more than num_experts = %lld", layer_path,
                        (long long)file.sizes.top_k, (long long)file.sizes.num_experts);
    FSM_TRY(fsm_cluster_read(cluster_path, &cluster));
    const fsm_window windows[2] = {fsm_window_of_sizes(&file.sizes, &cluster, FSM_FORWARD),
                                   fsm_window_of_sizes(&file.sizes, &cluster, FSM_BACKWARD)};
    fsmoe_status status = schedule->plan_layer(windows, plans);
    if (status == FSMOE_OK) {
        plan->forward = direction_of(&plans[FSM_FORWARD]);
        plan->backward = direction_of(&plans[FSM_BACKWARD]);
        if (explanation) status = explain(schedule, windows, plans, explanation);
    }
    fsm_cluster_destroy(&cluster);
    return status;
}
