#include "plan_source.h"

#include <stdio.h>
#include <string.h>

error_t plan_source_parse(plan_source *source, const char *name, int key, char *value, struct argp_state *state)
{
    switch (key) {
    case PLAN_SOURCE_KEY_CLUSTER:
        source->options.cluster = value;
        return 0;
    case PLAN_SOURCE_KEY_NODES:
        source->options.nodes = command_count(state, "--nodes", value);
        return 0;
    case PLAN_SOURCE_KEY_RANKS:
        source->options.ranks_per_node = command_count(state, "--ranks-per-node", value);
        return 0;
    case PLAN_SOURCE_KEY_SCHEDULE:
        source->schedule = value;
        return 0;
    case CONFIG_SOURCE_KEY_SET:
        config_source_add(&source->config, state, value);
        return 0;
    case ARGP_KEY_ARG:
        command_take(state, name, value, &source->config.path);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static bool is_schedule(const char *name)
{
    for (int i = 0; fsmoe_schedule_name(i); i++)
        if (strcmp(fsmoe_schedule_name(i), name) == 0) return true;
    return false;
}

static fsmoe_status measure(const fsmoe_config *config, const fsmoe_plan *plan, fsmoe_memory *memory)
{
    fsmoe_plan_summary s;
    fsmoe_plan_summarize(plan, &s);
    return fsmoe_memory_of(config, s.nodes, s.ranks / s.nodes, memory);
}

fsmoe_status plan_source_create(const plan_source *source, const char *schedule, fsmoe_plan **plan,
                                fsmoe_memory *memory)
{
    fsmoe_config *config = NULL;
    char setting[128];
    config_source given = source->config;
    bool named = source->schedule && is_schedule(source->schedule) && given.count < CONFIG_SOURCE_MAX_SETTINGS;
    snprintf(setting, sizeof setting, "parallel.schedule=%s", named ? source->schedule : "");
    if (named) given.settings[given.count++] = setting; /* so that keys of others are refused, as in training */
    fsmoe_status status = config_source_load(&given, NULL, &config);
    if (status == FSMOE_OK) status = fsmoe_plan_create(config, &source->options, schedule, plan);
    if (status == FSMOE_OK && memory) {
        status = measure(config, *plan, memory);
        if (status != FSMOE_OK) fsmoe_plan_destroy(*plan);
    }
    fsmoe_config_destroy(config);
    return status;
}

void plan_source_warn(const fsmoe_plan *plan)
{
    fsmoe_plan_summary s;
    fsmoe_plan_summarize(plan, &s);
    if (s.other_layout) command_note(s.other_layout);
}
