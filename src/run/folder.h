/* The run folder: whose it is, and that only one process at a time has it. Rank 0 keeps it.
 * In:  run.dir. Out: a folder that is this run's alone, as long as the process lives.
 * DIR/run.lock names the run that owns the folder (an id for life, which resuming keeps) and, for people, the host and
 * process that has it now. It is locked (flock), so the claim ends with the process however that ends. What a run has
 * not made itself is never renamed, replaced or removed: folders know their owner by their seals (run/seal.h), files by
 * the table of names in folder.c, and a folder that holds anything else is refused.
 */
#ifndef FSM_RUN_FOLDER_H
#define FSM_RUN_FOLDER_H

#include "base/file.h"
#include "run/seal.h"

typedef struct fsm_run_folder {
    const char *dir; /* borrowed */
    fsm_run_id id;
    int lock;        /* the locked file; -1: none yet */
    bool unlockable; /* the file system has no locks: somebody should know */
} fsm_run_folder;

/* Claims the folder before anything in it is looked at. Going on (`resume`) wants one that a run has made; a new run
 * wants one that nobody uses, whatever an ended run has left there, and changes nothing yet but who has it. ERROR_IO: a
 * live run has it (its host and pid), it is no run's, it holds files of nobody's; ERROR_CONFIG: no name. Always
 * release. */
fsmoe_status fsm_run_folder_claim(const char *dir, bool resume, fsm_run_folder *folder);

/* A new run's folder, claimed: an earlier run in it is renamed to DIR.1, DIR.2, …, and moved_to says so (""
 * otherwise). */
fsmoe_status fsm_run_folder_begin(fsm_run_folder *folder, char moved_to[FSM_PATH_BYTES]);

/* Takes away what a kill of an earlier process of this run has left half-made. */
fsmoe_status fsm_run_folder_recover(const fsm_run_folder *folder);

void fsm_run_folder_release(fsm_run_folder *folder);

#endif
