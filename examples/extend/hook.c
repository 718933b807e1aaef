/* A hook: counts numbers that are not finite, wherever rows travel. */
#include "extend.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct watch {
    atomic_long calls, bad; /* two threads may call at once */
} watch;

static fsmoe_status create(void *user, const fsmoe_config *config, int rank, void **state)
{
    (void)user, (void)config, (void)rank;
    *state = calloc(1, sizeof(watch));
    return *state ? FSMOE_OK : fsm_fail(FSMOE_ERROR_MEMORY, "no memory for the hook 'watch'");
}

static void call(void *state, fsm_hook_call *c)
{
    watch *w = state;
    w->calls++;
    for (int64_t i = 0; c->width == c->hidden && i < c->rows * c->hidden; i++) w->bad += !isfinite(c->data[i]);
}

static void destroy(void *state)
{
    watch *w = state;
    if (w) printf("watch: %ld calls, %ld numbers are not finite\n", atomic_load(&w->calls), atomic_load(&w->bad));
    free(state);
}

const fsm_hook_kind my_hook = {
    .name = "watch",
    .description = "counts what is not finite",
    .create = create,
    .destroy = destroy,
    .call = call,
};
