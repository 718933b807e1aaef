/* What one rank does in an all-to-all, as data: copies inside its memory, messages, and waits between them.
 * In:  counts; who writes the list sees neither pointers nor elements nor a transport.
 * Out: an operation under way: one interpreter runs the list over the messages and copies of any transport.
 * Places are elements of regions: what is sent, what is received, and the buffers of the all-to-all. Blocks of no
 * elements are no message and no copy, at both ends. Nothing is written into FSM_REGION_SEND.
 */
#ifndef FSM_MOE_STAGES_H
#define FSM_MOE_STAGES_H

#include "base/arena.h"
#include "comm/op.h"

enum { FSM_ALLTOALL_BUFFERS = 3 };

enum {
    FSM_REGION_SEND,
    FSM_REGION_RECV,
    FSM_REGION_BUFFER, /* the first of the buffers */
    FSM_REGIONS = FSM_REGION_BUFFER + FSM_ALLTOALL_BUFFERS
};

/* Element `at` of a region. */
typedef struct fsm_spot {
    int region;
    int64_t at;
} fsm_spot;

typedef enum fsm_alltoall_act {
    FSM_ALLTOALL_COPY,     /* from -> to */
    FSM_ALLTOALL_SEND,     /* from -> peer */
    FSM_ALLTOALL_RECV,     /* peer -> to */
    FSM_ALLTOALL_EXCHANGE, /* the transport's own all-to-all, from the first to the second region; alone in slot 0 */
    FSM_ALLTOALL_WAIT      /* what follows needs all that was posted in the slot */
} fsm_alltoall_act;

typedef struct fsm_alltoall_stage {
    fsm_alltoall_act act;
    int slot, peer;
    fsm_spot from, to;
    int64_t elems;
} fsm_alltoall_stage;

typedef struct fsm_stages {
    fsm_alltoall_stage *list; /* [most] */
    int64_t count, most;
    /* the operation under way */
    fsm_comm_type type;
    char *region[FSM_REGIONS];
    const int64_t *send_counts, *recv_counts;
    int64_t next;
} fsm_stages;

/* Memory for `most` stages. */
void fsm_stages_take(fsm_arena *arena, int64_t most, fsm_stages *stages);

/* Each appends a stage, to be done in this order. A copy moves both ends on, and one that goes on where the last one
 * ended is one with it. */
FSMOE_API void fsm_stages_copy(fsm_stages *stages, fsm_spot *from, fsm_spot *to, int64_t elems);
FSMOE_API void fsm_stages_send(fsm_stages *stages, int slot, int peer, fsm_spot from, int64_t elems);
FSMOE_API void fsm_stages_recv(fsm_stages *stages, int slot, int peer, fsm_spot to, int64_t elems);
FSMOE_API void fsm_stages_exchange(fsm_stages *stages);
FSMOE_API void fsm_stages_wait(fsm_stages *stages, int slot);

/* What the list is run on; counts of the exchange. All stays as it is until the end. */
typedef struct fsm_stages_arrays {
    fsm_comm_type type;
    const void *send;
    void *recv;
    void *const *buffers; /* [FSM_ALLTOALL_BUFFERS] */
    const int64_t *send_counts, *recv_counts;
} fsm_stages_arrays;

/* Does what comes before the first wait. ERROR_COMM; ERROR_INTERNAL: there were more stages than memory was taken
 * for. */
fsmoe_status fsm_stages_start(fsm_stages *stages, fsm_comm_op *op, fsm_comm *comm, const fsm_stages_arrays *arrays);

#endif
