/* Where the time of steps went, by kind of operation: the file breakdown.json of a run folder, and the same as a table
 * of text.
 * In:  what the ranks' operations counted (ops/meter.h) and what their part of the machine reaches (train/peak.h).
 * Out: one value, which is written as JSON and read back the same.
 * All is a step's, of a rank: means over steps and ranks. The floor of a kind is the least time that its work takes,
 *   FLOPs / FLOPs a second of large products + bytes / bytes a second from memory,
 * and the ratio how many times that it took. Below 1: what it read was still in a cache.
 */
#ifndef FSM_RUN_BREAKDOWN_H
#define FSM_RUN_BREAKDOWN_H

#include "base/status.h"

#include <stdint.h>
#include <stdio.h>

#define FSM_BREAKDOWN_FILE "breakdown.json"
enum { FSM_BREAKDOWN_ROWS = 32, FSM_BREAKDOWN_NAME_BYTES = 48 };

typedef struct fsm_breakdown_row {
    char kind[FSM_BREAKDOWN_NAME_BYTES];
    double calls, s, flops, bytes;
    double slowest_s; /* of the rank that it took longest */
} fsm_breakdown_row;

typedef struct fsm_breakdown {
    int64_t first_step, last_step; /* that were measured */
    int64_t ranks;
    double step_s;
    double flops_per_s, bytes_per_s;       /* of a rank, all being at it */
    double model_flops_per_s, model_share; /* of all ranks: what the model needs, and its share of what they reach */
    int rows;
    fsm_breakdown_row row[FSM_BREAKDOWN_ROWS]; /* falling by s; kinds that were called */
} fsm_breakdown;

double fsm_breakdown_floor_s(const fsm_breakdown *breakdown, const fsm_breakdown_row *row);

/* Of a step, what no operation took: waiting for communication above all. */
double fsm_breakdown_outside_s(const fsm_breakdown *breakdown);

/* Replaces the file. ERROR_IO, ERROR_MEMORY. */
fsmoe_status fsm_breakdown_write(const fsm_breakdown *breakdown, const char *path);
/* ERROR_FORMAT names file and key; ERROR_IO, ERROR_MEMORY. */
fsmoe_status fsm_breakdown_read(const char *path, fsm_breakdown *breakdown);

/* Lines of at most 100 characters. */
void fsm_breakdown_print(const fsm_breakdown *breakdown, FILE *out);

#endif
