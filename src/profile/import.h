/* Logs of collective benchmarks: text to measured points.
 * In:  a text file with logs of nccl-tests or of the OSU micro-benchmarks one after another, other lines between them.
 * Out: per op points (n as profile/cluster.h counts it, seconds), or an error that names file and line.
 * One file a format: import_nccl.c, import_osu.c; a format knows its first line, reads every line after it and says at
 * the end whether the log was whole.
 */
#ifndef FSM_PROFILE_IMPORT_H
#define FSM_PROFILE_IMPORT_H

#include "profile/cluster.h"

#include <stdbool.h>

enum { FSM_LOG_WORDS = 48, FSM_LOG_LINE_BYTES = 1024 };

/* The points of one op out of all logs. */
typedef struct fsm_imported {
    fsm_point *points; /* owned */
    int count, capacity;
    int ranks; /* that they were measured on; 0: not known */
} fsm_imported;

/* What the caller knows of a file. */
typedef struct fsm_benchlog_hints {
    int op;                       /* fsm_cost_op; -1: not known */
    int ranks[FSM_COST_OP_COUNT]; /* 0: not known */
} fsm_benchlog_hints;

typedef struct fsm_log fsm_log;

typedef struct fsm_benchlog_format {
    bool (*begins)(const fsm_log *log, const char *line); /* the line opens a new log */
    fsmoe_status (*read)(fsm_log *log, const char *line); /* that line and every further one */
    fsmoe_status (*end)(const fsm_log *log);              /* an error when the log is not whole */
} fsm_benchlog_format;

extern const fsm_benchlog_format fsm_benchlog_nccl, fsm_benchlog_osu;

/* Where the reading of a file is; what is below `format` is of the current log. */
struct fsm_log {
    const char *path;
    int line; /* from 1 */
    const fsm_benchlog_hints *hints;
    fsm_imported *imported; /* [FSM_COST_OP_COUNT] */
    int command_op;         /* named by a command line between logs; -1: none */

    const fsm_benchlog_format *format; /* NULL: between logs */
    int first_line;
    int op;                   /* fsm_cost_op; -1: not known yet */
    int ranks;                /* that the log lists; 0: none */
    int group;                /* of the first of them */
    int columns, time_column; /* of the table; 0: it has not begun */
    int rows;
};

/* Adds the points of a file's logs. ERROR_IO, ERROR_FORMAT, ERROR_UNSUPPORTED, ERROR_CONFIG, ERROR_MEMORY. */
fsmoe_status fsm_benchlog_read(const char *path, const fsm_benchlog_hints *hints,
                               fsm_imported imported[FSM_COST_OP_COUNT]);

/* ---- for the formats ---- */

/* "'FILE' line N: …", ERROR_FORMAT. */
fsmoe_status fsm_benchlog_fail(const fsm_log *log, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The op whose nccl-tests program a line names; -1: none. */
int fsm_benchlog_command_op(const char *line);

/* The words of a line, which point into `copy`; their number, at most FSM_LOG_WORDS. */
int fsm_benchlog_split(const char *line, char copy[FSM_LOG_LINE_BYTES], char *words[FSM_LOG_WORDS]);

/* A row of a table begins with its size. */
bool fsm_benchlog_is_row(const char *line);

/* A finite number from 0 on. */
fsmoe_status fsm_benchlog_number(const fsm_log *log, const char *what, const char *word, double *number);

/* The op that the log itself names; an error if the caller said another. */
fsmoe_status fsm_benchlog_set_op(fsm_log *log, fsm_cost_op op);

/* A point of the log's op: bytes as n counts elements, of 4 bytes each. ranks: 0 if not known. */
fsmoe_status fsm_benchlog_add(fsm_log *log, double bytes, double time_us, int ranks);

/* ---- for those who make clusters ---- */

/* name, or the file's name of `path` without .json when name is NULL. ERROR_CONFIG: too long. */
fsmoe_status fsm_cluster_set_name(fsm_cluster *cluster, const char *name, const char *path);

#endif
