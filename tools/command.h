/* What the subcommands share: their table, and how they speak.
 * In:  argc and argv from the subcommand's name on. Out: the process's exit code.
 * Data goes to stdout, messages to stderr; colour and progress only to a terminal without NO_COLOR.
 */
#ifndef FSMOE_TOOLS_COMMAND_H
#define FSMOE_TOOLS_COMMAND_H

#include <argp.h>
#include <fsmoe/fsmoe.h>
#include <stdbool.h>

typedef struct command {
    const char *name, *summary;
    int (*run)(int argc, char **argv);
} command;

int command_train(int argc, char **argv);
int command_generate(int argc, char **argv);
int command_eval(int argc, char **argv);
int command_tokenize(int argc, char **argv);
int command_report(int argc, char **argv);
int command_config(int argc, char **argv);
int command_plan(int argc, char **argv);
int command_simulate(int argc, char **argv);
int command_profile(int argc, char **argv);
int command_bench(int argc, char **argv);
int command_cluster(int argc, char **argv);
int command_layer(int argc, char **argv);

/* Prints "fsmoe: error: …" for a failed status; returns its exit code. */
int command_fail(fsmoe_status status);

/* The same with a sentence of the command's own. */
int command_fail_with(fsmoe_status status, const char *sentence);

/* "fsmoe: warning: …" on stderr. */
void command_warn(const char *sentence);

/* "fsmoe: …" on stderr. */
void command_note(const char *sentence);

/* Whether what was written to a path can be read again: devices, FIFOs and /dev/stdout cannot. */
bool command_is_file(const char *path);

/* argp_parse with errors that exit with the code for wrong use; argv[0] becomes "fsmoe NAME". */
void command_parse(const struct argp *argp, int argc, char **argv, void *input);

/* The one positional argument, called `name` in messages: keep it, and see at the end that it was given. */
void command_take(struct argp_state *state, const char *name, const char *value, const char **kept);
void command_require(struct argp_state *state, const char *name, const void *given);

/* A number from an option's argument; a wrong one is an argp error that names the option. */
double command_number(struct argp_state *state, const char *option, const char *text, double min, double max);
long long command_integer(struct argp_state *state, const char *option, const char *text, long long min);
int command_count(struct argp_state *state, const char *option, const char *text); /* from 1 on */

#endif
