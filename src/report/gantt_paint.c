#include "report/gantt_paint.h"

#include <string.h>

enum { SWATCH_PX = 32, ENTRY_GAP_PX = 26, ROW_PX = 26, TEXT_PX = 12 };

/* X(hue, lighter, darker): what a hue is for is its name. Told apart by people who see no red or no green: neighbours
 * in a row of the picture differ in lightness or along blue to yellow. */
#define HUES(X)                          \
    X(ATTENTION, 0x93abd0, 0x5877ab)     \
    X(FEED_FORWARD, 0x86bad2, 0x42829f)  \
    X(NORM, 0xbcc3cb, 0x8a929c)          \
    X(ROUTING, 0xcbb99c, 0x97845f)       \
    X(ENDS, 0xa9acca, 0x74789f)          \
    X(EXPERT, 0xf5a54a, 0xd2761a)        \
    X(WEIGHT_GRAD, 0xe8856b, 0xb9432b)   \
    X(DISPATCH, 0x5cc9a4, 0x17876a)      \
    X(COMBINE, 0x5fbfe8, 0x1c78b0)       \
    X(ALLGATHER, 0xb596dc, 0x7d55ad)     \
    X(REDUCESCATTER, 0xeda0cb, 0xbb5a93) \
    X(MP, 0xb4b25a, 0x77762c)            \
    X(ALLREDUCE, 0xecd04a, 0xb8991c)     \
    X(UPDATE, 0xa3b296, 0x72826a)

typedef enum hue {
#define HUE_ENUM(name, lighter, darker) HUE_##name,
    HUES(HUE_ENUM)
#undef HUE_ENUM
        HUE_COUNT
} hue;

_Static_assert((int)HUE_COUNT == (int)FSM_PAINT_HUES, "the header counts the hues");

static const unsigned shades[HUE_COUNT][2] = {
#define HUE_SHADES(name, lighter, darker) {lighter, darker},
    HUES(HUE_SHADES)
#undef HUE_SHADES
};

static const hue hue_of[FSM_TASK_KIND_COUNT] = {
    [FSM_TASK_EMBEDDING] = HUE_ENDS,
    [FSM_TASK_NORM] = HUE_NORM,
    [FSM_TASK_MP_ALLGATHER] = HUE_MP,
    [FSM_TASK_ATTENTION] = HUE_ATTENTION,
    [FSM_TASK_MP_REDUCESCATTER] = HUE_MP,
    [FSM_TASK_FFN_NORM] = HUE_NORM,
    [FSM_TASK_FFN_ALLGATHER] = HUE_MP,
    [FSM_TASK_FFN] = HUE_FEED_FORWARD,
    [FSM_TASK_FFN_REDUCESCATTER] = HUE_MP,
    [FSM_TASK_GATE] = HUE_ROUTING,
    [FSM_TASK_COUNTS] = HUE_ROUTING,
    [FSM_TASK_ORDER] = HUE_ROUTING,
    [FSM_TASK_A2A_DISPATCH] = HUE_DISPATCH,
    [FSM_TASK_ALLGATHER] = HUE_ALLGATHER,
    [FSM_TASK_EXPERT] = HUE_EXPERT,
    [FSM_TASK_WEIGHT_GRAD] = HUE_WEIGHT_GRAD,
    [FSM_TASK_REDUCESCATTER] = HUE_REDUCESCATTER,
    [FSM_TASK_A2A_COMBINE] = HUE_COMBINE,
    [FSM_TASK_IORDER] = HUE_ROUTING,
    [FSM_TASK_HEAD] = HUE_ENDS,
    [FSM_TASK_SUMS] = HUE_ENDS,
    [FSM_TASK_ALLREDUCE] = HUE_ALLREDUCE,
    [FSM_TASK_GRAD_SQUARES] = HUE_UPDATE,
    [FSM_TASK_GRAD_NORM] = HUE_UPDATE,
    [FSM_TASK_OPTIMIZER] = HUE_UPDATE,
};

