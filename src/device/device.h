/* The contract of a device: memory that operations work on, streams that order what is done, events between streams.
 * In:  sizes, pointers, work.
 * Out: memory; work done in the order of its stream, after the events its stream waits for. Nothing above this folder
 *      knows which device it has.
 * A device is a struct that begins with fsm_device, a stream one that begins with fsm_stream, an event likewise. What
 * is enqueued may be done at once or later: whoever needs it done asks the stream (synchronise) or an event (query).
 * Memory that is handed over with it stays as it is until then.
 * Threads: memory, enter and leave may be called by several at once; the streams and events of a device by one at a
 * time. Errors: ERROR_MEMORY where something is made or a queue grows; else ERROR_INTERNAL with the device's reason,
 * which on a device that works later may be that of something enqueued before.
 */
#ifndef FSM_DEVICE_DEVICE_H
#define FSM_DEVICE_DEVICE_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct fsm_device fsm_device;
typedef struct fsm_stream fsm_stream;
typedef struct fsm_event fsm_event;

/* Between memory of the host and of the device. */
typedef enum fsm_copy { FSM_COPY_TO_DEVICE, FSM_COPY_FROM_DEVICE, FSM_COPY_WITHIN } fsm_copy;

/* Work that the host begins: whether it is done. Not done: it is called again, a little later, and what follows on its
 * stream waits; so communication that is moved along can stand on a stream. */
typedef bool (*fsm_work)(void *user);

typedef struct fsm_device_table {
    const char *name;
    void (*destroy)(fsm_device *device); /* its memory, streams and events have been given back before */

    /* memory */
    fsmoe_status (*allocate)(fsm_device *device, size_t bytes, void **memory); /* 64-byte aligned; holds anything */
    void (*free)(fsm_device *device, void *memory, size_t bytes);              /* as it was allocated; NULL is fine */
    fsmoe_status (*memory)(fsm_device *device, size_t *free_bytes, size_t *total_bytes);
    /* Device memory may be touched between them: by operations, copies, communication, and by nobody else. In pairs,
     * one pair may stand in another. NULL: it always may. */
    void (*enter)(fsm_device *device);
    void (*leave)(fsm_device *device);

    /* streams */
    fsmoe_status (*create_stream)(fsm_device *device, fsm_stream **stream);
    void (*destroy_stream)(fsm_stream *stream); /* what is still enqueued may be dropped; NULL is fine */
    fsmoe_status (*copy)(fsm_stream *stream, fsm_copy direction, void *to, const void *from, size_t bytes); /* apart */
    fsmoe_status (*fill)(fsm_stream *stream, void *to, unsigned char byte, size_t bytes);
    /* `work` is called so that whatever it does is in the stream's order: where it computes on the host, in its turn;
     * where it only enqueues operations on this stream, at once. */
    fsmoe_status (*submit)(fsm_stream *stream, fsm_work work, void *user);
    fsmoe_status (*synchronise)(fsm_stream *stream); /* on return all of it is done or, when it fails, given up */

    /* events */
    fsmoe_status (*create_event)(fsm_device *device, fsm_event **event);
    void (*destroy_event)(fsm_event *event);                      /* NULL is fine */
    fsmoe_status (*record)(fsm_event *event, fsm_stream *stream); /* it is done when what is on the stream so far is */
    fsmoe_status (*wait)(fsm_stream *stream,
                         const fsm_event *event); /* for its latest record; never recorded: for nothing */
    fsmoe_status (*query)(fsm_event *event, bool *done);
    fsmoe_status (*elapsed)(const fsm_event *from, const fsm_event *to,
                            double *seconds); /* between two that are done */
} fsm_device_table;

struct fsm_device {
    const fsm_device_table *table;
};

struct fsm_stream {
    fsm_device *device;
};

struct fsm_event {
    fsm_device *device;
};

/* ---- devices ---- */

/* This machine: a stream does what it is told at once. */
fsmoe_status fsm_device_create_host(fsm_device **device);

/* For tests, a host whose device memory lies apart: outside of enter and leave a touch of it is a segmentation fault.
 * Copies in the wrong direction fail. It has total_bytes; 0: as much as the host. While one thread has entered, others
 * may touch, too. */
fsmoe_status fsm_device_create_apart(size_t total_bytes, fsm_device **device);

/* For tests, the adversary: streams keep what they are told, and the seed draws which goes on next, with nothing but
 * their own order and events in its way. Memory, copies and fills are those of `below`, which works at once, is
 * borrowed and outlives this device. */
fsmoe_status fsm_device_create_shuffled(fsm_device *below, uint64_t seed, fsm_device **device);

/* The CUDA device of that number. ERROR_CONFIG: this build has none. */
fsmoe_status fsm_device_create_cuda(int number, fsm_device **device);

static inline void fsm_device_destroy(fsm_device *device) /* NULL is fine */
{
    if (device) device->table->destroy(device);
}

static inline void fsm_device_enter(fsm_device *device)
{
    if (device->table->enter) device->table->enter(device);
}

static inline void fsm_device_leave(fsm_device *device)
{
    if (device->table->leave) device->table->leave(device);
}

#endif
