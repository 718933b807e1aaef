/* The adversary. Each stream has a priority that the seed has drawn, and the first on the most urgent stream that may
 * go on does, however long the others have waited: a scheduler of Burckhardt, Kothari, Musuvathi and Nagarakatte, "A
 * randomized scheduler with probabilistic guarantees of finding bugs" (ASPLOS 2010). Where one wait is missing among n
 * streams, the order that it should have forbidden comes up in every schedule that has the stream waited for last,
 * begins nothing before all is enqueued and keeps its priorities, also while work is called in vain for a moment: one
 * seed of 4 n does so. The others draw new priorities now and then, or at every step, and begin some while more is
 * enqueued. */
#include "device/device.h"

#include "base/clock.h"
#include "base/rng.h"

#include <sched.h>
#include <stdlib.h>

typedef struct shuffled_event {
    fsm_event base;      /* first */
    int64_t asked, done; /* records */
    double when_s;       /* of the latest that is done */
} shuffled_event;

typedef enum item_kind { COPY, FILL, SUBMIT, RECORD, WAIT } item_kind;

typedef struct item {
    item_kind kind;
    fsm_copy direction;
    unsigned char byte;
    void *to;
    const void *from;
    size_t bytes;
    fsm_work work;
    void *user;
    shuffled_event *event;
    int64_t records; /* of the event, that a wait is for */
} item;

typedef struct shuffled_stream {
    fsm_stream base; /* first */
    fsm_stream *below;
    item *items; /* [capacity], those from `first` to `last` are to be done */
    int first, last, capacity;
    uint64_t priority;
    bool tried; /* in the present step */
    struct shuffled_stream *next;
} shuffled_stream;

typedef struct shuffled_device {
    fsm_device base; /* first */
    fsm_device *below;
    uint64_t seed, drawn;
    bool lazy;        /* nothing is done before somebody waits for it */
    int change_in_64; /* new priorities at so many steps of 64 */
    int patience;     /* calls of work in vain, one after another, before less urgent streams go on */
    shuffled_stream *streams;
    shuffled_stream *running; /* whose work is being called; NULL: none */
} shuffled_device;

static shuffled_device *device_of(const fsm_stream *stream)
{
    return (shuffled_device *)stream->device;
}

static uint64_t draw(shuffled_device *d)
{
    return fsm_rng_bits(d->seed, FSM_RNG_TEST, d->drawn++);
}

/* ---- one step: the first of some stream is done ---- */

/* The most urgent stream that has not been tried and whose first may go on. */
static shuffled_stream *next_stream(const shuffled_device *d)
{
    shuffled_stream *best = NULL;
    for (shuffled_stream *s = d->streams; s; s = s->next) {
        if (s->tried || s->first == s->last || s == d->running) continue;
        const item *i = &s->items[s->first];
        if (i->kind == WAIT && i->event->done < i->records) continue;
        if (!best || s->priority > best->priority) best = s;
    }
    return best;
}

static bool call(shuffled_stream *s, const item *i)
{
    shuffled_device *d = device_of(&s->base);
    shuffled_stream *before = d->running;
    d->running = s;
    bool done = i->work(i->user);
    d->running = before;
    return done;
}

/* *done: false of work that wants to be called again. */
static fsmoe_status perform(shuffled_stream *s, const item *i, bool *done)
{
    const fsm_device_table *below = s->below->device->table;
    *done = true;
    switch (i->kind) {
    case COPY:
        return below->copy(s->below, i->direction, i->to, i->from, i->bytes);
    case FILL:
        return below->fill(s->below, i->to, i->byte, i->bytes);
    case SUBMIT:
        *done = call(s, i);
        return FSMOE_OK;
    case RECORD:
        i->event->done++;
        i->event->when_s = fsm_clock_s();
        return FSMOE_OK;
    case WAIT:
        return FSMOE_OK;
    }
    return FSMOE_OK;
}

static fsmoe_status perform_first(shuffled_stream *s, bool *done)
{
    const item first = s->items[s->first]; /* work may enqueue more, and so move the queue */
    fsmoe_status status = perform(s, &first, done);
    for (int calls = 0; !*done && calls < device_of(&s->base)->patience; calls++) {
        sched_yield(); /* it waits for somebody else, who may want this core */
        status = perform(s, &first, done);
    }
    if (*done) s->first++;
    return status;
}

