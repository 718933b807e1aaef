/* Rows travel as bfloat16: half the bytes of every dispatch and combine, forward and backward. Rounded to the nearest,
 * ties to even; gradients pass as if nothing had been rounded. */
#include "moe/hook/hook.h"

#include "base/bf16.h"

#include <string.h>

/* Elements converted at a time, by way of a buffer: in place, a loop could not be vectorised. */
enum { RUN = 256 };

static int64_t packed_width(const fsm_hook_call *call)
{
    return (call->hidden + 1) / 2;
}

/* Both in place: packed rows begin no later than plain ones, so packing goes upwards and unpacking downwards. Rows that
 * another hook has packed already stay as they are. */
static void pack(fsm_hook_call *call)
{
    if (call->width != call->hidden || packed_width(call) == call->hidden) return;
    for (int64_t r = 0; r < call->rows; r++) {
        const float *from = call->data + r * call->hidden;
        char *to = (char *)(call->data + r * packed_width(call));
        for (int64_t first = 0; first < call->hidden; first += RUN) {
            uint16_t halves[RUN];
            int64_t n = call->hidden - first < RUN ? call->hidden - first : RUN;
            for (int64_t m = 0; m < n; m++) halves[m] = fsm_to_bf16(from[first + m]);
            memcpy(to + 2 * first, halves, 2 * (size_t)n);
        }
    }
    call->width = packed_width(call);
}

static void unpack(fsm_hook_call *call)
{
    if (call->width != packed_width(call) || packed_width(call) == call->hidden) return;
    for (int64_t r = call->rows - 1; r >= 0; r--) {
        const char *from = (const char *)(call->data + r * call->width);
        float *to = call->data + r * call->hidden;
        for (int64_t first = (call->hidden - 1) / RUN * RUN; first >= 0; first -= RUN) {
            uint16_t halves[RUN];
            int64_t n = call->hidden - first < RUN ? call->hidden - first : RUN;
            memcpy(halves, from + 2 * first, 2 * (size_t)n);
            for (int64_t m = 0; m < n; m++) to[first + m] = fsm_from_bf16(halves[m]);
        }
    }
    call->width = call->hidden;
}

static void call_wire_bf16(void *state, fsm_hook_call *call)
{
    (void)state;
    if (call->point == FSM_HOOK_BEFORE_DISPATCH || call->point == FSM_HOOK_BEFORE_COMBINE) pack(call);
    if (call->point == FSM_HOOK_AFTER_DISPATCH || call->point == FSM_HOOK_AFTER_COMBINE) unpack(call);
}

const fsm_hook_kind fsm_hook_wire_bf16 = {
    .name = "wire_bf16",
    .description = "dispatch and combine in bfloat16, forward and backward",
    .call = call_wire_bf16,
    .wire_divisor = 2,
};
