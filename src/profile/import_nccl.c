/* nccl-tests: "#  Rank …" lines, a head of two lines, rows
 *        size         count      type   redop    root     time   algbw   busbw #wrong     time   algbw   busbw #wrong
 *         (B)    (elements)                               (us)  (GB/s)  (GB/s)            (us)  (GB/s)  (GB/s)
 * and a foot ("# Out of bounds values", "# Avg bus bandwidth"). Times are out of place first, then in place. Versions
 * before 2.13 lack redop or root where the collective has none, so columns are found by their names.
 * Size is max(bytes sent, bytes received) of a rank, count the argument of the collective: for an all-reduce the vector
 * and its length; for all-gather, reduce-scatter and all-to-all the whole of a rank's buffer, and the length of one
 * rank's block. So size is n in bytes for all four (src/common.cu, TimeTest; GetCollByteCount of each test). */
#include "profile/import.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

static const char starting[] = "# Collective test starting:", concluded[] = "# Collective test concluded:";

static bool starts_with(const char *line, const char *prefix)
{
    return strncmp(line, prefix, strlen(prefix)) == 0;
}

static int program_in(const char *text)
{
    static const struct {
        const char *program;
        fsm_cost_op op;
    } programs[] = {
        {"all_reduce_perf", FSM_COST_ALLREDUCE},
        {"all_gather_perf", FSM_COST_ALLGATHER},
        {"reduce_scatter_perf", FSM_COST_REDUCESCATTER},
        {"alltoall_perf", FSM_COST_ALLTOALL},
    };
    for (size_t i = 0; i < COUNT_OF(programs); i++)
        if (strstr(text, programs[i].program)) return (int)programs[i].op;
    return -1;
}

int fsm_benchlog_command_op(const char *line)
{
    return starts_with(line, concluded) ? -1 : program_in(line);
}

/* The op that the file's own name tells: "allreduce.log", "all-gather_8.txt"; -1: none, or more than one. */
static int op_in_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    char letters[256];
    size_t n = 0;
    for (const char *at = slash ? slash + 1 : path; *at && n + 1 < sizeof letters; at++)
        if (*at != '_' && *at != '-') letters[n++] = *at;
    letters[n] = 0;
    int found = -1;
    for (int op = FSM_COST_ALLTOALL; op < FSM_COST_OP_COUNT; op++)
        if (strstr(letters, fsm_cost_op_name((fsm_cost_op)op))) found = found == -1 ? op : -2;
    return found < 0 ? -1 : found;
}

static bool nccl_begins(const fsm_log *log, const char *line)
{
    if (starts_with(line, "# nccl-tests version")) return true;
    if (!starts_with(line, starting) && !starts_with(line, "# nThread ")) return false;
    return log->format != &fsm_benchlog_nccl || log->columns > 0; /* else a further line of the same head */
}

/* "#  Rank  3 Group  0 Pid …": with groups, each does the collective for itself, so the first one's ranks count. */
static void count_rank(fsm_log *log, char *const *words, int count)
{
    int group = count > 4 && strcmp(words[3], "Group") == 0 ? (int)strtol(words[4], NULL, 10) : 0;
    if (log->ranks == 0) log->group = group;
    if (group == log->group) log->ranks++;
}

static fsmoe_status find_op(fsm_log *log)
{
    if (log->op >= 0) return FSMOE_OK;
    if (log->command_op >= 0) return fsm_benchlog_set_op(log, (fsm_cost_op)log->command_op);
    log->op = log->hints->op >= 0 ? log->hints->op : op_in_name(log->path);
    if (log->op >= 0) return FSMOE_OK;
    return fsm_benchlog_fail(log,
                             "the log does not say which collective it measures; say it: alltoall=%s, or allgather=, "
                             "reducescatter=, allreduce=",
                             log->path);
}

static fsmoe_status read_head(fsm_log *log, char *const *words, int count)
{
    for (int i = 1; i < count && !log->time_column && strcmp(words[i], "algbw") != 0; i++) {
        if (strcmp(words[i], "cputime") == 0)
            return fsm_benchlog_fail(log, "the times are the processor's (-C), not the operation's");
        if (strcmp(words[i], "time") == 0) log->time_column = i - 1;
    }
    if (!log->time_column) return fsm_benchlog_fail(log, "the table has no column 'time' before 'algbw'");
    log->columns = count - 1;
    return find_op(log);
}

