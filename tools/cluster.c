/* fsmoe cluster import | new | show: cluster files from logs, from the rates of links, and as a table. */
#include "command.h"

#include <ctype.h>
#include <errno.h>
#include <fsmoe/cluster.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static double parse_quantity(struct argp_state *state, const char *option, const char *text, fsmoe_quantity quantity)
{
    double value = 0;
    if (fsmoe_quantity_parse(text, quantity, &value) != FSMOE_OK)
        argp_error(state, "%s: %s", option, fsmoe_last_error());
    return value;
}

static fsmoe_status print_table(const char *path)
{
    char *text = NULL;
    fsmoe_status status = fsmoe_cluster_describe(path, &text);
    if (status == FSMOE_OK) fputs(text, stdout);
    free(text);
    return status;
}

/* ---- import ---- */

enum { KEY_OUT = 1000, KEY_NAME, KEY_NODES, KEY_RANKS_PER_NODE, KEY_BASE, KEY_RANKS, KEY_GEMM_FLOPS, KEY_GEMM_LATENCY };

typedef struct import_arguments {
    fsmoe_cluster_import_options options;
    fsmoe_cluster_log *logs; /* [arguments of the command] */
    const char *out;
} import_arguments;

static const struct argp_option import_options[] = {
    {"out", KEY_OUT, "CLUSTER.json", 0, "Where the cluster file goes", 0},
    {"name", KEY_NAME, "NAME", 0, "Name of the cluster (that of --base, or of the file)", 0},
    {"nodes", KEY_NODES, "N", 0, "Nodes of the cluster", 0},
    {"ranks-per-node", KEY_RANKS_PER_NODE, "R", 0, "Ranks on each of them", 0},
    {"ranks", KEY_RANKS, "[OP=]P", 0,
     "Ranks that OSU logs were measured on, which do not say it; with alltoall= or allgather=: those logs alone", 0},
    {"gemm-flops", KEY_GEMM_FLOPS, "RATE", 0, "FLOP/s that GEMMs reach, such as 300T", 0},
    {"gemm-latency", KEY_GEMM_LATENCY, "TIME", 0, "Time of an empty GEMM, such as 10us (0)", 0},
    {"base", KEY_BASE, "CLUSTER.json", 0, "Cluster file that gives what logs do not", 0},
    {0},
};

/* "alltoall=FILE": letters before the '='; a file of such a name is written ./alltoall=FILE. The list begins
 * with the first: argp needs no more memory then, and says what this returns. */
static error_t add_log(import_arguments *a, const struct argp_state *state, char *text)
{
    char *end = text;
    if (!a->logs) a->options.logs = a->logs = calloc((size_t)state->argc, sizeof *a->logs);
    if (!a->logs) return ENOMEM;
    while (islower((unsigned char)*end)) end++;
    bool named = end > text && *end == '=';
    if (named) *end = 0;
    a->logs[a->options.log_count++] = (fsmoe_cluster_log){.path = named ? end + 1 : text, .op = named ? text : NULL};
    return 0;
}

static void parse_ranks(struct argp_state *state, fsmoe_cluster_import_options *options, const char *text)
{
    static const char alltoall[] = "alltoall=", allgather[] = "allgather=";
    if (strncmp(text, alltoall, strlen(alltoall)) == 0)
        options->alltoall_ranks = command_count(state, "--ranks alltoall=", text + strlen(alltoall));
    else if (strncmp(text, allgather, strlen(allgather)) == 0)
        options->allgather_ranks = command_count(state, "--ranks allgather=", text + strlen(allgather));
    else options->ranks = command_count(state, "--ranks", text);
}

