/* What of an MoE layer the host does, wherever tensors are: everything else is operations.
 * In:  a configuration. Out: a sentence for people; the list of docs/devices.md.
 */
#ifndef FSM_MOE_ON_HOST_H
#define FSM_MOE_ON_HOST_H

#include <fsmoe/config.h>

#include <stdbool.h>

enum { FSM_ON_HOST_BYTES = 512 };

/* Names what runs on the host, separated by commas; false: nothing does. */
bool fsm_moe_on_host(const fsmoe_moe_config *config, char text[FSM_ON_HOST_BYTES]);

#endif
