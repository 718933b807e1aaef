#define PCRE2_CODE_UNIT_WIDTH 8
#include "tokens/splitter.h"

#include <pcre2.h>
#include <stdlib.h>

/* GPT-2's encoder.py writes
 *     's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 * where \s is Unicode's White_Space. PCRE2's \s has U+180E as well, so the set is spelled out here; possessive repeats
 * match the same, with nothing to go back to. */
#define SPACES "\\t-\\r\\x{85}\\p{Z}"
/* clang-format off */
static const char *const PATTERN =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}++| ?\\p{N}++| ?[^" SPACES "\\p{L}\\p{N}]++"
    "|[" SPACES "]+(?![^" SPACES "])|[" SPACES "]++";
/* clang-format on */

struct fsm_splitter {
    pcre2_code *pattern;   /* matches one word at the start of valid UTF-8 */
    pcre2_code *validator; /* the empty pattern: all it does is check the text */
    pcre2_match_data *match;
    const char *at, *valid_end, *end; /* [at, valid_end) is known to be UTF-8 */
};

static fsmoe_status pcre2_failed(int code)
{
    char text[256];
    pcre2_get_error_message(code, (PCRE2_UCHAR *)text, sizeof text);
    fsmoe_status status = code == PCRE2_ERROR_NOMEMORY ? FSMOE_ERROR_MEMORY : FSMOE_ERROR_INTERNAL;
    return fsm_fail(status, "splitting text into words: PCRE2: %s", text);
}

static fsmoe_status compile(const char *pattern, uint32_t options, pcre2_code **code)
{
    int error;
    PCRE2_SIZE offset;
    *code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, options, &error, &offset, NULL);
    return *code ? FSMOE_OK : pcre2_failed(error);
}

fsmoe_status fsm_splitter_create(fsm_splitter **splitter)
{
    *splitter = NULL;
    fsm_splitter *made = calloc(1, sizeof *made);
    if (!made) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for a splitter of words");
    fsmoe_status status;
    FSM_TRY_GOTO(status, compile(PATTERN, PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED, &made->pattern), fail);
    FSM_TRY_GOTO(status, compile("", PCRE2_UTF | PCRE2_ANCHORED, &made->validator), fail);
    pcre2_jit_compile(made->pattern, PCRE2_JIT_COMPLETE); /* where there is no JIT, pcre2_match interprets */
    made->match = pcre2_match_data_create_from_pattern(made->pattern, NULL);
    if (!made->match) {
        status = fsm_fail(FSMOE_ERROR_MEMORY, "no memory for a splitter of words");
        goto fail;
    }
    *splitter = made;
    return FSMOE_OK;
fail:
    fsm_splitter_destroy(made);
    return status;
}

void fsm_splitter_destroy(fsm_splitter *splitter)
{
    if (!splitter) return;
    pcre2_match_data_free(splitter->match);
    pcre2_code_free(splitter->validator);
    pcre2_code_free(splitter->pattern);
    free(splitter);
}

void fsm_splitter_begin(fsm_splitter *splitter, const char *bytes, size_t size)
{
    splitter->at = splitter->valid_end = bytes;
    splitter->end = bytes + size;
}

/* Sets valid_end: the end of the longest valid UTF-8 that starts at `from`. */
static fsmoe_status validate(fsm_splitter *splitter, const char *from)
{
    size_t left = (size_t)(splitter->end - from);
    int code = pcre2_match(splitter->validator, (PCRE2_SPTR)from, left, 0, 0, splitter->match, NULL);
    if (code >= 0) {
        splitter->valid_end = splitter->end;
    } else if (code <= PCRE2_ERROR_UTF8_ERR1 && code >= PCRE2_ERROR_UTF8_ERR21) {
        splitter->valid_end = from + pcre2_get_startchar(splitter->match);
    } else {
        return pcre2_failed(code);
    }
    return FSMOE_OK;
}

fsmoe_status fsm_splitter_next(fsm_splitter *splitter, const char **word, size_t *size)
{
    *word = splitter->at;
    *size = 0;
    if (splitter->at == splitter->end) return FSMOE_OK;
    if (splitter->at == splitter->valid_end) {
        FSM_TRY(validate(splitter, splitter->at));
        /* Each check of a bad byte stops at once, so a run of them is no quadratic trap. */
        while (splitter->valid_end == splitter->at && splitter->at < splitter->end)
            FSM_TRY(validate(splitter, ++splitter->at));
        *size = (size_t)(splitter->at - *word);
        if (*size > 0) return FSMOE_OK;
    }
    PCRE2_SPTR at = (PCRE2_SPTR)splitter->at;
    size_t left = (size_t)(splitter->valid_end - splitter->at);
    int code = pcre2_match(splitter->pattern, at, left, 0, PCRE2_NO_UTF_CHECK, splitter->match, NULL);
    if (code < 0) return pcre2_failed(code);
    *size = pcre2_get_ovector_pointer(splitter->match)[1];
    splitter->at += *size;
    return FSMOE_OK;
}
