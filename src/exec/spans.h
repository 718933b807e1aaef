/* A step as nested spans of time: step > lane > micro-batch > phase > layer.
 * In:  a graph and when each of its tasks starts and ends.
 * Out: an array of spans, parents before children; each lies inside its parent, and siblings other than lanes do not
 * overlap.
 * A span reaches from its tasks' earliest start to their latest end; where siblings would overlap, the next one's start
 * ends the one before, except that the update starts when all else has ended. What is left empty is left out.
 */
#ifndef FSM_EXEC_SPANS_H
#define FSM_EXEC_SPANS_H

#include "plan/simulate.h"

typedef enum fsm_span_level {
    FSM_SPAN_STEP,
    FSM_SPAN_LANE,  /* left out when there is one lane; the update is of none */
    FSM_SPAN_MICRO, /* left out when there is one micro-batch */
    FSM_SPAN_PHASE, /* of a micro-batch, a lane or the step */
    FSM_SPAN_LAYER,
    FSM_SPAN_LEVEL_COUNT
} fsm_span_level;

typedef struct fsm_span {
    fsm_span_level level;
    int lane;   /* -1: of none, or there is one */
    int number; /* of the lane, micro-batch or layer, the phase; 0 for the step */
    int parent; /* index of the span around it; -1 for the step */
    double start_s, end_s;
    int first, count; /* of its tasks, in an order of the builder's own */
} fsm_span;

typedef struct fsm_spans {
    fsm_span *spans; /* [count], owned */
    int count;
} fsm_spans;

/* No spans for a graph without tasks. ERROR_MEMORY. */
fsmoe_status fsm_spans_create(const fsm_graph *graph, const fsm_timeline *timeline, fsm_spans *spans);
void fsm_spans_destroy(fsm_spans *spans);

/* "step", "lane 0", "micro 1", "backward", "layer 3". */
enum { FSM_SPAN_NAME_BYTES = 24 };
void fsm_span_name(const fsm_span *span, char name[FSM_SPAN_NAME_BYTES]);

#endif
