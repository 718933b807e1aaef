/* The `fsmoe` command: picks the subcommand. */
#include "command.h"

#include "outputs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const command commands[] = {
    {"train", "train a model from a configuration", command_train},
    {"generate", "continue a prompt with a model", command_generate},
    {"eval", "loss of a model on a text", command_eval},
    {"tokenize", "turn text into a token file", command_tokenize},
    {"report", "write the report of a run", command_report},
    {"config", "show the configuration and its defaults", command_config},
    {"plan", "compare schedules of a step on a cluster", command_plan},
    {"simulate", "run a step on a virtual clock and draw it", command_simulate},
    {"profile", "measure what operations cost on this machine or cluster", command_profile},
    {"bench", "hold schedules against one another on these ranks", command_bench},
    {"layer", "run one layer on tensors from a file", command_layer},
    {"cluster", "make, import or show a cluster file", command_cluster},
};

static int exit_code;

enum { COMMAND_COUNT = sizeof commands / sizeof *commands };

static const char *mark(const char *sequence)
{
    return isatty(STDERR_FILENO) && !getenv("NO_COLOR") ? sequence : "";
}

__attribute__((format(printf, 2, 3))) static int fail(fsmoe_status status, const char *format, ...)
{
    va_list args;
    fprintf(stderr, "%sfsmoe: error:%s ", mark("\033[1;31m"), mark("\033[0m"));
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    return fsmoe_status_exit_code(status);
}

int command_fail(fsmoe_status status)
{
    const char *detail = fsmoe_last_error();
    return fail(status, "%s", detail[0] ? detail : fsmoe_status_text(status));
}

int command_fail_with(fsmoe_status status, const char *sentence)
{
    return fail(status, "%s", sentence);
}

void command_warn(const char *sentence)
{
    fprintf(stderr, "%sfsmoe: warning:%s %s\n", mark("\033[1;33m"), mark("\033[0m"), sentence);
}

void command_note(const char *sentence)
{
    fprintf(stderr, "%sfsmoe:%s %s\n", mark("\033[1;34m"), mark("\033[0m"), sentence);
}

bool command_is_file(const char *path)
{
    struct stat info;
    bool descriptor = strncmp(path, "/dev/", 5) == 0 || strncmp(path, "/proc/", 6) == 0;
    return !descriptor && (stat(path, &info) != 0 || S_ISREG(info.st_mode)); /* else reading it will say why not */
}

void command_parse(const struct argp *argp, int argc, char **argv, void *input)
{
    static char name[64];
    snprintf(name, sizeof name, "fsmoe %s", argv[0]);
    argv[0] = name;
    argp_err_exit_status = fsmoe_status_exit_code(FSMOE_ERROR_USAGE);
    char clash[4200];
    if (argp_parse(argp, argc, argv, 0, NULL, input) == 0) {
        if (!outputs_clash(argc, argv, clash, sizeof clash)) return;
        exit(command_fail_with(FSMOE_ERROR_USAGE, clash));
    }
    exit_code = command_fail_with(FSMOE_ERROR_MEMORY, "no memory to read the command line");
    exit(exit_code);
}

void command_take(struct argp_state *state, const char *name, const char *value, const char **kept)
{
    if (*kept) argp_error(state, "one %s, not also '%s'", name, value);
    *kept = value;
}

void command_require(struct argp_state *state, const char *name, const void *given)
{
    if (!given) argp_error(state, "%s is missing", name);
}

double command_number(struct argp_state *state, const char *option, const char *text, double min, double max)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= min && value <= max))
        argp_error(state, "%s takes a number from %g to %g, not '%s'", option, min, max, text);
    return value;
}

long long command_integer(struct argp_state *state, const char *option, const char *text, long long min)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (end == text || *end || errno || value < min)
        argp_error(state, "%s takes a whole number from %lld on, not '%s'", option, min, text);
    return value;
}

int command_count(struct argp_state *state, const char *option, const char *text)
{
    long long value = command_integer(state, option, text, 1);
    if (value > INT_MAX) argp_error(state, "%s takes %d at most, not '%s'", option, INT_MAX, text);
    return (int)value;
}

static void print_help(FILE *out)
{
    fprintf(out, "Usage: fsmoe COMMAND [OPTION...]\n"
                 "Trains sparse mixture-of-experts transformers.\n\nCommands:\n");
    for (int i = 0; i < COMMAND_COUNT; i++) fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].summary);
    fprintf(out, "\n'fsmoe COMMAND --help' tells what a command takes. Exit codes:\n");
#define PRINT_EXIT(status, code, text) fprintf(out, "  %-3d %s\n", code, text);
    FSMOE_STATUS_LIST(PRINT_EXIT)
#undef PRINT_EXIT
}

/* A stream that was started closed must not become the number of some file that is opened later. */
static void hold_streams(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) == -1 && open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd) return;
}

/* Output that did not arrive is a failure, unless the reader went away having seen enough. Runs at exit, since argp
 * itself prints help and ends the process. */
static void end_output(void)
{
    bool failed = ferror(stdout) != 0;
    errno = 0;
    if (fclose(stdout) != 0) failed = true;
    if (exit_code != 0 || !failed || errno == EPIPE) return;
    fail(FSMOE_ERROR_IO, "cannot write to standard output%s%s", errno ? ": " : "", errno ? strerror(errno) : "");
    _exit(fsmoe_status_exit_code(FSMOE_ERROR_IO));
}

static int run(int argc, char **argv)
{
    if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-?") == 0 || strcmp(argv[1], "-h") == 0)) {
        print_help(stdout);
        return 0;
    }
    if (argc > 1 && (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)) {
        printf("fsmoe %s\n", FSMOE_VERSION);
        return 0;
    }
    for (int i = 0; argc > 1 && i < COMMAND_COUNT; i++)
        if (strcmp(argv[1], commands[i].name) == 0) return commands[i].run(argc - 1, argv + 1);
    if (argc > 1) return fail(FSMOE_ERROR_USAGE, "no command is named '%s'; 'fsmoe --help' lists them", argv[1]);
    print_help(stderr);
    return fsmoe_status_exit_code(FSMOE_ERROR_USAGE);
}

int main(int argc, char **argv)
{
    hold_streams();
    if (atexit(end_output) != 0) return fail(FSMOE_ERROR_MEMORY, "no memory to begin");
    return exit_code = run(argc, argv);
}
