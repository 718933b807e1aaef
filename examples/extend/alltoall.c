/* An all-to-all: the transport's own, which counts what this rank sends. */
#include "extend.h"

int64_t sent_elems;

static void emit(fsm_alltoall *alltoall, const fsm_alltoall_counts *counts, fsm_stages *stages)
{
    for (int i = 0; i < alltoall->size; i++) sent_elems += counts->send[i];
    fsm_stages_exchange(stages);
    fsm_stages_wait(stages, 0);
}

const fsm_alltoall_kind my_alltoall = {
    .name = "counted",
    .description = "direct, and counts",
    .source = "examples/extend",
    .emit = emit,
};
