/* The direction of a step that a task, or a hook's call, belongs to. */
#ifndef FSM_MOE_PHASE_H
#define FSM_MOE_PHASE_H

typedef enum fsm_phase { FSM_FORWARD, FSM_BACKWARD, FSM_UPDATE, FSM_PHASE_COUNT } fsm_phase;

#endif
