#include "config_source.h"

void config_source_add(config_source *source, struct argp_state *state, const char *setting)
{
    if (source->count == CONFIG_SOURCE_MAX_SETTINGS)
        argp_error(state, "more than %d --set", CONFIG_SOURCE_MAX_SETTINGS);
    source->settings[source->count++] = setting;
}

static void on_warning(void *user, const char *sentence)
{
    (void)user;
    command_warn(sentence);
}

fsmoe_status config_source_load(const config_source *source, const fsmoe_world *world, fsmoe_config **config)
{
    *config = NULL;
    fsmoe_status status = fsmoe_config_create(config);
    bool speaks = !world || fsmoe_world_rank(world) == 0;
    if (status == FSMOE_OK && speaks) fsmoe_config_on_warning(*config, on_warning, NULL);
    if (status == FSMOE_OK && source->path) status = fsmoe_config_load(*config, source->path);
    for (int i = 0; status == FSMOE_OK && i < source->count; i++)
        status = fsmoe_config_set(*config, source->settings[i]);
    return status;
}
