/* Logs of collective benchmarks: text to measured points.
 * In:  a text file with logs of nccl-tests or of the OSU micro-benchmarks one after another, other lines and other
 *      benchmarks between them, whatever the launcher put before every line.
 * Out: per op points (n as profile/cluster.h counts it, seconds), or an error that names file and line.
 * One file a format: import_nccl.c, import_osu.c, and import_other.c for what is skipped; a format knows its first
 * line, reads every line after it and says at the end whether the log was whole. import_line.c: what any line says.
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

/* What the caller knows of a file, and wants to hear. */
typedef struct fsm_benchlog_hints {
    int op;                                               /* fsm_cost_op; -1: not known */
    int ranks[FSM_COST_OP_COUNT];                         /* 0: not known */
    void (*on_message)(void *user, const char *sentence); /* what is skipped; may be NULL */
    void *user;
} fsm_benchlog_hints;

/* A program of nccl-tests; op -1: one that measures nothing that is imported. */
typedef struct fsm_benchlog_program {
    const char *name;
    int op;
} fsm_benchlog_program;

typedef struct fsm_log fsm_log;

typedef struct fsm_benchlog_format {
    bool (*begins)(const fsm_log *log, const char *line); /* the line opens a new log */
    fsmoe_status (*read)(fsm_log *log, const char *line); /* that line and every further one */
    fsmoe_status (*end)(const fsm_log *log); /* an error when the log is not whole; not asked of skipped ones */
} fsm_benchlog_format;

extern const fsm_benchlog_format fsm_benchlog_nccl, fsm_benchlog_osu, fsm_benchlog_other;

/* Where the reading of a file is; what is from `format` on is of the current log. */
struct fsm_log {
    const char *path;
    int line; /* from 1 */
    const fsm_benchlog_hints *hints;
    fsm_imported *imported;              /* [FSM_COST_OP_COUNT] */
    const fsm_benchlog_program *command; /* named by a command line between logs; NULL: none */
    bool any;                            /* a point was added */
    int first_skipped_line;              /* 0: none */
    char first_skipped[160];

    const fsm_benchlog_format *format; /* NULL: between logs */
    int first_line;
    bool skipped;             /* another benchmark */
    int op;                   /* fsm_cost_op; -1: not known yet */
    bool has_rank_0;          /* has listed it */
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

/* The nccl-tests program that a line names; NULL: none. */
const fsm_benchlog_program *fsm_benchlog_command(const char *line);

/* The line without what a launcher put before it: rank, tag, time. */
const char *fsm_benchlog_text(const char *line);

/* A launcher, or a test, says that processes ended before their time. */
bool fsm_benchlog_is_death(const char *line);

/* The current log is of another benchmark: its further lines are nothing, and that is said. */
void fsm_benchlog_skip(fsm_log *log, const char *name);

/* The words of a line, which point into `copy`; their number, at most FSM_LOG_WORDS. */
int fsm_benchlog_split(const char *line, char copy[FSM_LOG_LINE_BYTES], char *words[FSM_LOG_WORDS]);

/* A row of a table begins with its size, which another number follows, or something that should have been one. */
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