static double bytes_of_type(const char *type)
{
    static const struct {
        const char *name;
        double bytes;
    } types[] = {{"float", 4}, {"half", 2},   {"bfloat16", 2}, {"double", 8}, {"int8", 1},
                 {"uint8", 1}, {"char", 1},   {"int32", 4},    {"int", 4},    {"uint32", 4},
                 {"int64", 8}, {"uint64", 8}, {"f8e4m3", 1},   {"f8e5m2", 1}};
    for (size_t i = 0; i < COUNT_OF(types); i++)
        if (strcmp(type, types[i].name) == 0) return types[i].bytes;
    return 0;
}

/* The blocks in a rank's buffer: 1 for an all-reduce, the number of ranks for the others. This is what tells a log that
 * was given a wrong name. */
static fsmoe_status check_blocks(fsm_log *log, double blocks)
{
    const char *name = fsm_cost_op_name((fsm_cost_op)log->op);
    if (log->op == FSM_COST_ALLREDUCE && blocks != 1)
        return fsm_benchlog_fail(log, "size is %g times count: the log measures no %s", blocks, name);
    if (log->op != FSM_COST_ALLREDUCE && (blocks < 2 || blocks != rint(blocks) || blocks > 1e9))
        return fsm_benchlog_fail(log, "size is %g times count: the log measures no %s of two ranks or more", blocks,
                                 name);
    if (log->op != FSM_COST_ALLREDUCE && log->ranks > 0 && blocks != log->ranks)
        return fsm_benchlog_fail(log, "size is %g times count, but the log lists %d ranks", blocks, log->ranks);
    return FSMOE_OK;
}

static fsmoe_status read_row(fsm_log *log, char *const *words, int count)
{
    double bytes, elements, time_us;
    if (count < log->columns) return fsm_benchlog_fail(log, "a row of %d values under %d columns", count, log->columns);
    FSM_TRY(fsm_benchlog_number(log, "size", words[0], &bytes));
    FSM_TRY(fsm_benchlog_number(log, "count", words[1], &elements));
    FSM_TRY(fsm_benchlog_number(log, "time", words[log->time_column], &time_us));
    if (bytes == 0) return FSMOE_OK; /* too small to split over the ranks: nothing was moved */
    double type = bytes_of_type(words[2]);
    if (type == 0) return fsm_benchlog_fail(log, "unknown type '%s'", words[2]);
    double blocks = bytes / (elements * type);
    FSM_TRY(check_blocks(log, blocks));
    return fsm_benchlog_add(log, bytes, time_us, log->op == FSM_COST_ALLREDUCE ? log->ranks : (int)blocks);
}

/* "# Out of bounds values : 0 OK" */
static fsmoe_status read_errors(const fsm_log *log, char *const *words, int count)
{
    if (count > 6 && strcmp(words[6], "0") == 0) return FSMOE_OK;
    return fsm_benchlog_fail(log, "the collective gave wrong results");
}

static fsmoe_status read_starting(fsm_log *log, const char *line)
{
    int op = program_in(line);
    if (op >= 0) return fsm_benchlog_set_op(log, (fsm_cost_op)op);
    return fsm_fail(
        FSMOE_ERROR_UNSUPPORTED,
        "'%s' line %d: '%s' is none of all_reduce_perf, all_gather_perf, reduce_scatter_perf, alltoall_perf", log->path,
        log->line, line + strlen(starting) + strspn(line + strlen(starting), " "));
}

static fsmoe_status nccl_read(fsm_log *log, const char *line)
{
    char copy[FSM_LOG_LINE_BYTES], *words[FSM_LOG_WORDS];
    int count = fsm_benchlog_split(line, copy, words);
    if (starts_with(line, starting)) return read_starting(log, line);
    if (starts_with(line, "# Out of bounds values")) return read_errors(log, words, count);
    if (count > 2 && words[0][0] == '#' && strcmp(words[1], "Rank") == 0) count_rank(log, words, count);
    if (count > 2 && words[0][0] == '#' && strcmp(words[1], "size") == 0) return read_head(log, words, count);
    if (log->columns > 0 && fsm_benchlog_is_row(line)) return read_row(log, words, count);
    if (!starts_with(line, "# Avg bus bandwidth")) return FSMOE_OK;
    FSM_TRY(log->rows > 0 ? FSMOE_OK : fsm_benchlog_fail(log, "a log without a row that moves anything"));
    log->format = NULL; /* whole */
    log->command_op = -1;
    return FSMOE_OK;
}

static fsmoe_status nccl_end(const fsm_log *log)
{
    return fsm_benchlog_fail(log, "the log that begins in line %d is cut off: it has no line '# Avg bus bandwidth'",
                             log->first_line);
}

const fsm_benchlog_format fsm_benchlog_nccl = {nccl_begins, nccl_read, nccl_end};
