/* Rows travel as bfloat16: half the bytes of every dispatch and combine, forward and backward. Rounded to the nearest,
 * ties to even; gradients pass as if nothing had been rounded. */
#include "moe/hook/hook.h"

#include <string.h>

static uint16_t to_bf16(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (value != value) return (uint16_t)(bits >> 16 | 0x40); /* a NaN stays one */
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static float from_bf16(uint16_t half)
{
    uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Both in place: packed rows begin no later than plain ones, so packing goes upwards and unpacking downwards. */
static void pack(fsm_hook_call *call)
{
    int64_t width = (call->hidden + 1) / 2;
    for (int64_t r = 0; r < call->rows; r++) {
        const float *from = call->data + r * call->hidden;
        char *to = (char *)(call->data + r * width);
        for (int64_t m = 0; m < call->hidden; m++) {
            uint16_t half = to_bf16(from[m]);
            memcpy(to + 2 * m, &half, sizeof half);
        }
    }
    call->width = width;
}

static void unpack(fsm_hook_call *call)
{
    for (int64_t r = call->rows - 1; r >= 0; r--) {
        const char *from = (const char *)(call->data + r * call->width);
        float *to = call->data + r * call->hidden;
        for (int64_t m = call->hidden - 1; m >= 0; m--) {
            uint16_t half;
            memcpy(&half, from + 2 * m, sizeof half);
            to[m] = from_bf16(half);
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
};
