/* What a build without CUDA says of CUDA devices; one with it compiles its own instead of this file. */
#include "device/device.h"

fsmoe_status fsm_device_create_cuda(int number, fsm_device **device)
{
    *device = NULL;
    return fsm_fail(FSMOE_ERROR_CONFIG, "CUDA device %d: this build of fsmoe has no CUDA", number);
}