/* Every rule is of .gantt alone: pictures may stand in a page with rules of its own. */
static const char style[] =
    ".gantt{color-scheme:light dark;--paper:#fbfbf9;--ink:#1d1d1b;--quiet:#6a6a65;--idle:#eeede8;--grid:#dddcd6;"
    "--span:#e4e3dd}\n"
    "@media(prefers-color-scheme:dark){.gantt{--paper:#161615;--ink:#e9e8e3;--quiet:#9c9b94;--idle:#242422;"
    "--grid:#3a3a37;--span:#31312e}}\n"
    ".gantt text{font:12px system-ui,-apple-system,\"Segoe UI\",Roboto,\"Helvetica Neue\",Arial,sans-serif;fill:#777;"
    "fill:var(--quiet);font-variant-numeric:tabular-nums;pointer-events:none}\n"
    ".gantt .title{font-size:22px;font-weight:650;letter-spacing:-.01em}"
    ".gantt .share{font-size:20px;font-weight:650}.gantt .row{font-size:14px;font-weight:600}"
    ".gantt .title,.gantt .share,.gantt .row{fill:#777;fill:var(--ink)}\n"
    ".gantt .subtitle{font-size:14px}.gantt .middle{text-anchor:middle}.gantt .end{text-anchor:end}\n"
    ".gantt .paper{fill:#fbfbf9;fill:var(--paper)}.gantt .idle{fill:#eee;fill:var(--idle)}"
    ".gantt .span{fill:#ddd;fill:var(--span)}\n"
    ".gantt .grid{stroke:#ccc;stroke:var(--grid);fill:none;shape-rendering:crispEdges}\n"
    ".gantt .phase{stroke:#777;stroke:var(--quiet);stroke-dasharray:2 3;shape-rendering:crispEdges}\n"
    ".gantt .apart rect,.gantt .w{stroke:#eee;stroke:var(--idle);stroke-width:.8}"
    ".gantt .apart rect{stroke:var(--paper);stroke-width:1.2}\n"
    ".gantt .hatch{stroke:#000;stroke-width:3;stroke-opacity:.22}.gantt .swatch{fill:#a3a39e}"
    ".gantt .column{shape-rendering:crispEdges}"
    ".gantt .track rect:hover{stroke:#777;stroke:var(--ink);stroke-width:1}.gantt .track text{font-size:11.5px}\n";

fsm_paint fsm_paint_of(const fsm_task *task)
{
    return (fsm_paint){(int)hue_of[task->kind], task->phase == FSM_BACKWARD};
}

char *fsm_paint_class(fsm_paint paint, char name[FSM_PAINT_CLASS_BYTES])
{
    snprintf(name, FSM_PAINT_CLASS_BYTES, "%c%d", paint.dark ? 'b' : 'a', paint.hue);
    return name;
}

/* In which direction each lane's stripes go, degrees. */
static const int stripes[FSM_MAX_LANES] = {0, 45, -45, 90};

char *fsm_paint_hatch(int lane, char name[FSM_PAINT_CLASS_BYTES])
{
    snprintf(name, FSM_PAINT_CLASS_BYTES, "h%d", lane % FSM_MAX_LANES);
    return name;
}

void fsm_paint_write_hatches(FILE *out, int lanes)
{
    if (lanes < 2) return;
    fputs("<defs>", out);
    for (int lane = 1; lane < lanes && lane < FSM_MAX_LANES; lane++)
        fprintf(out,
                "<pattern id=\"gantt-h%d\" patternUnits=\"userSpaceOnUse\" width=\"8\" height=\"8\" "
                "patternTransform=\"rotate(%d)\"><path class=\"hatch\" d=\"M4 0V8\"/></pattern>\n",
                lane, stripes[lane]);
    fputs("<style>", out);
    for (int lane = 1; lane < lanes && lane < FSM_MAX_LANES; lane++)
        fprintf(out, ".gantt .h%d{fill:url(#gantt-h%d);pointer-events:none}", lane, lane);
    fputs("</style></defs>\n", out);
}

double fsm_paint_text_px(const char *text, double size_px)
{
    double ems = 0;
    for (const char *at = text; *at; at++)
        if (((unsigned char)*at & 0xc0) != 0x80) ems += strchr(" ,.fijlrt", *at) ? 0.37 : 0.62;
    return ems * size_px;
}

/* Dark ink on light colours, light ink on dark ones. */
static const char *ink_on(unsigned rgb)
{
    unsigned luma = (299 * (rgb >> 16) + 587 * (rgb >> 8 & 255) + 114 * (rgb & 255)) / 1000;
    return luma > 132 ? "#161615" : "#fff";
}

void fsm_paint_write_style(FILE *out)
{
    fprintf(out, "<style>\n%s", style);
    for (int h = 0; h < HUE_COUNT; h++)
        for (int dark = 0; dark < 2; dark++)
            fprintf(out, ".gantt .%c%d{fill:#%06x}.gantt text.t%c%d{fill:%s}%s", "ab"[dark], h, shades[h][dark],
                    "ab"[dark], h, ink_on(shades[h][dark]), dark ? "\n" : "");
    fputs("</style>\n", out);
}

