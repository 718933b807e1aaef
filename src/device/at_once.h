/* Streams and events of devices that work at once on the host: nothing is ever under way, and an event is a time.
 * In:  a device whose struct begins with fsm_device and whose table has these functions.
 * Out: what device.h promises of them.
 */
#ifndef FSM_DEVICE_AT_ONCE_H
#define FSM_DEVICE_AT_ONCE_H

#include "device/device.h"

fsmoe_status fsm_at_once_create_stream(fsm_device *device, fsm_stream **stream);
void fsm_at_once_destroy_stream(fsm_stream *stream);
fsmoe_status fsm_at_once_copy(fsm_stream *stream, fsm_copy direction, void *to, const void *from, size_t bytes);
fsmoe_status fsm_at_once_fill(fsm_stream *stream, void *to, unsigned char byte, size_t bytes);
fsmoe_status fsm_at_once_submit(fsm_stream *stream, fsm_work work, void *user);
fsmoe_status fsm_at_once_synchronise(fsm_stream *stream);
fsmoe_status fsm_at_once_create_event(fsm_device *device, fsm_event **event);
void fsm_at_once_destroy_event(fsm_event *event);
fsmoe_status fsm_at_once_record(fsm_event *event, fsm_stream *stream);
fsmoe_status fsm_at_once_wait(fsm_stream *stream, const fsm_event *event);
fsmoe_status fsm_at_once_query(fsm_event *event, bool *done);
fsmoe_status fsm_at_once_elapsed(const fsm_event *from, const fsm_event *to, double *seconds);

/* Of the machine. ERROR_INTERNAL: it does not say. */
fsmoe_status fsm_host_memory(fsm_device *device, size_t *free_bytes, size_t *total_bytes);

#endif
