/* Benchmarks that are known only so far that their rows are not taken for those of the log before: the Intel MPI
 * benchmarks ("# Benchmarking Allreduce") and tables headed "#bytes", as theirs and perftest's are. */
#include "profile/import.h"

#include <string.h>

static const char benchmarking[] = "# Benchmarking ", bytes[] = "#bytes";

static bool other_begins(const fsm_log *log, const char *line)
{
    if (strncmp(line, benchmarking, strlen(benchmarking)) == 0) return true;
    return log->format != &fsm_benchlog_other && strncmp(line + strspn(line, " \t"), bytes, strlen(bytes)) == 0;
}

static fsmoe_status other_read(fsm_log *log, const char *line)
{
    if (!log->skipped) fsm_benchlog_skip(log, line + strspn(line, "# \t"));
    return FSMOE_OK;
}

static fsmoe_status other_end(const fsm_log *log)
{
    (void)log;
    return FSMOE_OK;
}

const fsm_benchlog_format fsm_benchlog_other = {other_begins, other_read, other_end};
