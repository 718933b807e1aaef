/* The colours of a Gantt picture: which hue a kind of task has, the style sheet, the legend.
 * In:  kinds and phases of tasks.
 * Out: class names, CSS, SVG elements.
 * Related kinds share a hue: dense work is blue-grey, experts are warm, a pair of collectives is two neighbouring hues;
 * backward is the darker shade. Lanes are hatched, so that hue and shade still tell the kind and the phase. Every shade
 * stands out from the light and from the dark background.
 */
#ifndef FSM_REPORT_GANTT_PAINT_H
#define FSM_REPORT_GANTT_PAINT_H

#include "plan/graph.h"

#include <stdio.h>

typedef struct fsm_paint {
    int hue;
    bool dark; /* the darker shade, of backward */
} fsm_paint;

enum { FSM_PAINT_HUES = 14, FSM_PAINT_CLASS_BYTES = 16 };

fsm_paint fsm_paint_of(const fsm_task *task);

/* The class of a rectangle, "a3" or, darker, "b3"; of text on it, "ta3" or "tb3". */
char *fsm_paint_class(fsm_paint paint, char name[FSM_PAINT_CLASS_BYTES]);

/* The class of a shape that lies over what is of a lane from 1 on; lane 0 is plain. */
char *fsm_paint_hatch(int lane, char name[FSM_PAINT_CLASS_BYTES]);

/* About how wide UTF-8 text is in the picture's font, whichever that is on the reader's machine. */
double fsm_paint_text_px(const char *text, double size_px);

/* <style> with everything the picture uses. */
void fsm_paint_write_style(FILE *out);

/* What the hatches are made of, inside an SVG; nothing for one lane. They have ids, so once in a page. */
void fsm_paint_write_hatches(FILE *out, int lanes);

/* The hues of the graph's tasks with the kinds they stand for, and its lanes, in rows of `width` px from (x, y) down;
 * returns the height. out NULL: only measures. */
double fsm_paint_write_legend(FILE *out, const fsm_graph *graph, double x, double y, double width);

#endif
