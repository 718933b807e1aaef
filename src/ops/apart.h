/* A table of operations on a device whose memory lies apart (device/device.h): the device is entered around every
 * operation, so that a touch of a tensor by anybody else faults.
 * In:  the table that does the work, on memory of this machine. Out: a table with the same contract and results, for
 *      tests.
 */
#ifndef FSM_OPS_APART_H
#define FSM_OPS_APART_H

#include "base/status.h"
#include "device/device.h"
#include "ops/ops.h"

/* Takes `inner` over; `device` is borrowed and outlives *apart. ERROR_MEMORY: `inner` stays the caller's. */
fsmoe_status fsm_apart_ops_create(fsm_ops *inner, fsm_device *device, fsm_ops **apart);

#endif