/* *moved: something is done; *asked: some work at least was called. */
static fsmoe_status take_step(shuffled_device *d, bool *moved, bool *asked)
{
    bool change = (int)(draw(d) % 64) < d->change_in_64;
    for (shuffled_stream *s = d->streams; s; s = s->next) {
        s->tried = false;
        if (change) s->priority = draw(d);
    }
    *moved = *asked = false;
    for (shuffled_stream *s = next_stream(d); s && !*moved; s = next_stream(d)) {
        s->tried = *asked = true;
        FSM_TRY(perform_first(s, moved));
    }
    return FSMOE_OK;
}

/* ---- streams ---- */

static fsmoe_status make_room(shuffled_stream *s)
{
    if (s->first == s->last) s->first = s->last = 0;
    if (s->last < s->capacity) return FSMOE_OK;
    int capacity = 2 * s->capacity + 64;
    item *items = realloc(s->items, (size_t)capacity * sizeof *items);
    if (!items) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for a stream of %d items", capacity);
    s->items = items;
    s->capacity = capacity;
    return FSMOE_OK;
}

/* What work enqueues on its own stream while it is called is part of it and is done now. */
static fsmoe_status perform_within(shuffled_stream *s, const item *i)
{
    bool done = true;
    if (i->kind == WAIT && i->event->done < i->records)
        return fsm_fail(FSMOE_ERROR_INTERNAL, "work that has begun may not wait for another stream");
    do FSM_TRY(perform(s, i, &done));
    while (!done);
    return FSMOE_OK;
}

static fsmoe_status enqueue(fsm_stream *stream, item i)
{
    shuffled_stream *s = (shuffled_stream *)stream;
    shuffled_device *d = device_of(stream);
    if (d->running == s) return perform_within(s, &i);
    FSM_TRY(make_room(s));
    s->items[s->last++] = i;
    bool moved = !d->lazy && !d->running, asked;
    for (uint64_t steps = draw(d) % 4; steps > 0 && moved; steps--) FSM_TRY(take_step(d, &moved, &asked));
    return FSMOE_OK;
}

static fsmoe_status shuffled_copy(fsm_stream *stream, fsm_copy direction, void *to, const void *from, size_t bytes)
{
    return enqueue(stream, (item){.kind = COPY, .direction = direction, .to = to, .from = from, .bytes = bytes});
}

static fsmoe_status shuffled_fill(fsm_stream *stream, void *to, unsigned char byte, size_t bytes)
{
    return enqueue(stream, (item){.kind = FILL, .to = to, .byte = byte, .bytes = bytes});
}

static fsmoe_status shuffled_submit(fsm_stream *stream, fsm_work work, void *user)
{
    return enqueue(stream, (item){.kind = SUBMIT, .work = work, .user = user});
}

static void nap(int calls_in_vain)
{
    if (calls_in_vain < 64) sched_yield();
    else fsm_clock_sleep(50e-6);
}

static fsmoe_status shuffled_synchronise(fsm_stream *stream)
{
    shuffled_stream *s = (shuffled_stream *)stream;
    shuffled_device *d = device_of(stream);
    fsmoe_status first = FSMOE_OK;
    if (d->running == s) return FSMOE_OK; /* what was before this work is done */
    for (int in_vain = 0; s->first < s->last;) {
        bool moved, asked;
        fsmoe_status status = take_step(d, &moved, &asked);
        if (status == FSMOE_OK && !asked) {
            s->first = s->last;
            status = fsm_fail(FSMOE_ERROR_INTERNAL, "a stream waits for an event that does not come");
        }
        if (first == FSMOE_OK) first = status;
        in_vain = moved ? 0 : in_vain + 1;
        if (!moved && asked) nap(in_vain);
    }
    return first;
}

static fsmoe_status shuffled_create_stream(fsm_device *device, fsm_stream **stream)
{
    shuffled_device *d = (shuffled_device *)device;
    shuffled_stream *s = calloc(1, sizeof *s);
    if (!s) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for a stream");
    fsmoe_status status = d->below->table->create_stream(d->below, &s->below);
    if (status != FSMOE_OK) {
        free(s);
        return status;
    }
    s->base.device = device;
    s->priority = draw(d);
    s->next = d->streams;
    d->streams = s;
    *stream = &s->base;
    return FSMOE_OK;
}

