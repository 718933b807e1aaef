/* A graph as a JSON value, for files that hold one among other things. */
#ifndef FSM_PLAN_GRAPH_JSON_H
#define FSM_PLAN_GRAPH_JSON_H

#include "plan/graph.h"

#include <jansson.h>
#include <stdbool.h>

/* Sets *failed when memory is out or a size is no number. */
json_t *fsm_graph_json(const fsm_graph *graph, bool *failed);

/* ERROR_FORMAT names the task and key. */
fsmoe_status fsm_graph_of_json(const json_t *json, fsm_graph *graph);

#endif
