/* fsmoe report RUN_DIR: the page that shows a run. */
#include "command.h"

#include <stdio.h>

static error_t parse(int key, char *value, struct argp_state *state)
{
    const char **run_dir = state->input;
    switch (key) {
    case ARGP_KEY_ARG:
        command_take(state, "RUN_DIR", value, run_dir);
        return 0;
    case ARGP_KEY_END:
        command_require(state, "RUN_DIR", *run_dir);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int command_report(int argc, char **argv)
{
    static const struct argp argp = {NULL, parse, "RUN_DIR", "Writes RUN_DIR/report.html from the run's log.", 0, 0, 0};
    const char *run_dir = NULL;
    command_parse(&argp, argc, argv, &run_dir);
    fsmoe_status status = fsmoe_report_write(run_dir);
    if (status != FSMOE_OK) return command_fail(status);
    printf("%s/report.html\n", run_dir);
    return 0;
}