static error_t parse_import(int key, char *value, struct argp_state *state)
{
    import_arguments *a = state->input;
    fsmoe_cluster_import_options *o = &a->options;
    switch (key) {
    case KEY_OUT:
        a->out = value;
        return 0;
    case KEY_NAME:
        o->name = value;
        return 0;
    case KEY_BASE:
        o->base = value;
        return 0;
    case KEY_NODES:
        o->nodes = command_count(state, "--nodes", value);
        return 0;
    case KEY_RANKS_PER_NODE:
        o->ranks_per_node = command_count(state, "--ranks-per-node", value);
        return 0;
    case KEY_RANKS:
        parse_ranks(state, o, value);
        return 0;
    case KEY_GEMM_FLOPS:
        o->gemm_flops = parse_quantity(state, "--gemm-flops", value, FSMOE_QUANTITY_FLOPS);
        return 0;
    case KEY_GEMM_LATENCY:
        o->gemm_latency_s = parse_quantity(state, "--gemm-latency", value, FSMOE_QUANTITY_TIME);
        return 0;
    case ARGP_KEY_ARG:
        return add_log(a, state, value);
    case ARGP_KEY_END:
        command_require(state, "--out", a->out);
        if (o->log_count == 0 && !o->base) argp_error(state, "FILE is missing");
        if (o->gemm_latency_s > 0 && o->gemm_flops == 0) argp_error(state, "--gemm-latency goes with --gemm-flops");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void note(void *user, const char *sentence)
{
    (void)user;
    command_note(sentence);
}

static int run_import(int argc, char **argv)
{
    static const struct argp argp = {
        import_options,
        parse_import,
        "[OP=]FILE...",
        "Turns logs of nccl-tests and of the OSU micro-benchmarks into a cluster file.\v"
        "A FILE holds one log or several, with whatever mpirun or srun put before each line; other benchmarks in it "
        "are "
        "skipped. Logs that do not say what they measure take it from OP (alltoall, allgather, "
        "reducescatter, allreduce) or from the FILE's name.",
        0,
        0,
        0};
    import_arguments a = {.options.on_message = note};
    command_parse(&argp, argc, argv, &a);
    fsmoe_status status = fsmoe_cluster_import(&a.options, a.out);
    if (status == FSMOE_OK && command_is_file(a.out)) status = print_table(a.out);
    free(a.logs);
    return status == FSMOE_OK ? 0 : command_fail(status);
}

/* ---- new ---- */

enum {
    NEW_NODES,
    NEW_RANKS_PER_NODE,
    NEW_INTER_RATE,
    NEW_INTER_LATENCY,
    NEW_INTRA_RATE,
    NEW_INTRA_LATENCY,
    NEW_FLOPS,
    NEW_FIELDS,
    NEW_OUT = 1000,
    NEW_NAME,
    NEW_GEMM_LATENCY
};

/* The options that are asked for when they are not given; an option's key is its place + 1. */
static const struct {
    const char *option, *question;
    bool is_count;
    fsmoe_quantity quantity;
} fields[NEW_FIELDS] = {
    [NEW_NODES] = {"--nodes", "Nodes", true, 0},
    [NEW_RANKS_PER_NODE] = {"--ranks-per-node", "Ranks per node", true, 0},
    [NEW_INTER_RATE] = {"--inter-rate", "Rate of a rank between nodes, such as 25GB/s", false, FSMOE_QUANTITY_RATE},
    [NEW_INTER_LATENCY] = {"--inter-latency", "Latency between nodes, such as 10us", false, FSMOE_QUANTITY_TIME},
    [NEW_INTRA_RATE] = {"--intra-rate", "Rate of a rank inside a node, such as 300GB/s", false, FSMOE_QUANTITY_RATE},
    [NEW_INTRA_LATENCY] = {"--intra-latency", "Latency inside a node, such as 5us", false, FSMOE_QUANTITY_TIME},
    [NEW_FLOPS] = {"--flops", "FLOP/s that a rank's GEMMs reach, such as 300T", false, FSMOE_QUANTITY_FLOPS},
};

typedef struct new_arguments {
    const char *out, *name;
    bool given[NEW_FIELDS];
    double value[NEW_FIELDS];
    double gemm_latency_s;
} new_arguments;

static const struct argp_option new_options[] = {
    {"out", NEW_OUT, "CLUSTER.json", 0, "Where the cluster file goes", 0},
    {"name", NEW_NAME, "NAME", 0, "Name of the cluster (that of the file)", 0},
    {"nodes", NEW_NODES + 1, "N", 0, "Nodes", 0},
    {"ranks-per-node", NEW_RANKS_PER_NODE + 1, "R", 0, "Ranks on each of them", 0},
    {"inter-rate", NEW_INTER_RATE + 1, "RATE", 0, "What a rank gets of the link between nodes: 25GB/s, 200Gbit/s", 0},
    {"inter-latency", NEW_INTER_LATENCY + 1, "TIME", 0, "Latency of that link: 10us", 0},
    {"intra-rate", NEW_INTRA_RATE + 1, "RATE", 0, "What a rank gets of the link inside a node", 0},
    {"intra-latency", NEW_INTRA_LATENCY + 1, "TIME", 0, "Latency of that link", 0},
    {"flops", NEW_FLOPS + 1, "RATE", 0, "FLOP/s that a rank's GEMMs reach: 300T", 0},
    {"gemm-latency", NEW_GEMM_LATENCY, "TIME", 0, "Time of an empty GEMM (0)", 0},
    {0},
};

static void set_field(struct argp_state *state, int field, const char *text)
{
    new_arguments *a = state->input;
    a->given[field] = true;
    a->value[field] = fields[field].is_count
                          ? command_count(state, fields[field].option, text)
                          : parse_quantity(state, fields[field].option, text, fields[field].quantity);
}

/* With one node nothing crosses between nodes; with one rank a node nothing moves inside. */
static bool is_used(const new_arguments *a, int field)
{
    if (field == NEW_INTER_RATE || field == NEW_INTER_LATENCY) return a->value[NEW_NODES] > 1;
    if (field == NEW_INTRA_RATE || field == NEW_INTRA_LATENCY) return a->value[NEW_RANKS_PER_NODE] > 1;
    return true;
}

static void ask(struct argp_state *state, int field)
{
    char *answer = NULL;
    size_t bytes = 0;
    fprintf(stderr, "%s: ", fields[field].question);
    ssize_t length = getline(&answer, &bytes, stdin);
    if (length < 0) {
        fputc('\n', stderr);
        argp_error(state, "%s is missing", fields[field].option);
    }
    while (length > 0 && isspace((unsigned char)answer[length - 1])) answer[--length] = 0;
    set_field(state, field, answer);
    free(answer);
}

static error_t parse_new(int key, char *value, struct argp_state *state)
{
    new_arguments *a = state->input;
    switch (key) {
    case NEW_OUT:
        a->out = value;
        return 0;
    case NEW_NAME:
        a->name = value;
        return 0;
    case NEW_GEMM_LATENCY:
        a->gemm_latency_s = parse_quantity(state, "--gemm-latency", value, FSMOE_QUANTITY_TIME);
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s' is no option", value);
        return 0;
    case ARGP_KEY_END:
        command_require(state, "--out", a->out);
        for (int field = 0; field < NEW_FIELDS; field++)
            if (!a->given[field] && is_used(a, field)) ask(state, field);
        return 0;
    default:
        if (key < 1 || key > NEW_FIELDS) return ARGP_ERR_UNKNOWN;
        set_field(state, key - 1, value);
        return 0;
    }
}

static int run_new(int argc, char **argv)
{
    static const struct argp argp = {new_options,
                                     parse_new,
                                     "",
                                     "Writes the cluster file of links with a rate and a latency; asks for what is not "
                                     "given.",
                                     0,
                                     0,
                                     0};
    new_arguments a = {0};
    command_parse(&argp, argc, argv, &a);
    const fsmoe_cluster_links links = {
        .name = a.name,
        .nodes = (int)a.value[NEW_NODES],
        .ranks_per_node = (int)a.value[NEW_RANKS_PER_NODE],
        .inter_bytes_per_s = a.value[NEW_INTER_RATE],
        .inter_latency_s = a.value[NEW_INTER_LATENCY],
        .intra_bytes_per_s = a.value[NEW_INTRA_RATE],
        .intra_latency_s = a.value[NEW_INTRA_LATENCY],
        .flops = a.value[NEW_FLOPS],
        .gemm_latency_s = a.gemm_latency_s,
    };
    fsmoe_status status = fsmoe_cluster_new(&links, a.out);
    if (status == FSMOE_OK && command_is_file(a.out)) status = print_table(a.out);
    return status == FSMOE_OK ? 0 : command_fail(status);
}

/* ---- show ---- */

static error_t parse_show(int key, char *value, struct argp_state *state)
{
    const char **path = state->input;
    switch (key) {
    case ARGP_KEY_ARG:
        command_take(state, "CLUSTER.json", value, path);
        return 0;
    case ARGP_KEY_END:
        command_require(state, "CLUSTER.json", *path);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static int run_show(int argc, char **argv)
{
    static const struct argp argp = {NULL, parse_show, "CLUSTER.json", "Prints a cluster file as a table.", 0, 0, 0};
    const char *path = NULL;
    command_parse(&argp, argc, argv, &path);
    fsmoe_status status = print_table(path);
    return status == FSMOE_OK ? 0 : command_fail(status);
}

/* ---- which of them ---- */

static const struct {
    const char *name;
    char *full_name;
    int (*run)(int argc, char **argv);
} subcommands[] = {
    {"import", "cluster import", run_import},
    {"new", "cluster new", run_new},
    {"show", "cluster show", run_show},
};

/* Reached only when no subcommand comes first. */
static error_t parse_none(int key, char *value, struct argp_state *state)
{
    switch (key) {
    case ARGP_KEY_ARG:
        argp_error(state, "'%s' is none of import, new, show", value);
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "import, new or show is missing");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int command_cluster(int argc, char **argv)
{
    static const struct argp argp = {NULL,
                                     parse_none,
                                     "import [OP=]FILE...\nnew\nshow CLUSTER.json",
                                     "Cluster files: what operations cost on a cluster.\v"
                                     "import  from logs of nccl-tests and of the OSU micro-benchmarks\n"
                                     "new     from the rates and latencies of links\n"
                                     "show    as a table\n\n"
                                     "'fsmoe cluster import --help' tells what import takes.",
                                     0,
                                     0,
                                     0};
    for (size_t i = 0; argc > 1 && i < sizeof subcommands / sizeof *subcommands; i++) {
        if (strcmp(argv[1], subcommands[i].name) != 0) continue;
        argv[1] = subcommands[i].full_name;
        return subcommands[i].run(argc - 1, argv + 1);
    }
    command_parse(&argp, argc, argv, NULL);
    return 0;
}
