/* The all-to-all between the ranks of an expert-parallel group, by algorithm.
 * In:  blocks by destination in rank order, in a group whose ranks are numbered node by node; counts in elements.
 * Out: blocks by source, once the operation says so. Elements only move, so every algorithm gives the same bits. A kind
 * is one file and one row of the table: it says what a rank does as a list of stages (stages.h), which is written when
 * an operation begins and run by what all kinds share.
 * A rank that passes on others' blocks must know how long they are before they come. It need not be told: all ranks
 * know what each sends to every expert before a layer's first all-to-all, so they can say it of any two ranks
 * (`between`), and nothing is sent but blocks.
 * Blocks are passed on as messages of the group itself, so there are no groups of nodes. What passes lies in buffers
 * that are taken beforehand; all layers share them, since a group has one operation under way at a time.
 */
#ifndef FSM_MOE_ALLTOALL_H
#define FSM_MOE_ALLTOALL_H

#include "moe/dispatch/stages.h"
#include "ops/memory.h"
#include "topo/topo.h"

typedef struct fsm_alltoall fsm_alltoall;

typedef struct fsm_alltoall_counts {
    const int64_t *send, *recv; /* [size] elements to and from every rank */
    /* elements that any rank sends to any other; asked only while the operation is begun */
    int64_t (*between)(const void *user, int from, int to);
    const void *user;
} fsm_alltoall_counts;

typedef struct fsm_alltoall_kind {
    const char *name, *description, *source;
    /* what each of FSM_ALLTOALL_BUFFERS must hold; NULL: blocks go straight to their rank, wherever that is */
    int64_t (*buffer_elems)(const fsm_alltoall *alltoall);
    /* the stages of a rank, at most; NULL: FSM_ALLTOALL_STAGES of each rank */
    int64_t (*most_stages)(const fsm_alltoall *alltoall);
    /* appends what this rank does, by what `counts` say of the ranks of alltoall->comm */
    void (*emit)(fsm_alltoall *alltoall, const fsm_alltoall_counts *counts, fsm_stages *stages);
} fsm_alltoall_kind;

enum { FSM_ALLTOALL_STAGES = 4 };

/* The all-to-alls of one group. */
struct fsm_alltoall {
    const fsm_alltoall_kind *kind;
    fsm_comm *comm;
    int size;                       /* ranks of the group */
    int nodes, local;               /* rank r is number r % local of the group's `local` ranks on node r / local */
    fsm_comm_type type;             /* the widest that memory is taken for */
    int64_t rank_elems, pair_elems; /* fsm_alltoall_take */
    void *buffer[FSM_ALLTOALL_BUFFERS];
    fsm_stages stages; /* of the operation under way */
    /* scratch of kinds with buffers */
    int64_t *passing[2]; /* [local * size] lengths of blocks that pass through this rank */
    fsm_spot *place;     /* [size] where the next block of each part goes */
};

const fsm_alltoall_kind *fsm_alltoall_find(const char *name);
extern const fsm_alltoall_kind fsm_alltoall_direct, fsm_alltoall_1dh, fsm_alltoall_2dh;

/* The all-to-alls of this rank's EP group, `ep` (borrowed). With one rank a node, or one node, there is nothing to pass
 * on, and every kind is `direct`. Not collective, and one group may be refused where another is not. ERROR_CONFIG: no
 * kind of that name; ERROR_LAYOUT: it passes blocks on, and the nodes hold different numbers of the group's ranks. */
fsmoe_status fsm_alltoall_select(const char *name, const fsm_topo *topo, fsm_comm *ep, fsm_alltoall *alltoall);

/* The memory, for elements of this type or narrower: no rank sends more than rank_elems in all (or none receives more,
 * on the way back), nor more than pair_elems to another one. */
void fsm_alltoall_take(fsm_memory *memory, fsm_comm_type type, int64_t rank_elems, int64_t pair_elems,
                       fsm_alltoall *alltoall);

/* Most elements that go from so many ranks to so many others. */
FSMOE_API int64_t fsm_alltoall_most(const fsm_alltoall *alltoall, int sources, int destinations);

/* recv block s = what rank s sent to me; send block d goes to rank d; they do not overlap unless the group has one
 * rank. All arrays stay as they are until the end, but what `between` reads. ERROR_COMM; ERROR_INTERNAL: a kind wrote
 * more stages than it said. */
fsmoe_status fsm_alltoall_start(fsm_alltoall *alltoall, fsm_comm_op *op, fsm_comm_type type, const void *send,
                                void *recv, const fsm_alltoall_counts *counts);

#endif
