/* The seal of a folder that a run has made: whose it is, and a checksum of every file in it.
 * In:  a folder whose files are all written; the id of the run.
 * Out: FOLDER/checksums, "run ID" and then a line a file as xxhsum writes and checks them; later, whether every bit of
 *      the folder is still what was sealed, and whether the folder is a run's own and nobody has added to it.
 */
#ifndef FSM_RUN_SEAL_H
#define FSM_RUN_SEAL_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

#define FSM_SEAL_FILE "checksums"

/* 128 random bits in hex; "" is nobody. */
typedef struct fsm_run_id {
    char text[33];
} fsm_run_id;

/* ERROR_IO: the system gives no random bits. */
fsmoe_status fsm_run_id_make(fsm_run_id *id);
bool fsm_run_id_is_valid(const char *text);
bool fsm_run_id_equal(const fsm_run_id *a, const fsm_run_id *b);

/* What a file's checksum must be, from whoever wrote it. */
typedef struct fsm_seal_known {
    const char *name;
    uint64_t hash; /* XXH3-64 */
} fsm_seal_known;

/* Reads every file of the folder back from where it was written and notes its checksum; fsynced. Files begun with '.'
 * are nobody's. ERROR_IO: also when a file of known[count] reads back otherwise than it was written; ERROR_MEMORY. */
fsmoe_status fsm_seal_write(const char *folder, const fsm_run_id *id, const fsm_seal_known *known, int count);

/* Whether the files are what was sealed, names[count] among them. *id: the owner, or NULL. ERROR_FORMAT or ERROR_IO
 * (missing) name the first file that is not. */
fsmoe_status fsm_seal_check(const char *folder, const char *const *names, int count, fsm_run_id *id);

/* Whether one file is what was sealed; FSMOE_OK too where the folder has no seal, or one that does not list it.
 * ERROR_FORMAT. */
fsmoe_status fsm_seal_check_file(const char *folder, const char *name);

/* Whether the folder bears this run's seal and holds what the seal lists and nothing else. Checks no bits. */
bool fsm_seal_owns(const char *folder, const fsm_run_id *id);

#endif
