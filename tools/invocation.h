/* The command line that a run was really started with, launcher and all, for people to use again.
 * In:  this process and its parent, the number of ranks. Out: text that a shell reads back as the same words.
 */
#ifndef FSMOE_TOOLS_INVOCATION_H
#define FSMOE_TOOLS_INVOCATION_H

/* "scripts/mpirun 4 build/fsmoe train …": what was typed. The caller frees it; NULL: no memory. */
char *invocation_describe(int ranks);

/* The same launcher and program, going on with the run in `run_dir`. */
char *invocation_resume(int ranks, const char *run_dir);

#endif
