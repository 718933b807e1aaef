/* The configuration behind <fsmoe/config.h>: the table of keys, and what is checked and derived across keys.
 * In:  the table in sections.c; values from YAML text (read.c).
 * Out: a checked fsmoe_config; messages that say which line of which file set the key they complain about.
 * A configuration made by fsmoe_config_create is the first member of fsm_config, which remembers those places;
 * every function here that takes a fsmoe_config wants one made that way. None of them is thread safe on one object.
 */
#ifndef FSM_CONFIG_CONFIG_H
#define FSM_CONFIG_CONFIG_H

#include "base/status.h"

#include <fsmoe/config.h>

typedef enum fsm_config_type {
    FSM_CONFIG_INT,     /* int64_t */
    FSM_CONFIG_FLOAT,   /* double, finite */
    FSM_CONFIG_BOOL,    /* bool */
    FSM_CONFIG_STRING,  /* char *, owned, never NULL */
    FSM_CONFIG_STRINGS, /* fsmoe_strings, owned */
    FSM_CONFIG_CHOICE,  /* char *, owned, one of `choices` */
} fsm_config_type;

/* What the model folder that a run starts from has to say of a key. */
typedef enum fsm_config_in_folder {
    FSM_CONFIG_NOT_IN_FOLDER,
    FSM_CONFIG_FOLDER_SUGGESTS, /* how it was trained */
    FSM_CONFIG_FOLDER_DECIDES,  /* the key makes the model what it is: another value is another model */
} fsm_config_in_folder;

typedef struct fsm_config_field {
    const char *key; /* "section.name" */
    size_t offset;   /* in fsmoe_config */
    fsm_config_type type;
    const char *preset;  /* the default, written as in a file; unused by STRINGS, which start empty */
    double min, max;     /* INT and FLOAT, both inclusive; integers are exact, so no limit exceeds 2^53 */
    const char *choices; /* CHOICE: names between ", " */
    fsm_config_in_folder in_folder;
    const char *help; /* one line, with the unit and what 0 means */
} fsm_config_field;

typedef struct fsm_config_section {
    const char *name;
    const char *help;
} fsm_config_section;

/* The keys, those of a section side by side, in the order of fsm_config_sections. */
extern const fsm_config_field fsm_config_fields[];
extern const size_t fsm_config_field_count;
extern const fsm_config_section fsm_config_sections[];
extern const size_t fsm_config_section_count;

/* The row of "section.name"; NULL if there is none. */
const fsm_config_field *fsm_config_find(const char *key);

/* The key most likely meant by `key`: the same name in another section, otherwise the least edit distance. */
const char *fsm_config_nearest_key(const char *key);
const char *fsm_config_nearest_section(const char *name);

/* Who set a key last. */
typedef enum fsm_config_source {
    FSM_CONFIG_BY_NOBODY,
    FSM_CONFIG_BY_FOLDER, /* a model's, because nobody else did */
    FSM_CONFIG_BY_FILE,
    FSM_CONFIG_BY_SET,
} fsm_config_source;

typedef struct fsm_config_origin {
    fsm_config_source source;
    char *where; /* "demo.yaml:12", "--set", "MODEL/config.json"; NULL: nobody */
} fsm_config_origin;

typedef struct fsm_config {
    fsmoe_config values; /* first, so that the two pointers convert */
    fsmoe_config files;  /* what the files alone say */
    void (*on_warning)(void *user, const char *sentence);
    void *user;
    fsm_config_origin origins[]; /* a row of the table each */
} fsm_config;

static inline const fsm_config_origin *fsm_config_origin_of(const fsmoe_config *config, const fsm_config_field *field)
{
    return &((const fsm_config *)config)->origins[field - fsm_config_fields];
}

/* Where a field was set, for messages; NULL: nobody did. */
static inline const char *fsm_config_where(const fsmoe_config *config, const fsm_config_field *field)
{
    return fsm_config_origin_of(config, field)->where;
}

static inline const void *fsm_config_at(const fsmoe_config *config, const fsm_config_field *field)
{
    return (const char *)config + field->offset;
}

/* A YAML value before its type is known. */
typedef enum fsm_config_shape { FSM_CONFIG_SCALAR, FSM_CONFIG_LIST, FSM_CONFIG_MAPPING } fsm_config_shape;
typedef struct fsm_config_value {
    fsm_config_shape shape;
    bool quoted;         /* a quoted scalar is a string, whatever it looks like */
    char *text;          /* SCALAR: never NULL; owned by whoever filled the value */
    fsmoe_strings items; /* LIST */
} fsm_config_value;

/* Frees the items and leaves an empty list. */
void fsm_config_free_strings(fsmoe_strings *strings);

