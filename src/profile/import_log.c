#include "profile/import.h"

#include "base/file.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double bytes_per_element = 4;

fsmoe_status fsm_benchlog_fail(const fsm_log *log, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return fsm_fail(FSMOE_ERROR_FORMAT, "'%s' line %d: %s", log->path, log->line, text);
}

fsmoe_status fsm_benchlog_number(const fsm_log *log, const char *what, const char *word, double *number)
{
    char *end;
    *number = strtod(word, &end);
    if (end != word && !*end && isfinite(*number) && *number >= 0) return FSMOE_OK;
    return fsm_benchlog_fail(log, "%s is '%s', not a number from 0 on", what, word);
}

fsmoe_status fsm_benchlog_set_op(fsm_log *log, fsm_cost_op op)
{
    if (log->hints->op >= 0 && log->hints->op != (int)op)
        return fsm_benchlog_fail(log, "the log measures %s, not %s as was said of the file", fsm_cost_op_name(op),
                                 fsm_cost_op_name((fsm_cost_op)log->hints->op));
    log->op = (int)op;
    return FSMOE_OK;
}

static fsmoe_status grow(fsm_imported *imported)
{
    if (imported->count < imported->capacity) return FSMOE_OK;
    int capacity = imported->capacity ? 2 * imported->capacity : 64;
    fsm_point *grown = realloc(imported->points, (size_t)capacity * sizeof *grown);
    if (!grown) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for %d points", capacity);
    imported->points = grown;
    imported->capacity = capacity;
    return FSMOE_OK;
}

fsmoe_status fsm_benchlog_add(fsm_log *log, double bytes, double time_us, int ranks)
{
    fsm_imported *to = &log->imported[log->op];
    if (!(time_us > 0)) return fsm_benchlog_fail(log, "a time of %g us", time_us);
    if (ranks > 0 && to->ranks > 0 && ranks != to->ranks)
        return fsm_benchlog_fail(log, "%s on %d ranks, but on %d in an earlier log; they make no common line",
                                 fsm_cost_op_name((fsm_cost_op)log->op), ranks, to->ranks);
    FSM_TRY(grow(to));
    to->points[to->count++] = (fsm_point){bytes / bytes_per_element, time_us * 1e-6};
    if (ranks > 0) to->ranks = ranks;
    log->rows++;
    log->any = true;
    return FSMOE_OK;
}

void fsm_benchlog_skip(fsm_log *log, const char *name)
{
    char sentence[FSM_LOG_LINE_BYTES];
    int length = (int)strcspn(name, "\r");
    log->skipped = true;
    if (log->first_skipped_line == 0) {
        log->first_skipped_line = log->line;
        snprintf(log->first_skipped, sizeof log->first_skipped, "%.*s", length, name);
    }
    snprintf(sentence, sizeof sentence, "'%s' line %d: '%.*s' is another benchmark and skipped", log->path, log->line,
             length, name);
    if (log->hints->on_message) log->hints->on_message(log->hints->user, sentence);
}

/* Forgets the log before. */
static void begin_log(fsm_log *log, const fsm_benchlog_format *format)
{
    log->format = format;
    log->first_line = log->line;
    log->op = -1;
    log->skipped = log->has_rank_0 = false;
    log->ranks = log->group = log->columns = log->time_column = log->rows = 0;
}

static fsmoe_status end_log(const fsm_log *log)
{
    return !log->format || log->skipped ? FSMOE_OK : log->format->end(log);
}

static fsmoe_status read_line(fsm_log *log, const char *line)
{
    static const fsm_benchlog_format *const formats[] = {&fsm_benchlog_nccl, &fsm_benchlog_osu, &fsm_benchlog_other};
    if (fsm_benchlog_is_death(line)) {
        if (!log->format || log->skipped) return FSMOE_OK;
        return fsm_benchlog_fail(log, "the log is cut off: processes were killed or failed: '%.*s'",
                                 (int)strcspn(line, "\r"), line);
    }
    const fsm_benchlog_program *named = fsm_benchlog_command(line);
    if (named) log->command = named;
    for (int i = 0; i < 3; i++) {
        if (!formats[i]->begins(log, line)) continue;
        FSM_TRY(end_log(log));
        begin_log(log, formats[i]);
    }
    return log->format ? log->format->read(log, line) : FSMOE_OK;
}

static fsmoe_status check_any(const fsm_log *log)
{
    if (log->any) return FSMOE_OK;
    if (log->first_skipped_line > 0)
        return fsm_fail(FSMOE_ERROR_UNSUPPORTED,
                        "'%s' line %d: '%s' is none of all_reduce_perf, all_gather_perf, reduce_scatter_perf, "
                        "alltoall_perf, osu_alltoall, osu_allgather, osu_reduce_scatter, osu_allreduce",
                        log->path, log->first_skipped_line, log->first_skipped);
    return fsm_fail(FSMOE_ERROR_FORMAT,
                    "'%s' holds no log of nccl-tests ('# nThread …') or of the OSU micro-benchmarks ('# OSU MPI …')",
                    log->path);
}

static fsmoe_status read_lines(fsm_log *log, char *text)
{
    for (char *line = text; *line;) {
        char *end = strchr(line, '\n');
        log->line++;
        if (end) *end = 0;
        else if (log->format && !log->skipped && fsm_benchlog_is_row(fsm_benchlog_text(line)))
            return fsm_benchlog_fail(log, "the file ends in the middle of a row, without a newline");
        FSM_TRY(read_line(log, fsm_benchlog_text(line)));
        line = end ? end + 1 : line + strlen(line);
    }
    FSM_TRY(end_log(log));
    return check_any(log);
}

fsmoe_status fsm_benchlog_read(const char *path, const fsm_benchlog_hints *hints,
                               fsm_imported imported[FSM_COST_OP_COUNT])
{
    char *text;
    size_t size;
    fsm_log log = {.path = path, .hints = hints, .imported = imported, .op = -1};
    FSM_TRY(fsm_file_read(path, &text, &size));
    fsmoe_status status = strlen(text) == size
                              ? read_lines(&log, text)
                              : fsm_fail(FSMOE_ERROR_FORMAT, "'%s' is not text: it has a 0 byte", path);
    free(text);
    return status;
}
