/* The picture of where the ranks are and which groups they are in.
 * In:  the layout of a run.
 * Out: a box a node, and in it each rank with its dp, mp, ep, esp and edp index.
 * Rank numbers run over mp and esp fastest, then over ep, so that MP and ESP groups are neighbours on a node.
 */
#ifndef FSM_REPORT_RANKS_H
#define FSM_REPORT_RANKS_H

#include "report/run.h"

#include <stdio.h>

/* The index of a rank in each of its groups. */
typedef struct fsm_rank_indices {
    int64_t dp, mp, ep, esp, edp;
} fsm_rank_indices;
fsm_rank_indices fsm_ranks_indices(const fsm_run *run, int64_t rank);

/* Draws at most a few hundred ranks and says how many more there are. */
void fsm_ranks_write(FILE *out, const fsm_run *run);

#endif
