/* The world behind <fsmoe/world.h>. */
#ifndef FSM_COMM_WORLD_H
#define FSM_COMM_WORLD_H

#include "comm/comm.h"

#include <fsmoe/world.h>

struct fsmoe_world {
    fsm_comm *comm;
};

#endif
