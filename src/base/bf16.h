/* bfloat16: the upper half of a float's bits.
 * In:  a float. Out: the nearest bfloat16, of two as near the even one, and back, which is exact; a NaN stays one.
 */
#ifndef FSM_BASE_BF16_H
#define FSM_BASE_BF16_H

#include <stdint.h>
#include <string.h>

static inline uint16_t fsm_to_bf16(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16, quiet = bits >> 16 | 0x40;
    return (uint16_t)(value != value ? quiet : rounded);
}

static inline float fsm_from_bf16(uint16_t half)
{
    uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

#endif
