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

/* The longer of two names that contain one another comes first. */
static const fsm_benchlog_program *program_in(const char *text)
{
    static const fsm_benchlog_program programs[] = {
        {"all_reduce_perf", FSM_COST_ALLREDUCE},
        {"all_gather_perf", FSM_COST_ALLGATHER},
        {"reduce_scatter_perf", FSM_COST_REDUCESCATTER},
        {"alltoall_perf", FSM_COST_ALLTOALL},
        {"alltoallv_perf", -1},
        {"broadcast_perf", -1},
        {"reduce_perf", -1},
        {"scatter_perf", -1},
        {"gather_perf", -1},
        {"sendrecv_perf", -1},
        {"hypercube_perf", -1},
    };
    for (size_t i = 0; i < COUNT_OF(programs); i++)
        if (strstr(text, programs[i].name)) return &programs[i];
    return NULL;
}

const fsm_benchlog_program *fsm_benchlog_command(const char *line)
{
    return starts_with(line, concluded) ? NULL : program_in(line);
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

static const char without_mpi[] = "nccl-tests was built without MPI, so that every process measured itself alone";

/* "#  Rank  3 Group  0 Pid …": with groups, each does the collective for itself, so the first one's ranks count. */
static fsmoe_status count_rank(fsm_log *log, char *const *words, int count)
{
    int group = count > 4 && strcmp(words[3], "Group") == 0 ? (int)strtol(words[4], NULL, 10) : 0;
    bool is_rank_0 = strcmp(words[2], "0") == 0;
    if (log->ranks == 0) log->group = group;
    if (group != log->group) return FSMOE_OK;
    if (is_rank_0 && log->has_rank_0) return fsm_benchlog_fail(log, "rank 0 is listed twice: %s", without_mpi);
    log->has_rank_0 |= is_rank_0;
    log->ranks++;
    return FSMOE_OK;
}

static fsmoe_status find_op(fsm_log *log)
{
    if (log->op >= 0) return FSMOE_OK;
    if (log->command && log->command->op >= 0) return fsm_benchlog_set_op(log, (fsm_cost_op)log->command->op);
    if (log->command) {
        fsm_benchlog_skip(log, log->command->name);
        return FSMOE_OK;
    }
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

/* What every rank of two or more sends is half of what algbw counts at least: a bus bandwidth of 0 beside it says that
 * nothing was sent. */
static fsmoe_status check_moved(const fsm_log *log, char *const *words)
{
    const double shown = 0.02; /* GB/s whose half two decimals do not round to 0 */
    const int algbw = log->time_column + 1, busbw = algbw + 1;
    if (log->ranks == 1)
        return fsm_benchlog_fail(log, "a log of one rank, where nothing moves: perhaps %s", without_mpi);
    if (busbw >= log->columns || strtod(words[algbw], NULL) < shown || strspn(words[busbw], "0.") == 0 ||
        strtod(words[busbw], NULL) > 0)
        return FSMOE_OK;
    return fsm_benchlog_fail(log, "no bus bandwidth where algbw is %s GB/s: one rank, so nothing moves; perhaps %s",
                             words[algbw], without_mpi);
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
    FSM_TRY(check_moved(log, words));
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
    const char *name = line + strlen(starting) + strspn(line + strlen(starting), " ");
    const fsm_benchlog_program *program = program_in(name);
    if (program && program->op >= 0) return fsm_benchlog_set_op(log, (fsm_cost_op)program->op);
    fsm_benchlog_skip(log, name);
    return FSMOE_OK;
}

static fsmoe_status read_foot(fsm_log *log)
{
    if (!log->skipped && log->rows == 0) return fsm_benchlog_fail(log, "a log without a row that moves anything");
    log->format = NULL; /* whole */
    log->command = NULL;
    return FSMOE_OK;
}

/* Of a skipped log only its table's head and its foot count, by which the next log's head is known from its own. */
static fsmoe_status read_skipped(fsm_log *log, char *const *words, int count)
{
    if (count > 2 && strcmp(words[1], "size") == 0) log->columns = count - 1;
    return FSMOE_OK;
}

static fsmoe_status nccl_read(fsm_log *log, const char *line)
{
    char copy[FSM_LOG_LINE_BYTES], *words[FSM_LOG_WORDS];
    int count = fsm_benchlog_split(line, copy, words);
    bool is_remark = count > 2 && words[0][0] == '#';
    if (starts_with(line, "# Avg bus bandwidth")) return read_foot(log);
    if (log->skipped) return read_skipped(log, words, count);
    if (starts_with(line, starting)) return read_starting(log, line);
    if (starts_with(line, "# Out of bounds values")) return read_errors(log, words, count);
    if (is_remark && strcmp(words[1], "Rank") == 0) return count_rank(log, words, count);
    if (is_remark && strcmp(words[1], "size") == 0) return read_head(log, words, count);
    return log->columns > 0 && fsm_benchlog_is_row(line) ? read_row(log, words, count) : FSMOE_OK;
}

static fsmoe_status nccl_end(const fsm_log *log)
{
    return fsm_benchlog_fail(log, "the log that begins in line %d is cut off: it has no line '# Avg bus bandwidth'%s%s",
                             log->first_line, log->ranks == 1 ? "; it has one rank: perhaps " : "",
                             log->ranks == 1 ? without_mpi : "");
}

const fsm_benchlog_format fsm_benchlog_nccl = {nccl_begins, nccl_read, nccl_end};
