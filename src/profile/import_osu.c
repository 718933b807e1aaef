/* The OSU micro-benchmarks: a title, a head, rows, no foot:
 *     # OSU MPI Allreduce Latency Test v7.2
 *     # Size       Avg Latency(us)   Min Latency(us)   Max Latency(us)  Iterations
 *     4                       1.06 …
 * Without -f only the mean is there; further columns are the tests' own. Size in bytes is what one rank sends to one
 * other in an all-to-all, what a rank contributes to an all-gather, the whole vector of reduce-scatter and all-reduce
 * (the calls in mpi/collective/blocking/osu_*.c). */
#include "profile/import.h"

#include <string.h>

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

static const char latency_test[] = " Latency Test";

static const struct {
    const char *title;
    fsm_cost_op op;
    bool size_of_a_part; /* Size times the ranks is n in bytes */
} benchmarks[] = {
    {"All-to-All Personalized Exchange", FSM_COST_ALLTOALL, true},
    {"Allgather", FSM_COST_ALLGATHER, true},
    {"Reduce_scatter", FSM_COST_REDUCESCATTER, false},
    {"Allreduce", FSM_COST_ALLREDUCE, false},
};

static bool osu_begins(const fsm_log *log, const char *line)
{
    (void)log;
    return strncmp(line, "# OSU ", 6) == 0;
}

/* "# OSU MPI-CUDA Allreduce Latency Test v7.4": the benchmark's name stands between the library and "Latency Test". */
static fsmoe_status read_title(fsm_log *log, const char *line)
{
    const char *library = line + strlen("# OSU "), *name = library + strcspn(library, " ");
    name += strspn(name, " ");
    for (size_t i = 0; i < COUNT_OF(benchmarks); i++) {
        size_t length = strlen(benchmarks[i].title);
        if (strncmp(name, benchmarks[i].title, length) != 0) continue;
        if (strncmp(name + length, latency_test, strlen(latency_test)) == 0)
            return fsm_benchlog_set_op(log, benchmarks[i].op);
    }
    fsm_benchlog_skip(log, line + 2);
    return FSMOE_OK;
}

/* Columns stand at least two blanks apart; their names have single ones. */
static int count_columns(const char *line)
{
    int count = 0;
    const char *at = line + 2;
    while (*at && *at != '\r') {
        count++;
        const char *gap = strstr(at, "  ");
        at = gap ? gap + strspn(gap, " \r") : at + strlen(at);
    }
    return count;
}

static fsmoe_status read_head(fsm_log *log, const char *line)
{
    const char *first = line + strlen("# Size");
    first += strspn(first, " ");
    if (strncmp(first, "Avg Latency(us)", strlen("Avg Latency(us)")) != 0)
        return fsm_benchlog_fail(log, "the column after Size is not 'Avg Latency(us)'");
    log->columns = count_columns(line);
    log->time_column = 1;
    return FSMOE_OK;
}

static fsmoe_status bytes_of_size(const fsm_log *log, double size, double *bytes)
{
    *bytes = size;
    for (size_t i = 0; i < COUNT_OF(benchmarks); i++) {
        if ((int)benchmarks[i].op != log->op || !benchmarks[i].size_of_a_part) continue;
        int ranks = log->hints->ranks[log->op];
        if (ranks < 1)
            return fsm_fail(
                FSMOE_ERROR_CONFIG,
                "'%s' line %d: sizes of %s are per rank and the log does not say how many ranks there were; "
                "give --ranks",
                log->path, log->line, fsm_cost_op_name((fsm_cost_op)log->op));
        *bytes = size * ranks;
    }
    return FSMOE_OK;
}

static fsmoe_status read_row(fsm_log *log, const char *line)
{
    char copy[FSM_LOG_LINE_BYTES], *words[FSM_LOG_WORDS];
    double size, time_us, bytes;
    int count = fsm_benchlog_split(line, copy, words);
    if (count < log->columns) return fsm_benchlog_fail(log, "a row of %d values under %d columns", count, log->columns);
    FSM_TRY(fsm_benchlog_number(log, "size", words[0], &size));
    FSM_TRY(fsm_benchlog_number(log, "time", words[log->time_column], &time_us));
    if (strstr(line, "Fail")) return fsm_benchlog_fail(log, "the collective gave wrong results");
    FSM_TRY(bytes_of_size(log, size, &bytes));
    return fsm_benchlog_add(log, bytes, time_us, log->hints->ranks[log->op]);
}

static fsmoe_status osu_read(fsm_log *log, const char *line)
{
    if (osu_begins(log, line)) return read_title(log, line);
    if (log->skipped) return FSMOE_OK;
    if (strncmp(line, "# Size", strlen("# Size")) == 0) return read_head(log, line);
    if (!fsm_benchlog_is_row(line)) return FSMOE_OK;
    if (log->columns == 0) return fsm_benchlog_fail(log, "a row before the line '# Size'");
    return read_row(log, line);
}

static fsmoe_status osu_end(const fsm_log *log)
{
    if (log->rows > 0) return FSMOE_OK;
    return fsm_benchlog_fail(log, "the log that begins in line %d is cut off: it has no rows", log->first_line);
}

const fsm_benchlog_format fsm_benchlog_osu = {osu_begins, osu_read, osu_end};
