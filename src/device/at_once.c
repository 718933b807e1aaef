#include "device/at_once.h"

#include "base/clock.h"

#include <stdlib.h>
#include <string.h>

typedef struct at_once_event {
    fsm_event base; /* first */
    double when_s;  /* it was recorded; 0: never */
} at_once_event;

/* ---- streams ---- */

fsmoe_status fsm_at_once_create_stream(fsm_device *device, fsm_stream **stream)
{
    *stream = malloc(sizeof **stream);
    if (!*stream) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for a stream");
    **stream = (fsm_stream){device};
    return FSMOE_OK;
}

void fsm_at_once_destroy_stream(fsm_stream *stream)
{
    free(stream);
}

fsmoe_status fsm_at_once_copy(fsm_stream *stream, fsm_copy direction, void *to, const void *from, size_t bytes)
{
    (void)direction;
    fsm_device_enter(stream->device);
    if (bytes > 0) memcpy(to, from, bytes);
    fsm_device_leave(stream->device);
    return FSMOE_OK;
}

fsmoe_status fsm_at_once_fill(fsm_stream *stream, void *to, unsigned char byte, size_t bytes)
{
    fsm_device_enter(stream->device);
    if (bytes > 0) memset(to, byte, bytes);
    fsm_device_leave(stream->device);
    return FSMOE_OK;
}

fsmoe_status fsm_at_once_submit(fsm_stream *stream, fsm_work work, void *user)
{
    (void)stream;
    if (work(user)) return FSMOE_OK;
    double start_s = fsm_clock_s();
    while (!work(user)) fsm_clock_nap(start_s);
    return FSMOE_OK;
}

fsmoe_status fsm_at_once_synchronise(fsm_stream *stream)
{
    (void)stream;
    return FSMOE_OK;
}

/* ---- events ---- */

fsmoe_status fsm_at_once_create_event(fsm_device *device, fsm_event **event)
{
    at_once_event *e = malloc(sizeof *e);
    if (!e) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for an event");
    *e = (at_once_event){.base.device = device};
    *event = &e->base;
    return FSMOE_OK;
}

void fsm_at_once_destroy_event(fsm_event *event)
{
    free(event);
}

fsmoe_status fsm_at_once_record(fsm_event *event, fsm_stream *stream)
{
    (void)stream;
    ((at_once_event *)event)->when_s = fsm_clock_s();
    return FSMOE_OK;
}

fsmoe_status fsm_at_once_wait(fsm_stream *stream, const fsm_event *event)
{
    (void)stream, (void)event;
    return FSMOE_OK;
}

fsmoe_status fsm_at_once_query(fsm_event *event, bool *done)
{
    (void)event;
    *done = true;
    return FSMOE_OK;
}

fsmoe_status fsm_at_once_elapsed(const fsm_event *from, const fsm_event *to, double *seconds)
{
    double from_s = ((const at_once_event *)from)->when_s, to_s = ((const at_once_event *)to)->when_s;
    if (from_s == 0 || to_s == 0) return fsm_fail(FSMOE_ERROR_INTERNAL, "an event that was never recorded has no time");
    *seconds = to_s - from_s;
    return FSMOE_OK;
}
