/* Everything public of fsmoe.
 * Nothing here is the process's but MPI (<fsmoe/world.h>) and the kinds that a program adds before anything else
 * (<fsmoe-extend>): different threads may train, evaluate and generate at once, each with objects of its own, and a
 * callback may use the library for something else. A result is to the bit what it is alone. What the program has told
 * OpenMP neither counts nor changes; fsmoe_last_error() is each thread's own.
 */
#ifndef FSMOE_FSMOE_H
#define FSMOE_FSMOE_H

#include <fsmoe/bench.h>
#include <fsmoe/cluster.h>
#include <fsmoe/config.h>
#include <fsmoe/layer.h>
#include <fsmoe/memory.h>
#include <fsmoe/model.h>
#include <fsmoe/output.h>
#include <fsmoe/plan.h>
#include <fsmoe/profile.h>
#include <fsmoe/report.h>
#include <fsmoe/status.h>
#include <fsmoe/tokenizer.h>
#include <fsmoe/tokens.h>
#include <fsmoe/train.h>
#include <fsmoe/world.h>

#endif
