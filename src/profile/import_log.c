#include "profile/import.h"

#include "base/file.h"

#include <ctype.h>
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

int fsm_benchlog_split(const char *line, char copy[FSM_LOG_LINE_BYTES], char *words[FSM_LOG_WORDS])
{
    int count = 0;
    char *rest;
    snprintf(copy, FSM_LOG_LINE_BYTES, "%s", line);
    for (char *word = strtok_r(copy, " \t\r", &rest); word && count < FSM_LOG_WORDS;
         word = strtok_r(NULL, " \t\r", &rest))
        words[count++] = word;
    return count;
}

bool fsm_benchlog_is_row(const char *line)
{
    return isdigit((unsigned char)line[strspn(line, " \t")]);
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
    return FSMOE_OK;
}

/* mpirun --tag-output puts "[1,0]<stdout>:" before every line. */
static const char *without_tag(const char *line)
{
    static const char tag[] = "<stdout>:";
    const char *found = line[0] == '[' ? strstr(line, tag) : NULL;
    return found ? found + strlen(tag) : line;
}

/* Forgets the log before. */
static void begin_log(fsm_log *log, const fsm_benchlog_format *format)
{
    *log = (fsm_log){.path = log->path,
                     .line = log->line,
                     .hints = log->hints,
                     .imported = log->imported,
                     .command_op = log->command_op,
                     .format = format,
                     .first_line = log->line,
                     .op = -1};
}

static fsmoe_status read_line(fsm_log *log, const char *line)
{
    static const fsm_benchlog_format *const formats[] = {&fsm_benchlog_nccl, &fsm_benchlog_osu};
    int named = fsm_benchlog_command_op(line);
    if (named >= 0) log->command_op = named;
    for (int i = 0; i < 2; i++) {
        if (!formats[i]->begins(log, line)) continue;
        if (log->format) FSM_TRY(log->format->end(log));
        begin_log(log, formats[i]);
    }
    return log->format ? log->format->read(log, line) : FSMOE_OK;
}

static fsmoe_status read_lines(fsm_log *log, char *text)
{
    bool any = false;
    for (char *line = text; *line;) {
        char *end = strchr(line, '\n');
        log->line++;
        if (end) *end = 0;
        else if (log->format && fsm_benchlog_is_row(without_tag(line)))
            return fsm_benchlog_fail(log, "the file ends in the middle of a row, without a newline");
        FSM_TRY(read_line(log, without_tag(line)));
        any = any || log->format;
        line = end ? end + 1 : line + strlen(line);
    }
    if (!any)
        return fsm_fail(
            FSMOE_ERROR_FORMAT,
            "'%s' holds no log of nccl-tests ('# nThread …') or of the OSU micro-benchmarks ('# OSU MPI …')",
            log->path);
    return log->format ? log->format->end(log) : FSMOE_OK;
}

fsmoe_status fsm_benchlog_read(const char *path, const fsm_benchlog_hints *hints,
                               fsm_imported imported[FSM_COST_OP_COUNT])
{
    char *text;
    size_t size;
    fsm_log log = {.path = path, .hints = hints, .imported = imported, .command_op = -1, .op = -1};
    FSM_TRY(fsm_file_read(path, &text, &size));
    fsmoe_status status = strlen(text) == size
                              ? read_lines(&log, text)
                              : fsm_fail(FSMOE_ERROR_FORMAT, "'%s' is not text: it has a 0 byte", path);
    free(text);
    return status;
}
