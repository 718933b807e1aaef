/* The keys of config.json (a part of model/hf_config.h): which exist, what they fill, what they must be.
 * In:  nothing.
 * Out: constant tables that both the reader and the writer walk; types and ranges are those of src/config/sections.c.
 */
#ifndef FSM_MODEL_HF_CONFIG_KEYS_H
#define FSM_MODEL_HF_CONFIG_KEYS_H

#include <stdbool.h>
#include <stddef.h>

typedef enum fsm_hf_type {
    FSM_HF_MIXTRAL = 1,
    FSM_HF_FSMOE = 2,
    FSM_HF_BOTH = FSM_HF_MIXTRAL | FSM_HF_FSMOE,
} fsm_hf_type;

/* A key that fills a field of the configuration. */
typedef struct fsm_hf_field {
    const char *key;
    const char *config_key; /* "model.hidden" */
    fsm_hf_type types;      /* the model types that have it */
    bool optional;          /* may be absent or null in "mixtral"; of a key of "fsmoe" alone, absent there */
    bool may_be_zero;       /* of an integer */
} fsm_hf_field;

/* A key of "mixtral" that must have one value (or null, or be absent), because the model here does only that. */
typedef struct fsm_hf_fixed {
    const char *key;
    const char *json; /* the value, as JSON */
    bool written;     /* the writer spells it out */
} fsm_hf_fixed;

extern const fsm_hf_field fsm_hf_fields[];
extern const size_t fsm_hf_field_count;
extern const fsm_hf_fixed fsm_hf_fixed_keys[];
extern const size_t fsm_hf_fixed_count;

/* The field of a key that `type` has, or NULL. */
const fsm_hf_field *fsm_hf_field_find(const char *key, fsm_hf_type type);

/* The fixed value of a key of "mixtral", or NULL. */
const fsm_hf_fixed *fsm_hf_fixed_find(const char *key);

/* Whether a key of "mixtral" only describes or is for generating text, so that it has no effect here. */
bool fsm_hf_key_is_descriptive(const char *key);

#endif
