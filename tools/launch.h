/* The ranks that a command runs on, and whether its launcher meant more than there are.
 * In:  the environment that launchers leave. Out: the world; or a refusal, where every process would go on alone.
 */
#ifndef FSMOE_TOOLS_LAUNCH_H
#define FSMOE_TOOLS_LAUNCH_H

#include "command.h"

#include <stdbool.h>

enum { LAUNCH_KEY_ALONE = 2100 };

#define LAUNCH_OPTION                                                                                           \
    {                                                                                                           \
        "alone", LAUNCH_KEY_ALONE, NULL, 0, "Run as one rank even where a launcher seems to have meant more", 0 \
    }

/* Creates the world, to be destroyed by the caller. Returns 0; else the exit code, with the error printed: among others
 * when the world is one rank, a launcher's variable says more, and nobody insists on running `alone`. */
int launch_world(bool alone, fsmoe_world **world);

#endif
