/* Numbers with units: what was read, printed in the plain unit, reads back to the same. */
#include "fuzz.h"

#include <fsmoe/cluster.h>
#include <math.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const units[] = {
        [FSMOE_QUANTITY_RATE] = "B/s", [FSMOE_QUANTITY_TIME] = "s", [FSMOE_QUANTITY_FLOPS] = ""};
    fsmoe_quantity quantity = (fsmoe_quantity)(fuzz_take(&data, &size) % 3);
    char *text = fuzz_text(data, size), again[64];
    double value = NAN, back = NAN;
    if (fsmoe_quantity_parse(text, quantity, &value) == FSMOE_OK) {
        FUZZ_CLAIM(isfinite(value) && (value > 0 || (value == 0 && quantity == FSMOE_QUANTITY_TIME)));
        snprintf(again, sizeof again, "%.17g%s", value, units[quantity]);
        FUZZ_CLAIM(fsmoe_quantity_parse(again, quantity, &back) == FSMOE_OK && back == value);
        FUZZ_CLAIM(!memchr(text, 'x', strlen(text)) && !memchr(text, 'X', strlen(text))); /* decimal, as people write */
    }
    free(text);
    return 0;
}
