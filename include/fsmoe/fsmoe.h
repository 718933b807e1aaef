/* Everything public of fsmoe. */
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
