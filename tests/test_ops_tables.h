/* Every table there is, each slot by slot alike: the reference, both of the CPU on two threads, and one that counts
 * another's work.
 * In:  nothing; make_tables and destroy_tables go around a program's tests.
 * Out: the tables, with work memory for attention on up to 256 keys and heads of 64.
 */
#ifndef FSM_TESTS_TEST_OPS_TABLES_H
#define FSM_TESTS_TEST_OPS_TABLES_H

#include "cpu/cpu.h"
#include "ops/meter.h"
#include "test_ops_data.h"

enum { TABLES = 4, METERED = 2 };
static fsm_ops *own_tables[TABLES - 1];
static const fsm_ops *tables[TABLES] = {&fsm_ops_reference};

static inline int make_tables(void **state)
{
    const fsm_attention_shape largest = {.k_len = 256, .head_dim = 64};
    (void)state;
    for (int i = 0; i < TABLES - 1; i++) {
        if (fsm_cpu_ops_create(2, i == 1 ? FSM_CPU_CANONICAL : FSM_CPU_FP32, &own_tables[i]) != FSMOE_OK) return 1;
        if (i == METERED && fsm_meter_create(own_tables[i], &own_tables[i]) != FSMOE_OK) return 1;
        if (!own_tables[i]->attention_reserve(own_tables[i], &largest)) return 1;
        tables[i + 1] = own_tables[i];
    }
    return 0;
}

static inline int destroy_tables(void **state)
{
    (void)state;
    for (int i = 0; i < TABLES - 1; i++) fsm_ops_destroy(own_tables[i]);
    return 0;
}

#endif
