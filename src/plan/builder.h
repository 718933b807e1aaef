/* The builder: strings the tasks of a step together.
 * In:  the step's shape; how each layer is cut, which gradients go where.
 * Out: a graph. Data dependencies are written here once; a schedule only decides degrees, order and where gradients go.
 * Each lane (model/lanes.h) is a chain of tasks of its own: fsm_step_enter turns to one, and what is called next
 * continues it. What is built lane after lane is ordered afterwards (list.h, merge.h).
 */
#ifndef FSM_PLAN_BUILDER_H
#define FSM_PLAN_BUILDER_H

#include "plan/step.h"

/* A slice of a region that is all-reduced on its own. */
typedef struct fsm_piece {
    int region;
    int64_t first, last;
} fsm_piece;

enum { FSM_MAX_PIECES = 64 }; /* at one place */

/* How one layer is cut in one direction, and which gradients are sent meanwhile. */
typedef struct fsm_layer_cut {
    int degree;
    const int64_t *cuts;   /* [degree + 1] of the nominal rows */
    const fsm_slot *slots; /* [slot_count] the order of its tasks; NULL: chunk after chunk */
    int slot_count;
    bool one_link; /* dispatches and allgathers take turns: gradients go after the last of both */
    bool split;    /* reducescatter does not wait for weight_grad */
    fsm_piece pieces[2]
                    [FSM_MAX_PIECES]; /* sent [0] between the dispatches and the combines, [1] while dense work runs */
    int piece_count[2];
} fsm_layer_cut;

/* A graph under construction. */
typedef struct fsm_step_builder {
    const fsm_step_shape *shape;
    fsm_graph *graph;
    int micro, lane;         /* the pass that is strung now */
    fsm_pass_size size;      /* what it works on */
    int last;                /* the task that the next one in its chain waits for; -1: none */
    int left[FSM_MAX_LANES]; /* `last` of the other lanes */
    bool one_stream;         /* every collective on the all-to-alls' stream */
    bool after_backward;     /* gradients are sent when backward has ended, though they may be finished before */
    /* Experts' weight gradients: a layer does not wait for its own, only what overwrites what they read does. Of a lane
     * they follow one another. */
    bool late_weight_grads;
    int *late;     /* [lanes][MoE layers] the last one of the layer that backward entered k-th; owned, as all below */
    int *finished; /* [gradient_count][lanes] the task that finished a gradient, -1: not yet */
    int *of_layer; /* [gradient_count] gradients by layer, and where each layer's begin [num_layers + 3] */
    int *layer_first;
    int64_t most_elems; /* of a piece after backward; 0: any */
    int64_t sent[3];    /* of each region, up to here */
} fsm_step_builder;

/* How a step is spread over lanes. {0}: one lane. */
typedef struct fsm_lanes {
    int lanes, parts, spare; /* as of fsm_graph */
} fsm_lanes;

/* ERROR_MEMORY. end frees what begin made, and checks the graph. */
fsmoe_status fsm_step_builder_begin(const fsm_step_shape *shape, fsm_lanes lanes, bool one_stream, fsm_graph *graph,
                                    fsm_step_builder *builder);
fsmoe_status fsm_step_builder_end(fsm_step_builder *builder);

/* What follows continues the pass of that micro-batch in that lane. */
void fsm_step_enter(fsm_step_builder *builder, int micro, int lane);

/* Where MP's collectives are on the stream of the all-to-alls, gradients are sent beside attention itself, after its
 * allgather; else from the start of the dense part on. */
bool fsm_step_sends_beside_attention(const fsm_step_shape *shape, bool one_stream);

/* Forward or backward of one layer; the cut's pieces are sent in backward alone. */
void fsm_step_layer(fsm_step_builder *builder, fsm_phase phase, int layer, const fsm_layer_cut *cut);
void fsm_step_begin(fsm_step_builder *builder); /* embedding */
void fsm_step_head(fsm_step_builder *builder);  /* forward: logits and loss */
/* The exchange that all parts of the present micro-batch wait for once their heads are strung, and go on after. */
void fsm_step_sums(fsm_step_builder *builder);
void fsm_step_head_backward(fsm_step_builder *builder);
void fsm_step_loss(fsm_step_builder *builder); /* the three, where there is one lane: in training, backward's too */
void fsm_step_end(fsm_step_builder *builder);  /* embedding backward */

/* One more slice of gradients is summed, once all lanes have finished it. */
void fsm_step_send(fsm_step_builder *builder, const fsm_piece *piece);

/* All gradients that ranks sum, in pieces of about so many elements, each once all lanes have finished it. */
void fsm_step_send_pieces(fsm_step_builder *builder, int64_t piece_elems);

/* The update: what was not sent yet is all-reduced, one piece a region, after everything. The optimizer follows the
 * gradient norm, region by region, or with early_update each piece. */
void fsm_step_update(fsm_step_builder *builder);

enum { FSM_LANE_CHUNKS = 16 }; /* of a layer in one lane, at most, where layers are alike */

/* The cuts of both directions, of every part; cuts [2][FSM_MAX_LANES][degree + 1]. */
typedef int64_t fsm_lane_cuts[2][FSM_MAX_LANES][FSM_LANE_CHUNKS + 1];
void fsm_lanes_cut(const fsm_step_shape *shape, fsm_lanes lanes, const int degree[2], fsm_lane_cuts cuts,
                   fsm_layer_cut passes[2][FSM_MAX_LANES]);

/* Forward and backward of a step, lane after lane, layers alike: cuts [phase][part]. */
void fsm_step_plain(fsm_step_builder *builder, const fsm_layer_cut cuts[2][FSM_MAX_LANES]);

#endif