static void shuffled_destroy_stream(fsm_stream *stream)
{
    if (!stream) return;
    shuffled_stream *s = (shuffled_stream *)stream, **link = &device_of(stream)->streams;
    while (*link != s) link = &(*link)->next;
    *link = s->next;
    s->below->device->table->destroy_stream(s->below);
    free(s->items);
    free(s);
}

/* ---- events ---- */

static fsmoe_status shuffled_create_event(fsm_device *device, fsm_event **event)
{
    shuffled_event *e = calloc(1, sizeof *e);
    if (!e) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for an event");
    e->base.device = device;
    *event = &e->base;
    return FSMOE_OK;
}

static void shuffled_destroy_event(fsm_event *event)
{
    free(event);
}

static fsmoe_status shuffled_record(fsm_event *event, fsm_stream *stream)
{
    shuffled_event *e = (shuffled_event *)event;
    e->asked++;
    return enqueue(stream, (item){.kind = RECORD, .event = e});
}

static fsmoe_status shuffled_wait(fsm_stream *stream, const fsm_event *event)
{
    shuffled_event *e = (shuffled_event *)event;
    return enqueue(stream, (item){.kind = WAIT, .event = e, .records = e->asked});
}

/* Who asks again and again sees it done some time. */
static fsmoe_status shuffled_query(fsm_event *event, bool *done)
{
    shuffled_device *d = (shuffled_device *)event->device;
    const shuffled_event *e = (const shuffled_event *)event;
    bool moved, asked;
    if (!d->running) FSM_TRY(take_step(d, &moved, &asked));
    *done = e->done == e->asked;
    return FSMOE_OK;
}

static fsmoe_status shuffled_elapsed(const fsm_event *from, const fsm_event *to, double *seconds)
{
    const shuffled_event *a = (const shuffled_event *)from, *b = (const shuffled_event *)to;
    if (a->done == 0 || b->done == 0 || a->done < a->asked || b->done < b->asked)
        return fsm_fail(FSMOE_ERROR_INTERNAL, "an event that is not done has no time");
    *seconds = b->when_s - a->when_s;
    return FSMOE_OK;
}

/* ---- memory is that of the device below ---- */

static fsm_device *below(fsm_device *device)
{
    return ((shuffled_device *)device)->below;
}

static fsmoe_status shuffled_allocate(fsm_device *device, size_t bytes, void **memory)
{
    return below(device)->table->allocate(below(device), bytes, memory);
}

static void shuffled_free(fsm_device *device, void *memory, size_t bytes)
{
    below(device)->table->free(below(device), memory, bytes);
}

static fsmoe_status shuffled_memory(fsm_device *device, size_t *free_bytes, size_t *total_bytes)
{
    return below(device)->table->memory(below(device), free_bytes, total_bytes);
}

static void shuffled_enter(fsm_device *device)
{
    fsm_device_enter(below(device));
}

static void shuffled_leave(fsm_device *device)
{
    fsm_device_leave(below(device));
}

/* ---- the device ---- */

static void shuffled_destroy(fsm_device *device)
{
    free(device);
}

static const fsm_device_table shuffled = {
    .name = "shuffled",
    .destroy = shuffled_destroy,
    .allocate = shuffled_allocate,
    .free = shuffled_free,
    .memory = shuffled_memory,
    .enter = shuffled_enter,
    .leave = shuffled_leave,
    .create_stream = shuffled_create_stream,
    .destroy_stream = shuffled_destroy_stream,
    .copy = shuffled_copy,
    .fill = shuffled_fill,
    .submit = shuffled_submit,
    .synchronise = shuffled_synchronise,
    .create_event = shuffled_create_event,
    .destroy_event = shuffled_destroy_event,
    .record = shuffled_record,
    .wait = shuffled_wait,
    .query = shuffled_query,
    .elapsed = shuffled_elapsed,
};

fsmoe_status fsm_device_create_shuffled(fsm_device *below_it, uint64_t seed, fsm_device **device)
{
    static const int changes[] = {0, 0, 4, 64};
    shuffled_device *d = calloc(1, sizeof *d);
    if (!d) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for a device");
    *d = (shuffled_device){.base.table = &shuffled, .below = below_it, .seed = seed};
    d->lazy = draw(d) % 2;
    d->change_in_64 = changes[draw(d) % 4];
    d->patience = d->change_in_64 == 0 ? 64 : 0;
    *device = &d->base;
    return FSMOE_OK;
}