/* Of one hue: whether it appears light and dark, and the kinds it stands for. */
typedef struct entry {
    bool shade[2];
    char text[160];
} entry;

static void gather_entries(const fsm_graph *graph, entry entries[HUE_COUNT])
{
    bool seen[FSM_TASK_KIND_COUNT] = {false};
    memset(entries, 0, HUE_COUNT * sizeof *entries);
    for (int i = 0; i < graph->count; i++) {
        fsm_paint paint = fsm_paint_of(&graph->tasks[i]);
        seen[graph->tasks[i].kind] = entries[paint.hue].shade[paint.dark] = true;
    }
    for (int k = 0; k < FSM_TASK_KIND_COUNT; k++) {
        char *text = entries[hue_of[k]].text;
        size_t used = strlen(text);
        if (seen[k])
            snprintf(text + used, sizeof entries->text - used, "%s%s", used ? ", " : "",
                     fsm_task_kind_name((fsm_task_kind)k));
    }
}

static void write_entry(FILE *out, const entry *e, int h, double x, double y)
{
    int shades_n = e->shade[0] + e->shade[1];
    double width = (double)SWATCH_PX / shades_n;
    for (int dark = 0; dark < 2; dark++) {
        char class[FSM_PAINT_CLASS_BYTES];
        if (!e->shade[dark]) continue;
        fprintf(out, "<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"13\"/>",
                fsm_paint_class((fsm_paint){h, dark}, class), x + (dark && e->shade[0] ? width : 0), y, width);
    }
    fprintf(out, "<text x=\"%.1f\" y=\"%.1f\">%s</text>\n", x + SWATCH_PX + 7, y + 11, e->text);
}

/* Where legend entries go: in rows, as far as each is full. */
typedef struct place {
    double left, right, x, y;
} place;

static void make_room(place *at, double width)
{
    if (at->x > at->left && at->x + width > at->right) at->x = at->left, at->y += ROW_PX;
}

static double entry_px(const char *text)
{
    return SWATCH_PX + 7 + fsm_paint_text_px(text, TEXT_PX);
}

static void write_note(FILE *out, place *at, const char *note)
{
    double width = fsm_paint_text_px(note, TEXT_PX);
    make_room(at, width);
    if (out) fprintf(out, "<text x=\"%.1f\" y=\"%.1f\">%s</text>\n", at->x, at->y + 11, note);
    at->x += width + ENTRY_GAP_PX;
}

static void write_lane(FILE *out, place *at, int lane)
{
    char text[32], hatch[FSM_PAINT_CLASS_BYTES];
    snprintf(text, sizeof text, "lane %d", lane);
    make_room(at, entry_px(text));
    if (out) {
        fprintf(out, "<rect class=\"swatch\" x=\"%.1f\" y=\"%.1f\" width=\"%d\" height=\"13\"/>", at->x, at->y,
                SWATCH_PX);
        if (lane > 0)
            fprintf(out, "<path class=\"%s\" d=\"M%.1f %.1fh%dv13h-%dz\"/>", fsm_paint_hatch(lane, hatch), at->x, at->y,
                    SWATCH_PX, SWATCH_PX);
        fprintf(out, "<text x=\"%.1f\" y=\"%.1f\">%s</text>\n", at->x + SWATCH_PX + 7, at->y + 11, text);
    }
    at->x += entry_px(text) + ENTRY_GAP_PX;
}

double fsm_paint_write_legend(FILE *out, const fsm_graph *graph, double x, double y, double width)
{
    entry entries[HUE_COUNT];
    place at = {x, x + width, x, y};
    bool two = false;
    gather_entries(graph, entries);
    for (int h = 0; h < HUE_COUNT; h++) {
        const entry *e = &entries[h];
        if (!e->text[0]) continue;
        two = two || (e->shade[0] && e->shade[1]);
        make_room(&at, entry_px(e->text));
        if (out) write_entry(out, e, h, at.x, at.y);
        at.x += entry_px(e->text) + ENTRY_GAP_PX;
    }
    for (int lane = 0; lane < fsm_graph_lanes(graph) && fsm_graph_lanes(graph) > 1; lane++) write_lane(out, &at, lane);
    if (two) write_note(out, &at, "where a colour has two shades, the darker one is backward");
    return at.y + ROW_PX - y;
}
