/* Where a command's configuration comes from: a file and --set, in order.
 * In:  what argp hands over. Out: a filled fsmoe_config; argp errors for a second file or too many --set.
 */
#ifndef FSMOE_TOOLS_CONFIG_SOURCE_H
#define FSMOE_TOOLS_CONFIG_SOURCE_H

#include "command.h"

enum { CONFIG_SOURCE_KEY_SET = 2000, CONFIG_SOURCE_MAX_SETTINGS = 256 };

#define CONFIG_SOURCE_OPTION                                                                                           \
    {                                                                                                                  \
        "set", CONFIG_SOURCE_KEY_SET, "SECTION.KEY=VALUE", 0, "Override a key of the configuration (may be repeated)", \
            0                                                                                                          \
    }

typedef struct config_source {
    const char *path; /* NULL: defaults only */
    const char *settings[CONFIG_SOURCE_MAX_SETTINGS];
    int count;
} config_source;

void config_source_add(config_source *source, struct argp_state *state, const char *setting);

/* Warnings about it go to stderr, of rank 0 of `world` alone (NULL: a process by itself). *config is destroyed by the
 * caller, also on failure (NULL is fine then). */
fsmoe_status config_source_load(const config_source *source, const fsmoe_world *world, fsmoe_config **config);

#endif