/* Converts, checks and stores a value; `where` is copied. The old value stays on failure. ERROR_CONFIG (wrong type, out
 * of range, unknown choice; the message starts with the key and leaves the place to the caller), ERROR_MEMORY. */
fsmoe_status fsm_config_assign(fsmoe_config *config, const fsm_config_field *field, const fsm_config_value *value,
                               fsm_config_source source, const char *where);

/* Stores the value that the field has in `from`, which may be a flat copy. ERROR_MEMORY, then the old one stays. */
fsmoe_status fsm_config_take(fsmoe_config *config, const fsmoe_config *from, const fsm_config_field *field,
                             fsm_config_source source, const char *where);

/* Converts and checks, into a flat configuration whose value then belongs to `value`. ERROR_CONFIG, as above. */
fsmoe_status fsm_config_convert(const fsm_config_field *field, const fsm_config_value *value, fsmoe_config *flat);

/* The default again, set by nobody. ERROR_MEMORY. */
fsmoe_status fsm_config_reset(fsmoe_config *config, const fsm_config_field *field);

/* Whether the present value of one field lies in its range or list of choices. ERROR_CONFIG, without a place. */
fsmoe_status fsm_config_check_field(const fsmoe_config *config, const fsm_config_field *field);

/* One more name that a CHOICE key takes, which must stay; of another key, nothing. ERROR_CONFIG: too many. Not thread
 * safe. */
fsmoe_status fsm_config_add_choice(const char *key, const char *name);

/* Whether the name is one of those. */
bool fsm_config_is_added(const char *key, const char *name);

/* Whether the field holds its default. */
bool fsm_config_is_default(const fsmoe_config *config, const fsm_config_field *field);

/* Equal for equal values of a key; XXH3-64. */
uint64_t fsm_config_hash(const fsmoe_config *config, const fsm_config_field *field);

/* A JSON number, all of `text` (so 1e-3 yes; 0x10, 010, 4_096, .5, inf no), in any locale. */
bool fsm_config_parse_int(const char *text, int64_t *number);
bool fsm_config_parse_float(const char *text, double *number);

/* User text made fit for a one-line message: control bytes become '?', long text ends in "...". */
enum { FSM_CONFIG_EXCERPT_BYTES = 96 };
typedef struct fsm_config_excerpt {
    char text[FSM_CONFIG_EXCERPT_BYTES];
} fsm_config_excerpt;
fsm_config_excerpt fsm_config_excerpt_of(const char *text);

/* Everything that one key alone cannot tell: relations between keys, and keys that the others leave without effect. One
 * of those is an error unless it holds its default, so that a dumped configuration stays valid, or was silenced by what
 * came later (fsmoe_config_drop_silenced, which this calls first). May be called before or after fsm_config_derive.
 * ERROR_CONFIG: file, line, keys, values and the reason; ERROR_MEMORY. */
fsmoe_status fsm_config_check(fsmoe_config *config);

/* Whether the field's value changes anything beside the others; `config` may be a flat copy. */
bool fsm_config_has_effect(const fsmoe_config *config, const fsm_config_field *field);

/* Adds to an error whose sentence begins with a key the place where that key was given; returns the status. For what is
 * found when kinds are looked up, beyond this folder. */
fsmoe_status fsm_config_place(const fsmoe_config *config, fsmoe_status status);

/* Every key that somebody gave, even with its default, must have an effect. ERROR_CONFIG, as above. */
fsmoe_status fsm_config_check_given(const fsmoe_config *config);

/* Reads a file of flat keys, "key: value" a line; keys [count] are the full names ("moe.top_k") of those it may have,
 * each written there without its section. Errors as of fsmoe_config_load. */
fsmoe_status fsm_config_load_flat(fsmoe_config *config, const char *path, const char *const *keys, size_t count);

/* Fills the zeros and "auto"s that depend on other keys only (the table in derive.c), and capacity_group of soft.
 * Wants a checked configuration. ERROR_MEMORY. */
fsmoe_status fsm_config_derive(fsmoe_config *config);

/* The same for a flat copy, which must not be freed: names that were "auto" are static text then. */
void fsm_config_derive_flat(fsmoe_config *flat);

/* Bytes of an element of a row, by train.compute_dtype of a derived configuration. */
int64_t fsm_config_row_bytes(const fsmoe_config *config);

/* Whether the field is one of those, or vocab_size, and leaves its value open: 0 or "auto". */
bool fsm_config_is_open(const fsmoe_config *config, const fsm_config_field *field);

/* What "auto" stands for with an expert from outside; the texts must stay. ERROR_CONFIG: too many. Not thread safe. */
fsmoe_status fsm_config_add_expert(const char *name, const char *activation, bool has_bias, bool on_host);

/* Whether moe.expert is one of those and looks at rows of fp32. */
bool fsm_config_expert_is_on_host(const fsmoe_config *config);

#endif
