/* Folders that a run makes, whole or not at all: checkpoint-N, best, model.
 * In:  the id of the run, the name a folder is to have.
 * Out: a temporary folder to write into, which then gets the name; what had the name before is exchanged for it and
 *      removed, but only if the run itself had made it (run/seal.h) and nobody has added to it: nothing else is ever
 * removed. For rank 0 alone; none of these is collective.
 */
#ifndef FSM_RUN_OWNED_H
#define FSM_RUN_OWNED_H

#include "base/file.h"
#include "run/seal.h"

/* Makes an empty "folder.tmp-…" whose name is this run's; one that a kill has left is removed first. */
fsmoe_status fsm_owned_begin(const char *folder, const fsm_run_id *id, char temporary[FSM_PATH_BYTES]);

/* Takes away what fsm_owned_begin made, after a failure whose sentence stays the one reported. */
void fsm_owned_discard(const char *temporary);

/* Seals the temporary folder (known[count] as fsm_seal_write says), fsyncs it and gives it the name. ERROR_IO: the
 * system's reason, or a folder of that name is not the run's. */
fsmoe_status fsm_owned_publish(const char *temporary, const char *folder, const fsm_run_id *id,
                               const fsm_seal_known *known, int count);

/* Removes a folder that is the run's; *removed: false when it is not, holds more than the run put there, or is
 * protected against writing. */
fsmoe_status fsm_owned_remove(const char *folder, const fsm_run_id *id, bool *removed);

/* Ends what a kill has interrupted in the folder `parent`: temporaries of this run go, a folder whose name was being
 * taken gets it back. */
fsmoe_status fsm_owned_recover(const char *parent, const fsm_run_id *id);

/* Whether a kill of this run has left an entry of this name. */
bool fsm_owned_is_left(const char *name, const fsm_run_id *id);

/* How a sealed folder takes the name of an earlier one. Linux exchanges the two at once; where a file system cannot
 * (NFS, some FUSE), the earlier one steps aside first, and fsm_owned_recover puts it back should a kill come between.
 * 0, or -1 and errno. For tests too. */
typedef int fsm_owned_exchange(const char *from, const char *to);
fsmoe_status fsm_owned_take_name(fsm_owned_exchange *exchange, const char *temporary, const char *folder,
                                 const fsm_run_id *id);

#endif
