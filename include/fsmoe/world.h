/* The ranks of this job: MPI's when the process was started by mpirun, else one.
 * In:  nothing. Out: who I am, and how to end together. Ranks are numbered node by node, whatever order the launcher
 * placed them in; rank 0 is the launcher's.
 * A process may have several, one after the other or at once; each is as good as alone. Worlds of one rank may be used
 * by different threads at once: training, evaluating and generating side by side. MPI knows one thread at a time: with
 * several ranks, only one thread of a process is in a collective function, of whatever world, and all ranks call them
 * in one order.
 */
#ifndef FSMOE_WORLD_H
#define FSMOE_WORLD_H

#include <fsmoe/status.h>

typedef struct fsmoe_world fsmoe_world;

/* Initialises MPI when launched by it, unless that is done. What has been initialised here is finalised when the
 * process exits normally with all worlds destroyed. Collective. ERROR_COMM, ERROR_MEMORY. */
FSMOE_API fsmoe_status fsmoe_world_create(fsmoe_world **world);
FSMOE_API void fsmoe_world_destroy(fsmoe_world *world);

FSMOE_API int fsmoe_world_rank(const fsmoe_world *world);
FSMOE_API int fsmoe_world_size(const fsmoe_world *world);

/* All ranks return the status of the lowest rank that failed, with its fsmoe_last_error(). Collective. */
FSMOE_API fsmoe_status fsmoe_world_agree(fsmoe_world *world, fsmoe_status status);

/* Ends every rank at once; does not return. For failures after which ranks no longer act together (ERROR_COMM). */
FSMOE_API void fsmoe_world_abort(fsmoe_world *world, int exit_code);

#endif
